"""The rows to review first: where judges disagree most, or where one judge was least sure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock.reports.columns import ColumnRoles, fields_of

MOST = 10
"""How many rows are shown."""

SOLE_JUDGE = ""
"""The role of a judge that is not in a jury."""


@dataclass(frozen=True)
class UncertainVerdict:
    """One judge's verdict on a row, by criterion."""

    role: str
    score: float
    reasons: Sequence[tuple[str, int | None, str]]
    """Criteria, levels and reasons."""


@dataclass(frozen=True)
class UncertainRow:
    """A row on which judges disagree, or of which one judge is not sure."""

    number: int
    """The row's place in the source, from 1."""
    row_id: str
    amount: float
    """The disagreement, or the uncertainty: 0 to 1."""
    opinions: Sequence[UncertainVerdict]


@dataclass(frozen=True)
class UncertainRows:
    """The rows to review first, the most uncertain first."""

    is_jury: bool
    """Whether several judges disagree; otherwise one judge was unsure."""
    rows: Sequence[UncertainRow]


def uncertain_rows(rows: pl.LazyFrame, columns: ColumnRoles, name: str) -> UncertainRows | None:
    """Find the rows that people should review first; None if no row is uncertain."""
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
    uncertain = [
        UncertainRow(row["number"], row["id"], row["amount"], list(_opinions(row["verdict"])))
        for row in found.to_dicts()
    ]
    return UncertainRows(is_jury, uncertain)


def _opinions(verdict: Mapping[str, Any]) -> Iterator[UncertainVerdict]:
    for role, own in (verdict.get("members") or {SOLE_JUDGE: verdict}).items():
        if own is not None:
            reasons = [
                (criterion, one["level"], one["reason"] or "")
                for criterion, one in own["criteria"].items()
            ]
            yield UncertainVerdict(role, own["score"], reasons)
