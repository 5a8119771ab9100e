# ruff: noqa: RUF001 - scripts and typographers have punctuation of their own
"""The standard filters keep good rows, drop bad ones, and travel as data."""

import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import eldc
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.text.measures import derive

Filter = Callable[..., pl.Expr]
ROOT = Path(__file__).parents[2]


def _standard() -> dict[str, Filter]:
    found: dict[str, Filter] = {}
    for file in sorted((ROOT / "filters").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"_standard_filters_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, value in vars(module).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                assert name not in found, f"two filters are called {name}"
                found[name] = value
    return found


FILTERS = _standard()

PROSE = [
    (
        "To keep basil fresh, trim the stems and stand them in a glass of water, like flowers. "
        "Change the water every other day, and keep the glass away from direct sun."
    ),
    (
        "I'm sorry to hear that your trip was cancelled. You can ask the airline for a refund; "
        "under EU rules it must be paid within seven days."
    ),
    (
        "Three things help most when you cannot sleep:\n\n1. Get up at the same time every day.\n"
        "2. Leave the phone in another room.\n3. Drink no coffee after lunch."
    ),
    "Here is a short function:\n\n```python\ndef double(x):\n    return 2 * x\n```",
    (
        "I won't be able to make it tonight, and I'm not an expert in wine, but I would not be "
        "surprised if the red one is the better of the two."
    ),
    "What you need:\n- two eggs\n- a pinch of salt\n- half a cup of flour",
    'She looked at the sea and said, "It will be a long winter."',
    "Great question! Compound interest is interest on interest 🎉",
    (
        "Dear Mr Okafor,\n\nthank you for your letter. We can't make it to the opening, but "
        "would be glad to visit in May.\n\nKind regards,\nAnna Lind"
    ),
    (
        "A budget is a plan for your money. Write down what comes in, then what must go out (rent, "
        "food, transport), and decide what to do with the rest **before** you spend it."
    ),
    "As an engineer at a small company, I learned that clear notes save more time than meetings.",
    "Unfortunately, the museum is closed on Mondays. The gardens are open, and admission is free.",
    "You can read more about the tides at https://example.org/tides",
    "The committee can't provide figures before June, the minister said; critics doubt that.",
    "| fruit | price |\n|---|---|\n| apple | 1 |\n| pear | 2 |",
    (
        "Language models are trained to predict the next word. As a result, they can be quite "
        "wrong, and it helps to ask them for sources."
    ),
]

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I cannot assist with creating content of that kind.",
    "As an AI language model, I do not have personal opinions.",
    "As an AI, I can't browse the internet.",
    "Sorry, I am not able to provide medical advice. Please see a doctor.",
    "I apologize, but as an AI assistant I am unable to fulfill this request.",
    "Unfortunately, I cannot provide information on that topic.",
    "I'm just an AI, so I have never tasted soup.",
    "Hello! I'm not able to generate that kind of text.",
    "I don't have personal experiences, but many people like hiking.",
    "  AS A LARGE LANGUAGE MODEL, I cannot feel.",
    "Thank you for asking. I won't provide instructions for that.",
    "I won't be able to assist you with this request.",
    "Sorry, I wont be able to help with that.",
    "I would not be able to provide such a list.",
    "I'm not an AI assistant, but I can try to answer.",
    "Hello, I'm not a human, so I do not eat soup.",
    "I am not capable of providing legal advice.",
    "I don't think I can help you with that.",
    (
        "That goes against my programming guidelines and I must stop here, and it is against my "
        "guidelines."
    ),
]

TRUNCATED = [
    "To keep basil fresh, trim the stems and stand them in a glass of",
    "Here is a short function:\n\n```python\ndef double(x):\n    return 2 *",
    "Here is a short function:\n\n```python\nprint('done.')\n",
    "First, get up at the same time.\n2. Leave the phone in another room.\n3. Drink no",
    "1. Get up at the same time every day.\n2. Leave the phone in another room.\n3. Drink no",
    "The three most important points are:",
    "She looked at the sea and said, and then she",
    "北京是中国的首都，也是",
    "The first reason is cost; the second,",
]

