"""How far judges agree: kappa, alpha and accuracy, and their intervals."""

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.stats.agreement import Metric, Weights, accuracy, alpha, kappa
from soupstock.stats.intervals import Floats

NAN = math.nan
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C: four observers.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
METRICS: tuple[Metric, ...] = get_args(Metric)
levels = st.integers(1, 4)
pairs = st.lists(st.tuples(levels, levels), min_size=2, max_size=40)


def judged(draw: np.random.Generator, rows: int, care: float) -> tuple[Floats, Floats]:
    """Two judges of four levels, the second of whom guesses where he takes no care."""
    first, guess = draw.integers(1, 5, (2, rows)).astype(np.float64)
    return first, np.where(draw.random(rows) < care, first, guess)


def test_kappa_is_that_of_a_textbook_table() -> None:
    people = [1] * 25 + [0] * 25
    judge = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = kappa(people, judge)
    assert found.interval.estimate == pytest.approx(0.4)
    assert found.error == pytest.approx(0.127, abs=0.001)
    assert found.rows == 50


def test_weights_forgive_near_misses() -> None:
    people, judge = [1, 2, 3, 4] * 10, [2, 2, 3, 4, 1, 3, 3, 4] * 5
    equal, linear, quadratic = (
        kappa(people, judge, weights=one).interval.estimate for one in WEIGHTS
    )
    assert equal < linear < quadratic < 1


def test_a_level_that_nobody_gave_still_lies_between_others() -> None:
    people, judge = [1, 1, 4, 4, 2, 2], [1, 2, 4, 4, 4, 2]
    apart = kappa(people, judge, levels=[1, 2, 3, 4], weights="linear").interval.estimate
    near = kappa(people, judge, weights="linear").interval.estimate
    assert apart != pytest.approx(near)


def test_a_level_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"3.0 is not one of the levels \[1.0, 2.0\]"):
        kappa([1, 2, 3], [1, 2, 2], levels=[1, 2])


@pytest.mark.parametrize("weights", WEIGHTS)
@given(pairs=pairs)
def test_kappa_does_not_depend_on_who_is_called_first(
    weights: Weights, pairs: list[tuple[int, int]]
) -> None:
    people, judge = zip(*pairs, strict=True)
    one, other = kappa(people, judge, weights=weights), kappa(judge, people, weights=weights)
    assert one.interval == pytest.approx(other.interval, nan_ok=True)


@pytest.mark.parametrize("weights", WEIGHTS)
@given(pairs=pairs)
def test_an_interval_of_kappa_holds_its_estimate(
    weights: Weights, pairs: list[tuple[int, int]]
) -> None:
    people, judge = zip(*pairs, strict=True)
    found = kappa(people, judge, weights=weights).interval
    assert not found.is_known or -1 <= found.low <= found.estimate <= found.high <= 1


def test_perfect_agreement_over_few_rows_is_no_proof() -> None:
    few, many = kappa([1, 2] * 4, [1, 2] * 4), kappa([1, 2] * 100, [1, 2] * 100)
    assert few.interval.estimate == many.interval.estimate == 1
    assert few.interval.low < 0.6
    assert many.interval.low > 0.95


def test_where_nobody_varies_agreement_is_unknown_and_neither_0_nor_1() -> None:
    found = kappa([1, 1, 1, None], [1, 1, 1, 1])
    assert not found.interval.is_known
    assert not found.is_beyond_chance
    assert "Agreement is unknown over 3 rows (1 more without a score)" in found.sentence()
    assert not kappa([], []).interval.is_known
    assert not alpha([[1, 1, 1], [1, 1, 1]]).interval.is_known


def test_a_missing_score_counts_for_nothing() -> None:
    whole = kappa([1, 2, 3, 1], [1, 2, 2, 1])
    holed = kappa([1, 2, None, 3, 1, 2], [1, 2, 1, 2, 1, NAN])
    assert holed.interval == whole.interval
    assert (holed.rows, holed.missing) == (4, 2)


