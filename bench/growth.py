"""Measure how a run's memory grows, in a process of its own."""

import multiprocessing
import resource
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from loopback import Folder
from stub import installed

from soupstock.runs import run as runs
from soupstock.runs.run import Progress

QUARTERS = 4


@dataclass(frozen=True)
class Growth:
    """Resident memory in MB."""

    quarters: tuple[int, ...]
    """After a quarter, a half, three quarters and all of the rows were read from the source."""
    peak: int
    """The highest, including when the results are written."""
    rate: float
    """Rows per second."""


def grown(rows: int) -> Growth:
    """Run a pipeline over `rows` rows."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(rows, theirs))
    process.start()
    growth: Growth = ours.recv()
    process.join()
    return growth


def _run(rows: int, pipe: Connection) -> None:
    quarters: list[int] = []
    progress: list[Progress] = []
    watch = _Watch(progress)
    threading.Thread(target=_sample, args=(rows, progress, quarters), daemon=True).start()
    with tempfile.TemporaryDirectory() as place, installed():
        plan = Folder(Path(place), rows, "http://stub/v1", settings={"concurrency": 256}).plan()
        started = time.perf_counter()
        done = runs.run(plan, watch=watch)
        seconds = time.perf_counter() - started
        assert done.manifest.rows == rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pipe.send(Growth(tuple(quarters), peak, rows / seconds))


class _Watch:
    """Keeps the run's progress; shows nothing."""

    def __init__(self, progress: list[Progress]) -> None:
        self._progress = progress

    def __call__(self, progress: Progress) -> "_Watch":
        self._progress.append(progress)
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _sample(rows: int, progress: list[Progress], quarters: list[int]) -> None:
    """Record the memory at each quarter of the rows."""
    while len(quarters) < QUARTERS:
        time.sleep(0.02)
        flow = progress[0].flow if progress else None
        if flow is not None and flow.source_rows >= rows * (len(quarters) + 1) / QUARTERS:
            quarters.append(_resident())


def _resident() -> int:
    """Return the current memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() >> 20
