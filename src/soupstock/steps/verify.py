"""Check answers by rule, and pick the shortest that is right. Asks no model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from soupstock.records import Row, flatten


class Finding(NamedTuple):
    """What was found about an answer: what is wrong with it, if anything, and what came of it."""

    fault: str | None = None
    result: str | None = None


Check = Callable[[Sequence[tuple[str, ...]]], Sequence[Finding]]
"""Takes answers, each with what it is held against, to what is found about each."""

VERIFIED = pl.Struct(
    {
        "passed": pl.List(pl.Boolean),
        "pass_rate": pl.Float64(),
        "shortest": pl.String(),
        "place": pl.Int64(),
        "saved": pl.Float64(),
        "faults": pl.List(pl.String),
        "results": pl.List(pl.String),
    }
)
"""What was found: for each answer whether it is right and what is wrong; the shortest right one."""


@dataclass(frozen=True)
class Verification:
    """A verify step, bound."""

    column: str
    answers: str
    """The column of a text, or of several."""
    right: tuple[str, ...]
    """The columns that they are held against."""
    check: Check
    than: str | None = None
    """The column of a text than which they have to be shorter."""
    is_slow: bool = False
    """Whether a check takes long: then it waits until all rows are there."""

    @property
    def label(self) -> str:
        """Name the step in tables."""
        return f"verify: {self.column}"


def verify_rows(step: Verification, rows: Sequence[Row]) -> list[Row]:
    """Add the column to a block of rows."""
    paths = [path for path in (step.answers, *step.right, step.than) if path]
    told = [flatten(row, paths) for row in rows]
    answers = [_texts(values[step.answers]) for values in told]
    asked = [
        (answer, *(str(values[path]) for path in step.right))
        for values, texts in zip(told, answers, strict=True)
        for answer in texts
    ]
    findings = iter(step.check(asked))
    made = []
    for row, values, texts in zip(rows, told, answers, strict=True):
        own = [next(findings) for _ in texts]
        than = values[step.than] if step.than else None
        made.append(row | {step.column: _found(texts, own, than)})
    return made


def _texts(value: Any) -> list[str]:
    some = value if isinstance(value, list) else [value]
    return [text for text in some if isinstance(text, str)]


def _found(
    texts: Sequence[str], findings: Sequence[Finding], than: str | None
) -> Mapping[str, Any] | None:
    if not texts:
        return None
    faults = [finding.fault for finding in findings]
    if than is not None:
        faults = [
            fault or (None if len(text) < len(than) else "not shorter")
            for text, fault in zip(texts, faults, strict=True)
        ]
    right = [place for place, fault in enumerate(faults) if fault is None]
    place = min(right, key=lambda one: len(texts[one]), default=None)
    shortest = None if place is None else texts[place]
    return {
        "passed": [fault is None for fault in faults],
        "pass_rate": len(right) / len(texts),
        "shortest": shortest,
        "place": None if place is None else place + 1,
        "saved": None if not than or shortest is None else 1 - len(shortest) / len(than),
        "faults": faults,
        "results": [finding.result for finding in findings],
    }


SMALL_STUDENTS = (
    "small students may learn less from steps that are left out: compare with the long ones first"
)


def savings_told(savings: Sequence[float | None]) -> list[str]:
    """Say how much shorter answers were made, where that was asked."""
    shares = [share for share in savings if share is not None]
    if not shares:
        return []
    mean = sum(shares) / len(shares)
    many = f"{len(shares):,} of {len(savings):,} rows have a shorter answer that is right"
    return [f"{many}; it has {mean:.0%} fewer characters in the mean ({SMALL_STUDENTS})"]
