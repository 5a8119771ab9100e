"""Stream rows through row-wise steps: a row goes on the moment its last step ends.

Steps are coroutines that do one thing besides computing: they ask. So they are driven by hand: run
to the question, look all questions of a block up in the store at once, and only what is not there
goes to a server. What is there costs no task and no switch. Later steps go first, so rows leave
before more come in, and no more than `window` rows are ever under way.

Checks ask nobody, and take rows by the block; where few come, they rest a moment between two, for
a block of one row costs them as much as one of a hundred.

Where the store has nearly everything, whole blocks go ahead elsewhere: to other processes, which
take rows as far as the store's answers reach. What they leave is taken on here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import polars as pl

from soupstock.engine.garbage_collection import rarely_collected
from soupstock.engine.tally import Tally
from soupstock.inference.call import Answer, Answering, Call, Failure, Reply
from soupstock.rows.rows import Row, dropped, is_kept
from soupstock.steps.step import Stage

WINDOW = 4096
"""How many rows may be under way at once."""

BLOCK = 512
"""How many rows are taken up at once."""

REST = 0.02
"""Seconds between two checks of a step, unless a whole block waits."""

FOUND = 4096
"""How often rows must have passed a step without asking before blocks go ahead elsewhere."""

_ASKED = 64
"""For how many of those each row counts that asks."""


class _Asking:
    """Hands the calls to whoever drives the step, and takes the replies."""

    __slots__ = ("calls",)

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls

    def __await__(self) -> Generator[Sequence[Call], list[Reply], list[Reply]]:
        return (yield self.calls)


def ask(calls: Sequence[Call]) -> Awaitable[list[Reply]]:
    """Ask from within a step. A step awaits nothing else."""
    return _Asking(calls)


@dataclass(slots=True)
class _Flight:
    """A row in a step that asked, and the replies it waits for."""

    index: int
    row: Row
    step: int
    course: Coroutine[Any, Any, Row]
    calls: Sequence[Call] = ()
    replies: list[Reply | None] = field(default_factory=list)
    missing: int = 0
    heard: list[tuple[Call, Reply]] = field(default_factory=list)
    """All replies so far."""


Indexed = tuple[int, Row]


class Advanced(NamedTuple):
    """How far a block of rows came without asking."""

    places: Sequence[int]
    """Those of the rows that came to their end, in order."""
    rows: pl.DataFrame
    """These rows."""
    left: Sequence[tuple[int, Row, int]]
    """The others, each with its place and the stage that it stands before."""
    tallies: Sequence[Tally] = ()
    """The accounts of the first stages; none where no row was moved."""


class Ahead(Protocol):
    """Takes blocks of rows through the same stages elsewhere, as far as the store reaches."""

    def has_room(self) -> bool:
        """Tell whether a block would be taken up soon; who is not there yet is called."""

    def take(self, block: list[Indexed], back: Callable[[Advanced], None]) -> None:
        """Take a block, and call `back` with what came of it, in the event loop."""

    def end(self, places: Sequence[int], rows: pl.DataFrame) -> None:
        """Put rows that came to their end where they belong."""


class Stream:
    """Drives rows through stages. `done` gets each row with its place in the source.

    As long as `is_full` says so, no more rows are taken up. With `takes_all` rows are taken up
    although the client has stopped: those that come from a table would be lost otherwise.

    `ahead` takes blocks elsewhere, where nobody need be asked about the rows lately. With `aside`
    nobody is asked at all: it gets each row that would ask, as it came to its stage.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that a stream is between
        self,
        stages: Sequence[Stage],
        client: Answering,
        done: Callable[[int, Row], None],
        tallies: Sequence[Tally],
        *,
        is_full: Callable[[], bool] = lambda: False,
        takes_all: bool = False,
        window: int = WINDOW,
        ahead: Ahead | None = None,
        aside: Callable[[int, Row, int], None] | None = None,
    ) -> None:
        self.tallies = tallies
        self._stages = stages
        self._client = client
        self._done = done
        self._is_full = is_full
        self._takes_all = takes_all
        self._window = window
        self._ahead = ahead
        self._aside = aside
        self._inbox: list[deque[Indexed]] = [deque() for _ in stages]
        self._rests: list[float] = [0.0 for _ in stages]
        self._answered: deque[_Flight] = deque()
        self._advanced: deque[Advanced] = deque()
        self._under_way = 0
        self._asking = 0
        """How many rows wait for answers."""
        self._gone_ahead = 0
        """How many blocks are elsewhere."""
        self._found = 0
        """How often rows passed a step without asking lately."""
        self._more = True
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    async def run(self, source: Iterator[list[Indexed]]) -> None:
        """Take every row of the source through the stages.

        When the client stops, no further row is taken from the source (but see `takes_all`), and
        those under way come out with the reason.
        """
        with rarely_collected():
            while True:
                if self._answered:
                    self._resume()
                elif self._advanced and self._ahead is not None:
                    self._take_on(self._ahead)
                elif (step := self._latest()) is not None:
                    self._advance(step)
                elif self._may_take:
                    self._take(source)
                elif self._under_way or self._gone_ahead:
                    await self._rest()
                elif self._more and self._is_full():
                    raise RuntimeError("rows that are out leave no room for those that are not")
                else:
                    return
                self._wake.clear()
                await asyncio.sleep(0)

    @property
    def _may_take(self) -> bool:
        has_room = self._under_way < self._window and not self._is_full()
        goes_on = self._takes_all or self._client.stopped is None
        return self._more and has_room and goes_on

    async def _rest(self) -> None:
        """Wait for an answer, or until rows that wait for a check have waited long enough."""
        if not (self._asking or self._gone_ahead):
            # No other row will come along.
            self._rests = [0.0 for _ in self._stages]
            return
        rests = [until for until, inbox in zip(self._rests, self._inbox, strict=True) if inbox]
        timer = self._loop.call_at(min(rests), self._wake.set) if rests else None
        if timer is None and not self._gone_ahead:
            self._client.rest()
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    def _take(self, source: Iterator[list[Indexed]]) -> None:
        block = next(source, None)
        if block is None:
            self._more = False
            return
        if self._ahead is not None and self._found >= FOUND and self._ahead.has_room():
            self._gone_ahead += 1
            self._ahead.take(block, self._receive)
            return
        self._under_way += len(block)
        for index, row in block:
            self._pass_on(index, row, 0)

    def _receive(self, advanced: Advanced) -> None:
        self._advanced.append(advanced)
        self._wake.set()

    def _take_on(self, ahead: Ahead) -> None:
        """Take on what was left of a block that went ahead."""
        advanced = self._advanced.popleft()
        self._gone_ahead -= 1
        for tally, further in zip(self.tallies, advanced.tallies, strict=False):
            tally.add(further)
            tally.last = self._loop.time()
            tally.first = tally.last if tally.first is None else tally.first
            self._note_found(further.ended)
        ahead.end(advanced.places, advanced.rows)
        self._under_way += len(advanced.left)
        for index, row, step in advanced.left:
            self._pass_on(index, row, step)

    def _note_found(self, rows: int, asked: int = 0) -> None:
        """Note how many rows passed a step without asking, and how many asked."""
        self._found = max(0, min(2 * FOUND, self._found + rows - _ASKED * asked))

    def _latest(self) -> int | None:
        """Find the last step with rows to work on."""
        now = self._loop.time()
        for step in range(len(self._stages) - 1, -1, -1):
            waiting = len(self._inbox[step])
            if waiting >= BLOCK or (waiting and now >= self._rests[step]):
                return step
        return None

    def _pass_on(self, index: int, row: Row, step: int) -> None:
        """Hand a row to a step, or out: a dropped row goes through no further step."""
        if step == len(self._stages) or not is_kept(row):
            self._under_way -= 1
            self._done(index, row)
        else:
            self._inbox[step].append((index, row))

    def _leave(self, index: int, row: Row, step: int) -> None:
        tally = self.tallies[step]
        tally.last = self._loop.time()
        tally.count(row["dropped_by"])
        self._pass_on(index, row, step + 1)

    def _advance(self, step: int) -> None:
        """Work on a block of the rows that wait for a step."""
        inbox, stage, tally = self._inbox[step], self._stages[step], self.tallies[step]
        block = [inbox.popleft() for _ in range(min(BLOCK, len(inbox)))]
        tally.rows_in += len(block)
        tally.first = self._loop.time() if tally.first is None else tally.first
        rows = [row for _, row in block]
        if stage.check is not None:
            rows = stage.check(rows)
            self._rests[step] = self._loop.time() + REST
        if stage.step is None:
            self._note_found(len(block))
            for (index, _), row in zip(block, rows, strict=True):
                self._leave(index, row, step)
            return
        # Where the step is never asked, a row comes out as it came in.
        flights = [
            _Flight(index, before, step, stage.step(row, ask))
            for (index, before), row in zip(block, rows, strict=True)
        ]
        tally.waiting += len(flights)
        self._drive([(flight, None) for flight in flights])

    def _resume(self) -> None:
        """Take the steps on whose replies have all come."""
        flights, self._answered = self._answered, deque()
        self._drive([(flight, flight.replies) for flight in flights])

    def _drive(self, flights: list[tuple[_Flight, Any]]) -> None:
        """Run steps to their next question or their end, as long as the store has the answers."""
        while flights:
            asking = [flight for flight, replies in flights if self._send(flight, replies)]
            calls = [call for flight in asking for call in flight.calls]
            found = self._client.found(calls) if calls else {}
            flights = []
            for flight in asking:
                flight.replies = [found.get(call.key) for call in flight.calls]
                flight.missing = flight.replies.count(None)
                if flight.missing:
                    self._ask(flight)
                else:
                    flights.append((flight, flight.replies))
            self._note_found(len(flights), len(asking) - len(flights))

    def _send(self, flight: _Flight, replies: list[Reply] | None) -> bool:
        """Take a step on with its replies; whether it asks again."""
        if replies is not None:
            flight.heard += zip(flight.calls, replies, strict=True)
        try:
            flight.calls = flight.course.send(replies)
        except StopIteration as end:
            self._end(flight, end.value)
            return False
        return True

    def _end(self, flight: _Flight, row: Row) -> None:
        tally = self.tallies[flight.step]
        tally.waiting -= 1
        for call, reply in flight.heard:
            if isinstance(reply, Answer):
                tally.spent_by(call.model).add(reply)
        if len(row["failures"]) > len(flight.row["failures"]):
            cause = row["failures"][-1]["cause"]
            if self._client.is_unasked(cause):
                row = dropped(flight.row, f"stopped: {cause}")
            else:
                self._failed(tally, row)
        elif flight.calls:
            # A row about which nobody is asked says nothing of whether asking fails.
            tally.recent.append(False)
        self._leave(flight.index, row, flight.step)

    def _failed(self, tally: Tally, row: Row) -> None:
        """Count a failure, and stop where a step fails for nearly everybody."""
        tally.failed += 1
        tally.recent.append(True)
        if tally.is_hopeless:
            many = f"{sum(tally.recent)} of the last {len(tally.recent)} rows"
            why = row["failures"][-1]
            message = f"{tally.label} failed for {many} ({why['cause']}: {why['message']})"
            self._client.stop(Failure("Hopeless", message))

    def _ask(self, flight: _Flight) -> None:
        """Ask the servers for what the store did not have."""
        if self._aside is not None:
            self._put_aside(flight, self._aside)
            return
        self._asking += 1
        for place, call in enumerate(flight.calls):
            if flight.replies[place] is None:
                self._client.ask(call, flight.step, self._receiver(flight, place))

    def _put_aside(self, flight: _Flight, aside: Callable[[int, Row, int], None]) -> None:
        """Give a row up as if it had never come to its step."""
        flight.course.close()
        tally = self.tallies[flight.step]
        tally.rows_in -= 1
        tally.waiting -= 1
        self._under_way -= 1
        aside(flight.index, flight.row, flight.step)

    def _receiver(self, flight: _Flight, place: int) -> Callable[[Reply], None]:
        def receive(reply: Reply) -> None:
            flight.replies[place] = reply
            flight.missing -= 1
            if not flight.missing:
                self._asking -= 1
                self._answered.append(flight)
                self._wake.set()

        return receive