REPETITIVE = [
    "The cat sat. " * 30,
    "I like soup.\nI like bread.\nI like soup.\nI like soup.\nI like soup.\n",
    "Boil the water and add the salt.\n\n" * 4,
    "the answer is the answer is the answer is the answer is the answer is yes",
    "We should go to the market today because it is warm and dry. " * 3,
    "天气很好" * 20,
]

OTHER_LANGUAGES = [
    "Das Wetter ist heute schön, und wir gehen im Park spazieren.",
    "Je ne sais pas encore si nous partirons demain ou après-demain.",
    "今天天气很好，我们去公园散步吧。",
    "12345 67890",
]

INSTRUCTION = "How do I keep basil fresh for longer?"
ECHOES = [
    "How do I keep basil fresh for longer?",
    "how do I keep basil   fresh for longer",
    "Sure! Here is your question: How do I keep basil fresh for longer?",
    "How do I keep basil fresh for longer? How do I keep basil fresh for longer?",
    "How do I keep basil fresh for",
    "**Question:** How do I keep basil fresh for longer?\n\n**Answer:**",
]
ANSWERS = [
    "Stand it in water.",
    "How do I keep basil fresh for longer? Stand it in water.",
    "Basil",
    "To keep basil fresh for longer, stand it in a glass of water.",
]


