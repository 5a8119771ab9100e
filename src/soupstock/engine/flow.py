"""Take a plan's rows through its steps once: streams between set-wise steps, tables at them.

Knows no verb, no run folder, no manifest and no terminal. `run` gives it the client and a folder
to work in.
"""

import itertools
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from soupstock.engine.canaries import CanaryCheck, canary_check
from soupstock.engine.embed import ServerEmbedding
from soupstock.engine.flights import Indexed
from soupstock.engine.plan import Plan
from soupstock.engine.set_wise import run_set_wise
from soupstock.engine.stream import BLOCK, WINDOW, Stream
from soupstock.engine.tally import Tally
from soupstock.engine.workers import Workers, WorkerShortcut
from soupstock.inference.batch.ledger import MOST_LINES
from soupstock.inference.call import AnswerSource, Failure
from soupstock.inference.servers.vllm import Launch
from soupstock.rows.row import KEPT, Ids, Row
from soupstock.rows.table import ReorderBuffer, Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.step import RowWise, SetWise, Stage, Step

FAILED_SANITY_CHECK = "Unfit"
"""The cause if a judge that failed its sanity check ends the run."""


class FlowAccount(NamedTuple):
    """What a flow did."""

    plan: Plan
    source_rows: int
    """How many source rows were taken."""
    tallies: Sequence[Tally]
    """One for each step, and one for the target if rows were dropped for it."""
    checks: Mapping[str, CanaryCheck]
    """The canary checks, by the column that the checked models fill."""


