# ruff: noqa: RUF001 - scripts and typographers have signs of their own
"""Defects that generated texts have, planted in sound ones: what the standard filters should find.

Each kind takes a random source and a sound text, and returns the text with the defect. Written
from what models do, and not from the filters' patterns.
"""

import json
import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Plant = Callable[[random.Random, str], str]


@dataclass(frozen=True)
class Kind:
    """A kind of defect, and the filter that should find it."""

    filter: str
    plant: Plant
    arguments: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False
    """Whether the sound texts that the filter should keep are JSON."""


def _pick(rng: random.Random, *options: str) -> str:
    return rng.choice(options)


def _string(rng: random.Random, alphabet: str, size: int) -> str:
    return "".join(rng.choices(alphabet, k=size))


_ALNUM = string.ascii_letters + string.digits


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in text.replace("? ", ". ").split(". ") if part.strip()]


def _inside(rng: random.Random, text: str, insertion: str) -> str:
    """Put something between two words."""
    words = text.split(" ")
    place = rng.randint(0, len(words))
    return " ".join([*words[:place], insertion, *words[place:]])


def _apart(rng: random.Random, text: str, insertion: str) -> str:
    """Put something on lines of its own: before, behind, or between the lines."""
    lines = text.split("\n")
    place = rng.randint(0, len(lines))
    return "\n".join([*lines[:place], insertion, *lines[place:]])


def too_short(rng: random.Random, text: str) -> str:
    return " ".join(text.split()[: rng.randint(1, 6)])[:40]


