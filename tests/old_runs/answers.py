"""What the models of the recorded runs answer: by what is asked alone, the seed included."""

import hashlib
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from soupstock.testing import Reply, Request
from soupstock.testing.imitation import write

_EXAM = Path(__file__).parent / "sources/exam.jsonl"
EXAM = [json.loads(line)["question"] for line in _EXAM.read_text(encoding="utf-8").splitlines()]
PARAPHRASES = [
    (
        "In April, Natalia sold 48 clips to friends; in May she sold half as many. Altogether, how "
        "many clips has Natalia sold in both months?"
    ),
    (
        "Betty is saving money for a new bicycle which costs two hundred dollars. Her uncle gives "
        "her twenty dollars, and her sister half as much. How long must she work?"
    ),
    (
        "A train leaves the town at ten in the morning and travels at fifty miles an hour. When "
        "does it reach the coast, which is a hundred miles away?"
    ),
]
"""Questions of the evaluation set in other words, or nearly so."""


def answer(request: Request) -> Reply | str:
    """Answer as the model that is asked."""
    by_role = _ROLES.get(str(request.body.get("model")))
    if by_role is not None:
        return by_role(request)
    if _schema(request):
        # One in ten breaks the schema, and is asked for again.
        return "no JSON" if request.share("broken") < 0.1 else write(request.body, 0)
    return _prose(request)


def _prose(request: Request) -> str:
    """Write texts that filters, masks and dedup have something to do with."""
    share, text = request.share("prose"), write(request.body, 0)
    number = int(share * 1000)
    match int(share * 20):
        case 0:
            return "I'm sorry, but I can't help with that request."
        case 1 | 2:
            return "What should a person know about this before the winter comes to the valley?"
        case 3:
            first = text.split()[0].lower()
            return f"Is there what a person should know before the winter comes to us, {first}?"
        case 4:
            return f"{text} Write to jane.doe{number}@example.com or call +44 20 7946 0958."
        case 5:
            key = "sk-proj-" + "AbC123dEf456GhI789jKl012MnO345pQr678StU901vWx234"
            return f"{text} The server is 192.168.17.{number % 250}, and its key is {key}."
        case 6:
            return text.rstrip(".") + " and then"
        case 7:
            return ""
        case 8:
            rest = write({**request.body, "seed": 7}, 1)
            return f"<think>Let me see: {text}</think>\n\n{rest}"
        case _:
            return text


def _think(request: Request) -> Reply:
    text = _prose(request)
    if request.share("mute") < 0.2:
        return Reply(text)
    return Reply(text, reasoning=f"First, {write(request.body, 3).lower()}", cached=8)