@dataclass
class Flow:
    """One pass of a plan's rows through the steps, and how far it has come."""

    plan: Plan
    client: AnswerSource
    work: Path
    """A folder for the parts of tables."""
    rows: int | None
    """How many source rows to take; None for all."""
    turn: Callable[[], Awaitable[None]] | None = None
    """Called before another model is served, if the models that a run serves take turns."""
    asks_canaries: bool = True
    """Whether models are also asked about canaries."""
    window: int = WINDOW
    """How many rows may be in flight if no model is asked in batches."""
    workers: Workers | None = None
    """The processes that take rows ahead if the cache has nearly all answers."""
    tallies: list[Tally] = field(default_factory=list)
    """One for each step; they grow while the flow runs."""
    checks: dict[str, CanaryCheck] = field(default_factory=dict)
    """The canary checks that have begun, by the column that the checked models fill."""
    source_rows: int = 0
    """How many source rows were taken so far."""

    def __post_init__(self) -> None:
        self.tallies = [Tally(step.title) for step in self.plan.steps]

    @property
    def survival(self) -> float | None:
        """The share of source rows that are kept to the end, as far as it is known by now."""
        tallies = self.tallies[: len(self.plan.steps)]
        if not all(tally.ended for tally in tallies):
            return None
        return math.prod(tally.kept / tally.ended for tally in tallies)

    @property
    def canary_tallies(self) -> list[Tally]:
        """The tally of each step's canaries, for the progress display."""
        # Progress is shown from another thread.
        return [check.tally for check in list(self.checks.values())]

    def account(self) -> FlowAccount:
        """Return what the flow did."""
        return FlowAccount(self.plan, self.source_rows, tuple(self.tallies), dict(self.checks))

    async def run(self) -> Table:
        """Take the rows through all steps. The table also holds the rows that were dropped."""
        table: Table | None = None
        turn = None
        for number, (now, is_set_wise, group) in enumerate(self._segments()):
            if self.turn is not None and now != turn:
                await self.turn()
            turn = now
            if is_set_wise:
                if table is None:
                    table = await self._stream([], self._source(), number)
                table = await self._whole(group, table, number)
            else:
                table = await self._segment(group, table, number)
        if table is None:
            raise ValueError("a plan has steps")
        return table

    def _segments(self) -> Iterator[tuple[int, bool, list[tuple[Step, Tally]]]]:
        """Group steps that rows go through together; yield the turn of each group."""
        steps = zip(self.turns(), self.plan.steps, self.tallies, strict=True)
        groups = itertools.groupby(
            steps, lambda part: (part[0], isinstance(part[1].bound, SetWise), _is_slow(part[1]))
        )
        for (turn, is_set_wise, _), parts in groups:
            yield turn, is_set_wise, [(step, tally) for _, step, tally in parts]

    def turns(self) -> list[int]:
        """Number each step's turn: a new one begins where another model must be served.

        The models of a jury are served side by side, because they judge the same rows at once.
        """
        numbers: list[int] = []
        served, number = frozenset[Launch](), 0
        for step in self.plan.steps:
            needed = frozenset(step.launches if self.turn else ())
            number += bool(served and needed and needed != served)
            served = needed or served
            numbers.append(number)
        return numbers

    async def _whole(self, group: Sequence[tuple[Step, Tally]], table: Table, number: int) -> Table:
        """Take a table through set-wise steps, one after the other."""
        for place, (step, tally) in enumerate(group):
            if isinstance(step.bound, SetWise):
                name = f"{number}-{place}"
                table, embedder = await self._embedded(step.bound, table, tally, name)
                table = run_set_wise(step.bound, table, self.work / name, tally, embedder)
        return table

    async def _embedded(
        self, bound: SetWise, table: Table, tally: Tally, name: str
    ) -> tuple[Table, Embedder | None]:
        """Ask for the vectors that a step compares; rows that get none are dropped."""
        wanted = bound.to_embed()
        if wanted is None:
            return table, None
        embedding = ServerEmbedding(tally.label, wanted, table)
        embedded = Table(self.work / f"{name}-asked", self.plan.columns)
        table = await embedding.embed(table, embedded, self.client, tally)
        return table, embedding.embedder

    async def _segment(
        self, group: Sequence[tuple[Step, Tally]], before: Table | None, number: int
    ) -> Table:
        source = self._source() if before is None else _indexed(before)
        table = await self._stream(group, source, number, takes_all=before is not None)
        if before is not None:
            before.clear()
        for step, _ in group:
            await self._check(step, table)
        return table

    async def _check(self, step: Step, table: Table) -> None:
        """Ask a step's models about canaries, and end the run if the check says so."""
        check = canary_check(step, table) if self.asks_canaries else None
        if check is None:
            return
        self.checks[check.column] = check
        await check.ask(self.client)
        if check.failure:
            self.client.stop(Failure(FAILED_SANITY_CHECK, check.failure))

    async def _stream(
        self,
        group: Sequence[tuple[Step, Tally]],
        source: Iterator[list[Indexed]],
        number: int,
        *,
        takes_all: bool = False,
    ) -> Table:
        gatherer = ReorderBuffer(Table(self.work / str(number), self.plan.columns))
        stream = Stream(
            [stage_of(step, tally) for step, tally in group],
            self.client,
            gatherer.add,
            [tally for _, tally in group],
            is_full=lambda: gatherer.is_full,
            window=self._window,
            takes_all=takes_all,
            shortcut=self._shortcut([step for step, _ in group], gatherer),
        )
        await stream.run(source)
        return gatherer.finish()

    def _shortcut(self, steps: Sequence[Step], gatherer: ReorderBuffer) -> WorkerShortcut | None:
        """Return the way through the workers: it ends before the first step that keeps state."""
        stateless = list(itertools.takewhile(_is_stateless, steps))
        if self.workers is None or not stateless:
            return None
        first = next(n for n, step in enumerate(self.plan.steps) if step is stateless[0])
        is_end = len(stateless) == len(steps)
        return WorkerShortcut(self.workers, gatherer, first, first + len(stateless), is_end)

    @property
    def _window(self) -> int:
        """How many rows may be in flight: a batch should hold as many calls as it can."""
        is_batched = any(
            model.mode != "live" for step in self.plan.steps for _, model in step.models[:1]
        )
        return MOST_LINES if is_batched else self.window

    def _source(self) -> Iterator[list[Indexed]]:
        ids = Ids()
        for block in self.plan.source.blocks(self.rows):
            rows = [_new_row(ids.name(content), content) for content in block]
            start, self.source_rows = self.source_rows, self.source_rows + len(rows)
            yield list(enumerate(rows, start))

    def trimmed(self, table: Table, wanted: int) -> Table:
        """Keep the first `wanted` of the rows that were kept, in source order."""
        tally = Tally(f"target: {wanted}")
        self.tallies.append(tally)
        return table.map(self.work / "target", _trimmed(table, wanted, tally))


def _trimmed(table: Table, wanted: int, tally: Tally) -> Iterator[pl.DataFrame]:
    for part in table.frames():
        place = KEPT.cum_sum() + tally.rows_in
        marked = part.with_columns(
            dropped_by=pl.when(KEPT & (place > wanted))
            .then(pl.lit(["target: enough"]))
            .otherwise(pl.col("dropped_by"))
        )
        before, after = (int(some.select(KEPT.sum()).item()) for some in (part, marked))
        tally.rows_in += before
        tally.count_many(kept=after, dropped=before - after, reason="target: enough")
        yield marked


def _is_slow(step: Step) -> bool:
    """Tell whether a step's checks take long: no model should wait for them."""
    return isinstance(step.bound, RowWise) and step.bound.is_slow


def _is_stateless(step: Step) -> bool:
    return isinstance(step.bound, RowWise) and step.bound.is_stateless


def _new_row(row_id: str, content: Row) -> Row:
    return {"id": row_id, **content, "failures": [], "dropped_by": []}


def _indexed(table: Table) -> Iterator[list[Indexed]]:
    place = 0
    for rows in table.rows():
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            yield list(enumerate(some, place))
            place += len(some)


def stage_of(step: Step, tally: Tally) -> Stage:
    """Make a row-wise step ready to stream."""
    if not isinstance(step.bound, RowWise):
        raise TypeError(f"{step.title} needs all rows at once; it does not stream")
    return step.bound.stage(step, tally)
