"""Draw the sample of rows for review, and apply people's answers to rows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from soupstock import spec
from soupstock.artifacts.review import ReviewRecord
from soupstock.review.answers import KEEP, Consensus, ReviewAnswers, key_of
from soupstock.review.figures import agreement_records, share_record
from soupstock.review.sampling import (
    Floats,
    SampledRows,
    draw_random,
    draw_stratified,
    draw_weighted,
    quarters,
    random_numbers,
    sampling_weights,
    uncertainty_of,
)
from soupstock.rows.row import column
from soupstock.rows.table import Table
from soupstock.text.measures import read_scores, read_texts

PASSES = 0.5
"""The score from which a judge keeps a row, where no filter sets one."""


def passing(steps: Sequence[spec.Step], judge: str | None) -> float:
    """Return the score that the pipeline's filters require of a judge. Default: `PASSES`."""
    uses = [use for step in steps if isinstance(step, spec.Filter) for use in step.filter]
    asked = [
        float(least)
        for use in uses
        if use.name == "score" and use.arguments.get("column") == judge
        if isinstance(least := use.arguments.get("min"), int | float) and least > 0
    ]
    return max(asked, default=PASSES)


COLUMN = "review"
"""The column that the step adds."""


REVIEW = pl.Struct(
    {
        "key": pl.String,
        "chance": pl.Float64,
        "verdict": pl.String,
        "comment": pl.String,
        "people": pl.Int64,
    }
)
"""For a row that was drawn or answered: the key of its text, the probability of drawing it (null
if it was not drawn), and the combined answer."""


FILTERED = "filter: "
"""The prefix of a filter's reasons: such rows may have been dropped wrongly."""


def original(name: str) -> str:
    """Name the column that keeps the texts that corrections replaced."""
    return f"{name}_original"


@dataclass(frozen=True)
class Reviewing:
    """A review step, bound."""

    said: spec.Review
    shown: tuple[str, ...]
    """The columns, or fields of columns, that people read."""
    subject: str
    """The column that is judged. A row without it cannot be reviewed."""
    corrected: str | None = None
    """The column that corrections change; None where it is not a text."""
    judge: str | None = None
    """The column with the judge's verdicts."""
    threshold: float = 0.5
    """The score from which the pipeline keeps a row."""
    seed: int = 0
    answers: ReviewAnswers = field(default_factory=ReviewAnswers)

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"review: {self.said.review}"

    @property
    def strategy(self) -> str:
        """Describe the sampling strategy in a few words."""
        how = self.said.strategy
        return how if isinstance(how, str) else f"stratified by {how.stratified}"


class Reviewed(NamedTuple):
    """The rows with people's answers applied, and the record of the review."""

    table: Table
    record: ReviewRecord


def review(step: Reviewing, table: Table, folder: Path) -> Reviewed:
    """Draw the sample from a table's rows, and apply the answers to every row with their text."""
    rows = _Rows.of(step, table)
    chances = rows.sample(step)
    settled = step.answers.settled(step.said.conflicts)
    applied = _Applied(step, rows, chances, settled)
    fresh = table.map(folder, applied.frames(table))
    return Reviewed(fresh, applied.record())


@dataclass
class _Rows:
    """What the step needs to know about each row."""

    ids: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    """None where there is no text."""
    reasons: list[str] = field(default_factory=list)
    """Why a row was dropped; empty for a kept row."""
    uncertainties: list[float] = field(default_factory=list)
    kinds: list[Any] = field(default_factory=list)
    """The values that strata are made of."""

    @classmethod
    def of(cls, step: Reviewing, table: Table) -> "_Rows":
        rows = cls()
        for part in table.frames():
            rows.ids += part["id"].to_list()
            shown = part.select(column(path).alias(path) for path in step.shown)
            texts = part.select(column(step.subject).is_not_null()).to_series()
            rows.keys += [
                key_of(values) if has_text else None
                for values, has_text in zip(shown.rows(), texts, strict=True)
            ]
            rows.reasons += part["dropped_by"].list.first().fill_null("").to_list()
            if step.said.strategy == "uncertain":
                rows.uncertainties += _uncertainties(step, part)
            elif isinstance(step.said.strategy, spec.Stratified):
                rows.kinds += _kinds(step.said.strategy, part)
        return rows

    def sample(self, step: Reviewing) -> dict[int, float]:
        """Draw the rows for review: their positions, each with its probability of being drawn."""
        numbers = random_numbers(self.ids, step.seed)
        kept = [n for n, why in enumerate(self.reasons) if not why and self.keys[n] is not None]
        filtered = [
            n
            for n, why in enumerate(self.reasons)
            if why.startswith(FILTERED) and self.keys[n] is not None
        ]
        found = self._drawn(step, numbers[kept], kept)
        chosen = {kept[place]: float(chance) for place, chance in zip(*found, strict=True)}
        if step.said.dropped and filtered:
            strata = [self.reasons[n] for n in filtered]
            more = draw_stratified(numbers[filtered], step.said.dropped, strata)
            chosen |= {filtered[place]: float(chance) for place, chance in zip(*more, strict=True)}
        return chosen

    def _drawn(self, step: Reviewing, numbers: Floats, kept: Sequence[int]) -> SampledRows:
        wanted = step.said.sample
        match step.said.strategy:
            case spec.Stratified():
                return draw_stratified(numbers, wanted, _strata([self.kinds[n] for n in kept]))
            case "uncertain":
                return draw_weighted(
                    numbers, wanted, sampling_weights([self.uncertainties[n] for n in kept])
                )
            case _:
                return draw_random(numbers, wanted)


