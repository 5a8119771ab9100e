"""What a request without an answer means follows from what is known of call and server alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.inference.call import Failure
from soupstock.inference.retry import (
    GATEWAY,
    PASSING,
    REFUSED_AFTER,
    REJECTED_AFTER,
    REJECTIONS,
    UNREACHABLE_AFTER,
    Decision,
    RequestError,
    Situation,
    decide,
    pause,
)

FIRST = Situation(attempts=1, most_attempts=6)
LAST = FIRST._replace(attempts=6)
NEW = FIRST._replace(has_answered=False)
"""The first try of a call to a model that never answered."""


def trouble(
    status: int | None = None, message: str = "no", *, code: str | None = None
) -> RequestError:
    return RequestError(Failure("cause", message), status=status, code=code)


def unreachable() -> RequestError:
    return RequestError(Failure("APIConnectionError", "nothing answers"), is_unreachable=True)


@pytest.mark.parametrize("status", [None, 408, 409, 425, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again_later_as_often_as_allowed(status: int | None) -> None:
    assert decide(trouble(status), FIRST) is Decision.LATER
    assert decide(trouble(status), LAST) is Decision.FAIL


@pytest.mark.parametrize("status", [400, 413, 418, 422])
def test_what_is_about_the_call_alone_fails_it_at_once(status: int) -> None:
    assert decide(trouble(status), FIRST) is Decision.FAIL
    assert decide(trouble(status), NEW) is Decision.FAIL


@pytest.mark.parametrize("status", sorted(REJECTIONS))
def test_a_rejection_fails_its_call_and_many_in_a_row_give_the_server_up(status: int) -> None:
    for count in range(1, REJECTED_AFTER):
        assert decide(trouble(status), FIRST._replace(rejections=count)) is Decision.FAIL
    enough = FIRST._replace(rejections=REJECTED_AFTER)
    assert decide(trouble(status), enough) is Decision.GIVE_UP


@pytest.mark.parametrize("status", sorted(REJECTIONS))
def test_a_first_rejection_gives_the_server_up_unless_it_may_be_about_the_call(status: int) -> None:
    expected = Decision.FAIL if status == 403 else Decision.GIVE_UP
    assert decide(trouble(status), NEW._replace(rejections=1)) is expected


def test_a_spent_account_is_a_rejection_although_its_status_may_pass() -> None:
    spent = trouble(429, code="insufficient_quota")
    assert not spent.is_refusal
    assert decide(spent, FIRST) is Decision.FAIL
    assert decide(spent, NEW) is Decision.GIVE_UP


def test_refusals_are_no_attempts_and_end_the_run_only_after_a_quarter_of_an_hour() -> None:
    refused = trouble(429)
    for seconds in (0.0, REFUSED_AFTER):
        assert decide(refused, NEW._replace(refused_for=seconds)) is Decision.LATER
    assert decide(refused, FIRST._replace(refused_for=REFUSED_AFTER + 1)) is Decision.GIVE_UP


def test_a_server_that_was_never_reached_is_given_up_and_one_that_answered_is_not() -> None:
    few = NEW._replace(attempts=UNREACHABLE_AFTER - 1)
    enough = NEW._replace(attempts=UNREACHABLE_AFTER)
    assert decide(unreachable(), few) is Decision.LATER
    assert decide(unreachable(), enough) is Decision.GIVE_UP
    assert decide(unreachable(), enough._replace(has_answered=True)) is Decision.LATER
    assert decide(trouble(500), enough) is Decision.LATER


@pytest.mark.parametrize("status", [400, 403, 422])
def test_log_probabilities_that_are_refused_are_dropped_where_that_is_possible(status: int) -> None:
    refused = trouble(status, "logprobs are not supported")
    droppable = FIRST._replace(can_drop_logprobs=True)
    assert decide(refused, droppable) is Decision.WITHOUT_LOGPROBS
    assert decide(refused, FIRST) is Decision.FAIL
    assert decide(trouble(status), droppable) is Decision.FAIL


@given(
    status=st.sampled_from([None, 400, 401, 403, 404, 422, 429, 500, 503]),
    attempts=st.integers(1, 9),
    rejections=st.integers(0, 9),
    refused_for=st.floats(0, 2000),
    has_answered=st.booleans(),
)
def test_another_address_that_is_free_comes_before_everything_else(
    status: int | None, attempts: int, rejections: int, refused_for: float, *, has_answered: bool
) -> None:
    situation = Situation(
        attempts,
        6,
        is_other_address_free=True,
        has_answered=has_answered,
        rejections=rejections,
        refused_for=refused_for,
    )
    assert decide(trouble(status), situation) is Decision.ELSEWHERE


def test_what_a_server_may_have_worked_on_may_be_billed() -> None:
    assert trouble().may_be_billed
    assert not unreachable().may_be_billed
    assert all(trouble(status).may_be_billed for status in GATEWAY)
    assert not any(trouble(status).may_be_billed for status in PASSING)


def test_pauses_double_up_to_a_minute_and_what_the_server_asks_for_is_added() -> None:
    longest = [max(pause(tries, None) for _ in range(2000)) for tries in range(1, 10)]
    assert all(low < high for low, high in itertools.pairwise(longest[:6]))
    assert max(longest) <= 60
    assert all(30 <= pause(1, 30) <= 31 for _ in range(100))
