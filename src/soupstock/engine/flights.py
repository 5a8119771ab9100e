"""Drive the coroutines of steps from question to question. Knows no source and no window.

A step is a coroutine that only computes and asks, so it is driven by hand: run it to its question,
look up all questions of a block in the cache at once, and send only the calls that are not there
to a server. A cached answer costs no task and no switch of the event loop.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from soupstock.engine.tally import Tally
from soupstock.inference.call import Answer, AnswerSource, Call, Failure, Reply
from soupstock.rows.row import Row, dropped

Indexed = tuple[int, Row]
"""A row with its place in the source."""

SetAside = Callable[[int, Row, int], None]
"""Takes a row that would ask: its place, the row as it came to its stage, and the stage."""


class _Question:
    """Hands calls to whoever drives the step, and returns the replies."""

    __slots__ = ("calls",)

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls

    def __await__(self) -> Generator[Sequence[Call], list[Reply], list[Reply]]:
        return (yield self.calls)


def ask(calls: Sequence[Call]) -> Awaitable[list[Reply]]:
    """Ask from within a step. A step awaits nothing else."""
    return _Question(calls)


@dataclass(slots=True)
class Flight:
    """A row within a stage, and the replies it waits for."""

    index: int
    row: Row
    """The row as it came to the stage."""
    stage: int
    course: Coroutine[Any, Any, Row]
    calls: Sequence[Call] = ()
    replies: list[Reply | None] = field(default_factory=list)
    missing: int = 0
    """How many of these replies are still to come."""
    heard: list[tuple[Call, Reply]] = field(default_factory=list)
    """All earlier calls with their replies."""


class Flights:
    """The rows that are within stages which ask.

    `leave` gets each row when its stage ends, and `note` how many rows of a block passed without
    asking and how many asked. `wake` is called when a row has all its replies. With `set_aside` no
    call is sent: it gets each row that would ask.
    """

    def __init__(  # noqa: PLR0913 - each connects to one thing outside
        self,
        client: AnswerSource,
        tallies: Sequence[Tally],
        *,
        leave: Callable[[int, Row, int], None],
        note: Callable[[int, int], None],
        wake: Callable[[], None],
        set_aside: SetAside | None = None,
    ) -> None:
        self._client = client
        self._tallies = tallies
        self._leave = leave
        self._note = note
        self._wake = wake
        self._set_aside = set_aside
        self.answered: deque[Flight] = deque()
        """Rows that have all their replies."""
        self.waiting = 0
        """How many rows wait for replies."""

    def start(self, flights: Sequence[Flight]) -> None:
        """Start the steps of a block of rows."""
        self._drive([(flight, None) for flight in flights])

    def resume(self) -> None:
        """Continue the steps that have all their replies."""
        flights, self.answered = self.answered, deque()
        self._drive([(flight, flight.replies) for flight in flights])

    def _drive(self, flights: list[tuple[Flight, Any]]) -> None:
        """Run steps to their next question or their end, as long as the cache has the answers."""
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
            self._note(len(flights), len(asking) - len(flights))

    def _send(self, flight: Flight, replies: list[Reply] | None) -> bool:
        """Continue a step with its replies. Returns whether it asks again."""
        if replies is not None:
            flight.heard += zip(flight.calls, replies, strict=True)
        try:
            flight.calls = flight.course.send(replies)
        except StopIteration as end:
            self._end(flight, end.value)
            return False
        return True

    def _end(self, flight: Flight, row: Row) -> None:
        tally = self._tallies[flight.stage]
        tally.waiting -= 1
        for call, reply in flight.heard:
            if isinstance(reply, Answer):
                tally.spent_by(call.model).add(reply)
        if len(row["failures"]) > len(flight.row["failures"]):
            cause = row["failures"][-1]["cause"]
            if self._client.is_unasked(cause):
                row = dropped(flight.row, f"stopped: {cause}")
            else:
                self._fail(tally, row)
        elif flight.calls:
            # A row that asked nothing does not show whether asking works.
            tally.recent.append(False)
        self._leave(flight.index, row, flight.stage)

    def _fail(self, tally: Tally, row: Row) -> None:
        """Count a failure, and stop if a step fails for nearly all rows."""
        tally.failed += 1
        tally.recent.append(True)
        if tally.is_hopeless:
            many = f"{sum(tally.recent)} of the last {len(tally.recent)} rows"
            why = row["failures"][-1]
            message = f"{tally.label} failed for {many} ({why['cause']}: {why['message']})"
            self._client.stop(Failure("Hopeless", message))

    def _ask(self, flight: Flight) -> None:
        """Send the calls that the cache cannot answer."""
        if self._set_aside is not None:
            self._withdraw(flight, self._set_aside)
            return
        self.waiting += 1
        for place, call in enumerate(flight.calls):
            if flight.replies[place] is None:
                self._client.ask(call, flight.stage, self._receiver(flight, place))

    def _withdraw(self, flight: Flight, set_aside: SetAside) -> None:
        """Set a row aside as if it had never come to its stage."""
        flight.course.close()
        tally = self._tallies[flight.stage]
        tally.rows_in -= 1
        tally.waiting -= 1
        set_aside(flight.index, flight.row, flight.stage)

    def _receiver(self, flight: Flight, place: int) -> Callable[[Reply], None]:
        def receive(reply: Reply) -> None:
            flight.replies[place] = reply
            flight.missing -= 1
            if not flight.missing:
                self.waiting -= 1
                self.answered.append(flight)
                self._wake()

        return receive
