"""Measure how well the engine keeps servers busy, and its overhead: figures of docs/benchmarks.md.

Run `python bench/engine.py` for all figures, or name some: `python bench/engine.py latency cached`.
The model server is a process of its own on loopback, and the peers run in the same minutes: trust
the ratios, not the absolute figures.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ledger
import peers
from growth import grown
from kills import IN_FLIGHT as KILLED_IN_FLIGHT
from kills import killed_runs
from loopback import Behaviour, Folder, serving
from stub import installed

from soupstock.engine.plan import Plan
from soupstock.inference.cache import Cache
from soupstock.inference.call import CallForm, Failure, Reply
from soupstock.inference.client import Client
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.runs import run as runs
from soupstock.runs.run import Run

IN_FLIGHT = 256
DELAY, JITTER = 0.2, 0.1
CAPACITIES = (4, 32, 8)
OURS, WHOLE = "soupstock", "soupstock, all told"


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    rows: int
    times: int
    stored: int
    kills: int
    runs: int
    phase: float
    grown: int


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    goal: str
    ours: str
    others: str = ""

    def __str__(self) -> str:
        return f"| {self.what} | {self.goal} | {self.ours} | {self.others} |"


class Neighbours:
    """How much of the machine other processes used meanwhile: how reliable a figure is."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.perf_counter(), _busy(), sum(os.times()[:4])

    @property
    def share(self) -> float:
        """The share of CPU time of other processes; our children count when they have ended."""
        seconds = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        own = sum(os.times()[:4]) - self._own
        return max(0.0, (_busy() - self._busy - own) / seconds)


def _busy() -> float:
    """Return the busy seconds of all processors since the machine started."""
    times = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
    user, nice, system, _, _, interrupts, soft, steal = map(int, times)
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def _ran(plan: Plan) -> tuple[Run, float]:
    """Run a plan; return the run, and the seconds that it took, including all files."""
    started = time.perf_counter()
    done = runs.run(plan)
    return done, time.perf_counter() - started


def _raced(behaviour: Behaviour, options: Options) -> dict[str, list[float]]:
    """Run soupstock and the peers by turns on one server; return the seconds of each.

    Ours end when the last row is done; WHOLE ends when dataset, card and report are written, too,
    which no peer does.
    """
    seconds: dict[str, list[float]] = {name: [] for name in (OURS, WHOLE, *peers.PEERS)}
    with serving(behaviour) as server:
        for _ in range(options.times):
            for name, drive in peers.PEERS.items():
                seconds[name].append(asyncio.run(drive(server.base_url, options.rows, IN_FLIGHT)))
            with tempfile.TemporaryDirectory() as place:
                settings = {"concurrency": IN_FLIGHT}
                folder = Folder(Path(place), options.rows, server.base_url, settings=settings)
                done, took = _ran(folder.plan())
            assert done.manifest.kept == options.rows
            seconds[OURS].append(done.manifest.timing.seconds)
            seconds[WHOLE].append(took)
    return seconds


def _shown(all_: dict[str, list[float]], form: str) -> tuple[str, str]:
    """Return a figure of our values, and of the peers'."""
    spread = {name: _spread(values, form) for name, values in all_.items()}
    ours = f"{spread.pop(OURS)}; with dataset and report {spread.pop(WHOLE)}"
    return ours, ", ".join(f"{name} {value}" for name, value in spread.items())


def _spread(values: list[float], form: str) -> str:
    """Format the median, with the lowest and the highest of several values."""
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{form}} to {max(values):{form}})"


def latency(options: Options) -> Iterator[Figure]:
    """Two calls per row, 200±100 ms each: the share of the ideal throughput."""
    seconds = _raced(Behaviour(DELAY, JITTER), options)
    ideal = 2 * options.rows * DELAY / IN_FLIGHT
    shares = {name: [ideal / took for took in all_] for name, all_ in seconds.items()}
    what = f"{options.rows:,} rows x 2 calls, 200±100 ms, {IN_FLIGHT} in flight: share of the ideal"
    yield Figure(f"{what} {ideal:.1f} s", "≥ .85", *_shown(shares, ".2f"))