def _judge(request: Request) -> str:
    """Judge by how long a text is, with some noise; now and then give no verdict."""
    names = list(_schema(request).get("properties", {}))
    if "better" in names:
        return _compare(request)
    if "same" in names:
        return _same_question(request)
    verdict: dict[str, Any] = json.loads(write(request.body, 0))
    if not all(isinstance(part, dict) and "level" in part for part in verdict.values()):
        return json.dumps(verdict)
    if request.share("none") < 0.04:
        return "That is hard to say."
    texts = re.findall(r"<(\w+) (\w+)>\n(.*?)\n</\1 \2>", request.prompt, re.DOTALL)
    length = len(texts[-1][2]) if texts else 0
    for name in verdict:
        levels = 2 if name == "kind" else 3
        level = min(levels, 1 + length // 60)
        if request.share(name) < 0.15:
            level = 1 + int(request.share(name + "!") * levels)
        verdict[name] = {"reason": f"It has {length} characters.", "level": level}
    return json.dumps(verdict)


def _compare(request: Request) -> str:
    first, second = _tagged(request.prompt, "first"), _tagged(request.prompt, "second")
    better = "first" if len(first) >= len(second) or request.share("order") < 0.15 else "second"
    if request.share("tie") < 0.1:
        better = "tie"
    return json.dumps({"reason": f"The {better} one.", "better": better})


def _same_question(request: Request) -> str:
    item, text = (
        set(re.findall(r"\w+", _tagged(request.prompt, name).lower())) for name in ("item", "text")
    )
    # Whatever the seed: some pairs get no verdict however often they are asked.
    both = " ".join(sorted(item ^ text)).encode()
    if hashlib.blake2b(both, digest_size=2).digest()[0] < 26:
        return "I cannot say."
    same = "yes" if len(item & text) >= 0.74 * len(item) else "no"
    return json.dumps({"reason": "By its words.", "same": same})


def _solve(request: Request) -> str:
    asked, share = request.prompt, request.share("")
    if found := re.search(r"What is (\d+) \+ (\d+)\?", asked):
        return _add(request, int(found[1]), int(found[2]))
    if found := re.search(r"Add (\d+)/(\d+) and (\d+)/(\d+)", asked):
        a, b, c, d = map(int, found.groups())
        total = Fraction(a, b) + Fraction(c, d) + (0 if share < 0.6 else 1)
        formula = f"\\frac{{{total.numerator}}}{{{total.denominator}}}"
        is_boxed = request.share("f") < 0.5
        return f"We get \\boxed{{{formula}}}." if is_boxed else f"The answer is ${formula}$."
    if "capital" in asked:
        return "The capital is\n  OSLO" if share < 0.5 else "It is\nBergen"
    body = "a + b" if share < 0.6 else "a - b"
    return f"Like so:\n\n```python\ndef add(a, b):\n    return {body}\n```\n"


def _add(request: Request, one: int, other: int) -> str:
    total = one + other + (0 if request.share("") < 0.65 else 1)
    end = f"The answer is {total}."
    if "shorter" in str(request.messages[0].get("content")) + request.prompt:
        if request.share("s") < 0.7:
            return f"{one} + {other} = {total}. {end}"
        return (
            f"The sum of {one} and {other} is asked for, and it comes to {total}, with ease. {end}"
        )
    checks = "Check it again. " * int(request.share("l") * 4)
    return f"There are {one}, {other} more, and so: {one} + {other} = {total}. {checks}{end}"


def _call(request: Request) -> str:
    if "call" not in request.prompt.lower():
        return f"Please tell me {request.prompt.split(': ')[-1].strip()}."
    city = ("Oslo", "Rome", "Cairo")[int(request.share("city") * 3)]
    match int(request.share("") * 5):
        case 0:
            return json.dumps({"name": "get_weather", "arguments": {"town": city}})
        case 1:
            return json.dumps({"name": "play_music", "arguments": {}})
        case 2:
            return "It is raining."
        case _:
            return json.dumps({"name": "get_weather", "arguments": {"city": city}})


def _rate(request: Request) -> str:
    if request.share("none") < 0.1:
        return "No rating."
    ratings = {n: 1 + int(request.share(str(n)) * 5) for n in (1, 2)}
    return "\n\n".join(
        f"Rating: {rating}\nRationale: It has its points, {n}." for n, rating in ratings.items()
    )


def _ask(request: Request) -> str:
    """Ask about a chunk; some questions are of the evaluation set, or like one of it."""
    share = request.share("exam")
    if share < 0.12:
        return str(EXAM[int(share * 1000) % len(EXAM)])
    if share < 0.36:
        return PARAPHRASES[int(share * 1000) % len(PARAPHRASES)]
    return f"What does it say of {write(request.body, 2).lower().rstrip('.')}?"


def _schema(request: Request) -> dict[str, Any]:
    form = request.body.get("response_format") or {}
    found: dict[str, Any] = (form.get("json_schema") or {}).get("schema") or {}
    return found


def _tagged(text: str, name: str) -> str:
    found = re.search(rf"<{name} (\w+)>\n(.*?)\n</{name} \1>", text, re.DOTALL)
    return found[2] if found else ""


_ROLES: dict[str, Callable[[Request], Reply | str]] = {
    "thinker-1": _think,
    "judge-1": _judge,
    "judge-2": _judge,
    "judge-3": _judge,
    "solver-1": _solve,
    "caller-1": _call,
    "rater-1": _rate,
    "asker-1": _ask,
}
"""Who answers, by the model's id; the others write prose, or what a schema asks for."""
