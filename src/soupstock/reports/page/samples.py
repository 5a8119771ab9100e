"""Choose the rows that a report shows, and read what each step did with them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest
from soupstock.reports.columns import ColumnRoles, Twins
from soupstock.reports.filter_figures import figures_of
from soupstock.reports.life import chapters, last_step
from soupstock.rows.expressions import FAULTS
from soupstock.rows.row import Row
from soupstock.steps.chapter import ASKED, Chapter, Recorded, Repeat, RowStep

KEPT = ""
"""The reason of a row that was kept."""

CUTS = (4000, 800, 160)
"""How many characters of a text are shown; fewer if the row would be too large."""

Filters = Sequence[tuple[spec.FilterUse, str, pl.Expr]]
"""The filters of a run: each as it is written, its label, and the condition of kept rows."""

_USER_LABELS = frozenset(
    {ASKED, "instruction", "question", "prompt", "input", "query", "user", "problem"}
)
_ASSISTANT_LABELS = frozenset(
    {"response", "answer", "output", "completion", "assistant", "solution"}
)
_SHORT = 60
_EXCERPT = 160
_MOST_PASSAGES = 40


@dataclass(frozen=True)
class Passage:
    """A text of a row, labelled with its column and field."""

    label: str
    text: str
    role: str = "plain"
    """Who speaks: `user`, `assistant`, or `plain` if that is not known."""
    left_out: int = 0
    """How many characters were cut."""

    @property
    def is_short(self) -> bool:
        """Whether it fits on a line beside others. A question or an answer gets its own box."""
        return self.role == "plain" and len(self.text) <= _SHORT and "\n" not in self.text


@dataclass(frozen=True)
class SampledRow:
    """A row that the report shows; its last chapter is the step that dropped it."""

    number: int
    """The row's place in the source, from 1."""
    row_id: str
    excerpt: str
    score: float | None
    reasons: Sequence[str]
    chapters: Sequence[Chapter]


def choose(index: pl.DataFrame, most: int) -> list[str]:
    """Choose rows by id, in turn from the kept rows and the rows dropped for each reason.

    So each kind is represented, with as many kept rows as dropped ones if there are enough. Within
    a kind rows are taken by id, which is a hash: a random sample, and the same one each time.
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


class SampleReader:
    """Reads rows of a run with their chapters."""

    def __init__(
        self,
        run: Manifest,
        rows: pl.LazyFrame,
        index: pl.DataFrame,
        columns: ColumnRoles,
        filters: Filters,
    ) -> None:
        self._recorded = Recorded(run)
        self._filters = filters
        self._rows = rows
        self._index = index
        self._columns = columns

    def fetch(self, ids: Sequence[str]) -> Iterator[SampledRow]:
        """Yield the rows with these ids, in this order."""
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
            yield self._sampled(row, frame.slice(places[row_id], 1), numbers[row_id], twins)

    def _sampled(self, row: Row, frame: pl.DataFrame, number: int, twins: "Twins") -> SampledRow:
        figures = dict(_figures(self._filters, frame, row))
        row_step = RowStep(row, self._recorded, twin=partial(_twin, twins, row))
        last = last_step(row, self._recorded.manifest)
        judged = (row[name] for name in self._columns.judged)
        scores = [verdict["score"] for verdict in judged if verdict and "score" in verdict]
        return SampledRow(
            number=number,
            row_id=row["id"],
            excerpt=self._excerpt(row),
            score=scores[0] if scores else None,
            reasons=row["dropped_by"],
            chapters=[
                Chapter("source", passages=self._source(row)),
                *chapters(row_step, {last: figures}),
            ],
        )

    def _source(self, row: Row) -> Mapping[str, Any]:
        return {name: row[name] for name in self._columns.source}

    def _excerpt(self, row: Row) -> str:
        for name in (*self._columns.generated, *self._columns.source):
            for passage in _passages(name, row[name], _EXCERPT):
                if passage.text.strip():
                    return " ".join(passage.text.split())
        return ""


def _twin(twins: Twins, row: Row, reason: str) -> Repeat:
    """Return the row that a row duplicates, and how similar the two are."""
    return replace(twins.repeat(row["twin"], reason), similarity=row["similarity"])


def _figures(filters: Filters, frame: pl.DataFrame, row: Row) -> Iterator[tuple[str, str]]:
    """Yield what each filter that dropped a row compared."""
    for use, label, keep in filters:
        if f"filter: {label}" in row["dropped_by"]:
            # A filter that works as a whole may have a part that cannot be evaluated alone.
            with contextlib.suppress(*FAULTS):
                (figures,) = figures_of([keep], frame)
                yield label, figures.summary(use.arguments)[:_EXCERPT]


def passages(found: Mapping[str, Any], cut: int) -> list[Passage]:
    """Split a chapter's values into texts, each cut to a number of characters."""
    each = (passage for label, value in found.items() for passage in _passages(label, value, cut))
    return list(islice(each, _MOST_PASSAGES))


def _passages(label: str, value: Any, cut: int) -> Iterator[Passage]:
    """Split a value into texts: one for each field and item, and for each turn of a chat."""
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
    if word in _USER_LABELS:
        return "user"
    return "assistant" if word in _ASSISTANT_LABELS else "plain"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def cut_text(text: str, limit: int) -> tuple[str, int]:
    """Cut a text; return it with the number of characters that were cut."""
    left_out = len(text) - limit
    return (f"{text[:limit]}…", left_out) if left_out > 0 else (text, 0)
