"""Show a run's progress: a live table in a terminal, a line every few seconds elsewhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soupstock.cli.display.plan import canary_rows
from soupstock.cli.display.terminal import cell, duration, new_console, new_table, short
from soupstock.inference.servers.endpoint import PICO
from soupstock.steps.step import Step

if TYPE_CHECKING:
    from soupstock.inference.model_queue import ModelAccount
    from soupstock.runs.run import Progress

PLAIN_EVERY = 10.0
"""Seconds between progress lines if there is no terminal."""


@contextmanager
def watch(progress: "Progress") -> Iterator[None]:
    """Show a run's progress as long as the `with` statement lasts."""
    console = new_console(stderr=True)
    display = _live if console.is_terminal else _lines
    with display(progress, console):
        yield


@contextmanager
def _live(progress: "Progress", console: Console) -> Iterator[None]:
    board = Board(progress)
    with Live(get_renderable=board.render, console=console, refresh_per_second=4, transient=True):
        yield


@contextmanager
def _lines(progress: "Progress", console: Console) -> Iterator[None]:
    board, stop = Board(progress), threading.Event()

    def report() -> None:
        last = ""
        while not stop.wait(PLAIN_EVERY):
            if (line := board.line()) != last:
                console.print(cell(line), soft_wrap=True)
                last = line

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    progress.listener = lambda note: console.print(cell(note), soft_wrap=True)
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Board:
    """The live table and the progress line, made from the run's own counters."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._started = time.monotonic()

    def render(self) -> RenderableType:
        """Make the table of steps and of servers."""
        parts: list[RenderableType] = [cell(note) for note in self._progress.notes[-3:]]
        if (flow := self._progress.flow) is None:
            return Group(*parts, Text("starting"))
        right = ("in", "kept", "dropped", "failed", "waiting")
        steps = new_table("step", *right, right=right)
        for tally in (*flow.tallies, *flow.canary_tallies):
            numbers = (tally.rows_in, tally.kept, tally.dropped, tally.failed, tally.waiting)
            steps.add_row(cell(short(tally.label)), *(f"{n:,}" if n else "" for n in numbers))
        parts += [steps, self._servers(), Text(self._closing(), style="dim")]
        return Group(*parts)

    def line(self) -> str:
        """Say the same in one line."""
        if (flow := self._progress.flow) is None:
            return "starting"
        asking = [
            tally for tally, step in zip(flow.tallies, flow.plan.steps, strict=False) if step.calls
        ]
        shown_tallies = (*asking, *flow.canary_tallies)
        steps = (f"{t.label} {t.ended:,} of {t.rows_in:,}" for t in shown_tallies if t.rows_in)
        return f"{', '.join(steps)}; {self._closing()}"

    def _models(self) -> "Sequence[ModelAccount]":
        client = self._progress.client
        return client.account().models if client else []

    def _servers(self) -> Table:
        right = ("in flight", "allowed", "answered", "tokens/s", "refused", "failed")
        table = new_table("server", *right, right=right)
        for one in self._models():
            numbers = (one.active, one.allowed, one.usage.calls, round(self._rate(one)))
            cells = (*numbers, one.usage.refused, one.usage.failed)
            table.add_row(cell(one.model.reference), *(f"{n:,}" if n else "" for n in cells))
        return table

    def _rate(self, model: "ModelAccount") -> float:
        return model.usage.completion_tokens / max(1.0, time.monotonic() - self._started)

    def _closing(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = sum(self._rate(one) for one in self._models())
        share = self._share()
        parts = [f"{elapsed:.0f} s", f"{rate:.0f} tokens/s", *self._costs(share), *self._yield()]
        if share is not None:
            parts.append(f"about {duration(elapsed * (1 - share) / share)} left")
        client = self._progress.client
        if client is not None and client.stopped is not None:
            parts.append("stopping: calls in flight are finished, and their answers kept")
        return ", ".join(parts)

    def _costs(self, share: float | None) -> Iterator[str]:
        """Say what this run has cost so far, and what it will cost in all."""
        cost = sum(one.cost for one in self._models()) / PICO
        if cost:
            yield f"${cost:.4f} so far" + (f", about ${cost / share:.2f} in all" if share else "")

    def _yield(self) -> Iterator[str]:
        """Say how many rows will be kept, or how many source rows the target needs."""
        flow, needed = self._progress.flow, self._progress.needed
        if needed is not None:
            yield f"the target needs about {needed:,} source rows"
        elif flow is not None and flow.rows and flow.survival is not None:
            yield f"about {flow.rows * flow.survival:,.0f} rows will be kept"

    def _canaries(self, step: Step, expected: float) -> float:
        """Estimate how many canaries a judge is asked about; their number, once it is known."""
        flow = self._progress.flow
        if flow is None or not flow.asks_canaries:
            return 0
        for tally in flow.canary_tallies:
            if tally.label.startswith(f"{step.title}:"):
                return tally.rows_in
        return canary_rows(step, expected)

    def _share(self) -> float | None:
        """Estimate which share of the work is done, from the rows that steps still expect."""
        flow = self._progress.flow
        if flow is None or not flow.rows:
            return None
        expected, due = float(flow.rows), 0.0
        done = float(sum(tally.ended for tally in flow.canary_tallies))
        for tally, step in zip(flow.tallies, flow.plan.steps, strict=False):
            if step.calls:
                done += tally.ended
                due += max(expected, tally.rows_in)
            due += self._canaries(step, expected)
            expected *= tally.kept / tally.ended if tally.ended else 1.0
        share = done / due if due else 0.0
        return share if 0 < share < 1 else None
