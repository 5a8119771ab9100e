"""How much a server may be asked in a minute, as its owner says. Knows no clock: times are given.

Two token buckets. They hold little, so that requests come evenly spread and not a minute's worth at
once: many servers look at shorter spans than the minute that they name.
"""

BURST = 0.5
"""How many seconds' worth a bucket holds, so that a late timer loses nothing."""

_MINUTE = 60.0
_LITTLE = 1e-6


class Bucket:
    """So many in a minute: never more in any minute, unless one alone is more than it holds."""

    def __init__(self, per_minute: int) -> None:
        self._most = self._level = max(1.0, per_minute / _MINUTE * BURST)
        # What the bucket holds and what flows in within a minute are `per_minute` together.
        self._rate = (per_minute + 1 - self._most) / _MINUTE
        self._seen = 0.0

    def ready_at(self, now: float, amount: float) -> float:
        """Say from when on so many may be taken: `now`, or later."""
        self._fill(now)
        lack = min(amount, self._most) - self._level
        return now if lack <= _LITTLE else now + lack / self._rate

    def take(self, now: float, amount: float) -> None:
        """Take so many out (put back, where it is less than nothing).

        What is more than the bucket holds is owed, and waited for afterwards.
        """
        self._fill(now)
        self._level = min(self._most, self._level - amount)

    def _fill(self, now: float) -> None:
        self._level = min(self._most, self._level + (now - self._seen) * self._rate)
        self._seen = now


class Quota:
    """What one model may be asked in a minute; None sets no limit."""

    def __init__(self, requests: int | None = None, tokens: int | None = None) -> None:
        self._requests = Bucket(requests) if requests else None
        self._tokens = Bucket(tokens) if tokens else None

    def ready_at(self, now: float, tokens: int) -> float:
        """Say from when on a request that may come to so many tokens may be sent."""
        return max(
            self._requests.ready_at(now, 1) if self._requests else now,
            self._tokens.ready_at(now, tokens) if self._tokens else now,
        )

    def sent(self, now: float, tokens: int) -> None:
        """Note a request that may come to so many tokens."""
        if self._requests:
            self._requests.take(now, 1)
        if self._tokens:
            self._tokens.take(now, tokens)

    def settle(self, now: float, tokens: int, used: int) -> None:
        """Note what a request came to that was taken for `tokens`."""
        if self._tokens:
            self._tokens.take(now, used - tokens)