def _uncertainties(step: Reviewing, part: pl.DataFrame) -> Iterator[float]:
    if step.judge is None:
        return
    for verdict in part[step.judge].to_list():
        said: Mapping[str, Any] = verdict or {}
        yield uncertainty_of(
            said.get("score"), step.threshold, said.get("uncertainty"), said.get("disagreement")
        )


def _kinds(how: spec.Stratified, part: pl.DataFrame) -> list[Any]:
    if how.by == "length":
        return read_texts(part, how.stratified).str.len_chars().cast(pl.Float64).to_list()
    values = part.select(column(how.stratified).alias(how.stratified)).to_series()
    if isinstance(values.dtype, pl.Struct) or values.dtype.is_numeric():
        return read_scores(part, how.stratified).to_list()
    return values.to_list()


def _strata(kinds: Sequence[Any]) -> list[str]:
    if all(kind is None or isinstance(kind, float) for kind in kinds):
        return quarters(kinds)
    return [str(kind) for kind in kinds]


class _Applied:
    """Applies answers to rows, and counts vetoes and corrections."""

    def __init__(
        self,
        step: Reviewing,
        rows: _Rows,
        chances: Mapping[int, float],
        settled: Mapping[str, Consensus],
    ) -> None:
        self._step = step
        self._rows = rows
        self._chances = chances
        self._settled = settled
        self._vetoed: Counter[str] = Counter()
        self._corrected = 0

    def frames(self, table: Table) -> Iterator[pl.DataFrame]:
        start = 0
        for part in table.frames():
            yield self._applied(part, range(start, start + part.height))
            start += part.height

    def _applied(self, part: pl.DataFrame, places: Iterable[int]) -> pl.DataFrame:
        reviews: list[dict[str, Any] | None] = []
        vetoes: list[list[str]] = []
        texts: list[str | None] = []
        for place in places:
            key = self._rows.keys[place]
            said = self._settled.get(key) if key is not None else None
            reviews.append(self._review_of(place, said))
            is_kept = not self._rows.reasons[place]
            veto = said.verdict if said and is_kept and said.verdict != KEEP else None
            vetoes.append([f"{COLUMN}: {veto}"] if veto else [])
            self._vetoed.update([veto] if veto else [])
            texts.append(said.correction if said and is_kept else None)
        marks = [
            pl.Series(COLUMN, reviews, dtype=REVIEW),
            part["dropped_by"].list.concat(pl.Series(vetoes, dtype=pl.List(pl.String))),
        ]
        return part.with_columns(*marks, *self._texts(part, texts))

    def _review_of(self, place: int, said: Consensus | None) -> dict[str, Any] | None:
        chance = self._chances.get(place)
        if chance is None and said is None:
            return None
        found: dict[str, Any] = {"key": self._rows.keys[place], "chance": chance, "people": 0}
        if said is not None:
            found |= {"verdict": said.verdict, "comment": said.comment, "people": said.people}
        return found

    def _texts(self, part: pl.DataFrame, texts: list[str | None]) -> list[pl.Series]:
        """Return the corrected column, and the column of the texts before correction."""
        name = self._step.corrected
        if name is None:
            return []
        before, after = part[name], pl.Series(name, texts, dtype=pl.String)
        is_new = after.is_not_null() & before.ne_missing(after)
        self._corrected += int(is_new.sum())
        return [
            before.zip_with(~is_new, after),
            pl.Series([None], dtype=pl.String)
            .new_from_index(0, part.height)
            .zip_with(~is_new, before)
            .alias(original(name)),
        ]

    def record(self) -> ReviewRecord:
        """Return the record of the review."""
        step, keys = self._step, self._rows.keys
        drawn = {place: keys[place] for place in self._chances}
        wanted = {key for key in drawn.values() if key is not None}
        people = {key: self._settled[key].people for key in wanted if key in self._settled}
        done = sum(count >= step.said.annotators for count in people.values())
        dropped = [place for place in drawn if self._rows.reasons[place]]
        given = [one for one in step.answers.given if one.key in wanted]
        return ReviewRecord(
            tool=step.said.review,
            strategy=step.strategy,
            rows=sum(not why for why in self._rows.reasons),
            sampled=len(drawn),
            dropped_sampled=len(dropped),
            answered=done,
            waiting=len(wanted) - done,
            vetoed=dict(sorted(self._vetoed.items())),
            corrected=self._corrected,
            annotators=len({one.annotator for one in given}),
            good=self._share("Share of rows that people keep", set(drawn) - set(dropped)),
            false_drops=self._share(
                "Share of filtered-out rows that people would keep", set(dropped)
            ),
            by_filter=self._by_filter(dropped),
            agreement=tuple(agreement_records(given)),
        )

    def _keeps(self, places: Iterable[int]) -> dict[int, bool]:
        """Return for each row on which people agree whether they keep it."""
        said = {place: self._settled.get(self._rows.keys[place] or "") for place in sorted(places)}
        return {
            place: one.verdict == KEEP
            for place, one in said.items()
            if one is not None and one.verdict is not None
        }

    def _share(self, what: str, places: Iterable[int]) -> Any:
        keeps = self._keeps(places)
        return share_record(what, list(keeps.values()), [self._chances[n] for n in keeps])

    def _by_filter(self, dropped: Iterable[int]) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for place, is_kept in self._keeps(dropped).items():
            why = self._rows.reasons[place]
            kept, of = found.get(why, (0, 0))
            found[why] = (kept + is_kept, of + 1)
        return dict(sorted(found.items()))
