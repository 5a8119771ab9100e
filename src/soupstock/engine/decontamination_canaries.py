"""Ask a decontaminate step's model about canaries: what the step finds, and what it mistakes.

Edited items of the evaluation sets ask the same question; two different items ask different ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from soupstock import spec
from soupstock.engine.stream import stream_rows
from soupstock.engine.tally import Tally
from soupstock.inference.call import AnswerSource
from soupstock.judging.same_question import SameQuestion
from soupstock.rows.row import Row, is_kept
from soupstock.rows.table import Table
from soupstock.similarity.edits import choose_items, planted
from soupstock.steps.decontaminate import BoundDecontaminate, UnsureMatch
from soupstock.steps.step import Stage, Step

_PAIRS = "pairs"


class CaseCounts(NamedTuple):
    """What the step did with canaries of one kind."""

    total: int = 0
    asked: int = 0
    """How many cases the model was asked about."""
    unclear: int = 0
    """How many of these have no verdict; they count neither way."""
    missed: int = 0
    """How many of these the model takes for another question."""
    dropped: int = 0

    @property
    def clear(self) -> int:
        """How many cases count."""
        return self.total - self.unclear


@dataclass
class DecontaminationCheck:
    """Takes canaries through one decontaminate step, and keeps the result."""

    step: BoundDecontaminate
    question: SameQuestion
    most: int
    """How many items to edit, and how many pairs to ask about."""
    tally: Tally
    """What the check took, apart from the rows."""
    canaries: Mapping[str, CaseCounts] = field(default_factory=dict)
    """The counts of edited items, by kind of edit."""
    pairs: CaseCounts = field(default_factory=CaseCounts)
    """The counts of items that were compared with the other item most like them."""
    failure: str | None = None
    """Why the run should stop: never for this."""

    @property
    def column(self) -> str:
        """The column of what the model says."""
        return self.question.into

    async def ask(self, client: AnswerSource) -> None:
        """Take edited items through the step, and ask about pairs of items."""
        cases = self._cases()
        stage = Stage(self.tally.label, step=self.step.ask_model)
        rows = [row for kind in cases.values() for row in kind]
        ended = await stream_rows(stage, rows, client, self.tally)
        counts = {kind: self._counts(rows, ended) for kind, rows in cases.items()}
        self.pairs = counts.pop(_PAIRS)
        self.canaries = counts

    def _cases(self) -> dict[str, list[Row]]:
        """Make the rows of each kind of canary."""
        step, find = self.step, self.step.detector.find
        cases = {
            kind: [
                step.decide(self._row(kind, n), text, found)
                for n, (text, found) in enumerate(zip(edited, find(edited), strict=True))
            ]
            for kind, edited in planted(step.items, self.most).items()
        }
        neighbours = step.detector.neighbours(choose_items(step.items, self.most))
        cases[_PAIRS] = [
            self._row(_PAIRS, n, UnsureMatch(text, found))
            for n, (text, found) in enumerate(neighbours)
        ]
        return cases

    def _row(self, kind: str, number: int, candidate: UnsureMatch | None = None) -> Row:
        name = f"{kind}/{number}"
        return {"id": name, self.column: candidate, "failures": [], "dropped_by": []}

    def _counts(self, rows: Sequence[Row], ended: Mapping[str, Row]) -> CaseCounts:
        asked = [row["id"] for row in rows if isinstance(row[self.column], UnsureMatch)]
        results = [ended.get(row["id"], row) for row in rows]
        verdicts = {row["id"]: _verdict(row[self.column]) for row in results}
        return CaseCounts(
            total=len(rows),
            asked=len(asked),
            unclear=sum(verdicts[name] == "unclear" for name in asked),
            missed=sum(verdicts[name] == "no" for name in asked),
            dropped=sum(not is_kept(row) and verdicts[row["id"]] != "unclear" for row in results),
        )


def check_of(step: Step, table: Table) -> DecontaminationCheck | None:  # noqa: ARG001 - as others
    """Prepare the check of a decontaminate step; None if it asks no model."""
    bound, given = step.bound, step.spec
    if not (isinstance(bound, BoundDecontaminate) and isinstance(given, spec.Decontaminate)):
        return None
    if bound.question is None or not given.canaries:
        return None
    tally = Tally(f"{bound.label}: canaries")
    return DecontaminationCheck(bound, bound.question, given.canaries, tally)


def _verdict(cell: UnsureMatch | Mapping[str, str]) -> str:
    """Return a case's verdict; a case that the model was never asked about is unclear."""
    return "unclear" if isinstance(cell, UnsureMatch) else cell["verdict"]
