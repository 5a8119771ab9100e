"""Ask a judge about known cases made from its own rows: what it scores, and whether it is fit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from soupstock.artifacts.judges import Fit
from soupstock.engine.stream import Indexed, Stream
from soupstock.engine.tally import Tally
from soupstock.inference.call import Answering
from soupstock.judging.canaries import FEWEST, PADDED, score_of, spoiled
from soupstock.judging.fitness import Fitness, LengthBias, fitness, length_bias
from soupstock.rows.rows import Row
from soupstock.rows.table import Table
from soupstock.steps.judge import Judging, judge
from soupstock.steps.step import Stage

Scores = list[float | None]


@dataclass(frozen=True)
class Examined:
    """A judge's scores for rows as they are, and for the same rows spoiled."""

    originals: Scores
    canaries: Mapping[str, Scores]
    """For each kind the score of each row spoiled so; None where there is none."""
    padded: Scores

    @property
    def fitness(self) -> Fitness:
        """How well it tells them apart."""
        return fitness(self.originals, self.canaries)

    @property
    def length_bias(self) -> LengthBias:
        """What padding does."""
        return length_bias(self.originals, self.padded)

    @property
    def is_told(self) -> bool:
        """Whether there are enough scores of both to tell anything."""
        few = min(self.fitness.overall.good, self.fitness.overall.bad)
        return few >= FEWEST and self.fitness.overall.auc.is_known


@dataclass
class Examination:
    """The examination of one judge step: of the judge, or of a jury and each of its members."""

    step: Judging
    rows: int
    """How many rows were spoiled."""
    tally: Tally
    """What it took, apart from the rows."""
    whole: Examined | None = None
    members: Mapping[str, Examined] = field(default_factory=dict)
    """Each member of a jury by itself."""
    why: str | None = None
    """Why nothing can be told, where the reason is not the judge's."""

    @property
    def is_unfit(self) -> bool:
        """Whether the judge is surely not fit."""
        return self.whole is not None and self.whole.is_told and not self.whole.fitness.is_fit


def sample(step: Judging, table: Table, most: int, reads: Sequence[str]) -> list[Row]:
    """Draw rows that the judge has scored: those with the lowest ids, which are hashes.

    So the same rows are drawn in every run, whatever their order.
    """
    names = list(dict.fromkeys(["id", *(path.partition(".")[0] for path in reads), step.column]))
    scored = table.scan().filter(pl.col(step.column).is_not_null()).select(names)
    return scored.bottom_k(most, by="id").collect().sort("id").to_dicts()


async def examine(
    step: Judging, rows: Sequence[Row], client: Answering, tally: Tally
) -> Examination:
    """Ask about each row, spoiled in each way; the tally grows with the answers."""
    told = Examination(step, len(rows), tally)
    if len(rows) < FEWEST:
        many = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
        told.why = f"the judge scored {many}, and at least {FEWEST} are needed"
        return told
    known = spoiled(step.rubric, rows)
    verdicts = await _verdicts(step, known, client, tally)
    if not any(verdicts.values()):
        told.why = client.stopped.message if client.stopped else "no corrupted copy has a verdict"
        return told
    told.whole = _examined(step, rows, known, verdicts)
    roles = [member.role for member in step.members] if step.is_jury else []
    told.members = {role: _examined(step, rows, known, verdicts, role) for role in roles}
    return told


async def _verdicts(
    step: Judging,
    known: Mapping[str, Sequence[Row | None]],
    client: Answering,
    tally: Tally,
) -> dict[str, Any]:
    """Return the verdicts by the spoiled rows' ids."""
    # What is judged by rules is not on trial, and would hide that the judge sees nothing.
    bound = replace(step, rules=())
    fresh: Row = {step.column: None, "failures": [], "dropped_by": []}
    rows = [row | fresh for kind in known for row in known[kind] if row is not None]
    verdicts: dict[str, Any] = {}

    def keep(_: int, row: Row) -> None:
        verdicts[row["id"]] = row[step.column]

    stage = Stage(tally.label, step=lambda row, ask: judge(bound, row, ask))
    await Stream([stage], client, keep, [tally]).run(_block(rows))
    return verdicts


def _block(rows: list[Row]) -> Iterator[list[Indexed]]:
    yield list(enumerate(rows))


def _examined(
    step: Judging,
    rows: Sequence[Row],
    kinds: Iterable[str],
    verdicts: Mapping[str, Any],
    role: str | None = None,
) -> Examined:
    """Sort verdicts by kind: those of one member, where a role is named."""

    def score(verdict: Any) -> float | None:
        own = (verdict or {}).get("members", {}).get(role) if role else verdict
        return score_of(step.rubric, own and own["criteria"])

    by_kind = {kind: [score(verdicts.get(f"{row['id']}/{kind}")) for row in rows] for kind in kinds}
    padded = by_kind.pop(PADDED)
    canaries = {kind: found for kind, found in by_kind.items() if any(s is not None for s in found)}
    return Examined([score(row[step.column]) for row in rows], canaries, padded)


def verdict_of(told: Examination) -> Fit:
    """Say in a word whether a judge is fit."""
    return fit_of(told.whole)


def fit_of(whole: Examined | None) -> Fit:
    """Say in a word whether a judge, or one of a jury, is fit."""
    if whole is None or not whole.is_told:
        return "cannot tell"
    return "fit" if whole.fitness.is_fit else "not fit"


def sentence(told: Examination) -> str:
    """Say in plain words whether a judge passed its sanity check, and why."""
    if told.whole is None:
        return f"The judge's sanity check could not decide: {told.why}."
    if not told.whole.is_told:
        found = told.whole.fitness.overall
        return (
            "The judge's sanity check could not decide: only"
            f" {found.good} originals and {found.bad} corrupted copies have a score."
        )
    return told.whole.fitness.sentence()
