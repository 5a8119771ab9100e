"""The rows to look at first: where judges disagree most, or where one was least sure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock.reports.columns import Outline, fields_of

MOST = 10
"""How many rows are shown."""

ALONE = ""
"""What stands for the role of a judge who has no fellows."""


@dataclass(frozen=True)
class Opinion:
    """What one judge said of a row, criterion by criterion."""

    role: str
    score: float
    reasons: Sequence[tuple[str, int | None, str]]
    """Criteria, levels and reasons."""


@dataclass(frozen=True)
class Doubt:
    """A row that judges are not of one mind about, or that one is not sure of."""

    number: int
    """The row's place in the source, from 1."""
    row_id: str
    amount: float
    """The disagreement, or the uncertainty: 0 to 1."""
    opinions: Sequence[Opinion]


@dataclass(frozen=True)
class Doubts:
    """The rows to look at first, the most doubtful first."""

    of_several: bool
    """Whether judges disagree; or else one was unsure."""
    rows: Sequence[Doubt]


def doubts(rows: pl.LazyFrame, columns: Outline, name: str) -> Doubts | None:
    """Find the rows that people should look at first; None where nothing is doubtful."""
    is_jury = "members" in fields_of(columns.schema[name])
    field = "disagreement" if is_jury else "uncertainty"
    if field not in fields_of(columns.schema[name]):
        return None
    amount = columns.refer(name).struct.field(field)
    found = (
        rows.select("id", verdict=columns.refer(name), amount=amount)
        .with_row_index("number", offset=1)
        .filter(pl.col("amount") > 0)
        .sort("amount", "number", descending=[True, False])
        .head(MOST)
        .collect()
    )
    if found.is_empty():
        return None
    doubtful = [
        Doubt(row["number"], row["id"], row["amount"], list(_opinions(row["verdict"])))
        for row in found.to_dicts()
    ]
    return Doubts(is_jury, doubtful)


def _opinions(verdict: Mapping[str, Any]) -> Iterator[Opinion]:
    for role, own in (verdict.get("members") or {ALONE: verdict}).items():
        if own is not None:
            reasons = [
                (criterion, one["level"], one["reason"] or "")
                for criterion, one in own["criteria"].items()
            ]
            yield Opinion(role, own["score"], reasons)
