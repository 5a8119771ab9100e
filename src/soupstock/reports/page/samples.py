"""Choose the rows that a report shows, and tell what became of each, step by step."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest
from soupstock.reports.columns import Outline, Twins
from soupstock.reports.filter_figures import look
from soupstock.reports.life import Known, chapters, last_step
from soupstock.rows.expressions import FAULTS
from soupstock.rows.rows import Row
from soupstock.steps.chapter import ASKED, Chapter, Recorded, Repeat

KEPT = ""
"""What stands for the reason of a row that was kept."""

CUTS = (4000, 800, 160)
"""How many characters of a text are shown; fewer where a row takes too much room."""

Filters = Sequence[tuple[spec.FilterUse, str, pl.Expr]]
"""The filters of a run, each as it is written, with its label and what keeps a row from it."""

_ASKED = frozenset(
    {ASKED, "instruction", "question", "prompt", "input", "query", "user", "problem"}
)
_ANSWERED = frozenset({"response", "answer", "output", "completion", "assistant", "solution"})
_SHORT = 60
_EXCERPT = 160
_MOST_PASSAGES = 40


@dataclass(frozen=True)
class Passage:
    """A text and where in the row it stands."""

    label: str
    text: str
    role: str = "plain"
    """Who speaks: `user`, `assistant`, or `plain` where that is not known."""
    left_out: int = 0
    """How many characters are not shown."""

    @property
    def is_short(self) -> bool:
        """Say whether it fits beside others on a line."""
        return len(self.text) <= _SHORT and "\n" not in self.text


@dataclass(frozen=True)
class Biography:
    """A row's life: it ends with the step that dropped it."""

    number: int
    """The row's place in the source, from 1."""
    row_id: str
    excerpt: str
    score: float | None
    reasons: Sequence[str]
    chapters: Sequence[Chapter]


def choose(index: pl.DataFrame, most: int) -> list[str]:
    """Choose rows by id: kept ones and those dropped for each reason take turns.

    So there are some of each, and as many kept as dropped where there are enough. Among their like
    rows are drawn by id, which is a hash: at random, and the same ones each time.
    """
    reasons = pl.col("dropped_by")
    groups = (
        index.select("id", reason=pl.when(reasons.list.len() == 0).then([KEPT]).otherwise(reasons))
        .explode("reason")
        .group_by("reason")
        .agg(pl.col("id").sort().head(most))
        .sort("reason")
    )
    waiting = {reason: iter(ids) for reason, ids in groups.iter_rows()}
    chosen: dict[str, None] = {}
    turns = {reason: 1 if reason else max(1, len(waiting) - 1) for reason in waiting}
    while waiting and len(chosen) < most:
        for reason in list(waiting):
            fresh = (row_id for row_id in waiting[reason] if row_id not in chosen)
            some = list(islice(fresh, turns[reason]))
            chosen.update(dict.fromkeys(some))
            if not some:
                del waiting[reason]
    return list(chosen)[:most]


class Biographer:
    """Tells the lives of some rows of a run."""

    def __init__(
        self,
        run: Manifest,
        rows: pl.LazyFrame,
        index: pl.DataFrame,
        columns: Outline,
        filters: Filters,
    ) -> None:
        self._recorded = Recorded(run)
        self._filters = filters
        self._rows = rows
        self._index = index
        self._columns = columns

    def fetch(self, ids: Sequence[str]) -> Iterator[Biography]:
        """Yield the lives of the rows with these ids, in this order."""
        wanted = pl.Series(ids, dtype=pl.String).implode()
        frame = self._rows.filter(pl.col("id").is_in(wanted)).collect()
        rows = frame.to_dicts()
        places = {row["id"]: place for place, row in enumerate(rows)}
        numbers = dict(
            self._index.filter(pl.col("id").is_in(wanted)).select("id", "number").iter_rows()
        )
        names = [row["twin"] for row in rows if row["twin"]]
        twins = Twins(self._rows, self._index, self._columns, names)
        for row_id in ids:
            row = rows[places[row_id]]
            yield self._told(row, frame.slice(places[row_id], 1), numbers[row_id], twins)

    def _told(self, row: Row, frame: pl.DataFrame, number: int, twins: "Twins") -> Biography:
        figures = dict(_figures(self._filters, frame, row))
        known = Known(
            row,
            self._recorded,
            figures={last_step(row, self._recorded.manifest): figures},
            twin=partial(_repeated, twins, row),
        )
        judged = (row[name] for name in self._columns.judged)
        scores = [verdict["score"] for verdict in judged if verdict and "score" in verdict]
        return Biography(
            number=number,
            row_id=row["id"],
            excerpt=self._excerpt(row),
            score=scores[0] if scores else None,
            reasons=row["dropped_by"],
            chapters=[Chapter("source", passages=self._source(row)), *chapters(known)],
        )

    def _source(self, row: Row) -> Mapping[str, Any]:
        return {name: row[name] for name in self._columns.source}

    def _excerpt(self, row: Row) -> str:
        for name in (*self._columns.generated, *self._columns.source):
            for passage in _passages(name, row[name], _EXCERPT):
                if passage.text.strip():
                    return " ".join(passage.text.split())
        return ""


def _repeated(twins: Twins, row: Row, reason: str) -> Repeat:
    """Return the row that a row repeats, and how similar the two are."""
    return replace(twins.repeat(row["twin"], reason), similarity=row["similarity"])


def _figures(filters: Filters, frame: pl.DataFrame, row: Row) -> Iterator[tuple[str, str]]:
    """Say for each filter that dropped a row what it looked at."""
    for use, label, keep in filters:
        if f"filter: {label}" in row["dropped_by"]:
            # A filter answers as a whole, and a part of it may still be nothing to look at.
            with contextlib.suppress(*FAULTS):
                (seen,) = look([keep], frame)
                yield label, seen.said(use.arguments)[:_EXCERPT]


def passages(found: Mapping[str, Any], cut: int) -> list[Passage]:
    """Take the texts of a chapter apart, each cut to so many characters."""
    each = (passage for label, value in found.items() for passage in _passages(label, value, cut))
    return list(islice(each, _MOST_PASSAGES))


def _passages(label: str, value: Any, cut: int) -> Iterator[Passage]:
    """Take a value apart into texts: each field and item by itself, chats turn by turn."""
    match value:
        case None:
            return
        case {"role": str(role), "content": str(content)}:
            yield _passage(f"{label} ({role})", content, cut, _role(role))
        case Mapping():
            for name, inner in value.items():
                yield from _passages(f"{label}.{name}", inner, cut)
        case list():
            for place, inner in enumerate(value, 1):
                yield from _passages(f"{label} {place}", inner, cut)
        case bytes():
            yield Passage(label, f"({len(value):,} bytes)")
        case _:
            yield _passage(label, _plain(value), cut, _role(label))


def _passage(label: str, text: str, cut: int, role: str) -> Passage:
    shown, left_out = cut_text(text, cut)
    return Passage(label[:_EXCERPT], shown, role, left_out)


def _role(name: str) -> str:
    word = name.split(" ", maxsplit=1)[0].rsplit(".", 1)[-1].lower()
    if word in _ASKED:
        return "user"
    return "assistant" if word in _ANSWERED else "plain"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def cut_text(text: str, limit: int) -> tuple[str, int]:
    """Cut a text; the second is how many characters were left out."""
    left_out = len(text) - limit
    return (f"{text[:limit]}…", left_out) if left_out > 0 else (text, 0)
