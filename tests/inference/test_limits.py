"""A limit finds how many requests a server holds, and is never far from it for long."""

import random

import limits as simulation
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.inference.limits import Limit

LATENCIES = [pytest.param(latency, id=name) for name, latency in simulation.LATENCIES.items()]


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_hidden_capacity_that_changes_is_used_to_95_percent_with_few_refusals(
    latency: simulation.Latency,
) -> None:
    for refusal in (0.002, 0.1):
        outcome = simulation.simulate(simulation.changing(latency, refusal))
        assert outcome.goodput >= 0.95
        assert outcome.refusals <= 0.02


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_roomy_server_is_full_within_two_seconds(latency: simulation.Latency) -> None:
    outcome = simulation.simulate(simulation.roomy(latency))
    assert outcome.reached(256) <= 2.0
    assert outcome.goodput >= 0.95


def test_a_server_that_answers_no_faster_is_not_sent_more_and_more() -> None:
    latency = simulation.LATENCIES["uniform 200±100 ms"]
    outcome = simulation.simulate(simulation.batching(latency))
    assert outcome.goodput >= 0.95
    assert outcome.usual(since=30) < 2 * 64


def test_a_server_without_bounds_is_sent_at_most_the_most() -> None:
    latency = simulation.LATENCIES["constant 200 ms"]
    outcome = simulation.simulate(simulation.endless(latency), Limit(most=300))
    assert outcome.highest() == 300


def test_a_fixed_limit_stays_but_pauses_when_told_to() -> None:
    limit = Limit(fixed=5)
    for _ in range(5):
        limit.started(0.0)
    limit.refused(1.0, retry_after=3.0)
    assert limit.allowed == 5
    assert limit.resume_at == 4.0


def test_a_refusal_says_how_many_requests_the_server_holds() -> None:
    limit = Limit(start=8)
    for _ in range(8):
        limit.started(0.0)
    for _ in range(3):
        limit.refused(0.1)
    assert limit.allowed == 5


def test_a_server_that_refuses_a_single_request_is_left_alone_for_longer_and_longer() -> None:
    limit, now, pauses = Limit(), 0.0, []
    for _ in range(8):
        limit.started(now)
        limit.refused(now)
        pauses.append(limit.resume_at - now)
        now = limit.resume_at
    assert pauses == sorted(pauses)
    assert 0.25 <= pauses[0] < pauses[-1] == 30.0


def test_failures_of_most_requests_halve_the_limit_and_few_do_not() -> None:
    def after(failures: int) -> int:
        limit, now = Limit(start=64, most=64), 0.0
        for number in range(400):
            limit.started(now)
            now += 0.01
            if number % 10 < failures:
                limit.failed(now)
            else:
                limit.finished(now, 0.01)
        return limit.allowed

    assert after(1) == 64
    assert after(9) < 16


def test_requests_that_are_at_fault_themselves_leave_the_limit_alone() -> None:
    limit, now = Limit(start=64, most=64), 0.0
    for number in range(400):
        limit.started(now)
        now += 0.01
        if number % 10:
            limit.ended(now)
        else:
            limit.finished(now, 0.01)
    assert limit.allowed == 64
    assert limit.in_flight == 0


@given(st.integers(0, 1 << 32), st.integers(1, 20), st.integers(1, 200))
def test_whatever_happens_at_least_one_request_is_allowed_and_at_most_the_most(
    seed: int, start: int, most: int
) -> None:
    draw = random.Random(seed)  # noqa: S311 - an order of events, no secret
    limit, now, under_way = Limit(start=start, most=most), 0.0, 0
    for _ in range(300):
        now += draw.expovariate(20)
        if under_way < limit.allowed and draw.random() < 0.6:
            limit.started(now)
            under_way += 1
        elif under_way:
            under_way -= 1
            match draw.randrange(4):
                case 0:
                    limit.refused(now, draw.choice([None, 0.5]))
                case 1:
                    limit.failed(now)
                case 2:
                    limit.ended(now)
                case _:
                    limit.finished(now, draw.random())
        assert 1 <= limit.allowed <= max(1, most)
        assert limit.in_flight == under_way


@pytest.mark.parametrize("numbers", [{"fixed": 0}, {"start": 0}, {"most": 0}])
def test_a_limit_below_one_is_a_mistake(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limit(**numbers)
