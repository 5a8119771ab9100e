"""Take rows through steps in worker processes, if the cache has nearly all answers.

A repeated run only waits for the processor, and one process keeps only one core busy. Workers ask
no model: they leave what the cache cannot answer. Blocks of rows are files in the run's work
folder, and only their numbers go through pipes, so no process waits for a full pipe. No row is
lost: the run itself takes the rows of a block that a worker does not return. Knows no verb.
"""

import asyncio
import contextlib
import itertools
import os
import pickle
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import polars as pl

from soupstock.engine.flights import Indexed
from soupstock.engine.plan import Plan
from soupstock.engine.stream import Advanced
from soupstock.engine.tally import Tally, TokenCounts
from soupstock.rows.row import Row
from soupstock.rows.sources import Source
from soupstock.rows.table import ReorderBuffer
from soupstock.spec.pipeline import Pipeline

MOST = 8
"""The most workers: each takes a few hundred MB."""

_DEPTH = 4
"""How many blocks a worker has at once, so that it need not wait for the next."""


class WorkerSetup(NamedTuple):
    """What workers need to make the run's plan. The plan itself cannot be pickled."""

    pipeline: Pipeline
    root: Path
    """The project's folder."""
    name: str
    fingerprint: str
    """The fingerprint of the run's plan: a worker whose plan has another one ends."""
    source: Source
    """The source without its rows: workers get rows from the run."""


class Block(NamedTuple):
    """Rows to take through some of a plan's steps."""

    first: int
    """The number of the first of these steps, from 0."""
    last: int
    """The number of the step after the last of them."""
    is_end: bool
    """Whether rows that pass these steps have reached their end."""
    rows: Sequence[Indexed]


class BlockResult(NamedTuple):
    """How far a worker took the rows of a block."""

    places: Sequence[int]
    """The places of the rows that reached their end, in order."""
    rows: pl.DataFrame
    """These rows."""
    left: Sequence[tuple[int, Row, int]]
    """The other rows, each with its place and its next step, counted within the block."""
    tallies: Sequence[Tally]
    """Each step's tally, without the tokens of answers."""
    spent: Sequence[Sequence[TokenCounts]]
    """The tokens of answers, for each step's models. Kept apart because a model holds its API key,
    which must not be written to a file."""


@dataclass(frozen=True)
class BlockFolder:
    """The folder through which blocks go to workers and results come back."""

    folder: Path

    def write_setup(self, setup: WorkerSetup) -> None:
        """Write what workers need to start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self._setup, setup)

    def read_setup(self) -> WorkerSetup:
        """Read what a worker needs to start."""
        setup: WorkerSetup = _read(self._setup)
        return setup

    def write_block(self, number: int, block: Block) -> None:
        """Write a block for a worker."""
        _write(self._block(number), block)

    def take_block(self, number: int) -> Block:
        """Read a block, and remove its file."""
        block: Block = _read(self._block(number))
        self._block(number).unlink()
        return block

    def write_result(self, number: int, result: BlockResult) -> None:
        """Write the result of a block."""
        _write(self._result(number), result)

    def take_result(self, number: int) -> BlockResult:
        """Read the result of a block, and remove its file."""
        result: BlockResult = _read(self._result(number))
        self._result(number).unlink()
        return result

    @property
    def _setup(self) -> Path:
        return self.folder / "setup"

    def _block(self, number: int) -> Path:
        return self.folder / f"{number}.block"

    def _result(self, number: int) -> Path:
        return self.folder / f"{number}.result"


def _write(path: Path, value: object) -> None:
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)


def _read(path: Path) -> Any:
    """Read a file of this run or of one of its workers."""
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - the run's own


def count() -> int:
    """Return how many workers suit the machine: the run itself keeps one core busy."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return min(MOST, cores - 1)


Back = Callable[[Advanced], None]


@dataclass
class _Worker:
    """A process and the blocks that it has; the pipe is open while the process takes blocks."""

    pipe: asyncio.StreamWriter | None = None
    blocks: dict[int, tuple[Block, Back]] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return self.pipe is not None and len(self.blocks) < _DEPTH


