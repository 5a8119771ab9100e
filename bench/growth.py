"""How much memory a run takes as it goes on, in a process of its own."""

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
    """When a quarter, a half, three quarters and all of the rows had been taken from the source."""
    peak: int
    """At most, the writing of the results included."""
    rate: float
    """Rows a second."""


def grown(rows: int) -> Growth:
    """Take so many rows through a run."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(rows, theirs))
    process.start()
    growth: Growth = ours.recv()
    process.join()
    return growth


def _run(rows: int, pipe: Connection) -> None:
    seen: list[int] = []
    progress: list[Progress] = []
    watch = _Watch(progress)
    threading.Thread(target=_sample, args=(rows, progress, seen), daemon=True).start()
    with tempfile.TemporaryDirectory() as place, installed():
        plan = Folder(Path(place), rows, "http://stub/v1", settings={"concurrency": 256}).plan()
        started = time.perf_counter()
        done = runs.run(plan, watch=watch)
        seconds = time.perf_counter() - started
        assert done.manifest.rows == rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pipe.send(Growth(tuple(seen), peak, rows / seconds))


class _Watch:
    """Hands out the run's progress; shows nothing."""

    def __init__(self, progress: list[Progress]) -> None:
        self._progress = progress

    def __call__(self, progress: Progress) -> "_Watch":
        self._progress.append(progress)
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _sample(rows: int, progress: list[Progress], seen: list[int]) -> None:
    """Note the memory at each quarter of the way."""
    while len(seen) < QUARTERS:
        time.sleep(0.02)
        flow = progress[0].flow if progress else None
        if flow is not None and flow.taken >= rows * (len(seen) + 1) / QUARTERS:
            seen.append(_resident())


def _resident() -> int:
    """Return the memory that this process has now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() >> 20
