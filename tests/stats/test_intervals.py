"""Quantiles, and intervals made of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.stats.intervals import (
    Interval,
    beta_quantile,
    binomial_cdf,
    complete,
    counted,
    incomplete_beta,
    missing_note,
    normal_quantile,
    numbers,
    score_limits,
    student_quantile,
    unknown,
)

shapes = st.floats(0.5, 500)
shares = st.floats(0.001, 0.999)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062047), (2, 4.3026527), (9, 2.2621572), (1000, 1.9623391)]
)
def test_students_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert student_quantile(0.95, freedom) == pytest.approx(expected, abs=1e-6)


def test_the_normal_quantile_is_that_of_the_tables() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)


@given(shares, st.integers(1, 300))
def test_the_incomplete_beta_function_has_its_closed_forms(x: float, b: int) -> None:
    assert incomplete_beta(x, 1, b) == pytest.approx(1 - (1 - x) ** b, abs=1e-12)
    assert incomplete_beta(x, b, 1) == pytest.approx(x**b, abs=1e-12)
    assert incomplete_beta(x, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(x**0.5), abs=1e-9)


@given(shares, st.integers(1, 60), st.data())
def test_the_binomial_tail_is_the_sum_of_its_terms(p: float, n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    terms = (math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count + 1))
    assert binomial_cdf(count, n, p) == pytest.approx(sum(terms), abs=1e-12)


def test_no_fewer_than_none_and_no_more_than_all_occur() -> None:
    assert binomial_cdf(-1, 5, 0.5) == 0
    assert binomial_cdf(5, 5, 0.5) == 1
    assert binomial_cdf(0, 0, 0.5) == 1


@given(shares, shapes, shapes)
def test_a_quantile_has_its_share_below_it(p: float, a: float, b: float) -> None:
    assert incomplete_beta(beta_quantile(p, a, b), a, b) == pytest.approx(p, abs=1e-9)


def test_quantiles_agree_with_scipy() -> None:
    special = pytest.importorskip("scipy.special")
    draw = np.random.default_rng(0)
    for a, b, x in zip(*(10 ** draw.uniform(-0.3, 3, (2, 200))), draw.random(200), strict=True):
        assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-11)
        assert beta_quantile(x, a, b) == pytest.approx(special.betaincinv(a, b, x), abs=1e-11)
    for freedom in (1, 2, 3, 30):
        expected = special.stdtrit(freedom, 0.975)
        assert student_quantile(0.95, freedom) == pytest.approx(expected, abs=1e-9)


def test_score_limits_are_wilsons_for_a_share() -> None:
    limits = score_limits(0.0, lambda p: p * (1 - p) / 10, (0, 1))
    z = normal_quantile(0.95)
    assert limits.low == 0
    assert limits.high == pytest.approx(z**2 / (10 + z**2), abs=1e-12)


def test_what_is_missing_is_left_out_and_counted_and_never_0() -> None:
    (first, second), missing = complete([1, None, 3, math.nan], [0.5, 0.5, math.inf, 1])
    assert first.tolist() == [1]
    assert second.tolist() == [0.5]
    assert missing == 3
    assert np.isnan(numbers([None, math.inf, -math.inf])).all()


def test_columns_of_different_lengths_are_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"must have the same length, not \(2,\), \(1,\)"):
        complete([1, 2], [1])


def test_an_interval_says_itself_in_words() -> None:
    found = Interval(0.614, 0.42, 0.761)
    assert str(found) == "0.61 (95 % interval 0.42 to 0.76)"
    assert found.percent() == "61 % (95 % interval 42 to 76 %)"
    assert Interval(0.5, 0, 1, 0.9).percent() == "50 % (90 % interval 0 to 100 %)"
    assert str(unknown()) == unknown().percent() == "unknown"
    assert not unknown().is_known


def test_counts_say_themselves_in_words() -> None:
    assert counted(1, "row") == "1 row"
    assert counted(1200, "row") == "1,200 rows"
    assert counted(2, "canary", "canaries") == "2 canaries"
    assert missing_note(0) == ""
    assert missing_note(3) == " (3 more without a score)"
