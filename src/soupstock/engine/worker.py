"""The worker process: takes blocks of rows through steps as far as the cache reaches.

`python -m soupstock.engine.worker FOLDER` runs one. It reads the numbers of blocks from standard
input until the run closes it, and writes to standard output that it is ready, and then the number
of each finished block. Asks no model. Any error ends it: the run takes its blocks through itself,
and raises the same error if a row causes it.
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
from soupstock.engine.flights import Indexed
from soupstock.engine.flow import stage_of
from soupstock.engine.garbage_collection import infrequent_collection
from soupstock.engine.plan import Plan, plan
from soupstock.engine.stream import Stream
from soupstock.engine.tally import Tally, TokenCounts
from soupstock.engine.workers import Block, BlockFolder, BlockResult, WorkerSetup
from soupstock.inference.cache import Reader
from soupstock.inference.call import Answer, Call, Failure, Reply, decode, look_up
from soupstock.project.project import Project
from soupstock.rows.row import Row, frame, is_kept
from soupstock.steps.step import Step


def main(place: Path) -> None:
    """Work on blocks until there are no more."""
    # What a filter prints must not be read as the number of a block.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    folder = BlockFolder(place)
    planned = _plan(folder.read_setup())
    cache = run_folder.runs_folder(planned.project.root) / run_folder.CACHE
    with out, closing(Reader(cache)) as reader, asyncio.Runner() as runner, infrequent_collection():
        _say(out, "ready")
        for line in sys.stdin:
            number = int(line)
            block = folder.take_block(number)
            folder.write_result(number, runner.run(take(planned, reader, block)))
            _say(out, line.strip())


def _plan(setup: WorkerSetup) -> Plan:
    project = Project(setup.root)
    planned = plan(setup.pipeline, project, name=setup.name, source=setup.source)
    if planned.fingerprint != setup.fingerprint:
        raise SystemExit("the project's files have changed since the run was planned")
    return planned


def _say(out: IO[str], word: str) -> None:
    out.write(f"{word}\n")
    out.flush()


async def take(planned: Plan, reader: Reader, block: Block) -> BlockResult:
    """Take a block's rows as far as the cached answers reach."""
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

    def set_aside(index: int, row: Row, step: int) -> None:
        left.append((index, row, step))

    stream = Stream(
        stages, _CacheReader(reader), done, tallies, takes_all=True, set_aside=set_aside
    )
    await stream.run(iter([list(block.rows)]))
    ended.sort(key=lambda indexed: indexed[0])
    places, rows = [index for index, _ in ended], frame((r for _, r in ended), planned.columns)
    spent = [_spent(step, tally) for step, tally in zip(steps, tallies, strict=True)]
    return BlockResult(places, rows, left, tallies, spent)


def _spent(step: Step, tally: Tally) -> Sequence[TokenCounts]:
    """Remove the tokens of answers from a step's tally; return them in the order of its models."""
    by_model = tally.take_spent()
    spent = [by_model.pop(model, TokenCounts()) for _, model in step.models]
    if by_model:
        raise ValueError("a step asked a model that is not among its models")
    return spent


@dataclass
class _CacheReader:
    """Answers calls from the cache. Rows that would ask are set aside, so no model is asked."""

    reader: Reader
    stopped: Failure | None = None

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return the answers that the cache has."""
        cached = look_up(self.reader.get, calls)
        return {key: decode(one.answer) for key, one in cached.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Refuse to ask."""
        raise NotImplementedError("a worker asks no model")

    def rest(self) -> None:
        """Do nothing: no call was sent."""

    def is_unasked(self, cause: str) -> bool:  # noqa: ARG002 - as others
        """Return false: no row fails because a call was not sent."""
        return False

    def stop(self, why: Failure) -> None:
        """Do nothing: a step that fails for nearly all rows fails in the run, too."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