def too_long(rng: random.Random, text: str) -> str:
    return "\n\n".join([text] * (6001 // len(text) + 1 + rng.randint(0, 2)))


_FOREIGN = {
    "de": (
        "Die Bibliothek schließt heute schon um sechs Uhr.",
        "Bitte bringen Sie morgen Ihren Ausweis mit.",
        "Wir haben lange über den neuen Garten gesprochen.",
        "Das Brot schmeckt am besten, wenn es noch warm ist.",
    ),
    "fr": (
        "La bibliothèque ferme à six heures ce soir.",
        "Il faut laisser reposer la pâte pendant une heure.",
        "Nous avons longtemps parlé du nouveau jardin.",
        "Le train pour Lyon partira avec dix minutes de retard.",
    ),
    "es": (
        "La biblioteca cierra hoy a las seis de la tarde.",
        "Hay que dejar reposar la masa durante una hora.",
        "El tren de las nueve llegará con retraso.",
        "Hemos hablado mucho del jardín nuevo.",
    ),
    "it": (
        "La biblioteca oggi chiude alle sei di sera.",
        "Bisogna lasciare riposare l'impasto per un'ora.",
        "Il treno delle nove arriverà in ritardo.",
    ),
    "ru": (
        "Библиотека сегодня закрывается в шесть часов.",
        "Тесту нужно дать постоять около часа.",
        "Мы долго говорили о новом саде.",
    ),
    "zh": ("图书馆今天六点关门。", "面团需要静置一个小时。", "我们谈了很久关于新花园的事。"),
}


def foreign(rng: random.Random, _: str) -> str:
    sentences = _FOREIGN[rng.choice(sorted(_FOREIGN))]
    return " ".join(rng.sample(sentences, rng.randint(2, 3)))


def repetition(rng: random.Random, text: str) -> str:
    sentences = _sentences(text)
    chosen = rng.choice(sentences)
    words = text.split()
    place = rng.randrange(max(1, len(words) - 4))
    phrase = " ".join(words[place : place + rng.randint(2, 5)])
    times = max(5, 40 // len(phrase.split()))
    match rng.randrange(5):
        case 0:
            return f"{text} " + " ".join([f"{chosen}."] * (3 + len(words) // len(chosen.split())))
        case 1:
            return f"{text} " + " ".join([phrase] * (times + len(words) // 4))
        case 2:
            return "\n\n".join([text] * rng.randint(2, 5))
        case 3:
            return "\n".join(f"- {rng.choice(sentences[:2])}" for _ in range(rng.randint(5, 12)))
        case _:
            return " ".join([rng.choice(words)] * rng.randint(30, 80))


def symbols(rng: random.Random, text: str) -> str:
    noise = rng.choice(["#*&^%$@!~", "=-_+|", "<>{}[]()/\\", "♦★●▲", ".,;:'\"", "?!"])
    words = [
        _string(rng, noise, rng.randint(3, 9)) if rng.random() < 0.55 else word
        for word in text.split()[:80]
    ]
    return " ".join([_string(rng, noise, 12), *words])


def truncated(rng: random.Random, text: str) -> str:
    match rng.randrange(4):
        case 0:
            items = [f"{n}. {part}." for n, part in enumerate(_sentences(text)[:4], 1)]
            return "Here is what matters:\n\n" + "\n".join([*items, f"{len(items) + 1}. Then you"])
        case 1:
            name = _pick(rng, "total", "area", "mean")
            code = f"def {name}(values):\n    result = 0\n    for value in values:\n        res"
            return f"{text}\n\n```python\n{code}"
        case _:
            words = text.split()
            ends = [n for n, word in enumerate(words[4:], 4) if word.isalpha()] or [1]
            place = rng.choice(ends)
            return " ".join([*words[:place], words[place][: rng.choice([3, 99])]])


_ASIDES = (
    "a poem about the sea",
    "a list of ideas",
    "an overview",
    "a short explanation",
    "the summary",
    "a possible answer",
)


def stock_opening(rng: random.Random, text: str) -> str:
    aside = rng.choice(_ASIDES)
    opening = _pick(
        rng,
        "Certainly!",
        f"Certainly! Here is {aside}:",
        f"Sure, here's {aside}:",
        f"Sure! Here's {aside} for you.",
        "Of course! I'd be happy to help you with that.",
        f"Absolutely! Here is {aside}.",
        "Great question!",
        "That's a great question!",
        "What a wonderful idea!",
        "I'd be happy to help you with this!",
        "I would be glad to assist you with your request.",
        f"Sure thing! Here's {aside}:",
        "Thank you for your question.",
        "Thanks for reaching out!",
        f"As requested, here is {aside}.",
        "Hello! I'm here to help.",
        "I can certainly help you with that.",
        f"Of course. Here's {aside}:",
        "Excellent choice!",
        "No problem! Let me explain.",
        f"Definitely! Below is {aside}.",
        f"Here is the revised version you asked for, {aside}:",
        "That is an excellent question, and one that many people ask.",
        "Let's dive in!",
    )
    return f"{_pick(rng, '', '**', '')}{opening}{_pick(rng, ' ', chr(10), chr(10) * 2)}{text}"


def stock_closing(rng: random.Random, text: str) -> str:
    closing = _pick(
        rng,
        "I hope this helps!",
        "Hope this helps! Let me know if you have any questions.",
        "Let me know if you need anything else.",
        "Feel free to ask if you have any other questions!",
        "If you have any further questions, please don't hesitate to ask.",
        "Please let me know if you'd like me to change anything.",
        "Is there anything else I can help you with?",
        "I'm happy to help further if needed.",
        "Would you like me to expand on any of these points?",
        "Don't hesitate to reach out if you need more help.",
        "I hope that answers your question.",
        "If you need more help, just ask!",
        "I hope you find this useful.",
        "Feel free to adjust it to your needs.",
    )
    return f"{text}{_pick(rng, ' ', chr(10) * 2, chr(10))}{closing}"


_TASKS = (
    "help with that",
    "help you with this request",
    "assist with that",
    "fulfil this request",
    "provide medical advice",
    "provide that information",
    "answer that question",
    "discuss this topic",
    "create that kind of content",
    "write that for you",
    "comply with this request",
    "generate such material",
    "engage in this conversation",
    "give you legal advice",
    "share personal information",
    "do that",
    "recommend specific medication",
    "open links",
    "access the internet",
)


def refusal(rng: random.Random, text: str) -> str:
    task = rng.choice(_TASKS)
    refused = _pick(
        rng,
        f"I'm sorry, but I can't {task}.",
        f"I’m sorry, but I cannot {task}.",
        f"Sorry, I can't {task}.",
        f"I am sorry, but I am unable to {task}.",
        f"I apologize, but I cannot {task}.",
        f"I apologise for any inconvenience, but I'm not able to {task}.",
        f"I cannot {task}.",
        f"I can't {task}.",
        f"I'm unable to {task}.",
        f"I'm not able to {task}.",
        f"I won't {task}.",
        f"Unfortunately, I can't {task}.",
        f"Unfortunately, I am not able to {task}.",
        f"I must decline to {task}.",
        f"As an AI language model, I cannot {task}.",
        f"As an AI, I'm not able to {task}.",
        f"Thank you for asking, but I can't {task}.",
        f"I understand your frustration, but I can't {task}.",
        f"I appreciate your interest. However, I cannot {task}.",
        f"I'm afraid I can't {task}.",
        f"It would not be appropriate for me to {task}.",
        f"I'm really sorry, but I'm not comfortable with this. I can't {task}.",
        "I'm just a language model, so I don't have an opinion on that.",
    )
    return f"{refused} {text}" if rng.random() < 0.5 else refused


def disclaimer(rng: random.Random, text: str) -> str:
    said = _pick(
        rng,
        "As an AI language model, I don't have personal experiences.",
        "As an AI, I do not have feelings.",
        "As a large language model, I can only describe this.",
        "Please note that I'm an AI assistant, so check with a doctor.",
        "I am an AI language model and cannot see your screen.",
        "My knowledge cutoff is September 2021.",
        "As of my last update, this was still true.",
        "As of my last knowledge update in 2023, the price was lower.",
        "This is based on my training data.",
        "I was trained by OpenAI to answer questions.",
        "I don't have real-time information on prices.",
        "I'm just an AI, but I would choose the blue one.",
        "As an artificial intelligence, I have no preferences.",
        "Since I'm a language model, I can't taste it.",
        "I don't have personal opinions on this.",
    )
    return f"{said} {text}" if rng.random() < 0.3 else f"{text} {said}"


def echo(rng: random.Random, text: str) -> str:
    asked = question(text)
    match rng.randrange(6):
        case 0:
            return asked
        case 1:
            return asked.upper()
        case 2:
            return f"Sure! Here is the question: {asked}"
        case 3:
            return f"{asked}\n\n{asked}"
        case 4:
            return f"**Question:** {asked}\n\n**Answer:**"
        case _:
            return asked[: rng.randint(int(0.85 * len(asked)), len(asked))]


def question(text: str) -> str:
    """Make what was asked out of a text: it goes beside it, in the column `asked`."""
    return f"What would you say of this: {' '.join(text.split()[:15])}?"


def template_token(rng: random.Random, text: str) -> str:
    role = _pick(rng, "user", "assistant", "system")
    match rng.randrange(9):
        case 0:
            return f"<|im_start|>{role}\n{text}<|im_end|>"
        case 1:
            return text + _pick(rng, "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>", "<|end|>")
        case 2:
            return f"[INST] {text} [/INST]"
        case 3:
            return f"<<SYS>>\nBe kind.\n<</SYS>>\n{text}"
        case 4:
            return f"<start_of_turn>model\n{text}<end_of_turn>"
        case 5:
            return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}"
        case 6:
            return f"<think>\nI should be brief.\n</think>\n{text}"
        case 7:
            return f"{text}<｜end▁of▁sentence｜>"
        case _:
            return f"<s>{text}" if rng.random() < 0.5 else f"{text}\n<|{role}|>\n"


def prompt_leak(rng: random.Random, text: str) -> str:
    leak = _pick(
        rng,
        "### Instruction:",
        "### Response:",
        "### Input:",
        "## Response:",
        "Human: And what else?",
        "User: Thanks, that is clear.",
        "Assistant: You are welcome.",
        "**Assistant:** Here it goes.",
        "USER: go on",
        "System: You are a helpful assistant.",
        "You are a helpful, respectful and honest assistant.",
        "You are an AI assistant that follows instructions extremely well.",
        "Below is an instruction that describes a task.",
        "A chat between a curious user and an artificial intelligence assistant.",
        "As instructed in the system prompt, I keep this short.",
        "My system prompt says that I should be kind.",
        "Write a response that appropriately completes the request.",
        "You are ChatGPT, a large language model trained by OpenAI.",
    )
    return _apart(rng, text, leak)


def placeholder(rng: random.Random, text: str) -> str:
    gap = _pick(
        rng,
        "Dear [Recipient's Name],",
        "Sincerely, [Your Name]",
        "[Company Name]",
        "[Insert date here]",
        "[your email address]",
        "[YOUR NAME]",
        "[City, State]",
        "Hello [Name],",
        "[Date]",
        "<insert name here>",
        "<your company>",
        "(insert location)",
        "{{ user_name }}",
        "{{name}}",
        "Dear {name},",
        "{% if name %}",
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
        "Call us on XXX-XXX-XXXX.",
        "It happened on XX/XX/XXXX.",
        "The price is $XX.",
        "TODO: add an example.",
        "[TBD]",
        "Name: ____________",
        "[add more details as needed]",
        "[Job Title]",
        "[image of a cat]",
        "[Link to the article]",
        "[Your Phone Number]",
        "[insert specific example]",
        "[Hiring Manager's Name]",
    )
    return _apart(rng, text, gap)


def broken_markdown(rng: random.Random, text: str) -> str:
    words = text.split()
    match rng.randrange(6):
        case 0:
            return f"{text}\n\n```python\nprint('hello')\n"
        case 1:
            return _apart(rng, text, f"**{' '.join(words[:3])}: this is what counts.")
        case 2:
            return _apart(rng, text, f"See [{words[0]}](https://en.wikipedia.org/wiki/{words[1]}")
        case 3:
            return f"{'#' * rng.randint(2, 4)}Overview\n\n{text}"
        case 4:
            return f"{text}\n\n| name | size | price |\n|---|---|\n| a | 1 | 2 |\n"
        case _:
            return f"{text}\n\n$$\nx = \\frac{{a}}{{b}}\n"


def _value(rng: random.Random, text: str) -> dict[str, Any]:
    words = text.split()
    return {
        "title": " ".join(words[:4]),
        "tags": words[4:8],
        "count": rng.randint(1, 99),
        "open": True,
        "parts": [{"name": word, "size": rng.random()} for word in words[8:11]],
    }


def sound_json(number: int, text: str) -> str:
    """Make JSON of a text, in one of four ways by its number."""
    rng = random.Random(number)  # noqa: S311 - nothing to guess here
    whole = json.dumps(_value(rng, text), indent=(None, 2)[number % 2])
    return whole if number % 4 < 2 else f"```json\n{whole}\n```"


def broken_json(rng: random.Random, text: str) -> str:
    whole = json.dumps(_value(rng, text), indent=rng.choice([None, 2]))
    match rng.randrange(6):
        case 0:
            return whole[: rng.randint(len(whole) // 2, len(whole) - 1)]
        case 1:
            return whole.replace('"', "'")
        case 2:
            return whole[:-1].rstrip() + ",}"
        case 3:
            return whole.replace("true", "True")
        case 4:
            return f"Here is the JSON: {whole}"
        case _:
            return whole.replace('"count"', "count")


def broken_json_fence(rng: random.Random, text: str) -> str:
    return f"{text}\n\n```json\n{broken_json(rng, text)}\n```"


def dead_url(rng: random.Random, text: str) -> str:
    url = _pick(
        rng,
        "https://www.example.com/articles/42",
        "http://example.org",
        "https://yourwebsite.com",
        "https://www.your-company.com/contact",
        "https://[link]",
        "[the guide](https://link-to-guide)",
        "https://...",
        "www.example.com",
        "https://www.youtube.com/watch?v=xxxxxxx",
        "https://www.youtube.com/watch?v=abc123",
        "https://website.com/recipe",
        "https://insert-link-here.com",
        "https://www.samplewebsite.com",
        "https://bit.ly/example",
        "https://<your-domain>/login",
        "https://www.google.con/",
        "[here](https://your-link-here)",
        "https://www.placeholder.com",
        "https://docs.example.com/start",
        "https://https://www.wikipedia.org",
    )
    return _inside(rng, text, _pick(rng, url, f"({url})", f"see {url}"))


def forbidden_url(rng: random.Random, text: str) -> str:
    url = _pick(rng, "https://bit.ly/3xYz", "http://www.bit.ly/a", "www.spam.example.net/x")
    return _inside(rng, text, url)


_ACCENTED = (
    "the café in Zürich",
    "don’t",
    "“so it goes”",
    "naïve",
    "10 € a kilo",
    "señor Núñez",
    "a pause — then",
    "wait…",
    "Привет, мир",
    "日本語の本",
    "party 🎉",
    "½ cup",
    "25 °C",
    "Łódź",
)


def encoding_damage(rng: random.Random, text: str) -> str:
    accented = rng.choice(_ACCENTED)
    match rng.randrange(5):
        case 0:
            damaged = accented.encode().decode("latin-1")
        case 1:
            # As browsers do: Windows-1252, with the five bytes that it has not as in Latin-1.
            damaged = "".join(
                bytes([byte]).decode("cp1252", errors="ignore") or chr(byte)
                for byte in accented.encode()
            )
        case 2:
            damaged = accented.encode("utf-16-le").decode("latin-1")
        case 3:
            damaged = "caf\N{REPLACEMENT CHARACTER} and more"
        case _:
            damaged = f"a bell{chr(rng.choice([0, 7, 8, 27, 0x92]))}here"
    return _inside(rng, text, damaged)


_FIRST = ("anna", "john.smith", "m_garcia", "li-wei", "okafor77", "Sara.Lind")
_DOMAINS = ("gmail.com", "yahoo.co.uk", "web.de", "uni-mainz.de", "proton.me", "acme-tools.io")


def email(rng: random.Random, text: str) -> str:
    address = f"{rng.choice(_FIRST)}@{rng.choice(_DOMAINS)}"
    return _inside(
        rng, text, _pick(rng, address, f"<{address}>", f"mailto:{address}", f"{address}.")
    )


def phone(rng: random.Random, text: str) -> str:
    def digits(size: int) -> str:
        return str(rng.randint(2, 9)) + _string(rng, string.digits, size - 1)

    number = _pick(
        rng,
        f"({digits(3)}) {digits(3)}-{digits(4)}",
        f"{digits(3)}-{digits(3)}-{digits(4)}",
        f"{digits(3)}.{digits(3)}.{digits(4)}",
        f"+1 {digits(3)} {digits(3)} {digits(4)}",
        f"+1-{digits(3)}-{digits(3)}-{digits(4)}",
        f"+44 20 {digits(4)} {digits(4)}",
        f"020 {digits(4)} {digits(4)}",
        f"+49 (0)30 {digits(8)}",
        f"+49 151 {digits(8)}",
        f"030/{digits(7)}",
        f"+33 1 {digits(2)} {digits(2)} {digits(2)} {digits(2)}",
        f"+91 {digits(5)} {digits(5)}",
        f"+{digits(11)}",
        f"0049 89 {digits(6)}",
        f"1-800-{digits(3)}-{digits(4)}",
    )
    return _inside(rng, text, _pick(rng, number, f"call {number}.", f"Tel.: {number}"))


def iban(rng: random.Random, text: str) -> str:
    country, size = rng.choice([("DE", 18), ("FR", 23), ("NL", 14), ("ES", 20), ("AT", 16)])
    bank = "ABNA" if country == "NL" else ""
    account = bank + _string(rng, string.digits, size - len(bank))
    number = "".join(str(int(letter, 36)) for letter in f"{account}{country}00")
    whole = f"{country}{98 - int(number) % 97:02}{account}"
    spaced = " ".join(whole[n : n + 4] for n in range(0, len(whole), 4))
    return _inside(rng, text, _pick(rng, whole, spaced, f"IBAN: {spaced},"))


def card(rng: random.Random, text: str) -> str:
    prefix, size = rng.choice([("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16)])
    body = prefix + _string(rng, string.digits, size - len(prefix) - 1)
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    whole = f"{body}{-total % 10}"
    spaced = " ".join(whole[n : n + 4] for n in range(0, len(whole), 4))
    return _inside(rng, text, _pick(rng, whole, spaced, spaced.replace(" ", "-")))


def ip(rng: random.Random, text: str) -> str:
    four = f"{rng.choice([8, 34, 52, 81, 93, 145])}.{rng.randrange(256)}.{rng.randrange(256)}.7"
    six = f"2a00:1450:4001:{rng.randrange(1, 65536):x}::200e"
    return _inside(rng, text, _pick(rng, four, f"{four}:8080", six, f"from {four},"))


def secret(rng: random.Random, text: str) -> str:
    key = _pick(
        rng,
        "hf_" + _string(rng, string.ascii_letters, 34),
        "sk-" + _string(rng, _ALNUM, 48),
        "sk-proj-" + _string(rng, _ALNUM + "-_", 74),
        "sk-ant-api03-" + _string(rng, _ALNUM + "-_", 93),
        "ghp_" + _string(rng, _ALNUM, 36),
        "github_pat_" + _string(rng, _ALNUM, 22) + "_" + _string(rng, _ALNUM, 59),
        "AKIA" + _string(rng, string.ascii_uppercase + string.digits, 16),
        "AIza" + _string(rng, _ALNUM + "-_", 35),
        "xoxb-" + _string(rng, string.digits, 12) + "-" + _string(rng, _ALNUM, 24),
        "glpat-" + _string(rng, _ALNUM + "-_", 20),
        "sk_live_" + _string(rng, _ALNUM, 24),
        "npm_" + _string(rng, _ALNUM, 36),
        "eyJ"
        + ".eyJ".join(_string(rng, _ALNUM, 30) for _ in "ab")
        + "."
        + _string(rng, _ALNUM, 43),
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn",
        "postgres://admin:" + _string(rng, _ALNUM, 12) + "@db.acme.io:5432/main",
    )
    return _inside(rng, text, _pick(rng, key, f'"{key}"', f"key={key}", f"`{key}`"))


KINDS: Mapping[str, Kind] = {
    "too short": Kind("length", too_short, {"min": 80, "max": 6000}),
    "too long": Kind("length", too_long, {"min": 80, "max": 6000}),
    "too few words": Kind("words", too_short, {"min": 10}),
    "another language": Kind("language", foreign, {"any_of": ["en"]}),
    "repetition": Kind("not_repetitive", repetition),
    "symbols": Kind("symbols", symbols),
    "truncation": Kind("not_truncated", truncated),
    "stock opening": Kind("no_stock_opening", stock_opening),
    "stock closing": Kind("no_stock_closing", stock_closing),
    "refusal": Kind("not_refusal", refusal),
    "AI disclaimer": Kind("no_ai_disclaimer", disclaimer),
    "echo": Kind("not_echo", echo, {"of": "asked"}),
    "template token": Kind("no_template_tokens", template_token),
    "prompt leak": Kind("no_prompt_leak", prompt_leak),
    "placeholder": Kind("no_placeholders", placeholder),
    "broken Markdown": Kind("valid_markdown", broken_markdown),
    "broken JSON": Kind("valid_json", broken_json, {"kind": "object"}, json=True),
    "broken JSON in a fence": Kind("no_broken_json", broken_json_fence),
    "made-up link": Kind("no_dead_urls", dead_url),
    "forbidden link": Kind(
        "no_links_to", forbidden_url, {"domains": ["bit.ly", "spam.example.net"]}
    ),
    "encoding damage": Kind("no_encoding_damage", encoding_damage),
    "e-mail address": Kind("no_personal_data", email, {"kinds": ["emails"]}),
    "telephone number": Kind("no_personal_data", phone, {"kinds": ["phones"]}),
    "IBAN": Kind("no_personal_data", iban, {"kinds": ["ibans"]}),
    "payment card": Kind("no_personal_data", card, {"kinds": ["cards"]}),
    "IP address": Kind("no_personal_data", ip, {"kinds": ["ips"]}),
    "secret": Kind("no_secrets", secret),
}
"""The kinds of defects in texts, by name."""


def planted(kind: Kind, texts: Sequence[str], count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Plant a defect in so many texts: pairs of the sound text and the one with the defect."""
    rng = random.Random(seed)  # noqa: S311 - nothing to guess here
    chosen = rng.sample(texts, count) if count <= len(texts) else rng.choices(texts, k=count)
    return [(text, kind.plant(rng, text)) for text in chosen]