def overhead(options: Options) -> Iterator[Figure]:
    """The same without latency: rows per second beside raw aiohttp."""
    seconds = _raced(Behaviour(), options)
    base = seconds.pop("raw aiohttp")
    ratios = {
        name: [raw / took for raw, took in zip(base, all_, strict=True)]
        for name, all_ in seconds.items()
    }
    rate = options.rows / statistics.median(base)
    what = f"the same at zero latency: rows/s against raw aiohttp ({rate:,.0f} rows/s)"
    yield Figure(what, "≥ .5", *_shown(ratios, ".2f"))


def overlap(options: Options) -> Iterator[Figure]:
    """A writer's and a judge's server: time beside one column after the other."""
    ratios = []
    behaviour = Behaviour(DELAY, JITTER)
    for _ in range(options.times):
        with (
            tempfile.TemporaryDirectory() as place,
            serving(behaviour) as one,
            serving(behaviour) as two,
        ):
            settings = {"concurrency": 32}
            by_column = Folder(
                Path(place) / "columns", options.rows, one.base_url, two.base_url, settings
            )
            first = _ran(by_column.plan(is_judged=False))[1]
            second = _ran(by_column.plan())[1]
            streamed = Folder(
                Path(place) / "streamed", options.rows, one.base_url, two.base_url, settings
            )
            ratios.append((first + second) / _ran(streamed.plan())[1])
    yield Figure(
        "two servers (writer, judge), 32 in flight each: time of column by column against ours",
        "≥ 1.8",
        _spread(ratios, ".2f"),
    )


def capacity(options: Options) -> Iterator[Figure]:
    """A server whose hidden capacity changes: answers beside an oracle's, and refusals."""
    with tempfile.TemporaryDirectory() as place, serving(Behaviour(DELAY, JITTER)) as server:
        server.hold(CAPACITIES[0])

        async def answered() -> int:
            async with (
                Cache(Path(place) / "calls.sqlite") as cache,
                Servers(Path(place), print) as servers,
                Client(cache, servers) as client,
            ):
                _keep_asking(client, server.base_url)
                for held in CAPACITIES:
                    server.hold(held)
                    await asyncio.sleep(options.phase)
                calls = client.usage.calls
                client.stop(Failure("Enough", "the time is up"))
                return calls

        answers = asyncio.run(answered())
        received = server.received()
    oracle = sum(CAPACITIES) * options.phase / DELAY
    refused = received.refusals / received.requests
    yield Figure(
        f"hidden capacity 4→32→8, {options.phase:g} s each: answers against an oracle's; refused",
        "≥ .95; ≤ 2 %",
        f"{answers / oracle:.2f}; {refused:.1%}",
    )


def _keep_asking(client: Client, base_url: str, waiting: int = 2048) -> None:
    """Make sure that calls are always waiting."""
    form = CallForm(Model("bench", "tester", base_url=base_url), {"max_tokens": 64})
    number = 0

    def ask(_: Reply | None = None) -> None:
        nonlocal number
        if client.stopped is None:
            number += 1
            messages = [{"role": "user", "content": f"question {number}"}]
            client.ask(form.call(messages, str(number)), 0, ask)

    for _ in range(waiting):
        ask()


def cached(options: Options) -> Iterator[Figure]:
    """Everything is in the cache: the speed of a run without calls."""
    with tempfile.TemporaryDirectory() as place:
        plan = Folder(
            Path(place), options.stored, "http://stub/v1", settings={"concurrency": 256}
        ).plan()
        with installed():
            runs.run(plan)
        rates = []
        for _ in range(options.times):
            done, took = _ran(plan)
            assert done.manifest.paid.calls == 0
            assert done.manifest.paid.found == 2 * options.stored
            rates.append(options.stored / took)
    yield Figure(
        f"everything in the cache: {options.stored:,} rows x 2 calls run again, rows/s",
        "≥ 20,000",
        _spread(rates, ",.0f"),
    )


