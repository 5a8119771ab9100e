"""Take rows ahead in processes of their own, where the store has nearly all answers.

Who runs again waits for the processor alone, and one process keeps but one processor busy. Workers
ask nobody: what the store cannot answer they leave. Blocks of rows lie as files in the run's work
folder, and only their numbers go through pipes, so nobody ever waits for a pipe. No row is lost: a
block that a worker does not bring back is taken through here. Knows nothing of what steps do.
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

from soupstock.engine.plan import Plan
from soupstock.engine.stream import Advanced, Indexed
from soupstock.engine.tally import Spent, Tally
from soupstock.rows.rows import Row
from soupstock.rows.sources import Source
from soupstock.rows.table import Gatherer
from soupstock.spec.pipeline import Pipeline

MOST = 8
"""How many workers there are at most: each takes a few hundred MB."""

_DEPTH = 4
"""How many blocks a worker has at once, so that it need not wait for them."""


class Begun(NamedTuple):
    """What workers are for. They plan by themselves, for a plan is no data."""

    pipeline: Pipeline
    root: Path
    """The project's folder."""
    name: str
    fingerprint: str
    """The plan's: a worker that comes to another is of no use."""
    source: Source
    """What the rows are, for the plan; workers get them from the run."""


class Block(NamedTuple):
    """Rows to take through some of a plan's steps."""

    first: int
    """The number of the first of these steps, from 0."""
    last: int
    """The number of the step that follows them."""
    is_end: bool
    """Whether rows that come through these steps are at their end."""
    rows: Sequence[Indexed]


class Taken(NamedTuple):
    """How far a block's rows came."""

    places: Sequence[int]
    """Those of the rows that came to their end, in order."""
    rows: pl.DataFrame
    left: Sequence[tuple[int, Row, int]]
    """The others, each with its place, and before which of the block's steps it stands."""
    tallies: Sequence[Tally]
    """Each step's accounts, but for what answers took."""
    spent: Sequence[Sequence[Spent]]
    """What answers took, for each step's models: a model holds its key, which no file may have."""


@dataclass(frozen=True)
class Desk:
    """The folder through which blocks go to workers and come back."""

    folder: Path

    def begin(self, begun: Begun) -> None:
        """Say what workers are for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _put(self._begun, begun)

    def begun(self) -> Begun:
        """Hear what workers are for."""
        begun: Begun = _get(self._begun)
        return begun

    def hand_out(self, number: int, block: Block) -> None:
        """Lay a block down for a worker."""
        _put(self._block(number), block)

    def block(self, number: int) -> Block:
        """Take a block up."""
        block: Block = _get(self._block(number))
        self._block(number).unlink()
        return block

    def bring(self, number: int, taken: Taken) -> None:
        """Lay down what came of a block."""
        _put(self._taken(number), taken)

    def taken(self, number: int) -> Taken:
        """Take up what came of a block."""
        taken: Taken = _get(self._taken(number))
        self._taken(number).unlink()
        return taken

    @property
    def _begun(self) -> Path:
        return self.folder / "begun"

    def _block(self, number: int) -> Path:
        return self.folder / f"{number}.block"

    def _taken(self, number: int) -> Path:
        return self.folder / f"{number}.taken"


def _put(path: Path, value: object) -> None:
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)


def _get(path: Path) -> Any:
    """Read what this run or one of its workers wrote."""
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - the run's own


def count() -> int:
    """Say how many workers suit the machine: one of its processors is busy already."""
    there = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    return min(MOST, there - 1)


Back = Callable[[Advanced], None]


@dataclass
class _Worker:
    """A process, as long as there is one, and the blocks that it has."""

    pipe: asyncio.StreamWriter | None = None
    blocks: dict[int, tuple[Block, Back]] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return self.pipe is not None and len(self.blocks) < _DEPTH


class Workers:
    """The workers of a run. They start at the first need of them."""

    def __init__(self, plan: Plan, folder: Path, most: int | None = None) -> None:
        """Have up to `most` workers: where it is None, as many as suit the machine."""
        self._plan = plan
        self._desk = Desk(folder)
        self._workers = [_Worker() for _ in range(count() if most is None else most)]
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()
        self.brought = 0
        """How many blocks came back."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def has_room(self) -> bool:
        """Tell whether a worker would soon take a block up; starts them where none is."""
        if not self._tasks and self._workers:
            self._desk.begin(_begun(self._plan))
            self._tasks = [asyncio.create_task(self._employ(worker)) for worker in self._workers]
        return any(worker.has_room for worker in self._workers)

    def take(self, block: Block, back: Back) -> None:
        """Give a block to the worker with fewest, and call `back` with what came of it."""
        free = (worker for worker in self._workers if worker.has_room)
        worker, number = min(free, key=lambda one: len(one.blocks)), next(self._numbers)
        self._desk.hand_out(number, block)
        worker.blocks[number] = block, back
        if worker.pipe is not None:
            worker.pipe.write(b"%d\n" % number)

    async def _employ(self, worker: _Worker) -> None:
        """Run a worker until it ends, and take back what it did not bring."""
        process = None
        # Whatever is wrong with a worker, all can be done without it.
        with contextlib.suppress(Exception):
            try:
                process = await _started(self._desk.folder)
                await self._listen(worker, process)
            finally:
                worker.pipe = None
                if process is not None:
                    await _ended(process)
        for block, back in worker.blocks.values():
            back(_untouched(block))

    async def _listen(self, worker: _Worker, process: Process) -> None:
        """Hand on what a worker brings."""
        if process.stdout is None:
            return
        async for line in process.stdout:
            if worker.pipe is None:
                # The first line says that it is ready.
                worker.pipe = process.stdin
                continue
            number = int(line)
            block, back = worker.blocks[number]
            advanced = self._advanced(block, self._desk.taken(number))
            del worker.blocks[number]
            self.brought += 1
            back(advanced)

    def _advanced(self, block: Block, taken: Taken) -> Advanced:
        steps = self._plan.steps[block.first : block.last]
        for step, tally, spent in zip(steps, taken.tallies, taken.spent, strict=True):
            for (_, model), further in zip(step.models, spent, strict=True):
                tally.spent_by(model).add_all(further)
        return Advanced(taken.places, taken.rows, taken.left, taken.tallies)


@dataclass(frozen=True)
class Shortcut:
    """The way through some steps that leads over the workers, and ends where other rows end."""

    workers: Workers
    gatherer: Gatherer
    first: int
    last: int
    is_end: bool

    def has_room(self) -> bool:
        """Tell whether a block would soon be taken up."""
        return self.workers.has_room()

    def take(self, block: list[Indexed], back: Back) -> None:
        """Give a block to a worker."""
        self.workers.take(Block(self.first, self.last, self.is_end, block), back)

    def end(self, places: Sequence[int], rows: pl.DataFrame) -> None:
        """Put rows among those that came to their end."""
        self.gatherer.add_frame(places, rows)


def _begun(plan: Plan) -> Begun:
    source = plan.source.without_rows()
    return Begun(plan.pipeline, plan.project.root, plan.name, plan.fingerprint, source)


async def _started(folder: Path) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "soupstock.engine.worker", str(folder)),
        # The other processors are busy, too.
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        # Ctrl-C is for the run; a worker ends when its pipe does.
        start_new_session=True,
    )


async def _ended(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _untouched(block: Block) -> Advanced:
    """Say that no row of a block was moved."""
    return Advanced((), pl.DataFrame(), [(place, row, 0) for place, row in block.rows])
