"""The judge's sanity check: canaries and biases."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from soupstock.judging.sanity_check import length_bias, sanity_check
from soupstock.stats.intervals import Floats

KINDS = ("empty", "gibberish", "another", "truncated", "echo")
GOOD = 2.0
"""By how many standard deviations a good judge scores originals above canaries: AUC 0.92."""


def scored(
    draw: np.random.Generator, rows: int, apart: float, blind: str = ""
) -> tuple[Floats, Mapping[str, Floats]]:
    """Draw a judge's scores of originals and canaries; it is blind to one kind."""
    row = 0.5 * draw.normal(size=rows)
    canaries = {
        kind: row + (apart if kind == blind else 0) + draw.normal(size=rows) for kind in KINDS
    }
    return row + apart + draw.normal(size=rows), canaries


def flagged(rows: int, apart: float) -> float:
    draw = np.random.default_rng(rows)
    return float(
        np.mean([not sanity_check(*scored(draw, rows, apart)).is_passed for _ in range(200)])
    )


@pytest.mark.parametrize("rows", [8, 12, 30])
def test_a_judge_that_guesses_is_found_out(rows: int) -> None:
    assert flagged(rows, apart=0) >= 0.95


@pytest.mark.parametrize("rows", [8, 12, 30])
def test_a_good_judge_is_let_through(rows: int) -> None:
    assert flagged(rows, apart=GOOD) <= 0.05


def test_a_judge_that_gives_every_row_one_score_is_not_fit() -> None:
    found = sanity_check([3.0] * 6, {kind: [3.0] * 6 for kind in KINDS})
    assert not found.is_passed
    assert found.overall.auc.estimate == pytest.approx(0.5)
    assert found.blind == list(KINDS)


def test_a_judge_that_prefers_canaries_is_not_fit() -> None:
    found = sanity_check([1.0] * 10, {"empty": [2.0] * 10})
    assert found.overall.auc.estimate == 0
    assert not found.is_passed


def test_being_blind_to_one_kind_is_enough_to_be_unfit() -> None:
    found = sanity_check(*scored(np.random.default_rng(0), 60, 3, blind="empty"))
    assert found.overall.auc.estimate > found.bar
    assert found.blind == ["empty"]
    assert not found.is_passed
    assert found.sentence().endswith("It does not detect: empty.")


def test_a_kind_of_which_there_are_too_few_to_tell_is_named() -> None:
    echo = [1.0, 6.0, *[None] * 10]
    found = sanity_check([5.0] * 12, {"empty": [1.0] * 12, "echo": echo})
    assert found.is_passed
    assert found.doubtful == ["echo"]
    assert found.sentence().endswith("(10 more without a score). Too few copies to tell: echo.")


def test_canaries_below_their_own_originals_count_though_rows_differ() -> None:
    originals = np.arange(40.0)
    found = sanity_check(originals, {"truncated": originals - 0.5})
    kind = found.kinds["truncated"]
    assert kind.apart.auc.estimate < 0.6
    assert kind.within.estimate == 1
    assert not found.blind


def test_few_canaries_are_no_proof_of_fitness() -> None:
    found = sanity_check([5.0, 5.0], {"empty": [1.0, 1.0]})
    assert found.overall.auc.estimate == 1
    assert not found.is_passed


def test_a_missing_score_is_counted_and_is_no_low_score() -> None:
    found = sanity_check([5.0] * 10, {"empty": [None] * 10, "echo": [math.nan] * 9 + [5.0]})
    assert found.overall.missing == 19
    assert not found.kinds["empty"].apart.auc.is_known
    assert found.overall.auc.estimate == pytest.approx(0.5)
    assert not found.is_passed


def test_a_judge_that_scores_nothing_is_not_fit() -> None:
    found = sanity_check([None, None], {"empty": [None, None]})
    assert not found.is_passed
    assert found.sentence() == (
        "The judge failed its sanity check: it scored 0 originals and 0 corrupted copies"
        " (4 more without a score)."
    )
    assert not sanity_check([1.0, 2.0], {}).is_passed


def test_each_canary_has_an_original() -> None:
    with pytest.raises(ValueError, match="empty has 1 scores for 2 originals"):
        sanity_check([1, 2], {"empty": [1]})


def test_the_bar_can_be_moved() -> None:
    scores = scored(np.random.default_rng(1), 40, 1)
    assert sanity_check(*scores, bar=0.6).is_passed
    assert not sanity_check(*scores, bar=0.9).is_passed


def test_fitness_says_itself_in_a_sentence() -> None:
    found = sanity_check([5.0] * 10, {"empty": [1.0] * 10, "echo": [2.0] * 10})
    assert found.sentence() == (
        "The judge passed its sanity check: it ranked the original above the corrupted copy 100 %"
        " of the time (chance 50 %, required 75 %; 95 % interval 80 to 100 %), over 10 originals"
        " and 20 corrupted copies."
    )


def test_a_judge_that_likes_padding_is_found_out() -> None:
    found = length_bias([0.5] * 20, [0.7] * 15 + [0.5] * 5)
    assert found.is_biased
    assert (found.rises, found.falls, found.rows) == (15, 0, 20)
    assert found.change == pytest.approx(0.15)
    assert found.sentence() == (
        "Padding an answer raises its score: it rose for 15 and fell for 0 of 20 rows, by +0.15"
        " on average."
    )


def test_padding_that_changes_scores_either_way_is_no_bias() -> None:
    found = length_bias([0.5] * 20, [0.6, 0.4] * 10)
    assert not found.is_biased
    assert found.net.estimate == 0
    assert "does not provably raise" in found.sentence()


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    found = length_bias([0.5] * 20, [0.499] * 20)
    assert found.change < 0
    assert found.sentence().endswith("by 0.00 on average.")


def test_padding_that_lowers_scores_is_no_fault() -> None:
    assert not length_bias([0.5] * 20, [0.1] * 20).is_biased


def test_a_padded_answer_without_a_score_counts_for_nothing() -> None:
    found = length_bias([0.5, 0.5], [None, 0.5])
    assert (found.rows, found.missing, found.rises) == (1, 1, 0)
    assert length_bias([1], [None]).sentence() == (
        "It is unknown whether padding raises the score: 0 rows (1 more without a score) compared."
    )
