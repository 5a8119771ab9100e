"""Choose the rows that a report shows, and tell what became of each, step by step."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.reports.columns import Outline, Repeat, Twins, made_by, texts_of
from soupstock.reports.filter_figures import look
from soupstock.reports.questions import Asked
from soupstock.rows.expressions import FAULTS
from soupstock.rows.references import is_reference
from soupstock.rows.rows import Row

KEPT = ""
"""What stands for the reason of a row that was kept."""

CUTS = (4000, 800, 160)
"""How many characters of a text are shown; fewer where a row takes too much room."""

Filters = Sequence[tuple[spec.FilterUse, str, pl.Expr]]
"""The filters of a run, each as it is written, with its label and what keeps a row from it."""

_ASKED = frozenset({"instruction", "question", "prompt", "input", "query", "user", "problem"})
_ANSWERED = frozenset({"response", "answer", "output", "completion", "assistant", "solution"})
_SHORT = 60
_OUTCOMES = {1: "the first is better", -1: "the second is better", 0: "neither is better"}
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
class Finding:
    """What a judge found for one criterion."""

    criterion: str
    score: float
    level: int | None
    """None for a rule, and for several judges together."""
    levels: int
    words: str
    reason: str


@dataclass(frozen=True)
class Fellow:
    """What one of several judges found."""

    role: str
    score: float
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Pair:
    """What one judge said of two answers, each shown first once."""

    judge: str
    places: tuple[int, int]
    """Which answers, from 1."""
    outcome: str
    reasons: Sequence[str]


@dataclass(frozen=True)
class Chapter:
    """What one step meant for a row."""

    title: str
    by: str | None = None
    """The role of the model that was asked."""
    passages: Sequence[Passage] = ()
    score: float | None = None
    findings: Sequence[Finding] = ()
    fellows: Sequence[Fellow] = ()
    """The judges one by one, where there are several."""
    pairs: Sequence[Pair] = ()
    twin: Repeat | None = None
    failures: Sequence[tuple[str, str]] = ()
    """Causes and messages."""
    reasons: Sequence[str] = ()
    """Why the row was dropped here."""


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
        said: Manifest,
        rows: pl.LazyFrame,
        index: pl.DataFrame,
        columns: Outline,
        filters: Filters,
    ) -> None:
        self._said = said
        self._filters = filters
        self._rows = rows
        self._index = index
        self._columns = columns
        self._asked = Asked(said)

    def fetch(self, ids: Sequence[str]) -> Iterator["Told"]:
        """Yield the rows with these ids, in this order, ready to be told."""
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
            place, number = places[row_id], numbers[row_id]
            row = rows[place]
            reasons = dict(_figures(self._filters, frame.slice(place, 1), row))
            yield Told(self._said, self._columns, self._asked, row, number, twins, reasons)


def _figures(filters: Filters, row: pl.DataFrame, told: Row) -> Iterator[tuple[str, str]]:
    """Say for each filter that dropped a row what it looked at."""
    for use, label, keep in filters:
        if (reason := f"filter: {label}") in told["dropped_by"]:
            # A filter answers as a whole, and a part of it may still be nothing to look at.
            with contextlib.suppress(*FAULTS):
                (seen,) = look([keep], row)
                yield reason, seen.said(use.arguments)


@dataclass(frozen=True)
class Told:
    """A row, and what is needed to tell its life."""

    said: Manifest
    columns: Outline
    asked: Asked
    row: Row
    number: int
    twins: Twins
    figures: Mapping[str, str]
    """What each filter that dropped it looked at, by the reason."""

    def biography(self, cut: int) -> Biography:
        """Tell the row's life, each text cut to so many characters."""
        teller = _Teller(self, cut)
        scores = [v["score"] for n in self.columns.judged if (v := self.row[n]) and "score" in v]
        return Biography(
            number=self.number,
            row_id=self.row["id"],
            excerpt=self._excerpt(),
            score=scores[0] if scores else None,
            reasons=self.row["dropped_by"],
            chapters=list(teller.chapters()),
        )

    def _excerpt(self) -> str:
        for name in (*self.columns.generated, *self.columns.source):
            for passage in _passages(name, self.row[name], _EXCERPT):
                if passage.text.strip():
                    return " ".join(passage.text.split())
        return ""


