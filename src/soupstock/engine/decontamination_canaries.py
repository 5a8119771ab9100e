"""Ask a decontaminate step's model about known cases: what the step finds, and what it mistakes.

Edited items put the same question, and two items of the sets put two.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from soupstock.engine.stream import Indexed, Stream
from soupstock.engine.tally import Tally
from soupstock.inference.call import Answering
from soupstock.judging.same_question import SameQuestion
from soupstock.rows.rows import Row, is_kept
from soupstock.similarity.edits import chosen, planted
from soupstock.steps.decontaminate import Candidate, Decontamination
from soupstock.steps.step import Stage

PAIRS = "pairs"


class Cases(NamedTuple):
    """What came of known cases of one kind."""

    total: int = 0
    asked: int = 0
    """About how many the model was asked."""
    unclear: int = 0
    """How many of these have no verdict; they count neither way."""
    missed: int = 0
    """How many of these the model takes for another question."""
    dropped: int = 0

    @property
    def clear(self) -> int:
        """How many count."""
        return self.total - self.unclear


@dataclass
class Detection:
    """What a step does with known cases."""

    tally: Tally
    """What it took, apart from the rows."""
    canaries: Mapping[str, Cases] = field(default_factory=dict)
    """What came of edited items, by what was done to them."""
    pairs: Cases = field(default_factory=Cases)
    """What came of items of which each was held against the other one that is most like it."""


async def detect(
    step: Decontamination, question: SameQuestion, most: int, client: Answering, tally: Tally
) -> Detection:
    """Take edits of so many items through the step, and ask about pairs of items."""
    kinds = {
        kind: [
            step.decide(_row(kind, n, question), text, found)
            for n, (text, found) in enumerate(zip(edited, step.detector.find(edited), strict=True))
        ]
        for kind, edited in planted(step.items, most).items()
    }
    kinds[PAIRS] = [
        _row(PAIRS, n, question, Candidate(text, found))
        for n, (text, found) in enumerate(step.detector.neighbours(chosen(step.items, most)))
    ]
    ended = await _taken(step, [row for rows in kinds.values() for row in rows], client, tally)
    cases = {kind: _cases(question, rows, ended) for kind, rows in kinds.items()}
    return Detection(tally, pairs=cases.pop(PAIRS), canaries=cases)


def _row(kind: str, number: int, question: SameQuestion, told: Candidate | None = None) -> Row:
    name = f"{kind}/{number}"
    return {"id": name, question.into: told, "failures": [], "dropped_by": []}


async def _taken(
    step: Decontamination, rows: Sequence[Row], client: Answering, tally: Tally
) -> Mapping[str, Row]:
    """Ask about the rows that are left for the model; return all that came out, by their ids."""
    ended: dict[str, Row] = {}

    def keep(_: int, row: Row) -> None:
        ended[row["id"]] = row

    stage = Stage(tally.label, step=step.ask_model)
    await Stream([stage], client, keep, [tally]).run(_block(rows))
    return ended


def _block(rows: Sequence[Row]) -> Iterator[list[Indexed]]:
    yield list(enumerate(rows))


def _cases(question: SameQuestion, rows: Sequence[Row], ended: Mapping[str, Row]) -> Cases:
    asked = [row["id"] for row in rows if isinstance(row[question.into], Candidate)]
    there = [ended.get(row["id"], row) for row in rows]
    verdicts = {row["id"]: _verdict(row[question.into]) for row in there}
    return Cases(
        total=len(rows),
        asked=len(asked),
        unclear=sum(verdicts[name] == "unclear" for name in asked),
        missed=sum(verdicts[name] == "no" for name in asked),
        dropped=sum(not is_kept(row) and verdicts[row["id"]] != "unclear" for row in there),
    )


def _verdict(cell: Candidate | Mapping[str, str]) -> str:
    """Say what came of a case; of one that was never asked about, nothing."""
    return "unclear" if isinstance(cell, Candidate) else cell["verdict"]
