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
from soupstock.inference.cache import Cache
from soupstock.inference.client import Client
from soupstock.inference.servers.pool import Servers
from soupstock.reports.notebook import glance
from soupstock.rows.row import KEPT
from soupstock.rows.table import Table
from soupstock.runs.results import write_results

MOST_ROWS_PER_WANTED = 1000
"""How many source rows for each wanted row are taken before a target is given up."""

MOST_ROWS_WITHOUT_SUCCESS = 1000
"""How many source rows are taken, at least, before a target is given up because none is kept."""


@dataclass
class Progress:
    """The progress of a run, for whoever shows it; only the run writes it."""

    plan: Plan
    flow: Flow | None = None
    client: Client | None = None
    round: int = 0
    notes: list[str] = field(default_factory=list)
    listener: Callable[[str], object] | None = None
    """Gets each note when it is added."""

    @property
    def needed(self) -> int | None:
        """How many source rows the target needs by the yield so far; None if either is unknown."""
        share = self.flow.survival if self.flow else None
        target = self.plan.pipeline.target
        return math.ceil(target / share) if target and share else None

    def note(self, sentence: str) -> None:
        """Add a sentence for the person who waits."""
        self.notes.append(sentence)
        if self.listener is not None:
            self.listener(sentence)


@dataclass(frozen=True, repr=False)
class Run:
    """The result of a run: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def rows(self) -> pl.DataFrame:
        """All rows, kept and dropped, in source order."""
        return pl.read_parquet(self.folder / folder.ROWS, glob=False)

    @property
    def kept(self) -> pl.DataFrame:
        """The rows that no step dropped."""
        return self.rows.filter(KEPT)

    @property
    def dataset(self) -> Path | None:
        """The dataset's folder, for `datasets.load_dataset`; None if there is none."""
        return None if self.manifest.dataset is None else self.folder / folder.DATASET

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / folder.REPORT

    def __repr__(self) -> str:
        run = self.manifest
        return f"Run({run.name}: {run.rows:,} rows in, {run.kept:,} kept, {run.outcome})"

    def _repr_html_(self) -> str:
        return glance(self.manifest)


Turn = Callable[[], Awaitable[None]]

Watch = Callable[[Progress], contextlib.AbstractContextManager[None]]
"""Shows progress within a `with` statement."""


def run(
    plan: Plan,
    *,
    budget: Budget | None = None,
    watch: Watch | None = None,
    one_model_at_a_time: bool = False,
) -> Run:
    """Run a plan to its end, or until the budget is spent, a server fails or the user stops it.

    Models that the run serves with vLLM are served side by side, or with `one_model_at_a_time` one
    after the other.

    Every answer is cached at once, so the next run continues where this one ended. Raises
    SoupstockError if the rows cannot be written as a dataset; the answers are cached then too.
    """
    options = _Options(budget or Budget(), watch or _unwatched, one_model_at_a_time)
    return asyncio.run(_run(plan, options))


def preview(
    plan: Plan,
    show: Callable[[Run], None],
    *,
    budget: Budget | None = None,
    watch: Watch | None = None,
    one_model_at_a_time: bool = False,
) -> None:
    """Run a plan in a temporary folder that is removed after `show`; only answers are kept."""
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        into = Path(place) / "run"
        options = _Options(budget or Budget(), watch or _unwatched, one_model_at_a_time)
        show(asyncio.run(_run(plan, options, into)))


@contextlib.contextmanager
def _unwatched(_: Progress) -> Iterator[None]:
    yield


class _Options(NamedTuple):
    """How to run."""

    budget: Budget
    watch: Watch
    one_model_at_a_time: bool = False


async def _run(plan: Plan, options: _Options, into: Path | None = None) -> Run:
    root = plan.project.root
    target = into or folder.run_folder(root, plan.name, plan.fingerprint)
    progress = Progress(plan)
    with options.watch(progress), folder.locked_folder(target, progress.note) as work:
        started, clock = datetime.now(UTC), time.monotonic()
        async with Cache(folder.runs_folder(root) / folder.CACHE) as cache:
            async with (
                Servers(folder.runs_folder(root) / "logs", progress.note) as servers,
                # A preview does not wait for a batch.
                Client(cache, servers, options.budget, is_live=into is not None) as client,
                Workers(plan, work / "workers") as workers,
            ):
                progress.client = client
                turn = _turn(servers, client) if options.one_model_at_a_time else None
                if turn is None and (warning := plan.memory_conflict()):
                    progress.note(warning)

                def begin(rows: int | None) -> Flow:
                    place, asks_canaries = work / str(progress.round), into is None
                    return Flow(plan, client, place, rows, turn, asks_canaries, workers=workers)

                with _interruptible(client):
                    table, flow = await _run_to_target(progress, begin)
                _raise_broken(client, flow)
            # The cache's file is tidied up while results are written.
            cache.finish()
            timing = TimingRecord(
                started=started.isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - clock, 3),
                steps=tuple(_seconds(tally) for tally in flow.tallies),
            )
            accounts = flow.account(), client.account()
            done = Run(target, write_results(target, table, *accounts, timing))
    if into is None:
        folder.point_latest(target)
    return done


def _raise_broken(client: Client, flow: Flow) -> None:
    """Raise the error that ended the run, if it is a bug of ours or no answer came at all."""
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


async def _run_to_target(
    progress: Progress, begin: Callable[[int | None], Flow]
) -> tuple[Table, Flow]:
    """Take rows through the steps until the target is met, if there is one.

    Each round starts over with more source rows; earlier answers are in the cache. The number of
    rows depends on the answers alone, so the same answers give the same rows.
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
    """Return how many source rows a run takes in the first round; None for all."""
    wanted = plan.pipeline.target
    return plan.rows if wanted is None else _at_most(wanted, plan.rows)


def next_rows(flow: Flow) -> int | None:
    """Return how many source rows the next round takes; None if no further round helps."""
    wanted, kept = flow.plan.pipeline.target, flow.tallies[-1].kept
    if wanted is None or kept >= wanted or flow.rows == flow.plan.rows:
        return None
    if _is_hopeless(wanted, kept, flow.source_rows):
        return None
    return _at_most(_next_rows(wanted, kept, flow.source_rows), flow.plan.rows)


def _at_most(rows: int, limit: int | None) -> int:
    return rows if limit is None else min(rows, limit)


def _is_hopeless(wanted: int, kept: int, taken: int) -> bool:
    """Tell whether too few rows are kept for a further round to help."""
    if kept == 0:
        return taken >= max(MOST_ROWS_WITHOUT_SUCCESS, 20 * wanted)
    return taken >= MOST_ROWS_PER_WANTED * wanted


def _next_rows(wanted: int, kept: int, taken: int) -> int:
    """Estimate how many source rows give `wanted` kept ones, with a margin for the missing ones."""
    if kept == 0:
        return taken * 4
    return min(taken * 4, taken + math.ceil((wanted - kept) * taken / kept * 1.05))


@contextlib.contextmanager
def _interruptible(client: Client) -> Iterator[None]:
    """Let Ctrl-C (or SIGTERM) finish the calls in flight; the second time, stop at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        if client.stopped is None:
            client.interrupt()
        elif task is not None:
            task.cancel()

    signals = (signal.SIGINT, signal.SIGTERM)
    added = []
    for number in signals:
        # Some platforms and threads cannot add handlers; the default applies there.
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