OPENINGS = [
    "Certainly! Here is a poem:\n\nThe sea is wide.",
    "Sure, here's what you need: two eggs.",
    "**Great question!** The tides follow the moon.",
    "That's an excellent question. The tides follow the moon.",
    "I’d be happy to help you with that. Stand it in water.",
    "Of course. I can explain it.",
    "As requested, a list of three towns: Ulm, Bonn, Trier.",
    "Thank you for your question. The tides follow the moon.",
]
PLAIN_OPENINGS = [
    "Of course, nobody can say how the weather will be.",
    "Certainly the museum is worth a visit.",
    "Here is a short function:\n\n```python\nx = 1\n```",
    "The question is a good one.",
    "Thank you for your letter of May the third.",
    "Sure-footed goats climb where nobody else can.",
]
CLOSINGS = [
    "Stand it in water.\n\nI hope this helps!",
    "Stand it in water. Let me know if you have any other questions.",
    "Stand it in water. Feel free to ask!",
    "Stand it in water.\nIs there anything else I can help you with?",
    "Stand it in water. If you need further information, just ask.",
]
DISCLAIMERS = [
    "The blue one is nicer. As an AI language model, I do not have preferences.",
    "It is two hours away. As of my last update, the road was closed.",
    "My knowledge cutoff is in 2021, so look it up.",
    "Note that I am an AI assistant, and no doctor.",
]
LEAKED_TOKENS = [
    "Stand it in water.<|im_end|>",
    "[INST] How do I keep basil? [/INST] Stand it in water.",
    "<start_of_turn>model\nStand it in water.",
    "Stand it in water.</s>",
    "Stand it in water.<｜end▁of▁sentence｜>",
    "<think>The user asks about basil.</think>Stand it in water.",
    "Stand<0x0A>it in water.",
]
PROMPTS = [
    "### Response:\nStand it in water.",
    "Stand it in water.\n\nHuman: And mint?",
    "**Assistant:** Stand it in water.",
    "You are a helpful, honest and harmless assistant. Stand it in water.",
    "Below is an instruction that describes a task. Stand it in water.",
]
NO_PROMPTS = [
    "You are a good friend, and the assistant at the shop will help you.",
    "The human eye sees best at noon; what the user sees is another matter.",
    "# Instructions\n\nStand it in water.",
]
PLACEHOLDERS = [
    "Dear [Recipient's Name],\n\nthank you.",
    "Yours,\n[Your Name]",
    "I was born on [insert date].",
    "Hello {{ name }}, how are you?",
    "Lorem ipsum dolor sit amet.",
    "Call us on XXX-XXX-XXXX.",
    "It costs $XX a month.",
    "TODO: write the rest.",
    "[City, State]",
]
FILLED = [
    "See [your rights](https://europa.eu/rights) and [1].",
    "He said that [the] answer [...] is known [emphasis added].",
    "```html\n<p>{{ name }}</p>\n```",
    "`ls [file]` lists what there is.",
    "Superbowl XXX was played in 1996; XXL shirts were sold out.",
]
BROKEN_MARKDOWN = [
    "Look:\n\n```python\nprint(1)\n",
    "**Water: stand it in water.",
    "See [the guide](https://example.org/guide\nfor more.",
    "##Water\n\nStand it in water.",
    "| a | b | c |\n|---|---|\n| 1 | 2 | 3 |",
    "$$\nx = 1\n",
]
MARKDOWN = [
    "# Water\n\n**Stand** it in **cold** water, *always*; see [the guide](https://example.org).",
    "| a \\| b | c |\n|---|:-:|\n| 1 | 2 |",
    "$$\nx = 1\n$$",
    "```python\ndef f(**kwargs): ...\n```",
    "#tag and #include <stdio.h>",
    "2 ** 3 is 8.",
]
JSON = ['{"a": [1, 2, {"b": null}]}', '```json\n{"a": 1}\n```', ' {"a": 1} ']
NO_JSON = ["{'a': 1}", '{"a": 1,}', '{"a": 1', 'Here it is: {"a": 1}', '{"a": NaN}', "", "[1]"]
DEAD = [
    "See https://www.example.com/guide.",
    "See [the guide](https://link-to-guide).",
    "See https://[your-site]/guide.",
    "See www.yourwebsite.com for more.",
    "Watch https://www.youtube.com/watch?v=xxxxxxxxxxx now.",
    "Search on https://www.google.con/ for it.",
]
ALIVE = [
    "See https://en.wikipedia.org/wiki/Basil and http://localhost:8000/docs.",
    "See https://www.sitepoint.com, https://linkedin.com and https://samples.tate.org.uk.",
]
DAMAGED = [
    "donâ€™t",
    "cafÃ©",
    "10\u00a0Â°C",
    "a \N{REPLACEMENT CHARACTER} b",
    "a\x07b",
    "ðŸŽ‰",
    "ÐŸÑ€Ð¸Ð²ÐµÑ‚",
    "ä½\u00a0å¥½",
]
UNDAMAGED = [
    "O Brasil É GRANDE, e o café é bom; NÃO é? “Até já” — «sí»…",
    "L'été\u00a0»\u00a0est fini\u00a0; 25\u00a0°C, naïve façade, Žižek, Łódź, Привет, 你好 🎉",
    "a\tb\r\nc",
]
PERSONAL = [
    "Write to anna.lind@gmail.com today.",
    "Call (415) 642-4948.",
    "Call +44 20 7946 0958 or write.",
    "Call 030/1234567.",
    "Pay to DE89 3704 0044 0532 0130 00, please.",
    "Pay to GB82WEST12345698765432.",
    "The card is 4111 1111 1111 1111.",
    "The card is 3782-822463-10005.",
    "It came from 8.8.8.8 today.",
    "It came from 2001:4860:4860::8888 today.",
]
NOBODYS = [
    "Write to anna@example.org, or to root@localhost.",
    "The account DE89 3704 0044 0532 0130 01 and the card 4111 1111 1111 1112 do not exist.",
    "Nor does DE12 5001 0517 0648 4898 91; see section 2.4.3.5 and git@github.com:polars.",
    "The server is at 192.168.0.1, 127.0.0.1, ::1 or 10.0.0.7; version 1.2.3 came in 2023-02-04.",
    "Between 1914 and 1918, some 17,000,000 people died; pi is 3.14159265358979.",
    "ISBN 0-19-852663-6, 10:30:45, pages 123-125, 1 000 000 000 bytes.",
]
SECRETS = [
    "hf_" + "aBcDeFgHiJ" * 3 + "aBcD",
    "key=sk-" + "a1B2c3D4" * 6,
    "AKIA" + "ABCD1234" * 2,
    "ghp_" + "a1B2c3D4e5F6" * 3,
    "-----BEGIN RSA PRIVATE KEY-----",
    "postgres://admin:hunter22@db.acme.io/main",
]
NO_SECRETS = [
    "Set HF_TOKEN to your token, which begins with hf_ and is secret.",
    "The sk-learn library; a risk-adjusted-return-on-capital-and-more figure.",
    "postgres://user@localhost/main and http://localhost:8000/a@b",
    "-----BEGIN PUBLIC KEY-----",
]


