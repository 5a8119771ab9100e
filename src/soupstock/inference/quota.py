"""How much a server may be asked in a minute, by its owner's settings. Knows no clock.

Two token buckets. They hold little, so that requests are spread evenly: many servers measure
shorter spans than the minute that they name. Times are passed in.
"""

BURST = 0.5
"""How many seconds' worth a bucket holds, so that a late timer loses nothing."""

_MINUTE = 60.0
_LITTLE = 1e-6


class Bucket:
    """A number in any minute, never more, unless one request alone is more than it holds."""

    def __init__(self, per_minute: int) -> None:
        self._most = self._level = max(1.0, per_minute / _MINUTE * BURST)
        # What the bucket holds and what flows in within a minute are `per_minute` together.
        self._rate = (per_minute + 1 - self._most) / _MINUTE
        self._seen = 0.0

    def ready_at(self, now: float, amount: float) -> float:
        """Return when an amount may be taken: `now`, or later."""
        self._fill(now)
        lack = min(amount, self._most) - self._level
        return now if lack <= _LITTLE else now + lack / self._rate

    def take(self, now: float, amount: float) -> None:
        """Take an amount out; a negative one is put back.

        What is more than the bucket holds is a debt, which the next requests wait for.
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
        """Return when a request of at most `tokens` may be sent."""
        return max(
            self._requests.ready_at(now, 1) if self._requests else now,
            self._tokens.ready_at(now, tokens) if self._tokens else now,
        )

    def sent(self, now: float, tokens: int) -> None:
        """Note a request of at most `tokens`."""
        if self._requests:
            self._requests.take(now, 1)
        if self._tokens:
            self._tokens.take(now, tokens)

    def settle(self, now: float, tokens: int, used: int) -> None:
        """Note what a request used that was counted as `tokens`."""
        if self._tokens:
            self._tokens.take(now, used - tokens)
