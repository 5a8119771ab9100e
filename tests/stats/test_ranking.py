"""Verdicts on pairs: both orders, flips, and rankings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.stats.ranking import both_orders, bradley_terry

VERDICTS = [-1.0, 0.0, 1.0, math.nan]
meetings = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(VERDICTS)).filter(
        lambda meeting: meeting[0] != meeting[1]
    ),
    max_size=40,
)


def test_a_flip_is_a_tie_and_is_counted() -> None:
    found = both_orders([1, 1, -1, 0], [1, -1, -1, 0])
    assert found.outcomes.tolist() == [1, 0, -1, 0]
    assert (found.flips, found.wavers) == (1, 0)
    assert found.same.estimate == pytest.approx(0.75)


def test_a_winner_in_one_order_and_a_tie_in_the_other_is_half_a_flip() -> None:
    found = both_orders([1, 0, -1], [0, -1, -1])
    assert found.outcomes.tolist() == [0, 0, -1]
    assert (found.flips, found.wavers) == (0, 2)


def test_a_missing_verdict_leaves_a_pair_without_an_outcome() -> None:
    found = both_orders([1, None, 1], [1, 1, math.nan])
    assert found.outcomes[0] == 1
    assert np.isnan(found.outcomes[1:]).all()
    assert (found.pairs, found.missing) == (1, 2)


def test_a_judge_that_prefers_whatever_is_shown_first_is_found_out() -> None:
    found = both_orders([1] * 20, [-1] * 20)
    assert found.flips == 20
    assert found.bias.estimate == 1
    assert found.is_biased
    assert found.sentence().endswith(
        "20 flips and 0 half flips count as ties, and it favours the answer shown first."
    )
    assert "shown second" in both_orders([-1] * 20, [1] * 20).sentence()


def test_flips_both_ways_are_noise_and_no_bias() -> None:
    found = both_orders([1, -1] * 20, [-1, 1] * 20)
    assert found.flips == 40
    assert not found.is_biased
    assert found.sentence().endswith("no side is favoured.")


def test_without_pairs_nothing_is_told_of_order() -> None:
    assert "is unknown: 0 pairs (1 more without a verdict)" in both_orders([1], [None]).sentence()


def test_a_verdict_is_a_winner_or_a_tie() -> None:
    with pytest.raises(ValueError, match="1, 0 or -1"):
        both_orders([2], [1])
    with pytest.raises(ValueError, match="1, 0 or -1"):
        bradley_terry(["a"], ["b"], [0.5])


@given(meetings)
def test_there_is_always_a_ranking(found: list[tuple[int, int, float]]) -> None:
    first, second, verdicts = zip(*found, strict=True) if found else ((), (), ())
    ranking = bradley_terry(first, second, verdicts)
    assert np.isfinite(ranking.strengths).all()
    assert ranking.strengths.sum() == pytest.approx(0, abs=1e-9)
    assert (np.diff(ranking.strengths) <= 0).all()
    assert set(ranking.items) == {*first, *second}
    assert ranking.comparisons + ranking.missing == len(found)


@given(meetings)
def test_the_ranking_is_where_the_slope_is_0(found: list[tuple[int, int, float]]) -> None:
    first, second, verdicts = zip(*found, strict=True) if found else ((), (), ())
    ranking = bradley_terry(first, second, verdicts, prior=0.3)
    strength = dict(zip(ranking.items, ranking.strengths, strict=True))
    slope = {item: -0.6 * value for item, value in strength.items()}
    for a, b, verdict in found:
        if not math.isnan(verdict):
            gain = (1 + verdict) / 2 - 1 / (1 + math.exp(strength[b] - strength[a]))
            slope[a] += gain
            slope[b] -= gain
    assert list(slope.values()) == pytest.approx([0] * len(slope), abs=1e-9)


def test_two_items_that_win_as_often_are_as_strong() -> None:
    ranking = bradley_terry(["a", "a", "a"], ["b", "b", "b"], [1, -1, 0])
    assert ranking.strengths.tolist() == pytest.approx([0, 0])
    assert ranking.ties == 1
    assert ranking.beats("a", "b").estimate == pytest.approx(0.5)


def test_an_item_that_always_wins_is_strong_and_not_infinitely_so() -> None:
    few, many = (bradley_terry(["a"] * n, ["b"] * n, [1] * n) for n in (3, 3000))
    assert few.items == many.items == ("a", "b")
    assert 0.5 < few.beats("a", "b").estimate < many.beats("a", "b").estimate < 1


def test_a_faint_prior_is_enough() -> None:
    ranking = bradley_terry(["a"] * 2000, ["b"] * 2000, [1] * 2000, prior=1e-6)
    assert np.isfinite(ranking.strengths).all()


def test_items_that_never_met_are_compared_with_little_certainty() -> None:
    ranking = bradley_terry(["a"] * 20 + ["c"] * 20, ["b"] * 20 + ["d"] * 20, [1] * 40)
    met, unmet = ranking.beats("a", "b"), ranking.beats("a", "c")
    assert unmet.estimate == pytest.approx(0.5)
    assert unmet.high - unmet.low > 0.8 > met.high - met.low


def test_names_and_order_of_items_change_nothing() -> None:
    first, second, verdicts = [0, 1, 2, 0, 1, 2], [1, 2, 0, 2, 0, 1], [1, 1, -1, 1, -1, 0]
    plain = bradley_terry(first, second, verdicts)
    renamed = bradley_terry(
        [f"model {item}" for item in reversed(second)],
        [f"model {item}" for item in reversed(first)],
        [-verdict for verdict in reversed(verdicts)],
    )
    assert [f"model {item}" for item in plain.items] == list(renamed.items)
    assert renamed.strengths == pytest.approx(plain.strengths)


def test_bradley_and_terrys_model_agrees_with_choix() -> None:
    choix = pytest.importorskip("choix")
    draw = np.random.default_rng(0)
    for prior in (0.02, 0.1, 1.0):
        first = draw.integers(0, 6, 80)
        second = (first + draw.integers(1, 6, 80)) % 6
        verdicts = draw.choice([-1.0, 0.0, 1.0], 80)
        ranking = bradley_terry(first.tolist(), second.tolist(), verdicts, prior=prior)
        # choix knows no ties: each comparison counts twice there, and a tie is one win for each.
        wins = []
        for a, b, verdict in zip(first, second, verdicts, strict=True):
            wins += [(a, b)] * int(1 + verdict) + [(b, a)] * int(1 - verdict)
        expected = choix.opt_pairwise(6, wins, alpha=2 * prior, tol=1e-13)
        strengths = dict(zip(ranking.items, ranking.strengths, strict=True))
        ours = [strengths[item] for item in range(6)]
        assert ours == pytest.approx(expected - expected.mean(), abs=1e-9)


def test_what_cannot_be_ranked_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="compared with itself"):
        bradley_terry(["a"], ["a"], [1])
    with pytest.raises(ValueError, match="needs a first and a second item"):
        bradley_terry(["a"], ["b"], [1, 1])
    with pytest.raises(ValueError, match="the prior must be above 0"):
        bradley_terry(["a"], ["b"], [1], prior=0)


def test_a_ranking_says_itself_in_a_sentence() -> None:
    ranking = bradley_terry(["x", "x", "x"], ["y", "y", "y"], [1, 0, None])
    assert ranking.sentence() == (
        "x ranks first and beats y, the second, in 71 % (95 % interval 14 to 97 %) of cases:"
        " 2 comparisons, 1 tie (1 more without a verdict)."
    )
    assert bradley_terry([], [], []).sentence().startswith("There is nothing to rank")
