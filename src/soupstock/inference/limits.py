"""How many requests one server may have in flight: found by trial, because servers do not say.

Knows no clock, no loop and no requests: times are passed in, so that it can be simulated
(bench/limits.py). It climbs until one of two things stands in the way, and remembers where:

- *The server refuses* (429, 503). A refusal says how many requests the server does hold, so the
  limit becomes that number: one less for each refusal. The slow start, and the careful first steps
  past the level where refusals began, are those of TCP (RFC 5681; CUBIC, RFC 9438).
- *More requests bring no more answers.* Throughput is compared from round to round, as BBR does to
  find a full pipe (draft-ietf-ccwg-bbr, 5.3.1). Latency alone, as in Netflix's concurrency-limits
  (Vegas, Gradient2), misleads here: it varies with the answers' lengths, and batching servers trade
  it for throughput.

At such a ceiling the limit rests, and now and then tries whether there is room for more.
"""

import math
from typing import NamedTuple

PATIENCE = 10
"""Latencies to rest at a ceiling before looking past it."""

RARELY = 50
"""Answers between two looks past a ceiling of refusals: refusals stay below 1 in this many."""

_LONGEST_PATIENCE = 160.0
_SHORTEST_REST = 1.0
_LEAST_OUTCOMES = 32
_WORTHWHILE = 0.25
_ENOUGH = 0.95
_STEP = 1.5
_USED = 0.8
_SMOOTHING = 1 / 16


class _Level(NamedTuple):
    """What a number of requests in flight brought, on average over a round."""

    in_flight: float
    rate: float
    """Answers per second."""


class _Round:
    """Counts about one round trip: how many were in flight, and what came of them."""

    def __init__(self, now: float, limit: float) -> None:
        self.began = self._seen = now
        self._wanted = max(_LEAST_OUTCOMES, limit)
        self.answers = 0
        self.failures = 0
        self._area = 0.0

    def passed(self, now: float, in_flight: int) -> None:
        """Note that `in_flight` requests were under way until `now`."""
        self._area += in_flight * (now - self._seen)
        self._seen = now

    def is_over(self, latency: float) -> bool:
        """Tell whether a round trip has passed, and enough ended to tell anything."""
        enough = self.answers + self.failures >= self._wanted
        return enough and self._seen - self.began >= latency > 0

    def level(self) -> _Level:
        """Return what the round brought."""
        seconds = self._seen - self.began
        return _Level(self._area / seconds, self.answers / seconds)


