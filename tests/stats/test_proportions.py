"""Shares with intervals, and pass rates corrected by what people say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.stats.intervals import Floats
from soupstock.stats.proportions import (
    PassRate,
    errors,
    net_share,
    prediction_powered,
    proportion,
    rogan_gladen,
)

verdicts = st.sampled_from([0.0, 1.0, math.nan])


def simulated(
    draw: np.random.Generator, rows: int, rate: float, right: float = 0.8
) -> tuple[Floats, Floats]:
    """What people say, and a judge that is right as often on good rows as on bad ones."""
    people = (draw.random(rows) < rate).astype(np.float64)
    return people, np.where(draw.random(rows) < right, people, 1 - people)


def covers(found: PassRate, rate: float) -> bool:
    return found.rate.low <= rate <= found.rate.high


def test_shares_agree_with_statsmodels() -> None:
    stats = pytest.importorskip("statsmodels.stats.proportion")
    for count, of in ((1, 9), (7, 40), (39, 40), (400, 1000)):
        found = proportion(count, of, level=0.9)
        expected = stats.proportion_confint(count, of, alpha=0.1, method="jeffreys")
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_none_and_all_are_possible() -> None:
    none, everything = proportion(0, 20), proportion(20, 20)
    assert (none.low, everything.high) == (0, 1)
    assert none.high == pytest.approx(1 - everything.low)
    assert 0.1 < none.high < 0.2


def test_a_share_of_nothing_is_unknown() -> None:
    assert not proportion(0, 0).is_known
    assert not net_share(0, 0, 0).is_known


def test_more_than_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 of 2 is not a share"):
        proportion(3, 2)


def test_ups_and_downs_are_weighed_against_each_other() -> None:
    assert net_share(5, 5, 20).estimate == 0
    assert net_share(12, 0, 20).low > 0
    assert net_share(0, 12, 20).high < 0
    nothing = net_share(0, 0, 20)
    assert nothing.low < 0 < nothing.high


def test_a_judges_errors_are_told_apart_by_kind() -> None:
    found = errors([1, 1, 1, 1, 0, 0, None], [1, 1, 1, 0, 0, 1, 1])
    assert found.passes_good.estimate == pytest.approx(0.75)
    assert found.fails_bad.estimate == pytest.approx(0.5)
    assert found.sentence().endswith("of 2 bad ones (1 more without a verdict).")


def test_a_judge_that_passes_too_much_is_corrected() -> None:
    draw = np.random.default_rng(0)
    people = (draw.random(5000) < 0.4).astype(np.float64)
    judge = np.where(draw.random(5000) < 0.5, 1.0, people)
    people[300:] = math.nan
    found = prediction_powered(people, judge)
    assert found.by_judge == pytest.approx(0.7, abs=0.03)
    assert covers(found, 0.4)
    assert found.rate.high < 0.5
    assert (found.labels, found.rows) == (300, 5000)


def test_the_estimate_is_that_of_tuned_prediction_powered_inference() -> None:
    people, judge = simulated(np.random.default_rng(1), 400, 0.6)
    seen, known, rest = people[:100], judge[:100], judge[100:]
    slope = np.cov(seen, known)[0, 1] / known.var(ddof=1) / (1 + len(known) / len(rest))
    expected = seen.mean() + slope * (rest.mean() - known.mean())
    people[100:] = math.nan
    assert prediction_powered(people, judge).rate.estimate == pytest.approx(expected)


def test_a_judge_that_agrees_with_people_narrows_the_interval() -> None:
    people, judge = simulated(np.random.default_rng(2), 3000, 0.5, right=0.95)
    people[60:] = math.nan
    found = prediction_powered(people, judge)
    widths = [one.high - one.low for one in (found.rate, found.by_people)]
    assert widths[0] < 0.6 * widths[1]


def test_rows_without_a_verdict_are_rows_of_their_own_kind() -> None:
    # The judge fails to answer on bad rows alone: left out, they would flatter the rest.
    people = [1.0] * 20 + [0.0] * 20
    judge = [1.0] * 20 + [None] * 20
    found = prediction_powered(people * 10, judge * 10)
    assert found.rate.estimate == pytest.approx(0.5)
    assert found.by_judge == 1
    assert found.missing == 200
    assert found.sentence().endswith("the judge alone says 100 %; it gave no verdict on 200 rows.")


def test_a_verdict_that_people_never_looked_at_leaves_everything_open() -> None:
    found = prediction_powered([1, 1, None, None], [1, 1, 0, 0])
    assert found.rate.low <= 0.5 <= found.rate.high
    assert found.rate.high - found.rate.low > 0.5


@given(st.lists(st.tuples(verdicts, verdicts), min_size=1, max_size=30))
def test_a_pass_rate_is_a_share(pairs: list[tuple[float, float]]) -> None:
    people, judge = zip(*pairs, strict=True)
    for found in (
        prediction_powered(people, judge).rate,
        rogan_gladen(people, judge, judge).rate,
    ):
        assert not found.is_known or 0 <= found.low <= found.estimate <= found.high <= 1


def test_without_labels_the_pass_rate_is_unknown() -> None:
    found = prediction_powered([None, None], [1, 0])
    assert not found.rate.is_known
    assert found.by_judge == pytest.approx(0.5)
    assert "is unknown from 0 rows that people looked at" in found.sentence()


def test_labels_and_verdicts_are_1_or_0_and_as_many() -> None:
    with pytest.raises(ValueError, match="labels should be 1"):
        prediction_powered([0.5, 1], [1, 1])
    with pytest.raises(ValueError, match="verdicts should be 1"):
        rogan_gladen([1, 0], [1, 0], [2])
    with pytest.raises(ValueError, match="2 labels and 1 verdicts"):
        prediction_powered([1, 0], [1])


def test_rogan_and_gladens_estimate_is_that_of_the_formula() -> None:
    people = [1] * 100 + [0] * 100
    judge = [1] * 90 + [0] * 10 + [0] * 80 + [1] * 20
    found = rogan_gladen(people, judge, [1] * 600 + [0] * 400)
    assert found.rate.estimate == pytest.approx((0.6 + 0.8 - 1) / (0.9 + 0.8 - 1))


def test_labels_of_another_kind_of_rows_mislead_one_correction_and_not_the_other() -> None:
    draw = np.random.default_rng(4)
    known_people, known = simulated(draw, 400, 0.5)
    _, verdicts = simulated(draw, 5000, 0.9)
    assert covers(rogan_gladen(known_people, known, verdicts), 0.9)
    people = np.concatenate((known_people, np.full(5000, math.nan)))
    assert not covers(prediction_powered(people, np.concatenate((known, verdicts))), 0.9)


def test_a_judge_that_is_no_better_than_chance_corrects_nothing() -> None:
    found = rogan_gladen([1, 1, 0, 0], [1, 0, 1, 0], [1] * 10)
    assert not found.rate.is_known
    assert "the judge's verdicts do not predict the labels" in found.sentence()


@pytest.mark.parametrize("labels", [20, 40, 100])
def test_the_corrected_interval_covers_the_truth_as_often_as_it_says(labels: int) -> None:
    draw, hits = np.random.default_rng(labels), 0
    for _ in range(400):
        people, judge = simulated(draw, 1000, 0.7)
        people[labels:] = math.nan
        hits += covers(prediction_powered(people, judge), 0.7)
    assert 0.92 <= hits / 400 <= 0.98


def test_a_pass_rate_says_itself_in_a_sentence() -> None:
    people, judge = [1.0] * 30 + [0.0] * 10, [1.0] * 40
    assert prediction_powered(people, judge).sentence() == (
        "75 % (95 % interval 60 to 86 %) of 40 rows pass, corrected by 40 rows that people looked"
        " at (prediction-powered inference); the judge alone says 100 %."
    )
