"""What a server may be asked in a minute is kept to, smoothly; all in a time that is passed in."""

import random
from itertools import pairwise

import pytest

from soupstock.inference.quota import BURST, Bucket, Quota


def sent(bucket: Bucket, seconds: float, amounts: list[float]) -> list[tuple[float, float]]:
    """Take as much as can be had in so many seconds, and say when how much was taken."""
    now = 0.0
    taken: list[tuple[float, float]] = []
    while True:
        amount = amounts[len(taken) % len(amounts)]
        now = bucket.ready_at(now, amount)
        if now >= seconds:
            return taken
        bucket.take(now, amount)
        taken.append((now, amount))


def most_in_a_minute(taken: list[tuple[float, float]]) -> float:
    starts = range(0, len(taken), max(1, len(taken) // 200))
    return max(
        sum(amount for when, amount in taken if taken[n][0] <= when < taken[n][0] + 60)
        for n in starts
    )


@pytest.mark.parametrize("per_minute", [1, 7, 60, 500, 10_000])
def test_no_minute_has_more_requests_than_allowed_and_hardly_fewer(per_minute: int) -> None:
    taken = sent(Bucket(per_minute), 300, [1])
    assert most_in_a_minute(taken) <= per_minute
    assert len(taken) >= 5 * per_minute * 0.98


@pytest.mark.parametrize("per_minute", [7, 500, 10_000])
def test_requests_come_evenly_spread_and_not_a_minute_s_worth_at_once(per_minute: int) -> None:
    times = [when for when, _ in sent(Bucket(per_minute), 120, [1])]
    at_once = max(1, per_minute / 60 * BURST)
    assert sum(when == 0 for when in times) <= at_once
    later = [b - a for a, b in pairwise(times) if a > 2]
    assert max(later) <= 1.02 * 60 / per_minute


def test_tokens_are_held_on_average_and_a_large_request_is_waited_for_afterwards() -> None:
    draw = random.Random(4)  # noqa: S311 - amounts, no secret
    amounts = [draw.choice([10.0, 100.0, 3000.0]) for _ in range(500)]
    taken = sent(Bucket(20_000), 600, amounts)
    whole = sum(amount for _, amount in taken)
    assert 0.95 * 200_000 <= whole <= 200_000 + 3000
    assert most_in_a_minute(taken) <= 20_000 + 3000


def test_after_a_rest_there_is_no_more_than_a_burst() -> None:
    bucket = Bucket(600)
    taken = 0
    while bucket.ready_at(1000.0, 1) == 1000.0:
        bucket.take(1000.0, 1)
        taken += 1
    assert taken == 600 / 60 * BURST


def test_tokens_that_an_answer_did_not_use_are_there_again() -> None:
    quota = Quota(tokens=6000)
    quota.sent(0.0, 1000)
    late = quota.ready_at(0.0, 10)
    quota.settle(0.0, 1000, 40)
    assert quota.ready_at(0.0, 10) == 0.0 < late
    quota.sent(0.0, 10)
    quota.settle(0.0, 10, 2000)
    assert quota.ready_at(0.0, 10) > late


def test_whichever_limit_is_the_tighter_holds() -> None:
    by_requests, by_tokens = Quota(requests=6, tokens=10**6), Quota(requests=10**6, tokens=600)
    for quota in (by_requests, by_tokens):
        quota.sent(0.0, 100)
    assert by_requests.ready_at(0.0, 100) == pytest.approx(10)
    assert by_tokens.ready_at(0.0, 100) == pytest.approx(10, rel=0.02)


def test_without_limits_nothing_waits() -> None:
    quota = Quota()
    quota.sent(0.0, 10**9)
    assert quota.ready_at(0.0, 10**9) == 0.0
