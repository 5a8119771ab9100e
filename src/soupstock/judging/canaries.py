"""Make canaries: copies of a run's rows, corrupted on purpose, to test a judge. Asks no model."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from soupstock.judging.rubric import Rubric
from soupstock.rows.row import Row, flatten

FEWEST = 8
"""The fewest rows on which a judge can be tested."""

PADDED = "padded"
"""The answer with empty phrases appended: not a canary, but a probe for length bias."""

_FILLER = (
    "It is also worth keeping in mind that this is, of course, an important topic.",
    "There are many things that could be said about it, and many people have thought about them.",
    "In general, it can be helpful to consider the various aspects that are involved here.",
    "As mentioned above, this is something that is often relevant in a number of situations.",
    "All in all, there is much to think about, and it is good to take all of it into account.",
)
_LETTERS = "bcdfghjklmnpqrstvwxz"
_SHORTEST_CUT = 40
"""A text with fewer characters is not cut off: nothing would look wrong."""

Corruption = Callable[[str], str | None]


def canaries_per_row(rubric: Rubric) -> int:
    """Return the largest number of corrupted copies that are made of one row."""
    if rubric.subject is None or not rubric.judged:
        return 0
    return 4 + 2 * (len(rubric.shown) > 1)


def canaries_of(rubric: Rubric, rows: Sequence[Row]) -> dict[str, list[Row | None]]:
    """Corrupt each row in each way; None where a row cannot be corrupted so.

    Only the judged column changes. The kinds "another" (another row's answer) and "echo" (the
    instruction instead of the answer) need a second column that the judge is shown.
    """
    subject = rubric.subject
    if subject is None:
        return {}
    beside = [path for path in (*rubric.columns, *rubric.context) if path != subject]
    texts = [_text(flatten(row, [subject])[subject]) for row in rows]
    found: dict[str, list[Row | None]] = {}
    for number, row in enumerate(rows):
        ways: dict[str, Corruption] = {
            "empty": lambda _: "",
            "gibberish": partial(_gibberish, row["id"]),
            "truncated": _cut_off,
            PADDED: _padded,
        }
        if beside:
            ways["another"] = partial(_another, texts, number)
            ways["echo"] = partial(_echo, _text(flatten(row, beside[:1])[beside[0]]))
        for kind, way in ways.items():
            found.setdefault(kind, []).append(_corrupted(row, subject, kind, way))
    return found


def _corrupted(row: Row, subject: str, kind: str, way: Corruption) -> Row | None:
    name, *fields = subject.split(".")
    value = _replaced(row.get(name), fields, way)
    return None if value is None else {**row, "id": f"{row['id']}/{kind}", name: value}


def _replaced(value: Any, fields: Sequence[str], way: Corruption) -> Any:
    """Return a value with its text corrupted; None where it has no text or cannot be corrupted."""
    match value:
        case dict() if fields:
            inner = _replaced(value.get(fields[0]), fields[1:], way)
            return None if inner is None else {**value, fields[0]: inner}
        case {"role": "assistant", "content": str(content)}:
            inner = way(content)
            return None if inner is None else {**value, "content": inner}
        case str() if not fields:
            return way(value)
        case [*before, last]:
            # In a conversation, the last turn is corrupted if it is an answer.
            inner = _replaced(last, fields, way)
            return None if inner is None else [*before, inner]
        case _:
            return None


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case {"content": str(content)}:
            return content
        case [*_, last]:
            return _text(last)
        case _:
            return ""


def _gibberish(row_id: str, text: str) -> str:
    """Write random consonants, as long as the text and with the same white space."""
    draw = random.Random(row_id)  # noqa: S311 - the same in every run
    return "".join(letter if letter.isspace() else draw.choice(_LETTERS) for letter in text)


def _cut_off(text: str) -> str | None:
    """Keep the first third, or a little more so that it ends within a word."""
    end = len(text) // 3
    while end < len(text) and not (text[end - 1 : end + 1].isalpha()):
        end += 1
    return text[:end] if len(text) >= _SHORTEST_CUT and end < len(text) // 2 else None


def _padded(text: str) -> str | None:
    """Append empty phrases until the text is about twice as long."""
    if not text.strip():
        return None
    words, number = [text.rstrip()], 0
    while sum(map(len, words)) < 2 * len(text) or not number:
        words.append(_FILLER[number % len(_FILLER)])
        number += 1
    return " ".join(words)


def _another(texts: Sequence[str], number: int, text: str) -> str | None:
    """Return the next row's answer that differs from this one."""
    following = (*texts[number + 1 :], *texts[:number])
    return next((other for other in following if other.strip() not in ("", text.strip())), None)


def _echo(instruction: str, text: str) -> str | None:
    return instruction if instruction.strip() not in ("", text.strip()) else None


def score_of(rubric: Rubric, criteria: Mapping[str, Any] | None) -> float | None:
    """Return the score of the judged criteria alone: rules are not tested."""
    if not criteria:
        return None
    weights = {name: one.weight for name, one in rubric.judged.items()}
    total = sum(weight * criteria[name]["score"] for name, weight in weights.items())
    return float(total / sum(weights.values()))
