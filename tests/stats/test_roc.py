"""How well scores tell good rows from bad ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.stats.roc import auc

rows = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=40)


def split(rows: list[tuple[bool, int]]) -> tuple[list[float], list[float]]:
    return [float(good) for good, _ in rows], [float(score) for _, score in rows]


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    found = auc([1, 1, 0, 0], [3, 1, 2, 1])
    assert found.auc.estimate == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert (found.good, found.bad) == (2, 2)


@given(rows)
def test_an_interval_holds_its_estimate(rows: list[tuple[bool, int]]) -> None:
    found = auc(*split(rows)).auc
    assert not found.is_known or 0 <= found.low <= found.estimate <= found.high <= 1


@given(rows)
def test_only_the_order_of_scores_counts(rows: list[tuple[bool, int]]) -> None:
    labels, scores = split(rows)
    stretched = auc(labels, [score**3 - 7 for score in scores])
    assert stretched.auc == pytest.approx(auc(labels, scores).auc, nan_ok=True)


@given(rows)
def test_good_and_bad_rows_are_mirrored(rows: list[tuple[bool, int]]) -> None:
    labels, scores = split(rows)
    found, mirrored = auc(labels, scores), auc([1 - label for label in labels], scores)
    assert mirrored.auc.estimate == pytest.approx(1 - found.auc.estimate, nan_ok=True)
    assert mirrored.auc.low == pytest.approx(1 - found.auc.high, abs=1e-9, nan_ok=True)
    assert mirrored.error == pytest.approx(found.error, nan_ok=True)


def test_the_area_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    for size, digits in ((10, 3), (200, 1)):
        labels, scores = draw.integers(0, 2, size), np.round(draw.random(size), digits)
        expected = metrics.roc_auc_score(labels, scores)
        assert auc(labels, scores).auc.estimate == pytest.approx(expected, abs=1e-9)


def test_the_error_is_delongs() -> None:
    good, bad = np.array([0.9, 0.8, 0.4, 0.7]), np.array([0.1, 0.5, 0.3])
    wins = (good[:, None] > bad[None, :]).astype(float)
    expected = wins.mean(axis=1).var(ddof=1) / 4 + wins.mean(axis=0).var(ddof=1) / 3
    found = auc([1, 1, 1, 1, 0, 0, 0], [*good, *bad])
    assert found.error == pytest.approx(expected**0.5)


def test_rows_that_belong_together_vary_less_against_each_other() -> None:
    draw = np.random.default_rng(0)
    row = draw.normal(size=50)
    scores = np.concatenate((row + 0.5, row)) + 0.1 * draw.normal(size=100)
    labels, names = np.repeat([1, 0], 50), [f"row {number}" for number in range(50)] * 2
    alone, together = auc(labels, scores), auc(labels, scores, groups=names)
    assert together.auc.estimate == alone.auc.estimate
    assert together.error < 0.5 * alone.error
    assert together.auc.high - together.auc.low < 0.6 * (alone.auc.high - alone.auc.low)


def test_groups_of_one_row_are_no_groups() -> None:
    labels, scores = [1, 0, 1, 0, 1], [3, 1, 2, 2, 5]
    assert auc(labels, scores, groups=list("abcde")) == auc(labels, scores)


def test_perfect_separation_of_few_rows_is_no_proof() -> None:
    few, many = (auc([1] * n + [0] * n, [*range(2 * n, 0, -1)]).auc for n in (4, 100))
    assert few.estimate == many.estimate == 1
    assert few.low < 0.7
    assert 0.95 < many.low < 1


def test_one_row_of_a_kind_is_enough_for_an_estimate_and_not_for_a_proof() -> None:
    found = auc([1, 0, 0], [2, 1, 1])
    assert found.auc.estimate == 1
    assert not found.is_beyond_chance


def test_a_missing_score_counts_for_nothing() -> None:
    holed = auc([1, 1, 0, None, 0], [2, None, 1, 5, float("nan")])
    assert holed.auc == auc([1, 0], [2, 1]).auc
    assert holed.missing == 3


def test_without_rows_of_both_kinds_the_area_is_unknown() -> None:
    found = auc([1, 1], [1, 2])
    assert not found.auc.is_known
    assert not found.is_beyond_chance
    assert found.sentence() == (
        "Scores of good and bad rows cannot be compared: 2 good rows and 0 bad ones."
    )


def test_a_label_is_1_or_0() -> None:
    with pytest.raises(ValueError, match="labels should be 1"):
        auc([1, 2], [1, 2])


def test_separation_says_itself_in_a_sentence() -> None:
    found = auc([1] * 20 + [0] * 21, [*range(40, 0, -1), None])
    assert found.sentence() == (
        "A good row has a higher score than a bad one in 100 % (95 % interval 90 to 100 %) of"
        " cases (chance: 50 %): 20 good rows and 20 bad ones (1 more without a score)."
    )
