"""The sanity check of a judge: ask it about corrupted copies of rows that it has scored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.judges import SanityCheckResult
from soupstock.engine.stream import stream_rows
from soupstock.engine.tally import Tally
from soupstock.inference.call import AnswerSource
from soupstock.judging.canaries import FEWEST, PADDED, canaries_of, score_of
from soupstock.judging.sanity_check import LengthBias, SanityCheck, length_bias, sanity_check
from soupstock.rows.row import Row
from soupstock.rows.table import Table
from soupstock.steps.judge import BoundJudge, judge
from soupstock.steps.step import Stage, Step

Scores = list[float | None]


@dataclass(frozen=True)
class CanaryScores:
    """A judge's scores for original rows and for corrupted copies of them."""

    originals: Scores
    canaries: Mapping[str, Scores]
    """The scores of each kind of copy, in the order of the rows; None where there is none."""
    padded: Scores
    """The scores of copies whose answer was padded with empty phrases."""

    @property
    def sanity_check(self) -> SanityCheck:
        """How well the judge tells originals from canaries."""
        return sanity_check(self.originals, self.canaries)

    @property
    def length_bias(self) -> LengthBias:
        """The effect of padding."""
        return length_bias(self.originals, self.padded)

    @property
    def is_decided(self) -> bool:
        """Whether there are enough scores of both to tell anything."""
        few = min(self.sanity_check.overall.good, self.sanity_check.overall.bad)
        return few >= FEWEST and self.sanity_check.overall.auc.is_known

    @property
    def verdict(self) -> SanityCheckResult:
        """The result in a word."""
        if not self.is_decided:
            return "cannot tell"
        return "fit" if self.sanity_check.is_passed else "not fit"


@dataclass
class JudgeCheck:
    """The sanity check of one judge step: of the judge, or of a jury and each of its members."""

    judging: BoundJudge
    originals: Sequence[Row]
    """The rows that are corrupted."""
    tally: Tally
    """What the check took, apart from the rows."""
    stops_run: bool = False
    """Whether a judge that fails ends the run."""
    overall: CanaryScores | None = None
    members: Mapping[str, CanaryScores] = field(default_factory=dict)
    """The scores of each member of a jury."""
    problem: str | None = None
    """Why there are no scores."""

    @property
    def column(self) -> str:
        """The judge's column."""
        return self.judging.column

    @property
    def verdict(self) -> SanityCheckResult:
        """The result in a word."""
        return self.overall.verdict if self.overall else "cannot tell"

    @property
    def failure(self) -> str | None:
        """Why the run should stop: the judge fails, and the pipeline says to stop then."""
        if self.stops_run and self.verdict == "not fit":
            return f"{self.judging.label}: {self.sentence()}"
        return None

    async def ask(self, client: AnswerSource) -> None:
        """Ask about each row, corrupted in each way; the tally grows with the answers."""
        if len(self.originals) < FEWEST:
            count = len(self.originals)
            rows = "1 row" if count == 1 else f"{count} rows"
            self.problem = f"the judge scored {rows}, and at least {FEWEST} are needed"
            return
        canaries = canaries_of(self.judging.rubric, self.originals)
        verdicts = await self._verdicts(canaries, client)
        if not any(verdicts.values()):
            stopped = client.stopped
            self.problem = stopped.message if stopped else "no corrupted copy has a verdict"
            return
        self.overall = self._scores(canaries, verdicts)
        roles = [member.role for member in self.judging.members] if self.judging.is_jury else []
        self.members = {role: self._scores(canaries, verdicts, role) for role in roles}

    async def _verdicts(
        self, canaries: Mapping[str, Sequence[Row | None]], client: AnswerSource
    ) -> dict[str, Any]:
        """Return the verdicts by the corrupted rows' ids."""
        # Rules are not tested: their scores would hide that the judge notices nothing.
        bound = replace(self.judging, rules=())
        fresh: Row = {self.column: None, "failures": [], "dropped_by": []}
        rows = [row | fresh for kind in canaries.values() for row in kind if row is not None]
        stage = Stage(self.tally.label, step=lambda row, ask: judge(bound, row, ask))
        ended = await stream_rows(stage, rows, client, self.tally)
        return {row_id: row[self.column] for row_id, row in ended.items()}

    def _scores(
        self, kinds: Iterable[str], verdicts: Mapping[str, Any], role: str | None = None
    ) -> CanaryScores:
        """Sort scores by kind: those of one member if a role is named."""

        def score(verdict: Any) -> float | None:
            own = (verdict or {}).get("members", {}).get(role) if role else verdict
            return score_of(self.judging.rubric, own and own["criteria"])

        by_kind = {
            kind: [score(verdicts.get(f"{row['id']}/{kind}")) for row in self.originals]
            for kind in kinds
        }
        padded = by_kind.pop(PADDED)
        canaries = {
            kind: found for kind, found in by_kind.items() if any(s is not None for s in found)
        }
        originals = [score(row[self.column]) for row in self.originals]
        return CanaryScores(originals, canaries, padded)

    def sentence(self) -> str:
        """Say in plain words whether the judge passed its sanity check, and why."""
        if self.overall is None:
            return f"The judge's sanity check could not decide: {self.problem}."
        if not self.overall.is_decided:
            found = self.overall.sanity_check.overall
            return (
                "The judge's sanity check could not decide: only"
                f" {found.good} originals and {found.bad} corrupted copies have a score."
            )
        return self.overall.sanity_check.sentence()


def check_of(step: Step, table: Table) -> JudgeCheck | None:
    """Prepare the sanity check of a judge step; None if the step has none."""
    judging, given = step.bound, step.spec
    if not (isinstance(judging, BoundJudge) and isinstance(given, spec.Judge)):
        return None
    if not (given.canaries and judging.members):
        return None
    rows = _sample(judging, table, given.canaries, step.reads)
    tally = Tally(f"{judging.label}: canaries")
    return JudgeCheck(judging, rows, tally, stops_run=given.on_unfit == "stop")


def _sample(judging: BoundJudge, table: Table, most: int, reads: Sequence[str]) -> list[Row]:
    """Choose rows that the judge has scored: those with the lowest ids.

    Ids are hashes, so every run chooses the same rows, whatever their order.
    """
    columns = (path.partition(".")[0] for path in reads)
    names = list(dict.fromkeys(["id", *columns, judging.column]))
    scored = table.scan().filter(pl.col(judging.column).is_not_null()).select(names)
    return scored.bottom_k(most, by="id").collect().sort("id").to_dicts()
