"""Run a plan: servers up, rows through, dataset, report and manifest written, servers down."""

import asyncio
import contextlib
import math
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from soupstock.artifacts import run_folder as folder
from soupstock.artifacts.manifest import Manifest, TimingRecord
from soupstock.engine.flow import Flow
from soupstock.engine.plan import Plan
from soupstock.engine.tally import Tally
from soupstock.engine.workers import Workers
from soupstock.errors import SoupstockError
from soupstock.inference.budget import Budget
from soupstock.inference.client import Client
from soupstock.inference.servers.pool import Servers
from soupstock.inference.store import Store
from soupstock.reports.notebook import glance
from soupstock.rows.table import Table
from soupstock.runs.results import write_results

MOST_DRAWN = 1000
"""How many source rows for each wanted one are drawn before a target is given up."""

MOST_DRAWN_IN_VAIN = 1000
"""How many source rows are drawn at least, of which none is kept, before it is given up."""


@dataclass
class Progress:
    """What is going on, for whoever shows it; only the run writes it."""

    plan: Plan
    flow: Flow | None = None
    client: Client | None = None
    round: int = 0
    notes: list[str] = field(default_factory=list)
    listener: Callable[[str], object] | None = None
    """Gets each note as it comes."""

    @property
    def needed(self) -> int | None:
        """How many source rows the target will take, by the yield so far; None without either."""
        share = self.flow.survival if self.flow else None
        target = self.plan.pipeline.target
        return math.ceil(target / share) if target and share else None

    def note(self, sentence: str) -> None:
        """Add a line for the person who waits."""
        self.notes.append(sentence)
        if self.listener is not None:
            self.listener(sentence)


@dataclass(frozen=True, repr=False)
class Run:
    """What a run left: its folder and what it says of itself."""

    folder: Path
    manifest: Manifest

    @property
    def rows(self) -> pl.DataFrame:
        """All rows, kept and dropped, in source order."""
        return pl.read_parquet(self.folder / folder.ROWS, glob=False)

    @property
    def kept(self) -> pl.DataFrame:
        """The rows that nothing dropped."""
        return self.rows.filter(pl.col("dropped_by").list.len() == 0)

    @property
    def dataset(self) -> Path | None:
        """The dataset's folder, for `datasets.load_dataset`; None where there is none."""
        return None if self.manifest.dataset is None else self.folder / folder.DATASET

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / folder.REPORT

    def __repr__(self) -> str:
        said = self.manifest
        return f"Run({said.name}: {said.rows:,} rows in, {said.kept:,} kept, {said.outcome})"

    def _repr_html_(self) -> str:
        return glance(self.manifest)


Turn = Callable[[], Awaitable[None]]

Watch = Callable[[Progress], contextlib.AbstractContextManager[None]]
"""Shows progress as long as it is entered."""


def run(
    plan: Plan,
    *,
    budget: Budget | None = None,
    watch: Watch | None = None,
    one_model_at_a_time: bool = False,
) -> Run:
    """Run a plan to its end, or as far as budget, servers and the person let it.

    Models that the run serves with vLLM stand side by side, or else one at a time.

    Every answer is kept at once, so running again goes on where this run ended. Raises
    SoupstockError where the rows that there are make no dataset; all answers are kept then too.
    """
    way = _Way(budget or Budget(), watch or _unwatched, one_model_at_a_time)
    return asyncio.run(_run(plan, way))


def preview(
    plan: Plan,
    show: Callable[[Run], None],
    *,
    budget: Budget | None = None,
    watch: Watch | None = None,
    one_model_at_a_time: bool = False,
) -> None:
    """Run a plan in a folder that is gone after `show`; only the store keeps anything."""
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        into = Path(place) / "run"
        way = _Way(budget or Budget(), watch or _unwatched, one_model_at_a_time)
        show(asyncio.run(_run(plan, way, into)))


@contextlib.contextmanager
def _unwatched(_: Progress) -> Iterator[None]:
    yield


class _Way(NamedTuple):
    """How to run."""

    budget: Budget
    watch: Watch
    one_model_at_a_time: bool = False


