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
from soupstock.engine.plan import Plan, Step
from soupstock.engine.set_wise import BARRIERS, Barrier, taken_whole
from soupstock.engine.stream import BLOCK, WINDOW, Indexed, Stage, Stream
from soupstock.engine.tally import Tally
from soupstock.engine.workers import Shortcut, Workers
from soupstock.inference.batch.ledger import MOST_LINES
from soupstock.inference.call import Answering, Failure
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.vllm import Launch
from soupstock.review.apply import Reviewing
from soupstock.rows.rows import Ids, Row, dropped, frame
from soupstock.rows.table import Gatherer, Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.compare import Comparing, compare
from soupstock.steps.converse import Conversing, converse
from soupstock.steps.decontaminate import Decontamination, decontaminate
from soupstock.steps.dedup import Deduplication
from soupstock.steps.filter import Filtering, filter_rows
from soupstock.steps.generate import Generation, generate
from soupstock.steps.judge import Judging, judge, rule
from soupstock.steps.mask import Masking, mask_rows
from soupstock.steps.publish import Publication, check
from soupstock.steps.select import Selection
from soupstock.steps.task import Tasking, perform
from soupstock.steps.verify import Verification, saving_of, savings_told, verify_rows

UNFIT = "Unfit"
"""The cause where a judge that is not fit ends the run."""

_STATELESS = (Generation, Judging, Comparing, Conversing, Filtering, Masking, Publication)
"""Steps that look at each row by itself, and remember nothing of it but their tallies."""


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
        for number, ((now, is_barrier, _), parts) in enumerate(
            itertools.groupby(
                steps,
                lambda part: (part[0], isinstance(part[1].bound, BARRIERS), _is_slow(part[1])),
            )
        ):
            group = [(step, tally) for _, step, tally in parts]
            if self.turn is not None and now != turn:
                await self.turn()
            turn = now
            for place, (step, tally) in enumerate(group if is_barrier else []):
                if table is None:
                    table = await self._stream([], self._source(), number)
                if isinstance(step.bound, BARRIERS):
                    name = f"{number}-{place}"
                    table, embedder = await self._embedded(step.bound, table, tally, name)
                    table = taken_whole(step.bound, table, self.work / name, tally, embedder)
            if not is_barrier:
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
        self, bound: Barrier, table: Table, tally: Tally, name: str
    ) -> tuple[Table, Embedder | None]:
        """Ask for the vectors that a step compares; rows that get none are dropped."""
        if isinstance(bound, Reviewing) or not isinstance(bound.embedder, EmbeddingForm):
            return table, None
        form = bound.embedder
        asking = Asking(tally.label, form, bound, table)
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
            [stage_of(step, self.plan, tally) for step, tally in group],
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
        lonely = list(itertools.takewhile(lambda step: isinstance(step.bound, _STATELESS), steps))
        if self.workers is None or not lonely:
            return None
        first = next(n for n, step in enumerate(self.plan.steps) if step is lonely[0])
        is_end = len(lonely) == len(steps)
        return Shortcut(self.workers, gatherer, first, first + len(lonely), is_end)

    @property
    def _window(self) -> int:
        """How many rows may be under way: a batch should hold as many calls as it can."""
        is_batched = any(step.model and step.model.mode != "live" for step in self.plan.steps)
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
    return isinstance(step.bound, Verification) and step.bound.is_slow


def _begun(row_id: str, content: Row) -> Row:
    return {"id": row_id, **content, "failures": [], "dropped_by": []}


def _indexed(table: Table) -> Iterator[list[Indexed]]:
    place = 0
    for rows in table.rows():
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            yield list(enumerate(some, place))
            place += len(some)


def stage_of(  # noqa: C901 - a case for each verb
    step: Step, plan: Plan, tally: Tally
) -> Stage:
    """Make a row-wise step ready to stream."""
    bound = step.bound
    reads = columns_read(step, plan)
    match bound:
        case Generation():
            return Stage(step.title, step=lambda row, ask: generate(bound, row, ask))
        case Tasking():
            return Stage(step.title, step=lambda row, ask: perform(bound, row, ask))
        case Judging():
            return _judged(step.title, bound, step.reads, plan)
        case Comparing():
            return Stage(step.title, step=lambda row, ask: compare(bound, row, ask))
        case Filtering():
            return Stage(step.title, check=_filter(bound, step.reads, plan))
        case Conversing():
            return Stage(step.title, step=lambda row, ask: converse(bound, row, ask))
        case Verification():
            return Stage(step.title, check=lambda rows: _verified(bound, rows, tally))
        case Masking():
            return Stage(step.title, check=lambda rows: mask_rows(bound, rows, reads, tally.masked))
        case Decontamination():
            return Stage(
                step.title,
                step=bound.told if bound.question else None,
                check=lambda rows: decontaminate(bound, rows, reads),
            )
        case Publication():
            return Stage(step.title, check=lambda rows: check(bound, rows))
        case Deduplication() | Selection() | Reviewing():
            raise ValueError("it needs the whole set; it does not stream")


def columns_read(step: Step, plan: Plan) -> dict[str, pl.DataType]:
    """Return the columns that a step reads, with their types."""
    return {name: plan.columns[name] for name in map(_column_of, step.reads)}


def _verified(bound: Verification, rows: list[Row], tally: Tally) -> list[Row]:
    made = verify_rows(bound, rows)
    tally.savings.extend(saving_of(bound, row) for row in made if row[bound.column])
    tally.notes[:] = savings_told(tally.savings)
    return made


def _column_of(path: str) -> str:
    """Name the column that a path leads into: `item.question`, `messages::user`."""
    return path.partition("::")[0].partition(".")[0]


def _judged(title: str, bound: Judging, reads: Sequence[str], plan: Plan) -> Stage:
    columns = _columns(reads, plan)

    def check(rows: list[Row]) -> list[Row]:
        return rule(bound, rows, frame(rows, columns))

    return Stage(
        title,
        step=(lambda row, ask: judge(bound, row, ask)) if bound.members else None,
        check=check if bound.rules else None,
    )


def _columns(paths: Sequence[str], plan: Plan) -> dict[str, pl.DataType]:
    """Return the columns that are read; a rule or filter may read none, but a frame has some."""
    names = [path.partition(".")[0] for path in paths]
    return {name: plan.columns[name] for name in names or ("id",)}


def _filter(bound: Filtering, reads: Sequence[str], plan: Plan) -> Callable[[list[Row]], list[Row]]:
    # A filter need not read anything, and a frame without columns has no rows.
    columns = {name: plan.columns[name] for name in reads or ("id",)}

    def check_rows(rows: list[Row]) -> list[Row]:
        reasons = filter_rows(bound, frame(rows, columns))
        return [
            dropped(row, *(f"filter: {label}" for label in labels)) if labels else row
            for row, labels in zip(rows, reasons, strict=True)
        ]

    return check_rows