def kept(expression: pl.Expr, texts: list[str | None], of: str | None = INSTRUCTION) -> list[bool]:
    frame = pl.DataFrame(
        {
            "text": pl.Series(texts, dtype=pl.String),
            "of": pl.Series([of] * len(texts), dtype=pl.String),
        }
    )
    return derive(frame, [expression]).select(kept=expression)["kept"].to_list()


def dropped_among(expression: pl.Expr, texts: list[str]) -> list[str]:
    return [t for t, keep in zip(texts, kept(expression, [*texts]), strict=True) if not keep]


class Case(NamedTuple):
    expression: pl.Expr
    good: list[str]
    bad: list[str]


CASES = {
    "not_refusal": Case(FILTERS["not_refusal"]("text"), PROSE, REFUSALS),
    "not_truncated": Case(FILTERS["not_truncated"]("text"), PROSE, TRUNCATED),
    "not_repetitive": Case(FILTERS["not_repetitive"]("text"), PROSE, REPETITIVE),
    "not_echo": Case(FILTERS["not_echo"]("text", "of"), [*PROSE, *ANSWERS], ECHOES),
    "no_stock_opening": Case(
        FILTERS["no_stock_opening"]("text"),
        [*PLAIN_OPENINGS, *(text for text in PROSE if "question!" not in text)],
        OPENINGS,
    ),
    "no_stock_closing": Case(FILTERS["no_stock_closing"]("text"), PROSE, CLOSINGS),
    "no_ai_disclaimer": Case(FILTERS["no_ai_disclaimer"]("text"), PROSE, DISCLAIMERS),
    "no_template_tokens": Case(FILTERS["no_template_tokens"]("text"), PROSE, LEAKED_TOKENS),
    "no_template_tokens, thinking": Case(
        FILTERS["no_template_tokens"]("text", thinking=True), LEAKED_TOKENS[-2:-1], ["<s>a"]
    ),
    "no_prompt_leak": Case(FILTERS["no_prompt_leak"]("text"), [*PROSE, *NO_PROMPTS], PROMPTS),
    "no_placeholders": Case(FILTERS["no_placeholders"]("text"), [*PROSE, *FILLED], PLACEHOLDERS),
    "valid_markdown": Case(FILTERS["valid_markdown"]("text"), [*PROSE, *MARKDOWN], BROKEN_MARKDOWN),
    "contains": Case(
        FILTERS["contains"]("text", ["Tea", "cup"]),
        ["Tea in a cup", "a cupboard, Teatime"],
        ["tea in a cup", "Tea", ""],
    ),
    "contains, whatever the case": Case(
        FILTERS["contains"]("text", "ÄPFEL (2)", ignore_case=True),
        ["zwei Äpfel (2)"],
        ["zwei Äpfel 2"],
    ),
    "matches": Case(
        FILTERS["matches"]("text", r"(?m)^Answer: \d+$"),
        ["So:\nAnswer: 42", "Answer: 1\nbye"],
        ["Answer: many", "The Answer: 42", ""],
    ),
    "valid_json": Case(FILTERS["valid_json"]("text", "object"), JSON, NO_JSON),
    "valid_json of any kind": Case(
        FILTERS["valid_json"]("text"), [*JSON, "[1]", '"a"', "1", "true", "null"], NO_JSON[:-1]
    ),
    "no_broken_json": Case(
        FILTERS["no_broken_json"]("text"),
        [*PROSE, "```json\n{}\n```", "```python\n{1: 2}\n```", "{'a'"],
        ["```json\n{'a'}\n```", "```json\n{}\n```\n\n``` JSON\n{\n```", "```json\n{"],
    ),
    "urls": Case(FILTERS["urls"]("text", 1, 1), [PROSE[12]], ["none", "www.a.org, http://b.org"]),
    "no_links_to": Case(
        FILTERS["no_links_to"]("text", ["bit.ly", "ads.example.org"]),
        [*PROSE, "https://orbit.ly/a, https://bit.lyon.fr, the bit.ly service, example.org"],
        ["https://bit.ly/a", "www.bit.ly", "http://x.ads.example.org:80", "(HTTP://BIT.LY)"],
    ),
    "no_dead_urls": Case(
        FILTERS["no_dead_urls"]("text"),
        [*ALIVE, *(text for text in PROSE if "example.org" not in text)],
        DEAD,
    ),
    "no_encoding_damage": Case(
        FILTERS["no_encoding_damage"]("text"), [*PROSE, *UNDAMAGED], DAMAGED
    ),
    "no_personal_data": Case(FILTERS["no_personal_data"]("text"), [*PROSE, *NOBODYS], PERSONAL),
    "no_personal_data of one kind": Case(
        FILTERS["no_personal_data"]("text", ["cards"]), PERSONAL[:6], PERSONAL[6:8]
    ),
    "no_secrets": Case(FILTERS["no_secrets"]("text"), [*PROSE, *NO_SECRETS], SECRETS),
    "symbols": Case(
        FILTERS["symbols"]("text"),
        [text for text in PROSE if "|" not in text],
        ["#*& ^%$ a", "=-=-=-=", "<> {} [] yes"],
    ),
    "symbols_per_word": Case(
        FILTERS["symbols_per_word"]("text"), PROSE, ["# a # b", "well ... no … yes", "###"]
    ),
    "alphabetic_words": Case(
        FILTERS["alphabetic_words"]("text", 0.6), ["one 2 three", "x1 y2"], ["1 2 three", "", "- -"]
    ),
    "bullet_lines": Case(
        FILTERS["bullet_lines"]("text", 0.8), [*PROSE, ""], ["- a\n- b\n\n* c", "1. a"]
    ),
    "ellipsis_lines": Case(
        FILTERS["ellipsis_lines"]("text", 0.5), [*PROSE, "a...\nb", ""], ["a...\nb…", "so… "]
    ),
    "length": Case(
        FILTERS["length"]("text", 10, 12), ["ten chars!"], ["nine char", "far too long a text"]
    ),
    "length by default": Case(FILTERS["length"]("text"), ["x"], ["", " \n "]),
    "words": Case(
        FILTERS["words"]("text", 2, 4),
        ["it’s fine", "你好吗", "a, b - c!"],
        ["one", "1 2 3 4 5", "..."],
    ),
    "language": Case(
        FILTERS["language"]("text", ["en"]),
        [text for text in PROSE if len(text) > 60 and "|" not in text],
        OTHER_LANGUAGES,
    ),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@EACH
def test_a_filter_keeps_good_texts_and_drops_bad_ones(case: Case) -> None:
    assert dropped_among(case.expression, case.good) == []
    assert dropped_among(case.expression, case.bad) == case.bad


@EACH
def test_a_filter_does_not_keep_null(case: Case) -> None:
    assert kept(case.expression.fill_null(value=False), [None]) == [False]


@EACH
def test_a_row_is_judged_alone(case: Case) -> None:
    texts = [*case.good, *case.bad]
    alone = [kept(case.expression, [text])[0] for text in texts]
    assert kept(case.expression, [*texts]) == alone


@EACH
@settings(max_examples=25)
@given(text=st.text(max_size=200))
def test_any_text_at_all_gets_an_answer(case: Case, text: str) -> None:
    assert kept(case.expression.fill_null(value=False), [text])[0] in {True, False}


def test_a_megabyte_without_an_end_is_judged_in_good_time() -> None:
    texts: list[str | None] = ["a" * 10**6, "a b " * 250_000, "\0" * 10**6, "- x\n" * 250_000]
    for case in CASES.values():
        assert len(kept(case.expression, texts)) == len(texts)


@EACH
def test_what_the_assistant_says_in_a_conversation_is_judged_as_a_text_is(case: Case) -> None:
    texts = [*case.good, *case.bad]
    said = [
        [
            {"role": "user", "content": "You are a helpful assistant."},
            {"role": "assistant", "content": text},
        ]
        for text in texts
    ]
    frame = pl.DataFrame({"text": said, "of": [INSTRUCTION] * len(texts)})
    answers = derive(frame, [case.expression]).select(kept=case.expression)["kept"]
    assert answers.to_list() == kept(case.expression, [*texts])


TURNWISE = ("not_refusal", "not_truncated", "no_stock_opening", "no_stock_closing")
ANYWHERE = (
    "no_ai_disclaimer",
    "no_template_tokens",
    "no_prompt_leak",
    "no_placeholders",
    "no_dead_urls",
    "no_encoding_damage",
    "no_personal_data",
    "no_secrets",
    "no_broken_json",
)


@pytest.mark.parametrize("name", [*TURNWISE, *ANYWHERE])
def test_a_defect_in_any_turn_drops_the_conversation(name: str) -> None:
    case = CASES[name]
    conversations = [
        [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "It is so."},
            {"role": "user", "content": "And then?"},
            {"role": "assistant", "content": bad},
            {"role": "user", "content": "And after that?"},
            {"role": "assistant", "content": "Nothing more."},
        ]
        for bad in case.bad
    ]
    frame = pl.DataFrame({"text": conversations})
    answers = derive(frame, [case.expression]).select(kept=case.expression)["kept"].to_list()
    assert answers == [False] * len(case.bad)


