"""A budget is never overshot, whatever is in flight, and nothing reserved is lost."""

import heapq
import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.inference.budget import MESSAGE_TOKENS, Budget, Reservation, prompt_bound
from soupstock.inference.servers.endpoint import Price

PRICE = Price(0.15, 0.6)

Ends = st.tuples(st.sampled_from(["settle", "release", "forfeit"]), st.floats(0, 1))
Moves = st.lists(st.one_of(st.tuples(st.integers(0, 500), st.integers(0, 500)), Ends), max_size=200)


def is_within(budget: Budget) -> bool:
    """Whether all that is spent, and all that may still be, is within the limits."""
    most = budget.spent.plus(budget.reserved)
    return (
        (budget.max_calls is None or most.calls <= budget.max_calls)
        and (budget.max_tokens is None or most.tokens <= budget.max_tokens)
        and (budget.max_cost is None or most.cost <= budget.max_cost)
    )


def end(budget: Budget, reservation: Reservation, how: str, share: float) -> None:
    if how == "settle":
        reserved = reservation.amount
        prompt, completion = reserved.prompt_tokens, reserved.completion_tokens
        budget.settle(reservation, round(prompt * share), round(completion * share))
    elif how == "release":
        budget.release(reservation)
    else:
        budget.forfeit(reservation)


@given(
    moves=Moves,
    max_calls=st.none() | st.integers(0, 40),
    max_tokens=st.none() | st.integers(0, 10_000),
    max_cost=st.none() | st.floats(0, 0.005),
)
def test_no_interleaving_overshoots_and_all_reservations_come_back(
    moves: list[tuple[int, int] | tuple[str, float]],
    max_calls: int | None,
    max_tokens: int | None,
    max_cost: float | None,
) -> None:
    budget = Budget(max_calls, max_tokens, max_cost)
    open_: list[Reservation] = []
    for first, second in moves:
        if isinstance(first, int):
            reservation = budget.reserve(first, int(second), PRICE)
            open_.extend([reservation] if reservation else [])
        elif open_:
            end(budget, open_.pop(int(second * (len(open_) - 1))), first, second)
        assert is_within(budget)
    for reservation in open_:
        budget.release(reservation)
    assert set(budget.reserved) == {0}
    assert is_within(budget)


@dataclass
class Run:
    """A simulated run: calls of random sizes, up to 256 in flight, each ending somehow."""

    budget: Budget
    draw: random.Random
    calls: int
    overshoots: int = 0

    def go(self) -> None:
        under_way: list[tuple[float, int, Reservation]] = []
        now, sent, bounds = 0.0, 0, self.bounds()
        while sent < self.calls and not self.budget.exhausted(*bounds, PRICE):
            reservation = self.budget.reserve(*bounds, PRICE) if len(under_way) < 256 else None
            if reservation:
                sent, bounds = sent + 1, self.bounds()
                done = now + self.draw.expovariate(5)
                heapq.heappush(under_way, (done, sent, reservation))
            else:
                now, _, ended = heapq.heappop(under_way)
                self.end(ended)
        for _, _, ended in under_way:
            self.end(ended)

    def bounds(self) -> tuple[int, int]:
        return self.draw.randrange(20, 2000), self.draw.randrange(1, 1024)

    def end(self, reservation: Reservation) -> None:
        how = self.draw.choices(["settle", "release", "forfeit"], [90, 5, 5])[0]
        end(self.budget, reservation, how, self.draw.random())
        self.overshoots += not is_within(self.budget)


def test_a_thousand_runs_with_256_in_flight_overshoot_nothing() -> None:
    overshoots = leaks = 0
    for seed in range(1000):
        draw = random.Random(seed)  # noqa: S311 - seeded, to be repeatable
        budget = Budget(
            max_calls=draw.choice([None, draw.randrange(400)]),
            max_tokens=draw.choice([None, draw.randrange(400_000)]),
            max_cost=draw.choice([None, draw.random() / 10]),
        )
        run = Run(budget, draw, calls=300)
        run.go()
        overshoots += run.overshoots
        leaks += set(budget.reserved) != {0}
    assert (overshoots, leaks) == (0, 0)


def test_what_does_not_fit_now_may_fit_when_a_reservation_is_settled() -> None:
    budget = Budget(max_tokens=100)
    first = budget.reserve(30, 50, PRICE)
    assert first is not None
    assert budget.reserve(30, 50, PRICE) is None
    assert not budget.exhausted(30, 50, PRICE)
    budget.settle(first, 5, 5)
    assert budget.reserve(30, 50, PRICE) is not None


def test_what_does_not_fit_beside_what_is_spent_never_fits_again() -> None:
    budget = Budget(max_calls=1)
    first = budget.reserve(1, 1, PRICE)
    assert first is not None
    assert not budget.exhausted(1, 1, PRICE)
    budget.forfeit(first)
    assert budget.exhausted(1, 1, PRICE)


def test_money_adds_up_exactly() -> None:
    budget = Budget(max_cost=0.3)
    for _ in range(3):
        reservation = budget.reserve(0, 100_000, Price(0.0, 1.0))
        assert reservation is not None
        budget.forfeit(reservation)
    assert budget.spent.cost == 0.3
    assert budget.exhausted(0, 1, Price(0.0, 1.0))


def test_a_refused_call_is_not_counted() -> None:
    budget = Budget(max_calls=1)
    first = budget.reserve(10, 10, PRICE)
    assert first is not None
    budget.release(first)
    assert set(budget.spent) == {0}
    assert budget.reserve(10, 10, PRICE) is not None


def test_usage_beyond_the_bound_is_recorded_as_it_is() -> None:
    budget = Budget(max_tokens=20)
    reservation = budget.reserve(10, 10, PRICE)
    assert reservation is not None
    budget.settle(reservation, 15, 10)
    assert (budget.spent.prompt_tokens, budget.spent.completion_tokens) == (15, 10)
    assert set(budget.reserved) == {0}
    assert budget.exhausted(0, 0, PRICE)


def test_a_reservation_is_closed_once() -> None:
    budget = Budget()
    reservation = budget.reserve(1, 1, PRICE)
    assert reservation is not None
    budget.release(reservation)
    with pytest.raises(ValueError, match="closed before"):
        budget.settle(reservation, 1, 1)


def test_a_server_without_prices_costs_nothing() -> None:
    budget = Budget(max_cost=0.0)
    assert budget.reserve(1000, 1000, Price()) is not None
    assert budget.reserve(1, 0, Price(0.01, 0.01)) is None


@given(st.text())
def test_a_prompt_has_at_most_a_token_for_each_byte_and_the_templates_own(text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    assert prompt_bound(size, 2) >= size + 2 * MESSAGE_TOKENS


@pytest.mark.parametrize("limits", [{"max_calls": -1}, {"max_tokens": -1}, {"max_cost": -0.1}])
def test_a_budget_below_nothing_is_a_mistake(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Budget(**limits)
