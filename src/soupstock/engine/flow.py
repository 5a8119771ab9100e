"""Take a plan's rows through its steps, once: streams between barriers, tables at them.

Knows no folders of runs, no manifest and no terminal; `run` gives it the client and a place to
work in.
"""

import itertools
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.engine.decontamination_canaries import Detection, detect
from soupstock.engine.embed import Asking
from soupstock.engine.judge_canaries import Examination, examine, sample, sentence
from soupstock.engine.plan import Plan
from soupstock.engine.set_wise import taken_whole
from soupstock.engine.stream import BLOCK, WINDOW, Indexed, Stream
from soupstock.engine.tally import Tally
from soupstock.engine.workers import Shortcut, Workers
from soupstock.inference.batch.ledger import MOST_LINES
from soupstock.inference.call import Answering, Failure
from soupstock.inference.servers.vllm import Launch
from soupstock.rows.rows import Ids, Row
from soupstock.rows.table import Gatherer, Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.decontaminate import Decontamination
from soupstock.steps.judge import Judging
from soupstock.steps.step import RowWise, SetWise, Stage, Step

UNFIT = "Unfit"
"""The cause where a judge that is not fit ends the run."""


@dataclass
class Flow:
    """One passage of a plan's rows, and how far it has come."""

    plan: Plan
    client: Answering
    work: Path
    """A folder for the parts of tables."""
    rows: int | None
    """How many source rows to take; all where it is None."""
    turn: Callable[[], Awaitable[None]] | None = None
    """Called before another model takes its turn, where models that a run serves take turns."""
    are_models_tried: bool = True
    """Whether judges are asked about canaries too, and who is asked for the same question."""
    window: int = WINDOW
    """How many rows may be under way where no model is asked by the batch."""
    workers: Workers | None = None
    """Who takes rows ahead where nobody need be asked about them."""
    tallies: list[Tally] = field(default_factory=list)
    """One for each step; they grow while the flow runs."""
    examinations: dict[str, Examination] = field(default_factory=dict)
    """What came of the canaries, by the judge's column."""
    examined: list[Tally] = field(default_factory=list)
    """The canaries of each judge that was or is asked about them, for the eyes of whoever waits."""
    detections: dict[str, Detection] = field(default_factory=dict)
    """What came of a decontaminate step's known cases, by the column of what its model says."""
    taken: int = 0
    """How many source rows were taken so far."""

    def __post_init__(self) -> None:
        self.tallies = [Tally(step.title) for step in self.plan.steps]

    @property
    def survival(self) -> float | None:
        """The share of source rows that are kept to the end, as far as can be told by now."""
        tallies = self.tallies[: len(self.plan.steps)]
        if not all(tally.ended for tally in tallies):
            return None
        return math.prod(tally.kept / tally.ended for tally in tallies)

    async def run(self) -> Table:
        """Take the rows through all steps; the table holds those that were dropped too."""
        table: Table | None = None
        steps = zip(self.turns(), self.plan.steps, self.tallies, strict=True)
        turn = None
        for number, ((now, is_whole, _), parts) in enumerate(
            itertools.groupby(
                steps,
                lambda part: (part[0], isinstance(part[1].bound, SetWise), _is_slow(part[1])),
            )
        ):
            group = [(step, tally) for _, step, tally in parts]
            if self.turn is not None and now != turn:
                await self.turn()
            turn = now
            for place, (step, tally) in enumerate(group if is_whole else []):
                if table is None:
                    table = await self._stream([], self._source(), number)
                if isinstance(step.bound, SetWise):
                    name = f"{number}-{place}"
                    table, embedder = await self._embedded(step.bound, table, tally, name)
                    table = taken_whole(step.bound, table, self.work / name, tally, embedder)
            if not is_whole:
                table = await self._segment(group, table, number)
        if table is None:
            raise ValueError("a plan has steps")
        return table

    def turns(self) -> list[int]:
        """Number each step's turn: a new one begins where another model must be served.

        The models of a jury stand side by side, for they judge the same rows at once.
        """
        numbers: list[int] = []
        served, number = frozenset[Launch](), 0
        for step in self.plan.steps:
            needed = frozenset(step.launches if self.turn else ())
            number += bool(served and needed and needed != served)
            served = needed or served
            numbers.append(number)
        return numbers

    async def _embedded(
        self, bound: SetWise, table: Table, tally: Tally, name: str
    ) -> tuple[Table, Embedder | None]:
        """Ask for the vectors that a step compares; rows that get none are dropped."""
        wanted = bound.to_embed()
        if wanted is None:
            return table, None
        asking = Asking(tally.label, wanted, table)
        embedded = Table(self.work / f"{name}-asked", self.plan.columns)
        table = await asking.take(table, embedded, self.client, tally)
        return table, asking.embedder

    async def _segment(
        self, group: Sequence[tuple[Step, Tally]], before: Table | None, number: int
    ) -> Table:
        source = self._source() if before is None else _indexed(before)
        table = await self._stream(group, source, number, takes_all=before is not None)
        if before is not None:
            before.clear()
        for step, _ in group:
            await self._examine(step, table)
        return table

    async def _examine(self, step: Step, table: Table) -> None:
        """Ask a judge about canaries made from the rows that it scored; end the run, if told so."""
        judging, said = step.bound, step.spec
        if isinstance(judging, Decontamination) and isinstance(said, spec.Decontaminate):
            await self._detect(judging, said)
        if not (isinstance(judging, Judging) and isinstance(said, spec.Judge)):
            return
        if not (self.are_models_tried and said.canaries and judging.members):
            return
        rows = sample(judging, table, said.canaries, step.reads)
        tally = Tally(f"{judging.label}: canaries")
        self.examined.append(tally)
        told = await examine(judging, rows, self.client, tally)
        self.examinations[judging.column] = told
        if told.is_unfit and said.on_unfit == "stop":
            self.client.stop(Failure(UNFIT, f"{judging.label}: {sentence(told)}"))

    async def _detect(self, bound: Decontamination, said: spec.Decontaminate) -> None:
        """Ask a decontaminate step's model about edits of the sets' items."""
        question = bound.question
        if self.are_models_tried and said.canaries and question is not None:
            tally = Tally(f"{bound.label}: canaries")
            self.examined.append(tally)
            told = await detect(bound, question, said.canaries, self.client, tally)
            self.detections[question.into] = told

    async def _stream(
        self,
        group: Sequence[tuple[Step, Tally]],
        source: Iterator[list[Indexed]],
        number: int,
        *,
        takes_all: bool = False,
    ) -> Table:
        gatherer = Gatherer(Table(self.work / str(number), self.plan.columns))
        stream = Stream(
            [stage_of(step, tally) for step, tally in group],
            self.client,
            gatherer.add,
            [tally for _, tally in group],
            is_full=lambda: gatherer.is_full,
            window=self._window,
            takes_all=takes_all,
            ahead=self._shortcut([step for step, _ in group], gatherer),
        )
        await stream.run(source)
        return gatherer.finish()

    def _shortcut(self, steps: Sequence[Step], gatherer: Gatherer) -> Shortcut | None:
        """Return the way over the workers: it leads as far as a step that keeps something."""
        stateless = list(itertools.takewhile(_is_stateless, steps))
        if self.workers is None or not stateless:
            return None
        first = next(n for n, step in enumerate(self.plan.steps) if step is stateless[0])
        is_end = len(stateless) == len(steps)
        return Shortcut(self.workers, gatherer, first, first + len(stateless), is_end)

    @property
    def _window(self) -> int:
        """How many rows may be under way: a batch should hold as many calls as it can."""
        is_batched = any(
            model.mode != "live" for step in self.plan.steps for _, model in step.models[:1]
        )
        return MOST_LINES if is_batched else self.window

    def _source(self) -> Iterator[list[Indexed]]:
        ids = Ids()
        for block in self.plan.source.blocks(self.rows):
            rows = [_begun(ids.name(content), content) for content in block]
            start, self.taken = self.taken, self.taken + len(rows)
            yield list(enumerate(rows, start))

    def trimmed(self, table: Table, wanted: int) -> Table:
        """Keep the first `wanted` of the rows that were kept, in source order."""
        tally = Tally(f"target: {wanted}")
        self.tallies.append(tally)
        return table.map(self.work / "target", _trimmed(table, wanted, tally))


def _trimmed(table: Table, wanted: int, tally: Tally) -> Iterator[pl.DataFrame]:
    kept = pl.col("dropped_by").list.len() == 0
    for part in table.frames():
        place = kept.cum_sum() + tally.rows_in
        marked = part.with_columns(
            dropped_by=pl.when(kept & (place > wanted))
            .then(pl.lit(["target: enough"]))
            .otherwise(pl.col("dropped_by"))
        )
        before, after = (int(some.select(kept.sum()).item()) for some in (part, marked))
        tally.rows_in += before
        tally.count_many(kept=after, dropped=before - after, reason="target: enough")
        yield marked


def _is_slow(step: Step) -> bool:
    """Tell whether a step's checks take long: no model should wait for them meanwhile."""
    return isinstance(step.bound, RowWise) and step.bound.is_slow


def _is_stateless(step: Step) -> bool:
    return isinstance(step.bound, RowWise) and step.bound.is_stateless


def _begun(row_id: str, content: Row) -> Row:
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
