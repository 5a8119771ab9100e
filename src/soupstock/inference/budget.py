"""What a run may spend: reserved before a request is sent, so no limit is ever overshot.

A request first reserves the most it can cost. When its answer has come the reservation is settled
at what was used and the rest comes back. So at any moment, whatever is in flight: spent + reserved
is within the limits. Money is counted in whole pico-dollars, so that sums are exact.

Used from one thread; nothing here awaits, so within one event loop no two calls interleave.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from soupstock.inference.servers.endpoint import PICO, Price, exactly

TEMPLATE_TOKENS = 128
"""Most tokens that a chat template adds to a request: its default system message, the date."""

MESSAGE_TOKENS = 16
"""Most tokens that a chat template adds to a message: its role and the marks around it."""


def prompt_bound(messages_bytes: int, messages: int) -> int:
    """Return how many tokens a prompt can be at most, without knowing the model's tokenizer.

    A token stands for at least one byte of UTF-8 (byte-level BPE; SentencePiece falls back to
    bytes), to which the template adds its own. A bound for texts only: images are not counted.
    """
    return messages_bytes + TEMPLATE_TOKENS + MESSAGE_TOKENS * messages


class Amount(NamedTuple):
    """What requests come to."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    pico_dollars: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and completions together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        """US dollars, rounded to the nearest float."""
        return self.pico_dollars / PICO

    def plus(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.pico_dollars + other.pico_dollars,
        )

    def minus(self, other: "Amount") -> "Amount":
        """Return what is left without the other."""
        return Amount(
            self.calls - other.calls,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.pico_dollars - other.pico_dollars,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """Room in the budget for one request, until it is settled, forfeited or released."""

    price: Price
    amount: Amount


class Budget:
    """How many calls, tokens and US dollars may be spent; None sets no limit.

    Raises:
        ValueError: a limit, or a number of tokens, below 0.
    """

    def __init__(
        self,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        if any(limit is not None and limit < 0 for limit in (max_calls, max_tokens, max_cost)):
            raise ValueError("a budget's limit is at least 0")
        self.max_calls = max_calls
        self.max_tokens = max_tokens
        self.max_cost = max_cost
        self.spent = Amount()
        """What was used: `calls`, `prompt_tokens`, `completion_tokens`, `cost`."""
        self.reserved = Amount()
        """What requests in flight may still come to."""
        self._max_pico = None if max_cost is None else math.floor(exactly(max_cost) * PICO)
        self._open: set[Reservation] = set()

    def reserve(self, prompt_bound: int, completion_bound: int, price: Price) -> Reservation | None:
        """Make room for one request; None if there is none just now (see `exhausted`).

        The bounds are the most tokens that the request can come to: `prompt_bound` of its
        messages, and its `max_tokens`.
        """
        amount = _amount(prompt_bound, completion_bound, price)
        if not self._fits(self.spent.plus(self.reserved).plus(amount)):
            return None
        reservation = Reservation(price, amount)
        self._open.add(reservation)
        self.reserved = self.reserved.plus(amount)
        return reservation

    def exhausted(self, prompt_bound: int, completion_bound: int, price: Price) -> bool:
        """Tell whether a request never fits again, even if all in flight came back at nothing.

        If `reserve` returns None and this is false, waiting for a reservation may help.
        """
        return not self._fits(self.spent.plus(_amount(prompt_bound, completion_bound, price)))

    def settle(
        self,
        reservation: Reservation,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
    ) -> None:
        """Count what an answer used, and give the rest back.

        If a server reports more than the bounds, `spent` counts what it reports.
        """
        used = _amount(prompt_tokens, completion_tokens, reservation.price, cached_tokens)
        self._close(reservation)
        self.spent = self.spent.plus(used)

    def charge(self, price: Price, prompt: int, completion: int, cached: int = 0) -> None:
        """Count an answer that an earlier run asked for, whatever the limits."""
        self.spent = self.spent.plus(_amount(prompt, completion, price, cached))

    def release(self, reservation: Reservation) -> None:
        """Give all of a reservation back: the request was certainly not billed (a 429)."""
        self._close(reservation)

    def forfeit(self, reservation: Reservation) -> None:
        """Count all of a reservation as spent: what was billed is not known (a time-out)."""
        self._close(reservation)
        self.spent = self.spent.plus(reservation.amount)

    def _fits(self, amount: Amount) -> bool:
        return (
            _within(amount.calls, self.max_calls)
            and _within(amount.tokens, self.max_tokens)
            and _within(amount.pico_dollars, self._max_pico)
        )

    def _close(self, reservation: Reservation) -> None:
        if reservation not in self._open:
            raise ValueError("the reservation was closed before, or is another budget's")
        self._open.remove(reservation)
        self.reserved = self.reserved.minus(reservation.amount)


def _amount(
    prompt_tokens: int, completion_tokens: int, price: Price, cached_tokens: int = 0
) -> Amount:
    if min(prompt_tokens, completion_tokens, cached_tokens) < 0:
        raise ValueError("a number of tokens is at least 0")
    cost = price.cost(prompt_tokens, completion_tokens, min(cached_tokens, prompt_tokens))
    return Amount(1, prompt_tokens, completion_tokens, cost)


def _within(amount: int, limit: int | None) -> bool:
    return limit is None or amount <= limit