def test_what_the_user_said_is_looked_at_where_the_column_says_so() -> None:
    turns = [{"role": "user", "content": "hf_" + "a" * 34}, {"role": "assistant", "content": "Oh."}]
    frame = pl.DataFrame({"messages": [turns]})
    for column, answer in (("messages", True), ("messages::user", False)):
        expression = FILTERS["no_secrets"](column)
        assert derive(frame, [expression]).select(expression).item() is answer


def test_a_conversation_in_which_the_assistant_repeats_the_user_is_an_echo() -> None:
    turns = [{"role": role, "content": INSTRUCTION} for role in ("user", "assistant")]
    expression = FILTERS["not_echo"]("messages", "messages::user")
    frame = derive(pl.DataFrame({"messages": [turns]}), [expression])
    assert frame.select(expression).item() is False


def test_a_number_is_within_its_limits() -> None:
    frame = pl.DataFrame({"n": [1.0, 2.0, 3.0, None, float("nan")]})
    expected = {
        (2, None): [False, True, True, None, None],
        (None, 2): [True, True, False, None, None],
        (2, 2): [False, True, False, None, None],
    }
    for (low, high), answers in expected.items():
        expression = FILTERS["number"]("n", low, high)
        assert derive(frame, [expression]).select(k=expression)["k"].to_list() == answers