def faults(options: Options) -> Iterator[Figure]:
    """Random errors, and rows that always fail: are all other rows complete?"""
    behaviour = Behaviour(0.01, 0.005, errors=0.05, lost=0.01)
    with tempfile.TemporaryDirectory() as place, serving(behaviour) as server:
        settings = {"concurrency": IN_FLIGHT}
        done = runs.run(
            Folder(Path(place), options.rows, server.base_url, settings=settings).plan()
        )
        seen = server.received()
        rows = done.rows
    kept = rows.filter(rows["dropped_by"].list.len() == 0)
    named = rows.filter(rows["failures"].list.len() > 0)
    healthy = options.rows - seen.lost
    assert kept["quality"].null_count() == 0
    yield Figure(
        f"5 % random 500s, {seen.lost} of {options.rows:,} rows always fail: healthy rows kept; "
        "failures named",
        "100 %; each",
        f"{kept.height / healthy:.0%}; {named.height} of {seen.lost}",
    )


def kills(options: Options) -> Iterator[Figure]:
    """SIGKILL at random moments, then run again."""
    done = killed_runs(options.kills)
    same = sum(one.is_same for one in done)
    most = max(one.repeated for one in done)
    total, asked = sum(one.repeated for one in done), sum(one.asked for one in done)
    yield Figure(
        f"SIGKILL at {options.kills} random moments, then run again: same bytes; most calls asked "
        f"twice ({KILLED_IN_FLIGHT} in flight)",
        f"all; ≤ {KILLED_IN_FLIGHT}",
        f"{same} of {len(done)}; {most} ({total} of {asked:,} in all)",
    )


def budget(options: Options) -> Iterator[Figure]:
    """Random limits, errors and time-outs with 256 in flight: is any limit exceeded?"""
    with tempfile.TemporaryDirectory() as place:
        done = [ledger.run(seed, Path(place)) for seed in range(options.runs)]
    over = sum(not one.is_within for one in done)
    used = statistics.median(one.share for one in done if one.share)
    yield Figure(
        f"budgets, {options.runs:,} random runs, up to {max(one.in_flight for one in done)} in "
        "flight, a simulated server that bills: overshoots",
        "0",
        f"{over} (billed: {used:.0%} of the limit, median)",
    )


def memory(options: Options) -> Iterator[Figure]:
    """Many source rows and a stub instead of a server: does memory grow?"""
    growth = grown(options.grown)
    yield Figure(
        f"{options.grown:,} source rows x 2 calls, a stub as server: memory at each quarter; peak",
        "flat; ≤ 1.5 GB",
        f"{', '.join(f'{megabytes:,}' for megabytes in growth.quarters)} MB; {growth.peak:,} MB",
        f"{growth.rate:,.0f} rows/s",
    )


MEASURES: dict[str, Callable[[Options], Iterator[Figure]]] = {
    measure.__name__: measure
    for measure in (latency, overhead, overlap, capacity, cached, faults, kills, budget, memory)
}


def main() -> None:
    """Measure, and print each figure as a line of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(MEASURES))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--times", type=int, default=3, help="how often to measure times")
    parser.add_argument("--stored", type=int, default=100_000, help="rows for `cached`")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--runs", type=int, default=1000, help="runs for `budget`")
    parser.add_argument("--phase", type=float, default=60.0, help="seconds for `capacity`")
    parser.add_argument("--grown", type=int, default=1_000_000, help="rows for `memory`")
    arguments = vars(parser.parse_args())
    chosen = arguments.pop("figures") or list(MEASURES)
    if unknown := set(chosen) - set(MEASURES):
        parser.error(
            f"no figure is called {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}"
        )
    options = Options(**arguments)
    print("| what | goal | soupstock | others | machine taken by others |\n|---|---|---|---|---|")
    for name in chosen:
        neighbours = Neighbours()
        for figure in MEASURES[name](options):
            print(figure, f"{neighbours.share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