class _Teller:
    def __init__(self, told: Told, cut: int) -> None:
        self._told = told
        self._row = told.row
        self._cut = cut

    def chapters(self) -> Iterator[Chapter]:
        """Tell each step up to the one that dropped the row."""
        source = [p for name in self._told.columns.source for p in self._passages(name)]
        yield Chapter("source", passages=source[:_MOST_PASSAGES])
        steps, records = self._told.columns.pipeline.steps, self._told.said.steps
        last = self._last()
        for place, record in enumerate(records[: last + 1]):
            step = steps[place] if place < len(steps) else None
            reasons = self._row["dropped_by"] if place == last else []
            yield self._chapter(step, record, reasons)

    def _last(self) -> int:
        """Find the step that dropped the row; the last one where none did.

        Two steps may give the same reason: then it was one after those that left something.
        """
        records = self._told.said.steps
        reasons = set(self._row["dropped_by"])
        if not reasons:
            return len(records) - 1
        steps = self._told.columns.pipeline.steps
        made = [made_by(step)[:1] for step in steps]
        left = [
            n for n, names in enumerate(made) if any(self._row[one] is not None for one in names)
        ]
        after = max(left, default=-1) + 1
        found = [n for n, record in enumerate(records) if reasons & record.flagged.keys()]
        return next((n for n in found if n >= after), found[-1] if found else len(records) - 1)

    def _chapter(
        self, step: spec.Step | None, record: StepRecord, reasons: Sequence[str]
    ) -> Chapter:
        told: dict[str, Any] = {}
        match step:
            case spec.Judge():
                told = self._verdict(step.judge)
            case spec.Dedup():
                if reasons and self._row["twin"] and not is_reference(self._row["twin"]):
                    told = {"twin": self._twin(reasons[0])}
            case spec.Decontaminate(model=str()):
                told = self._compared(step.into)
            case spec.Filter():
                told = {"passages": self._figures(reasons)}
            case spec.Review():
                told = {"passages": self._said()}
            case _:
                made = [p for name in texts_of(step) for p in self._passages(name)]
                told = {"passages": [*self._question(step), *made][:_MOST_PASSAGES]}
        failures = [
            (failure["cause"], _cut(failure["message"], self._cut)[0])
            for failure in self._row["failures"]
            if failure["step"] == record.label
        ]
        by = told.pop("by", record.model)
        return Chapter(record.label, by=by, failures=failures, reasons=reasons, **told)

    def _passages(self, name: str) -> list[Passage]:
        return list(islice(_passages(name, self._row[name], self._cut), _MOST_PASSAGES))

    def _figures(self, reasons: Sequence[str]) -> list[Passage]:
        """Return what each filter looked at that dropped the row."""
        seen = self._told.figures
        return [
            Passage(reason.removeprefix("filter: ")[:_EXCERPT], _cut(seen[reason], _EXCERPT)[0])
            for reason in reasons
            if reason in seen
        ]

    def _compared(self, column: str) -> dict[str, Any]:
        """Tell which item the row resembles, and what a model said of that, if it was asked."""
        told = self._row[column]
        is_asked = told is not None and told["verdict"] != "not asked"
        return {"passages": self._passages(column)} if is_asked else {"by": None}

    def _question(self, step: spec.Step | None) -> Iterator[Passage]:
        """Yield what a writing step asked first, as rendered, unless a column holds just that."""
        if isinstance(step, spec.Generate | spec.Converse):
            for asked in self._told.asked.rounds(step, self._row)[:1]:
                text = asked.messages[-1]["content"].strip()
                if text not in self._row.values():
                    yield _passage("asked", text, self._cut, "user")

    def _said(self) -> list[Passage]:
        """Return what people said in a review."""
        told = self._row["review"] or {}
        said = {what: told.get(what) for what in ("verdict", "comment")}
        return list(_passages("review", said, self._cut))

    def _twin(self, reason: str) -> Repeat:
        twin = self._told.twins.repeat(self._row["twin"], reason)
        return Repeat(twin.number, _cut(twin.text, self._cut)[0], self._row["similarity"])

    def _verdict(self, name: str) -> dict[str, Any]:
        value = self._row[name]
        if value is None:
            return {}
        if "criteria" not in value:
            return self._comparison(name, value)
        fellows = [
            Fellow(role, own["score"], self._findings(name, own))
            for role, own in (value.get("members") or {}).items()
            if own is not None
        ]
        return {
            "score": value["score"],
            "findings": self._findings(name, value),
            "fellows": fellows,
        }

    def _comparison(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Tell which answer is best and worst, and what was said of each pair in both orders."""
        told = f"{name}: best, by a margin of {value['margin']:.2f}"
        passages = [
            *_passages(told, value["best"], self._cut),
            *_passages(f"{name}: worst", value["worst"], self._cut),
        ]
        ranks = ", ".join(map(str, value["ranks"]))
        passages.append(Passage(f"{name}: ranks of the answers", ranks))
        pairs = [
            Pair(
                one["judge"],
                (one["first"], one["second"]),
                _OUTCOMES.get(one["outcome"], "no verdict"),
                [_cut(reason or "", self._cut)[0] for reason in one["reasons"]],
            )
            for one in value["pairs"]
        ]
        return {"passages": passages[:_MOST_PASSAGES], "pairs": pairs}

    def _findings(self, name: str, value: Mapping[str, Any]) -> list[Finding]:
        rubric = self._told.columns.judged[name]
        findings = []
        for criterion, found in value["criteria"].items():
            asked = rubric.judged.get(criterion) if rubric else None
            levels = asked.levels if asked else ()
            level = found["level"]
            words = levels[level - 1] if level and 0 < level <= len(levels) else ""
            reason = _cut(found["reason"] or "", self._cut)[0]
            findings.append(Finding(criterion, found["score"], level, len(levels), words, reason))
        return findings


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
    shown, left_out = _cut(text, cut)
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


def _cut(text: str, limit: int) -> tuple[str, int]:
    """Cut a text; the second is how many characters were left out."""
    left_out = len(text) - limit
    return (f"{text[:limit]}…", left_out) if left_out > 0 else (text, 0)
