"""Stream rows through row-wise steps: a row moves on as soon as its last step ends.

Decides which block of rows moves next. Later steps go first, so that rows leave before more come
in, and at most `window` rows are in flight. `flights` drives the steps that ask.

Checks ask no model and take rows by the block. If few rows come, a check pauses between two
blocks, because a block of one row costs as much as one of a hundred.

If the cache has nearly all answers, whole blocks go to worker processes, which take rows as far as
the cache reaches. The stream continues with the rows that they leave.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from soupstock.engine.flights import Flight, Flights, Indexed, SetAside, ask
from soupstock.engine.garbage_collection import infrequent_collection
from soupstock.engine.tally import Tally
from soupstock.inference.call import AnswerSource
from soupstock.rows.row import Row, is_kept
from soupstock.steps.step import Stage

WINDOW = 4096
"""The most rows that may be in flight."""

BLOCK = 512
"""The most rows that move together."""

PAUSE = 0.02
"""Seconds between two checks of a step, unless a whole block waits."""

FOUND = 4096
"""How often rows must have passed a step without asking before blocks go to workers."""

_ASKED = 64
"""How many of those passes a row that asks cancels."""


class Advanced(NamedTuple):
    """How far workers took a block of rows without asking."""

    places: Sequence[int]
    """The places of the rows that reached their end, in order."""
    rows: pl.DataFrame
    """These rows."""
    left: Sequence[tuple[int, Row, int]]
    """The other rows, each with its place and its next stage."""
    tallies: Sequence[Tally] = ()
    """The tallies of the first stages; none if no row moved."""


class Shortcut(Protocol):
    """Takes blocks of rows through the same stages elsewhere, as far as the cache reaches."""

    def has_room(self) -> bool:
        """Tell whether a block would be started soon; starts workers if there are none."""

    def take(self, block: list[Indexed], back: Callable[[Advanced], None]) -> None:
        """Take a block, and call `back` with the result, in the event loop."""

    def end(self, places: Sequence[int], rows: pl.DataFrame) -> None:
        """Put rows that reached their end where they belong."""


class Stream:
    """Takes rows through stages. `done` gets each row with its place in the source.

    While `is_full` returns true, no more rows are taken from the source. With `takes_all` rows are
    taken although the client has stopped: rows of a table would be lost otherwise.

    `shortcut` takes blocks while rows rarely ask. With `set_aside` the stream asks no model: it
    gets each row that would ask, as it came to its stage.
    """

    def __init__(  # noqa: PLR0913 - each connects to one thing outside
        self,
        stages: Sequence[Stage],
        client: AnswerSource,
        done: Callable[[int, Row], None],
        tallies: Sequence[Tally],
        *,
        is_full: Callable[[], bool] = lambda: False,
        takes_all: bool = False,
        window: int = WINDOW,
        shortcut: Shortcut | None = None,
        set_aside: SetAside | None = None,
    ) -> None:
        self.tallies = tallies
        self._stages = stages
        self._client = client
        self._done = done
        self._is_full = is_full
        self._takes_all = takes_all
        self._window = window
        self._shortcut = shortcut
        self._inbox: list[deque[Indexed]] = [deque() for _ in stages]
        self._pauses: list[float] = [0.0 for _ in stages]
        """When each stage may check again."""
        self._advanced: deque[Advanced] = deque()
        self._in_flight = 0
        self._lent = 0
        """How many blocks are with workers."""
        self._found = 0
        """How often rows passed a step without asking lately."""
        self._has_more = True
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._flights = Flights(
            client,
            tallies,
            leave=self._leave,
            note=self._note_found,
            wake=self._wake.set,
            set_aside=self._setting_aside(set_aside) if set_aside else None,
        )

    async def run(self, source: Iterator[list[Indexed]]) -> None:
        """Take every row of the source through the stages.

        If the client stops, no further row is taken from the source (but see `takes_all`), and
        the rows in flight are dropped with the reason.
        """
        with infrequent_collection():
            while True:
                if self._flights.answered:
                    self._flights.resume()
                elif self._advanced and self._shortcut is not None:
                    self._take_back(self._shortcut)
                elif (step := self._latest()) is not None:
                    self._advance(step)
                elif self._may_take:
                    self._take(source)
                elif self._in_flight or self._lent:
                    await self._wait()
                elif self._has_more and self._is_full():
                    raise RuntimeError("finished rows leave no room for those that are not")
                else:
                    return
                self._wake.clear()
                await asyncio.sleep(0)

    @property
    def _may_take(self) -> bool:
        has_room = self._in_flight < self._window and not self._is_full()
        goes_on = self._takes_all or self._client.stopped is None
        return self._has_more and has_room and goes_on

    async def _wait(self) -> None:
        """Wait for a reply, or until the pause of a check is over."""
        if not (self._flights.waiting or self._lent):
            # No other row will come.
            self._pauses = [0.0 for _ in self._stages]
            return
        pauses = [until for until, inbox in zip(self._pauses, self._inbox, strict=True) if inbox]
        timer = self._loop.call_at(min(pauses), self._wake.set) if pauses else None
        if timer is None and not self._lent:
            self._client.rest()
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    def _take(self, source: Iterator[list[Indexed]]) -> None:
        block = next(source, None)
        if block is None:
            self._has_more = False
            return
        if self._shortcut is not None and self._found >= FOUND and self._shortcut.has_room():
            self._lent += 1
            self._shortcut.take(block, self._receive)
            return
        self._in_flight += len(block)
        for index, row in block:
            self._pass_on(index, row, 0)

    def _receive(self, advanced: Advanced) -> None:
        self._advanced.append(advanced)
        self._wake.set()

    def _take_back(self, shortcut: Shortcut) -> None:
        """Continue with the rows that a worker left of a block."""
        advanced = self._advanced.popleft()
        self._lent -= 1
        for tally, further in zip(self.tallies, advanced.tallies, strict=False):
            tally.add(further)
            tally.last = self._loop.time()
            tally.first = tally.last if tally.first is None else tally.first
            self._note_found(further.ended)
        shortcut.end(advanced.places, advanced.rows)
        self._in_flight += len(advanced.left)
        for index, row, step in advanced.left:
            self._pass_on(index, row, step)

    def _note_found(self, rows: int, asked: int = 0) -> None:
        """Note how many rows passed a step without asking, and how many asked."""
        self._found = max(0, min(2 * FOUND, self._found + rows - _ASKED * asked))

    def _latest(self) -> int | None:
        """Find the last stage that has rows to work on."""
        now = self._loop.time()
        for step in range(len(self._stages) - 1, -1, -1):
            waiting = len(self._inbox[step])
            if waiting >= BLOCK or (waiting and now >= self._pauses[step]):
                return step
        return None

    def _pass_on(self, index: int, row: Row, step: int) -> None:
        """Hand a row to a stage, or out: a dropped row goes through no further stage."""
        if step == len(self._stages) or not is_kept(row):
            self._in_flight -= 1
            self._done(index, row)
        else:
            self._inbox[step].append((index, row))

    def _leave(self, index: int, row: Row, step: int) -> None:
        tally = self.tallies[step]
        tally.last = self._loop.time()
        tally.count(row["dropped_by"])
        self._pass_on(index, row, step + 1)

    def _advance(self, step: int) -> None:
        """Work on a block of the rows that wait for a stage."""
        inbox, stage, tally = self._inbox[step], self._stages[step], self.tallies[step]
        block = [inbox.popleft() for _ in range(min(BLOCK, len(inbox)))]
        tally.rows_in += len(block)
        tally.first = self._loop.time() if tally.first is None else tally.first
        rows = [row for _, row in block]
        if stage.check is not None:
            rows = stage.check(rows)
            self._pauses[step] = self._loop.time() + PAUSE
        if stage.step is None:
            self._note_found(len(block))
            for (index, _), row in zip(block, rows, strict=True):
                self._leave(index, row, step)
            return
        # A flight keeps the row as it was before the check: a row that is never asked about
        # leaves so.
        flights = [
            Flight(index, before, step, stage.step(row, ask))
            for (index, before), row in zip(block, rows, strict=True)
        ]
        tally.waiting += len(flights)
        self._flights.start(flights)

    def _setting_aside(self, set_aside: SetAside) -> SetAside:
        def withdraw(index: int, row: Row, step: int) -> None:
            self._in_flight -= 1
            set_aside(index, row, step)

        return withdraw


async def stream_rows(
    stage: Stage, rows: Sequence[Row], client: AnswerSource, tally: Tally
) -> dict[str, Row]:
    """Take a few rows through one stage. Returns those that were taken, by id."""
    ended: dict[str, Row] = {}

    def done(_: int, row: Row) -> None:
        ended[row["id"]] = row

    await Stream([stage], client, done, [tally]).run(iter([list(enumerate(rows))]))
    return ended