def test_a_tokenizers_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file '.*none\.json'"):
        FILTERS["tokens"]("text", str(tmp_path / "none.json"))


def test_a_tokenizer_is_known_by_what_its_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    roots = []
    for content in ("{}", "{ }"):
        file.write_text(content, encoding="utf-8")
        roots += FILTERS["tokens"]("text", str(file), max=5).meta.root_names()
    assert len(set(roots)) == 2
    assert all(root.startswith(f"text::tokens({file}@") for root in roots)


def test_an_echo_of_nothing_is_none() -> None:
    assert kept(FILTERS["not_echo"]("text", "of"), ["hello", ""], of="?!") == [True, True]


def test_a_score_is_read_from_a_judges_column_and_from_numbers() -> None:
    expression = FILTERS["score"]("quality", 0.5)
    verdicts = pl.DataFrame({"quality": [{"score": 0.5}, {"score": 0.4}, {"score": None}, None]})
    numbers = pl.DataFrame({"quality": [1, 0, None]})
    frames = [derive(frame, [expression]) for frame in (verdicts, numbers)]
    answers = [frame.select(kept=expression)["kept"].to_list() for frame in frames]
    assert answers == [[True, False, None, None], [True, False, None]]


def test_nan_is_no_score() -> None:
    expression = FILTERS["score"]("quality", 0.5)
    frame = derive(pl.DataFrame({"quality": [float("nan")]}), [expression])
    assert frame.select(kept=expression)["kept"].to_list() == [None]


