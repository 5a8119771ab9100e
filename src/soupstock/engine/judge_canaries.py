"""Run a judge's sanity check: ask it about canaries made from the rows that it scored."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from soupstock.artifacts.judges import Fit
from soupstock.engine.stream import Indexed, Stream
from soupstock.engine.tally import Tally
from soupstock.inference.call import Answering
from soupstock.judging.canaries import FEWEST, PADDED, score_of, spoiled
from soupstock.judging.sanity_check import LengthBias, SanityCheck, length_bias, sanity_check
from soupstock.rows.rows import Row
from soupstock.rows.table import Table
from soupstock.steps.judge import Judging, judge
from soupstock.steps.step import Stage

Scores = list[float | None]


@dataclass(frozen=True)
class Examined:
    """A judge's scores of rows, and of corrupted copies of them."""

    originals: Scores
    canaries: Mapping[str, Scores]
    """The scores of each kind of canary, by row; None where a score is missing."""
    padded: Scores

    @property
    def sanity_check(self) -> SanityCheck:
        """How well the judge tells originals from canaries."""
        return sanity_check(self.originals, self.canaries)

    @property
    def length_bias(self) -> LengthBias:
        """How padding an answer changes its score."""
        return length_bias(self.originals, self.padded)

    @property
    def is_decided(self) -> bool:
        """Whether both have enough scores to decide."""
        few = min(self.sanity_check.overall.good, self.sanity_check.overall.bad)
        return few >= FEWEST and self.sanity_check.overall.auc.is_known


@dataclass
class Examination:
    """The sanity check of one judge step: of the judge, or of a jury and each of its members."""

    step: Judging
    rows: int
    """How many rows were corrupted."""
    tally: Tally
    """The calls that it made, counted apart from the rows'."""
    whole: Examined | None = None
    members: Mapping[str, Examined] = field(default_factory=dict)
    """The results of each member of a jury."""
    why: str | None = None
    """Why there is no result, if the reason is not the judge."""

    @property
    def is_unfit(self) -> bool:
        """Whether the judge failed its sanity check."""
        return (
            self.whole is not None
            and self.whole.is_decided
            and not self.whole.sanity_check.is_passed
        )


def sample(step: Judging, table: Table, most: int, reads: Sequence[str]) -> list[Row]:
    """Return rows that the judge has scored: those with the lowest ids, which are hashes.

    So every run tests the same rows, whatever their order.
    """
    names = list(dict.fromkeys(["id", *(path.partition(".")[0] for path in reads), step.column]))
    scored = table.scan().filter(pl.col(step.column).is_not_null()).select(names)
    return scored.bottom_k(most, by="id").collect().sort("id").to_dicts()


async def examine(
    step: Judging, rows: Sequence[Row], client: Answering, tally: Tally
) -> Examination:
    """Ask about each row, corrupted in each way, and count the calls in the tally."""
    examination = Examination(step, len(rows), tally)
    if len(rows) < FEWEST:
        many = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
        examination.why = f"the judge scored {many}, and at least {FEWEST} are needed"
        return examination
    known = spoiled(step.rubric, rows)
    verdicts = await _verdicts(step, known, client, tally)
    if not any(verdicts.values()):
        examination.why = (
            client.stopped.message if client.stopped else "no corrupted copy has a verdict"
        )
        return examination
    examination.whole = _examined(step, rows, known, verdicts)
    roles = [member.role for member in step.members] if step.is_jury else []
    examination.members = {role: _examined(step, rows, known, verdicts, role) for role in roles}
    return examination


async def _verdicts(
    step: Judging,
    known: Mapping[str, Sequence[Row | None]],
    client: Answering,
    tally: Tally,
) -> dict[str, Any]:
    """Return the verdicts by the canaries' ids."""
    # Rules are not tested, and would hide that the judge notices nothing.
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
    """Sort verdicts by kind of canary; with `role`, those of one member of a jury."""

    def score(verdict: Any) -> float | None:
        own = (verdict or {}).get("members", {}).get(role) if role else verdict
        return score_of(step.rubric, own and own["criteria"])

    by_kind = {kind: [score(verdicts.get(f"{row['id']}/{kind}")) for row in rows] for kind in kinds}
    padded = by_kind.pop(PADDED)
    canaries = {kind: found for kind, found in by_kind.items() if any(s is not None for s in found)}
    return Examined([score(row[step.column]) for row in rows], canaries, padded)


def verdict_of(examination: Examination) -> Fit:
    """Return the result of a sanity check in a word."""
    return fit_of(examination.whole)


def fit_of(whole: Examined | None) -> Fit:
    """Return the result for a judge, or for a member of a jury, in a word."""
    if whole is None or not whole.is_decided:
        return "cannot tell"
    return "fit" if whole.sanity_check.is_passed else "not fit"


def sentence(examination: Examination) -> str:
    """Say in plain words whether a judge passed its sanity check, and why."""
    if examination.whole is None:
        return f"The judge's sanity check could not decide: {examination.why}."
    if not examination.whole.is_decided:
        found = examination.whole.sanity_check.overall
        return (
            "The judge's sanity check could not decide: only"
            f" {found.good} originals and {found.bad} corrupted copies have a score."
        )
    return examination.whole.sanity_check.sentence()
