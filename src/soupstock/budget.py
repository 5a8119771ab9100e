"""What a run may spend: reserved before a call is sent, settled when it comes back.

A call is only sent when the most that it can cost still fits, so a limit is never overshot, however
many calls are in flight. Money is counted in whole millionths of a millionth of a dollar.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

TEMPLATE_TOKENS = 64
"""Tokens that a chat template may add around each message."""

_UNIT = 10**12


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; None where it is not known, which counts as nothing."""

    prompt: float | None = None
    completion: float | None = None

    def of(self, prompt: int, completion: int) -> int:
        """Return the cost in millionths of a millionth of a dollar."""
        return prompt * _per_token(self.prompt) + completion * _per_token(self.completion)


@cache
def _per_token(price: float | None) -> int:
    return math.ceil(Fraction(str(price or 0)) * (_UNIT // 10**6))


@dataclass(frozen=True, slots=True)
class Amount:
    """Calls, tokens and money together."""

    calls: int = 0
    prompt: int = 0
    completion: int = 0
    cost: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.calls + other.calls,
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cost + other.cost,
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(
            self.calls - other.calls,
            self.prompt - other.prompt,
            self.completion - other.completion,
            self.cost - other.cost,
        )

    @property
    def dollars(self) -> float:
        """Return the money in US dollars."""
        return self.cost / _UNIT


@dataclass(eq=False, slots=True)
class Reservation:
    """The most that one call can come to; given back exactly once."""

    most: Amount
    price: Price
    is_open: bool = True


class Budget:
    """The limits of a run, and what is left of them. None is no limit."""

    def __init__(
        self,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        self.max_calls = max_calls
        self.max_tokens = max_tokens
        self.max_cost = None if max_cost is None else int(Fraction(str(max_cost)) * _UNIT)
        self.spent = Amount()
        self.reserved = Amount()

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is limited."""
        return self.max_calls is None and self.max_tokens is None and self.max_cost is None

    def reserve(self, prompt: int, completion: int, price: Price) -> Reservation | None:
        """Set aside the most that a call can come to, in tokens; None where it does not fit now."""
        most = _most(prompt, completion, price)
        if not self._fits(self.spent + self.reserved + most):
            return None
        self.reserved += most
        return Reservation(most, price)

    def exhausted(self, prompt: int, completion: int, price: Price) -> bool:
        """Say whether such a call will never fit, even if all calls in flight cost nothing."""
        return not self._fits(self.spent + _most(prompt, completion, price))

    def settle(self, reservation: Reservation, prompt: int, completion: int) -> None:
        """Count what a call really came to, and give the rest back."""
        self._close(reservation)
        cost = reservation.price.of(prompt, completion)
        self.spent += Amount(1, prompt, completion, cost)

    def release(self, reservation: Reservation) -> None:
        """Give all back: the call was surely not billed."""
        self._close(reservation)

    def forfeit(self, reservation: Reservation) -> None:
        """Count the most: the call may have been billed, and nobody knows how much."""
        self._close(reservation)
        self.spent += reservation.most

    def _close(self, reservation: Reservation) -> None:
        if not reservation.is_open:
            raise ValueError("this reservation was given back already")
        reservation.is_open = False
        self.reserved -= reservation.most

    def _fits(self, total: Amount) -> bool:
        return (
            (self.max_calls is None or total.calls <= self.max_calls)
            and (self.max_tokens is None or total.prompt + total.completion <= self.max_tokens)
            and (self.max_cost is None or total.cost <= self.max_cost)
        )


def _most(prompt: int, completion: int, price: Price) -> Amount:
    return Amount(1, prompt, completion, price.of(prompt, completion))


def prompt_bound(size: int, messages: int) -> int:
    """Bound a prompt's tokens from above: no token is shorter than a byte of UTF-8.

    `size` is the messages' length in bytes; the template's own tokens are added for each.
    """
    return size + messages * TEMPLATE_TOKENS
