"""Simulate, in virtual time, how well an adaptive limit finds a server's capacity.

Run `python bench/limits.py`. More requests are always waiting; the server holds at most `capacity`
of them and refuses the rest, or batches them like a GPU. Goodput is compared with an oracle that
always keeps exactly as many in flight as the server holds.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from soupstock.inference.limits import Limit

Latency = Callable[[random.Random], float]
"""Draws how long one request takes on an idle server, in seconds."""

LATENCIES: dict[str, Latency] = {
    "constant 200 ms": lambda _: 0.2,
    "uniform 200±100 ms": lambda draw: draw.uniform(0.1, 0.3),
    "lognormal, mean 200 ms": lambda draw: 0.2 * draw.lognormvariate(-0.5, 1.0),
}


class Phase(NamedTuple):
    """The seconds of a phase, and how many requests the server holds in it."""

    seconds: float
    capacity: int


@dataclass(frozen=True)
class Server:
    """A simulated model server."""

    latency: Latency
    phases: tuple[Phase, ...]
    refusal: float = 0.002
    """Seconds until a request is refused."""
    saturates_at: int | None = None
    """The number in flight above which requests only wait for each other, as on a GPU."""
    retry_after: float | None = None

    @property
    def seconds(self) -> float:
        """The seconds of the whole simulation."""
        return sum(phase.seconds for phase in self.phases)

    def capacity(self, now: float) -> int:
        """Return how many requests the server holds now."""
        ends = itertools.accumulate(phase.seconds for phase in self.phases)
        times = zip(ends, self.phases, strict=True)
        return next((phase.capacity for end, phase in times if now < end), 0)


@dataclass
class Outcome:
    """The result of a simulation."""

    answered: int = 0
    refused: int = 0
    ideal: float = 0.0
    """The answers that the oracle gets."""
    allowed: list[tuple[float, int]] = field(default_factory=list)
    """The limit over time."""

    @property
    def goodput(self) -> float:
        """Answers as a share of the oracle's."""
        return self.answered / self.ideal

    @property
    def refusals(self) -> float:
        """Refused requests as a share of all."""
        return self.refused / max(1, self.answered + self.refused)

    def highest(self, since: float = 0.0) -> int:
        """Return the highest limit from a time on."""
        return max(allowed for at, allowed in self.allowed if at >= since)

    def usual(self, since: float = 0.0) -> float:
        """Return the limit's mean over the time from `since` on."""
        late = [(at, allowed) for at, allowed in self.allowed if at >= since]
        area = sum((b[0] - a[0]) * a[1] for a, b in itertools.pairwise(late))
        return area / (late[-1][0] - late[0][0])

    def reached(self, wanted: int) -> float:
        """Return the second at which the limit first reached `wanted`."""
        return next((at for at, allowed in self.allowed if allowed >= wanted), math.inf)


class _Event(NamedTuple):
    at: float
    """When it happens; for a request that is served, in the server's own time (see _Simulation)."""
    order: int
    began: float