def test_the_languages_are_those_of_the_detector() -> None:
    for code in eldc.LANGUAGES:
        assert FILTERS["language"]("text", [code]).meta.root_names() == ["text::language"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("length", {"column": "text", "min": 5, "max": 2}),
        ("words", {"column": "text", "min": 5, "max": 2}),
        ("score", {"column": "text", "min": 0.5, "max": 0.2}),
        ("number", {"column": "text", "min": 5, "max": 2}),
        ("urls", {"column": "text", "min": 5, "max": 2}),
    ],
)
def test_arguments_that_could_keep_nothing_are_a_mistake(
    name: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="no row could be kept"):
        FILTERS[name](**arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("language", {"any_of": ["english"]}, "no language is called 'english'"),
        ("language", {"any_of": []}, "give at least one language"),
        ("number", {}, "give min, max or both"),
        ("urls", {}, "give min, max or both"),
        ("no_links_to", {"domains": ["https://bit.ly"]}, "'https://bit.ly' is not a domain"),
        ("no_links_to", {"domains": []}, "give at least one domain"),
        ("no_personal_data", {"kinds": []}, "give at least one kind of"),
        ("symbols", {"max": 25}, "a share should be from 0 to 1, not 25"),
        ("alphabetic_words", {"min": -0.1}, "a share should be from 0 to 1, not -0.1"),
        ("not_repetitive", {"lines": -1}, "lines is -1, but a share cannot be below 0"),
    ],
)
def test_a_wrong_argument_is_a_mistake(
    name: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FILTERS[name]("text", **arguments)


def test_every_filter_says_what_it_keeps() -> None:
    for name, function in FILTERS.items():
        assert (function.__doc__ or "").startswith("Keep rows whose "), name
        assert inspect.signature(function).return_annotation is pl.Expr, name


def test_every_filter_gives_the_same_answers_in_another_process(tmp_path: Path) -> None:
    texts = [text for case in CASES.values() for text in (*case.good, *case.bad)]
    frame = pl.DataFrame({"text": texts, "of": [INSTRUCTION] * len(texts)})
    expressions = [case.expression for case in CASES.values()]
    derive(frame, expressions).write_ipc(tmp_path / "rows.arrow")
    for n, expression in enumerate(expressions):
        (tmp_path / f"{n}.expr").write_bytes(expression.meta.serialize())
    script = (
        "import json, sys, pathlib, polars as pl\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "rows = pl.read_ipc(here / 'rows.arrow')\n"
        "files = sorted(here.glob('*.expr'), key=lambda file: int(file.stem))\n"
        "keeps = [pl.Expr.deserialize(file.read_bytes()) for file in files]\n"
        "print(json.dumps([rows.select(kept=keep)['kept'].to_list() for keep in keeps]))\n"
    )
    answer = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
    )
    expected = [kept(expression, [*texts]) for expression in expressions]
    assert json.loads(answer.stdout) == expected
