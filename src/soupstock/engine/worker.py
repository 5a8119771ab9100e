"""Take blocks of rows through steps as far as the store goes.

`python -m soupstock.engine.worker FOLDER` runs one.

Standard input brings the numbers of blocks, and ends when the run does; standard output says that
it is ready, and then the numbers of those that are done. Asks nobody. Any error ends it: the run
does without, and comes to the same error if it is one of the rows.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from soupstock.artifacts import run_folder
from soupstock.engine.flow import stage_of
from soupstock.engine.garbage_collection import rarely_collected
from soupstock.engine.plan import Plan, plan
from soupstock.engine.stream import Indexed, Stream
from soupstock.engine.tally import Spent, Tally
from soupstock.engine.workers import Begun, Block, Desk, Taken
from soupstock.inference.call import Answer, Call, Failure, Reply, decode, look_up
from soupstock.inference.store import Reader
from soupstock.project.project import Project
from soupstock.rows.rows import Row, frame, is_kept
from soupstock.steps.step import Step


def main(place: Path) -> None:
    """Work on blocks until there are no more."""
    # What a filter prints must not be taken for a number.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    desk = Desk(place)
    planned = _planned(desk.begun())
    store = run_folder.runs_folder(planned.project.root) / run_folder.STORE
    with out, closing(Reader(store)) as reader, asyncio.Runner() as runner, rarely_collected():
        _say(out, "ready")
        for line in sys.stdin:
            number = int(line)
            desk.bring(number, runner.run(take(planned, reader, desk.block(number))))
            _say(out, line.strip())


def _planned(begun: Begun) -> Plan:
    project = Project(begun.root)
    planned = plan(begun.pipeline, project, name=begun.name, source=begun.source)
    if planned.fingerprint != begun.fingerprint:
        raise SystemExit("what the run was planned from has changed since")
    return planned


def _say(out: IO[str], word: str) -> None:
    out.write(f"{word}\n")
    out.flush()


async def take(planned: Plan, reader: Reader, block: Block) -> Taken:
    """Take a block's rows as far as the store's answers reach."""
    steps = planned.steps[block.first : block.last]
    tallies = [Tally(step.title) for step in steps]
    stages = [stage_of(step, tally) for step, tally in zip(steps, tallies, strict=True)]
    ended: list[Indexed] = []
    left: list[tuple[int, Row, int]] = []

    def done(index: int, row: Row) -> None:
        if block.is_end or not is_kept(row):
            ended.append((index, row))
        else:
            left.append((index, row, len(steps)))

    def aside(index: int, row: Row, step: int) -> None:
        left.append((index, row, step))

    stream = Stream(stages, _Stored(reader), done, tallies, takes_all=True, aside=aside)
    await stream.run(iter([list(block.rows)]))
    ended.sort(key=lambda indexed: indexed[0])
    places, rows = [index for index, _ in ended], frame((r for _, r in ended), planned.columns)
    spent = [_spent(step, tally) for step, tally in zip(steps, tallies, strict=True)]
    return Taken(places, rows, left, tallies, spent)


def _spent(step: Step, tally: Tally) -> Sequence[Spent]:
    """Take what answers took out of a step's accounts, in the order of its models."""
    by_model = tally.take_spent()
    spent = [by_model.pop(model, Spent()) for _, model in step.models]
    if by_model:
        raise ValueError("a step asked a model that is none of its own")
    return spent


@dataclass
class _Stored:
    """Answers from the store. Rows that would ask are put aside, so nobody is asked."""

    reader: Reader
    stopped: Failure | None = None

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return what the store has."""
        stored = look_up(self.reader.get, calls)
        return {key: decode(one.answer) for key, one in stored.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Refuse to ask."""
        raise NotImplementedError("a worker asks nobody")

    def rest(self) -> None:
        """Go on: nothing was asked."""

    def is_unasked(self, cause: str) -> bool:  # noqa: ARG002 - as others
        """Tell that no row came so far as to fail so."""
        return False

    def stop(self, why: Failure) -> None:
        """Go on: a step that fails for nearly everybody does so in the run, too."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