class _Simulation:
    """The more requests share the server, the slower its own time passes (processor sharing)."""

    def __init__(self, server: Server, limit: Limit, seed: int) -> None:
        self.server, self.limit = server, limit
        self.draw = random.Random(seed)  # noqa: S311 - seeded, to be repeatable
        self.outcome = Outcome()
        self.now = self.own = 0.0
        self.served: list[_Event] = []
        self.refused: list[_Event] = []
        self.order = itertools.count()

    def run(self) -> Outcome:
        """Advance time until the server's phases are over."""
        self.send()
        while self.now < self.server.seconds:
            answer = self.now + self.left() / self.pace() if self.served else math.inf
            refusal = self.refused[0].at if self.refused else math.inf
            pause = self.limit.resume_at if self.limit.resume_at > self.now else math.inf
            self.pass_to(min(answer, refusal, pause))
            if answer <= min(refusal, pause):
                self.outcome.answered += 1
                self.limit.finished(self.now, self.now - heapq.heappop(self.served).began)
            elif refusal <= pause:
                heapq.heappop(self.refused)
                self.outcome.refused += 1
                self.limit.refused(self.now, self.server.retry_after)
            self.outcome.allowed.append((self.now, self.limit.allowed))
            self.send()
        return self.outcome

    def left(self) -> float:
        """Return the server's own time until the next answer."""
        return max(0.0, self.served[0].at - self.own)

    def pace(self) -> float:
        """Return how fast the server's own time passes."""
        return min(1.0, (self.server.saturates_at or math.inf) / max(1, len(self.served)))

    def pass_to(self, now: float) -> None:
        """Advance time."""
        self.own += (now - self.now) * self.pace()
        self.now = now

    def send(self) -> None:
        """Send as many requests as the limit allows."""
        if self.limit.resume_at > self.now:
            return
        while len(self.served) + len(self.refused) < self.limit.allowed:
            self.limit.started(self.now)
            if len(self.served) < self.server.capacity(self.now):
                done = self.own + self.server.latency(self.draw)
                heapq.heappush(self.served, _Event(done, next(self.order), self.now))
            else:
                heard = self.now + self.server.refusal
                heapq.heappush(self.refused, _Event(heard, next(self.order), self.now))


def simulate(server: Server, limit: Limit | None = None, seed: int = 0) -> Outcome:
    """Simulate a limit with a server, and compare it with the oracle."""
    outcome = _Simulation(server, limit or Limit(), seed).run()
    draw = random.Random(seed)  # noqa: S311 - seeded, to be repeatable
    mean = sum(server.latency(draw) for _ in range(20_000)) / 20_000
    for phase in server.phases:
        used = min(phase.capacity, server.saturates_at or phase.capacity)
        outcome.ideal += used * phase.seconds / mean
    return outcome


def changing(latency: Latency, refusal: float = 0.002) -> Server:
    """Return a server whose hidden capacity goes from 4 to 32 to 8, a minute each."""
    return Server(latency, (Phase(60, 4), Phase(60, 32), Phase(60, 8)), refusal)


def roomy(latency: Latency) -> Server:
    """Return a server that holds 256."""
    return Server(latency, (Phase(60, 256),))


def batching(latency: Latency) -> Server:
    """Return a server without refusals, whose throughput is reached at 64 in flight."""
    return Server(latency, (Phase(60, 1 << 20),), saturates_at=64)


def endless(latency: Latency) -> Server:
    """Return a server that holds all requests; the oracle has 1,024 in flight."""
    return Server(latency, (Phase(60, 1024),))


def _rows(seeds: range) -> Iterator[str]:
    for name, latency in LATENCIES.items():
        servers = {
            "capacity 4→32→8": changing(latency),
            "the same, refusals take 100 ms": changing(latency, refusal=0.1),
            "capacity 256": roomy(latency),
            "capacity 1024": endless(latency),
            "GPU, saturated at 64": batching(latency),
        }
        for what, server in servers.items():
            done = [simulate(server, seed=seed) for seed in seeds]
            goodput = sorted(outcome.goodput for outcome in done)
            refusals = max(outcome.refusals for outcome in done)
            ramp = sorted(outcome.reached(256) for outcome in done)
            usual = max(outcome.usual(since=server.seconds / 2) for outcome in done)
            highest = max(outcome.highest() for outcome in done)
            yield (
                f"| {name} | {what} | {goodput[0]:.3f} | {goodput[len(done) // 2]:.3f} "
                f"| {refusals:.2%} | {ramp[-1]:.1f} | {usual:.0f} | {highest} |"
            )


def main() -> None:
    """Print a table: for each server the figures over 10 seeds."""
    print(
        "| latency | server | goodput: worst | median | refused: worst | 256 after, s: worst "
        "| usual limit in the second half: worst | highest |\n|---|---|---|---|---|---|---|---|"
    )
    for row in _rows(range(10)):
        print(row)


if __name__ == "__main__":
    main()