async def _run(plan: Plan, way: _Way, into: Path | None = None) -> Run:
    root = plan.project.root
    target = into or folder.run_folder(root, plan.name, plan.fingerprint)
    progress = Progress(plan)
    with way.watch(progress), folder.worked_in(target, progress.note) as work:
        started, clock = datetime.now(UTC), time.monotonic()
        async with Store(folder.runs_folder(root) / folder.STORE) as store:
            async with (
                Servers(folder.runs_folder(root) / "logs", progress.note) as servers,
                # Who looks at a few rows will not wait for a batch.
                Client(store, servers, way.budget, is_live=into is not None) as client,
                Workers(plan, work / "workers") as workers,
            ):
                progress.client = client
                turn = _turn(servers, client) if way.one_model_at_a_time else None
                if turn is None and (crowding := plan.crowding()):
                    progress.note(crowding)

                def begin(rows: int | None) -> Flow:
                    place, is_tried = work / str(progress.round), into is None
                    return Flow(plan, client, place, rows, turn, is_tried, workers=workers)

                with _interruptible(client):
                    table, flow = await _enough(progress, begin)
                _raise_broken(client, flow)
            # Its file is tidied up while results are written.
            store.finish()
            timing = TimingRecord(
                started=started.isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - clock, 3),
                steps=tuple(_seconds(tally) for tally in flow.tallies),
            )
            done = Run(target, write_results(target, table, flow, client, timing))
    if into is None:
        folder.point_latest(target)
    return done


def _raise_broken(client: Client, flow: Flow) -> None:
    """Raise what ended the run, where it is a fault of ours or nothing at all came of it."""
    error = client.broken
    if error is None:
        return
    if not isinstance(error, SoupstockError) or not any(tally.by_model for tally in flow.tallies):
        raise error


def _turn(servers: Servers, client: Client) -> Turn:
    async def turn() -> None:
        await servers.stop_vllm()
        client.forget_addresses()

    return turn


async def _enough(progress: Progress, begin: Callable[[int | None], Flow]) -> tuple[Table, Flow]:
    """Take rows through until the target is met, where there is one.

    Each round starts over with more source rows; what was asked before is in the store. How many
    it takes follows from the answers alone, so the same answers give the same rows.
    """
    wanted, rows = progress.plan.pipeline.target, first_rows(progress.plan)
    while True:
        progress.round += 1
        flow = progress.flow = begin(rows)
        table = await flow.run()
        more = None if flow.client.stopped else next_rows(flow)
        if more is None:
            return (table if wanted is None else flow.trimmed(table, wanted)), flow
        table.clear()
        rows = more


def first_rows(plan: Plan) -> int | None:
    """Say how many source rows a run takes first; None for all there are."""
    wanted = plan.pipeline.target
    return plan.rows if wanted is None else _most(wanted, plan.rows)


def next_rows(flow: Flow) -> int | None:
    """Say with how many source rows to start over; None where there is no need, or no sense."""
    wanted, kept = flow.plan.pipeline.target, flow.tallies[-1].kept
    if wanted is None or kept >= wanted or flow.rows == flow.plan.rows:
        return None
    if _is_vain(wanted, kept, flow.taken):
        return None
    return _most(_next_rows(wanted, kept, flow.taken), flow.plan.rows)


def _most(rows: int, there: int | None) -> int:
    return rows if there is None else min(rows, there)


def _is_vain(wanted: int, kept: int, taken: int) -> bool:
    """Tell whether so few rows are kept that drawing more makes no sense."""
    if kept == 0:
        return taken >= max(MOST_DRAWN_IN_VAIN, 20 * wanted)
    return taken >= MOST_DRAWN * wanted


def _next_rows(wanted: int, kept: int, taken: int) -> int:
    """Guess how many source rows give `wanted` kept ones: for those missing a little more."""
    if kept == 0:
        return taken * 4
    return min(taken * 4, taken + math.ceil((wanted - kept) * taken / kept * 1.05))


@contextlib.contextmanager
def _interruptible(client: Client) -> Iterator[None]:
    """Let Ctrl-C (or SIGTERM) stop politely once, and at once when it comes again."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        if client.stopped is None:
            client.interrupt()
        elif task is not None:
            task.cancel()

    signals = (signal.SIGINT, signal.SIGTERM)
    added = []
    for number in signals:
        # Not every platform and thread can; there the default holds.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, interrupt)
            added.append(number)
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in added:
            loop.remove_signal_handler(number)


def _seconds(tally: Tally) -> float:
    if tally.first is None or tally.last is None:
        return 0.0
    return round(tally.last - tally.first, 3)
