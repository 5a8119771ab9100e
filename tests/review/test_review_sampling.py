"""Rows are drawn with known chances, so that what the sample says holds for the whole."""

from collections import Counter

import numpy as np
import pytest

from soupstock.review.figures import weighted_share
from soupstock.review.sampling import (
    SampledRows,
    draw_random,
    draw_stratified,
    draw_weighted,
    quarters,
    random_numbers,
    sampling_weights,
    uncertainty_of,
)

ROWS, DRAWS = 60, 1500
DOUBTS = [(n % 10) / 9 for n in range(ROWS)]
KINDS = ["a"] * 40 + ["b"] * 15 + ["c"] * 5


def drawn_by(how: str, seed: int, wanted: int = 12) -> SampledRows:
    numbers = random_numbers([f"row-{n}" for n in range(ROWS)], seed)
    match how:
        case "random":
            return draw_random(numbers, wanted)
        case "uncertain":
            return draw_weighted(numbers, wanted, sampling_weights(DOUBTS))
        case _:
            return draw_stratified(numbers, wanted, KINDS)


@pytest.mark.parametrize("how", ["random", "uncertain", "stratified"])
def test_each_row_is_drawn_as_often_as_its_chance_says(how: str) -> None:
    often: Counter[int] = Counter()
    chances: dict[int, float] = {}
    for seed in range(DRAWS):
        found = drawn_by(how, seed)
        assert len(found.places) == len(set(found.places.tolist())) == 12
        often.update(found.places.tolist())
        chances.update(zip(found.places.tolist(), found.chances.tolist(), strict=True))
    assert len(chances) == ROWS
    for place, chance in chances.items():
        # Four standard errors, and the little that Pareto sampling's chances are off.
        error = 4 * (chance * (1 - chance) / DRAWS) ** 0.5 + 0.01
        assert often[place] / DRAWS == pytest.approx(chance, abs=error)


@pytest.mark.parametrize("how", ["random", "uncertain", "stratified"])
def test_shares_are_those_of_the_whole_however_rows_are_drawn(how: str) -> None:
    # Doubtful rows are bad, and so are those of the smallest kind.
    is_good = [doubtful < 0.7 and kind != "c" for doubtful, kind in zip(DOUBTS, KINDS, strict=True)]
    shares = []
    for seed in range(DRAWS // 4):
        found = drawn_by(how, seed, 20)
        said = [is_good[place] for place in found.places]
        shares.append(weighted_share(said, found.chances.tolist()).estimate)
    assert np.mean(shares) == pytest.approx(np.mean(is_good), abs=0.02)


def test_the_interval_of_a_share_covers_the_truth() -> None:
    is_good = [doubtful < 0.7 for doubtful in DOUBTS]
    truth, covered = float(np.mean(is_good)), 0
    for seed in range(500):
        found = drawn_by("uncertain", seed, 25)
        told = weighted_share([is_good[p] for p in found.places], found.chances.tolist())
        covered += int(told.low <= truth <= told.high)
    assert covered >= 0.93 * 500


def test_doubtful_rows_are_drawn_first_and_the_others_can_be() -> None:
    places = [place for seed in range(50) for place in drawn_by("uncertain", seed).places]
    doubts = [DOUBTS[place] for place in places]
    assert np.mean(doubts) > 0.55
    assert min(doubts) == 0


def test_nearly_the_same_rows_give_nearly_the_same_sample() -> None:
    ids = [f"row-{n}" for n in range(1000)]
    before = draw_random(random_numbers(ids, 0), 100).places
    # Rows in the middle are gone, and others come before.
    rest = [f"new-{n}" for n in range(20)] + ids[:500] + ids[520:]
    after = draw_random(random_numbers(rest, 0), 100).places
    assert len({ids[n] for n in before} & {rest[n] for n in after}) > 90
    assert len(set(draw_random(random_numbers(ids, 1), 100).places) & set(before)) < 30


def test_fewer_rows_than_wanted_are_all_drawn_for_sure() -> None:
    numbers = random_numbers(["a", "b", "c"], 0)
    for found in (
        draw_random(numbers, 10),
        draw_weighted(numbers, 10, sampling_weights([0, 1, 0.5])),
    ):
        assert sorted(found.places) == [0, 1, 2]
        assert found.chances.tolist() == [1, 1, 1]
    assert draw_random(random_numbers([], 0), 5).places.size == 0
    assert draw_weighted(random_numbers([], 0), 5, sampling_weights([])).places.size == 0
    assert draw_stratified(random_numbers([], 0), 5, []).places.size == 0


def test_rows_of_which_nothing_else_would_be_drawn_are_sure_and_the_rest_shares_what_is_left() -> (
    None
):
    numbers = random_numbers([f"{n}" for n in range(10)], 0)
    found = draw_weighted(numbers, 4, np.array([100.0, *[1.0] * 9]))
    chances = dict(zip(found.places.tolist(), found.chances.tolist(), strict=True))
    assert chances.pop(0) == 1
    assert list(chances.values()) == pytest.approx([3 / 9] * 3)


def test_of_more_kinds_than_rows_are_wanted_the_rarest_are_one() -> None:
    kinds = [f"kind-{n}" for n in range(50)] + ["often"] * 50
    seen: set[int] = set()
    for seed in range(600):
        numbers = random_numbers([f"{n}" for n in range(100)], seed)
        found = draw_stratified(numbers, 10, kinds)
        assert len(found.places) == 10
        assert (found.chances > 0).all()
        seen.update(found.places.tolist())
    assert seen == set(range(100))


def test_numbers_are_told_apart_by_quarters_and_what_is_missing_by_itself() -> None:
    assert quarters([1.0, 2.0, 3.0, 4.0, None]) == [
        "quarter 1",
        "quarter 2",
        "quarter 3",
        "quarter 4",
        "none",
    ]
    assert quarters([None, None]) == ["none", "none"]
    assert set(quarters([0.5] * 4)) == {"quarter 1"}


@pytest.mark.parametrize(
    ("verdict", "least", "most"),
    [
        ((0.5, 0.5, None, None), 1, 1),
        ((0.0, 0.5, None, None), 0, 0),
        ((1.0, 0.5, None, None), 0, 0),
        ((0.55, 0.5, None, None), 0.7, 0.99),
        ((1.0, 0.5, 0.8, None), 0.8, 0.8),
        ((1.0, 0.5, 0.1, 0.6), 0.6, 0.6),
        ((None, 0.5, None, None), 1, 1),
        ((0.0, 0.0, None, None), 1, 1),
        ((1.0, 1.0, None, None), 1, 1),
    ],
)
def test_a_verdict_is_as_doubtful_as_the_most_doubtful_that_is_known_of_it(
    verdict: tuple[float | None, float, float | None, float | None], least: float, most: float
) -> None:
    assert least <= uncertainty_of(*verdict) <= most