class Workers:
    """The workers of a run. They start when they are first needed."""

    def __init__(self, plan: Plan, folder: Path, most: int | None = None) -> None:
        """Prepare `most` workers; as many as suit the machine if it is None."""
        self._plan = plan
        self._folder = BlockFolder(folder)
        self._workers = [_Worker() for _ in range(count() if most is None else most)]
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()
        self.returned = 0
        """How many blocks were returned."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def has_room(self) -> bool:
        """Tell whether a worker would start a block soon; starts the workers if none runs."""
        if not self._tasks and self._workers:
            self._folder.write_setup(_setup_of(self._plan))
            self._tasks = [asyncio.create_task(self._run(worker)) for worker in self._workers]
        return any(worker.has_room for worker in self._workers)

    def take(self, block: Block, back: Back) -> None:
        """Give a block to the worker with the fewest, and call `back` with the result."""
        free = (worker for worker in self._workers if worker.has_room)
        worker, number = min(free, key=lambda one: len(one.blocks)), next(self._numbers)
        self._folder.write_block(number, block)
        worker.blocks[number] = block, back
        if worker.pipe is not None:
            worker.pipe.write(b"%d\n" % number)

    async def _run(self, worker: _Worker) -> None:
        """Run a worker until it ends, and take back the blocks that it did not return."""
        process = None
        # No error of a worker matters: the run can do all of it without workers.
        with contextlib.suppress(Exception):
            try:
                process = await _start(self._folder.folder)
                await self._listen(worker, process)
            finally:
                worker.pipe = None
                if process is not None:
                    await _end(process)
        for block, back in worker.blocks.values():
            back(_untouched(block))

    async def _listen(self, worker: _Worker, process: Process) -> None:
        """Pass on the results of a worker."""
        if process.stdout is None:
            return
        async for line in process.stdout:
            if worker.pipe is None:
                # The first line says that the worker is ready.
                worker.pipe = process.stdin
                continue
            number = int(line)
            block, back = worker.blocks[number]
            advanced = self._advanced(block, self._folder.take_result(number))
            del worker.blocks[number]
            self.returned += 1
            back(advanced)

    def _advanced(self, block: Block, result: BlockResult) -> Advanced:
        steps = self._plan.steps[block.first : block.last]
        for step, tally, spent in zip(steps, result.tallies, result.spent, strict=True):
            for (_, model), further in zip(step.models, spent, strict=True):
                tally.spent_by(model).add_all(further)
        return Advanced(result.places, result.rows, result.left, result.tallies)


@dataclass(frozen=True)
class WorkerShortcut:
    """The way through some of a plan's steps by workers; rows end where all others do."""

    workers: Workers
    gatherer: ReorderBuffer
    first: int
    last: int
    is_end: bool

    def has_room(self) -> bool:
        """Tell whether a worker would start a block soon."""
        return self.workers.has_room()

    def take(self, block: list[Indexed], back: Back) -> None:
        """Give a block to a worker."""
        self.workers.take(Block(self.first, self.last, self.is_end, block), back)

    def end(self, places: Sequence[int], rows: pl.DataFrame) -> None:
        """Put rows among those that reached their end."""
        self.gatherer.add_frame(places, rows)


def _setup_of(plan: Plan) -> WorkerSetup:
    source = plan.source.without_rows()
    return WorkerSetup(plan.pipeline, plan.project.root, plan.name, plan.fingerprint, source)


async def _start(folder: Path) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "soupstock.engine.worker", str(folder)),
        # The other workers keep the other cores busy.
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        # Ctrl-C is for the run; a worker ends when its pipe is closed.
        start_new_session=True,
    )


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _untouched(block: Block) -> Advanced:
    """Return the result of a block whose rows all stayed where they were."""
    return Advanced((), pl.DataFrame(), [(place, row, 0) for place, row in block.rows])