def test_kappa_agrees_with_scikit_learn_and_its_error_with_statsmodels() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    raters = pytest.importorskip("statsmodels.stats.inter_rater")
    draw = np.random.default_rng(0)
    for weights, rows, care in [(w, n, c) for w in WEIGHTS for n in (12, 90) for c in (0.1, 0.8)]:
        people, judge = judged(draw, rows, care)
        found = kappa(people, judge, levels=range(1, 5), weights=weights)
        named = None if weights == "equal" else weights
        expected = metrics.cohen_kappa_score(people, judge, weights=named, labels=range(1, 5))
        assert found.interval.estimate == pytest.approx(expected, abs=1e-9)
        table = np.zeros((4, 4))
        np.add.at(table, (people.astype(int) - 1, judge.astype(int) - 1), 1)
        spaced = {} if named is None else {"weights": np.arange(4), "wt": named}
        assert found.error == pytest.approx(
            raters.cohens_kappa(table, **spaced).std_kappa, abs=1e-9
        )


@pytest.mark.parametrize(
    ("metric", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_that_of_krippendorffs_example(metric: Metric, expected: float) -> None:
    found = alpha(OBSERVERS, metric=metric)
    assert found.interval.estimate == pytest.approx(expected, abs=0.0005)
    assert (found.rows, found.missing) == (11, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_alpha_agrees_with_krippendorff(metric: Metric) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    draw = np.random.default_rng(0)
    for rows in (8, 60):
        table = np.stack([*judged(draw, rows, 0.6), *judged(draw, rows, 0.2)])
        table[draw.random(table.shape) < 0.2] = NAN
        expected = krippendorff.alpha(table, level_of_measurement=metric)
        assert alpha(table, metric=metric).interval.estimate == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_alphas_error_is_that_of_leaving_out_each_row(metric: Metric) -> None:
    table = np.stack(judged(np.random.default_rng(3), 30, 0.7))
    found = alpha(table, metric=metric)
    without = [
        alpha(np.delete(table, row, axis=1), metric=metric).interval.estimate for row in range(30)
    ]
    spread = math.sqrt(29 / 30 * ((np.array(without) - np.mean(without)) ** 2).sum())
    # Ranks move a little when a row is left out, and here they do not.
    assert found.error == pytest.approx(spread, rel=0.03 if metric == "ordinal" else 0.01)


def test_two_judges_of_one_mind_have_alpha_1_and_few_rows_do_not_prove_it() -> None:
    found = alpha([[1, 2, 3, 4, 1], [1, 2, 3, 4, 1]])
    assert found.interval.estimate == pytest.approx(1)
    assert found.interval.low < 0.5
    assert found.interval.high == pytest.approx(1)


def test_agreement_says_itself_in_a_sentence() -> None:
    assert kappa([1, 2] * 20, [1, 2] * 20).sentence() == (
        "Agreement beyond chance (Cohen's kappa) is 1.00 (95 % interval 0.82 to 1.00) over 40 rows."
    )
    assert kappa([1, 2, 1, 2], [1, 2, 2, 1]).sentence().endswith("not provably better than chance.")


def test_accuracy_stands_beside_the_base_rate() -> None:
    people = [1] * 18 + [0] * 2
    constant = accuracy(people, [1] * 20)
    assert constant.right.estimate == constant.base_rate == pytest.approx(0.9)
    assert not constant.is_better_than_constant
    assert "always giving the most common level is right in 90 %" in constant.sentence()
    assert constant.sentence().endswith("the judge is not provably better.")


def test_a_judge_that_is_right_where_a_constant_is_wrong_is_better() -> None:
    people = [1, 0] * 20
    found = accuracy([*people, None], [*people[:-1], 1, 0])
    assert found.right.estimate == pytest.approx(39 / 40)
    assert found.is_better_than_constant
    assert found.missing == 1


def test_mcnemars_test_agrees_with_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    people, judge = [1] * 12 + [0] * 8, [1] * 9 + [0] * 3 + [0] * 7 + [1]
    expected = tables.mcnemar([[9, 3], [7, 1]], exact=True).pvalue / 2
    assert accuracy(people, judge).p_value == pytest.approx(expected, abs=1e-9)


def test_without_rows_accuracy_is_unknown() -> None:
    found = accuracy([None], [1])
    assert not found.right.is_known
    assert not found.is_better_than_constant
    assert "accuracy is unknown over 0 rows (1 more without a score)" in found.sentence()