class Limit:
    """The number of requests that one server may have in flight.

    Tell it of each request when it starts (`started`) and when it ends, in exactly one of four
    ways (`finished`, `refused`, `failed`, `ended`). All times are in seconds on one clock that
    never goes back. With `fixed` the number stays as it is; only pauses still apply.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, fixed: int | None = None, start: int = 8, most: int = 1024) -> None:
        if min(start, most, 1 if fixed is None else fixed) < 1:
            raise ValueError("a limit is at least 1")
        self.in_flight = 0
        self.resume_at = 0.0
        """Nothing may start before: the server said so (Retry-After), or refuses everything."""
        self._fixed = fixed
        self._most = most
        self._limit = float(min(start, most))
        self._ceiling = float(most)
        self._is_looking = False
        self._is_held = False
        self._is_refused = False
        self._trial: float | None = None
        self._is_new = False
        self._patience = float(PATIENCE)
        self._rests_from = 0.0
        self._rested = 0
        self._latency = 0.0
        self._refused_at = -math.inf
        self._cut_at = -math.inf
        self._floor = 1.0
        self._refusals_in_a_row = 0
        self._longest_pause = 0.0
        self._round: _Round | None = None
        self._levels: list[_Level] = []

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._fixed or int(self._limit)

    def started(self, now: float) -> None:
        """Note that a request was sent."""
        self._measured(now)
        self.in_flight += 1

    def finished(self, now: float, seconds: float) -> None:
        """Note an answer that took `seconds`."""
        measured = self._measured(now)
        is_used = self.in_flight * 2 > self._limit
        self._ended()
        measured.answers += 1
        self._refusals_in_a_row = 0
        self._latency += (seconds - self._latency) * (_SMOOTHING if self._latency else 1)
        self._rested += 1
        if is_used and now - self._refused_at > self._latency:
            self._climb(now)
        self._judge(now)

    def refused(self, now: float, retry_after: float | None = None) -> None:
        """Note a 429 or 503, with the pause in seconds that the server asks for."""
        self._measured(now)
        self._ended()
        self._pause(now, retry_after)
        if now - self._cut_at > self._latency:
            # However many are refused at once, a round trip at most halves what is remembered.
            self._cut_at, self._floor = now, min(self._limit, self._ceiling) / 2
        held = float(max(1, self.in_flight))
        self._limit = min(self._limit, held)
        self._ceiling = max(self._limit, min(self._ceiling, max(held, math.ceil(self._floor))))
        self._refused_at = now
        self._is_refused, self._patience = True, float(PATIENCE)
        self._rest(now)

    def failed(self, now: float) -> None:
        """Note any other failure. A few say nothing about the load; if most fail, it is halved."""
        self._measured(now).failures += 1
        self._ended()
        self._judge(now)

    def ended(self, now: float) -> None:
        """Note a reply that says nothing about the load: the request itself was at fault."""
        self._measured(now)
        self._ended()

    def _ended(self) -> None:
        self.in_flight = max(0, self.in_flight - 1)

    def _measured(self, now: float) -> _Round:
        if self._round is None:
            self._round = _Round(now, self._limit)
        self._round.passed(now, self.in_flight)
        return self._round

    def _pause(self, now: float, retry_after: float | None) -> None:
        self._refusals_in_a_row += 1
        pause = retry_after or 0.0
        if self.in_flight == 0:
            # Without a pause, a server that refuses even one request would be asked without end.
            pause = max(pause, min(30.0, 0.25 * 2 ** min(self._refusals_in_a_row, 10)))
        if pause > 0:
            self._longest_pause = pause
            self.resume_at = max(self.resume_at, now + pause)

    def _rest(self, now: float) -> None:
        """Stay where it is for a while."""
        self._is_looking = self._is_held = False
        self._trial = None
        self._rests_from, self._rested = now, 0
        self._round = None

    def _climb(self, now: float) -> None:
        """Raise the limit after an answer: in all about twofold per round trip."""
        if self._is_held or self._trial is not None:
            return
        if self._limit < self._ceiling:
            self._limit = min(self._ceiling, self._limit + 1)
        elif self._is_looking:
            # Slowly at first, faster with the distance: whatever refused may still be near.
            self._limit += (self._limit - self._ceiling) / self._limit
        elif self._ceiling < self._most and self._is_rested(now):
            self._look(now)
        self._limit = min(self._limit, self._most)

    def _is_rested(self, now: float) -> bool:
        # A look may cost a pause, so pauses are kept to a small share of the time.
        rest = max(_SHORTEST_REST, self._patience * self._latency, 20 * self._longest_pause)
        return self._rested >= RARELY and now - self._rests_from >= rest

    def _look(self, now: float) -> None:
        """Go a step past the ceiling: one request where refusals began, else half as much again."""
        self._longest_pause = 0.0
        if self._is_refused:
            self._is_looking = True
            self._limit = self._ceiling + 1
            self._round = _Round(now, self._limit)
        else:
            self._try(self._ceiling * _STEP, now)

    def _judge(self, now: float) -> None:
        """At the end of a round, see what its level brought in answers per second."""
        ended = self._round
        if ended is None or not ended.is_over(self._latency):
            return
        self._round = _Round(now, self._limit)
        if ended.failures > ended.answers:
            self._limit = max(1.0, self._limit / 2)
            self._levels.clear()
        elif self._trial is not None:
            self._weigh(ended.level(), now)
        elif self._limit < self._ceiling or self._is_looking:
            self._compare(ended.level(), now)
        else:
            self._levels = [_mixed([*self._levels[:1], ended.level()])]

    def _compare(self, level: _Level, now: float) -> None:
        """While climbing: go on if it is worth it, else wait a round, then settle."""
        best = max(self._levels, key=lambda level: level.rate, default=None)
        self._levels.append(level)
        if best is None or level.in_flight < best.in_flight * 1.2:
            self._is_held = False
        elif level.rate >= best.rate * (level.in_flight / best.in_flight) ** _WORTHWHILE:
            self._is_held = False
            if self._is_looking and self._limit > self._ceiling * _STEP:
                self._is_looking, self._ceiling = False, float(self._most)
        elif self._is_held:
            self._settle(now)
        else:
            # Answers lag behind a growing limit by a round trip: wait for them before judging.
            self._is_held = True

    def _settle(self, now: float) -> None:
        """Go back to the lowest level that brought as many answers, and try a lower one still."""
        base = max(self._levels[-2:], key=lambda level: level.rate)
        enough = [n for n, rate in self._levels if rate >= base.rate * _ENOUGH]
        self._limit = self._ceiling = max(1.0, min([*enough, base.in_flight]))
        self._is_refused = self._is_looking = self._is_held = False
        self._patience = float(PATIENCE)
        self._levels = [base]
        self._try(self._ceiling / _STEP, now)

    def _try(self, limit: float, now: float) -> None:
        """Hold a level for two rounds; the first only lets the answers of the old one come in."""
        before, self._limit = self._limit, min(max(1.0, limit), self._most)
        self._trial, self._is_new = self._limit, True
        self._round = _Round(now, max(before, self._limit))

    def _weigh(self, level: _Level, now: float) -> None:
        """Decide on a level that is tried."""
        if self._is_new:
            self._is_new = False
            self._round = _Round(now, 2 * self._limit)
            return
        gain = level.rate / self._levels[0].rate if self._levels else 1.0
        is_higher = self._limit > self._ceiling
        self._trial = None
        if level.in_flight < self._limit * _USED:
            self._return(now)
        elif is_higher and gain >= _STEP**_WORTHWHILE:
            self._ceiling = float(self._most)
            self._levels.append(level)
        elif is_higher:
            self._try(self._ceiling / _STEP, now)
        elif gain >= _ENOUGH and self._limit > 1:
            self._ceiling = self._limit
            self._try(self._ceiling / _STEP, now)
        else:
            self._return(now)

    def _return(self, now: float) -> None:
        self._limit = self._ceiling
        self._patience = min(_LONGEST_PATIENCE, self._patience * 2)
        self._rest(now)


def _mixed(levels: list[_Level]) -> _Level:
    count = len(levels)
    return _Level(sum(n for n, _ in levels) / count, sum(rate for _, rate in levels) / count)
