"""Thresholds that keep a promise."""

import math

import numpy as np
import pytest

from soupstock.stats.intervals import Floats
from soupstock.stats.thresholds import promise


def labelled(draw: np.random.Generator, rows: int, steep: float = 12) -> tuple[Floats, Floats]:
    """Draw labels and scores of a judge whose low scores are bad rows."""
    scores = draw.random(rows)
    bad = 1 / (1 + np.exp(steep * (scores - 0.35)))
    return (draw.random(rows) >= bad).astype(np.float64), scores


def test_fifty_nine_good_rows_and_no_bad_one_prove_5_percent() -> None:
    assert promise([1] * 58, [0.9] * 58).threshold is None
    found = promise([1] * 59, [0.9] * 59)
    assert found.threshold == pytest.approx(0.9)
    assert found.needed == 0
    assert found.kept.estimate == 1


@pytest.mark.parametrize(("bad", "enough"), [(1, 93), (2, 124), (3, 153)])
def test_each_bad_row_takes_more_good_ones(bad: int, enough: int) -> None:
    assert promise([0] * bad + [1] * (enough - bad), [1.0] * enough).threshold == 1
    assert promise([0] * bad + [1] * (enough - bad - 1), [1.0] * (enough - 1)).threshold is None


def test_bad_rows_with_low_scores_are_cut_off() -> None:
    found = promise([1] * 100 + [0] * 100, [0.8] * 100 + [0.2] * 100)
    assert found.threshold == pytest.approx(0.8)
    assert found.kept.estimate == pytest.approx(0.5)
    assert found.found.estimate == 0


def test_the_lowest_threshold_that_is_proven_is_taken() -> None:
    labels = [1] * 150 + [0] * 30
    found = promise(labels, [0.9] * 75 + [0.6] * 75 + [0.3] * 30)
    assert found.threshold == pytest.approx(0.6)


def test_a_judge_that_likes_bad_rows_best_proves_nothing() -> None:
    found = promise([0] * 100 + [1] * 200, [0.9] * 100 + [0.5] * 200)
    assert found.threshold is None
    assert found.needed is None
    assert "among the rows with the highest scores, 100 % (" in found.sentence()


@pytest.mark.parametrize("limit", [0.05, 0.1])
def test_no_bad_row_among_few_asks_for_more_labels(limit: float) -> None:
    found = promise([1] * 20, [0.9] * 20, bad=limit)
    assert found.threshold is None
    assert found.needed is not None
    # Were none of them bad, so many would suffice; that is not known.
    assert found.needed > math.log(0.05) / math.log(1 - limit) - 20


def test_as_many_labels_as_are_needed_mostly_suffice() -> None:
    draw, tried, proven = np.random.default_rng(0), 0, 0
    while tried < 60:
        labels, scores = labelled(draw, 40)
        needed = promise(labels, scores, bad=0.1).needed
        if needed:
            more, further = labelled(draw, needed)
            both = np.concatenate((labels, more)), np.concatenate((scores, further))
            tried, proven = tried + 1, proven + (promise(*both, bad=0.1).threshold is not None)
    assert proven / tried >= 0.8


@pytest.mark.parametrize("labels", [60, 150, 400])
def test_a_promise_is_rarely_broken_though_many_thresholds_are_looked_at(labels: int) -> None:
    # Each row is bad with a chance just above the limit, so that whatever is promised is broken.
    draw, broken = np.random.default_rng(labels), 0
    for _ in range(400):
        good = (draw.random(labels) >= 0.11).astype(np.float64)
        broken += promise(good, draw.random(labels), bad=0.1).threshold is not None
    assert broken / 400 <= 0.05


def test_without_labels_as_many_are_needed_as_prove_it_without_a_bad_row() -> None:
    found = promise([], [])
    assert (found.threshold, found.needed, found.labels) == (None, 59, 0)


def test_rows_without_a_score_count_for_nothing() -> None:
    whole = promise([1] * 60, [0.9] * 60)
    holed = promise([1] * 60 + [0, 0], [0.9] * 60 + [None, math.nan])
    assert holed == whole._replace(missing=2)


def test_shares_lie_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        promise([1], [1], bad=0)
    with pytest.raises(ValueError, match="labels should be 1"):
        promise([0.5], [1])


def test_a_promise_says_itself_in_a_sentence() -> None:
    assert promise([1] * 60 + [0] * 20, [0.7] * 60 + [0.1] * 20).sentence() == (
        "Keeping scores of at least 0.7 leaves at most 5 % bad rows at 95 % confidence; it keeps"
        " 75 % of the rows (80 labels)."
    )
    assert promise([1] * 40, [0.7] * 40, bad=0.1, confidence=0.99).sentence() == (
        "Not proven with 40 labels: at most 10 % bad rows at 99 % confidence; about 26 more are"
        " needed."
    )
