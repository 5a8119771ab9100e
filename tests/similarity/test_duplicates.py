# ruff: noqa: RUF001 - scripts and typographers have punctuation of their own
"""Of texts that repeat each other the first stays, and the others name it."""

import itertools
import random
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.errors import MistakeError
from soupstock.similarity import buckets
from soupstock.similarity.buckets import Similarities, find_duplicates, shared_buckets
from soupstock.similarity.duplicates import Method, TextDuplicates, duplicates
from soupstock.similarity.minhash import Bands, Hashes, Integers, band_keys, normalized, shingles


class How(NamedTuple):
    """How texts are compared."""

    method: Method
    threshold: float = 0.7


EXACT = How("exact")
NEAR = How("minhash")

SOUP = (
    "Soak the beans overnight, then simmer them with an onion, two carrots and a bay leaf until "
    "they are soft. Take the leaf out, mash a third of the beans against the side of the pot, and "
    "stir in a spoonful of good oil. Salt it only at the end, because salted water keeps the "
    "skins of the beans hard, and serve it with bread that is a day old and toasted on one side."
)
TRAINS = (
    "The night train leaves at ten and reaches the coast before seven. Reserve a berth early in "
    "summer; in winter there is nearly always room. Bring your own breakfast, since the dining "
    "car has been closed for years, and keep your ticket at hand for the border, where the "
    "conductors change and ask for it again."
)


def found(how: How, *texts: str | None) -> TextDuplicates:
    return duplicates(pl.Series("text", texts, dtype=pl.String), *how)


def twins(how: How, *texts: str | None) -> list[int | None]:
    twin: list[int | None] = found(how, *texts).twin.to_list()
    return twin


def everything(how: How, texts: list[str]) -> list[list[object]]:
    return [part.to_list() for part in found(how, *texts)]


def jaccard(a: str, b: str) -> float:
    sets = shingles([normalized(a), normalized(b)])
    one, other = (set(part.tolist()) for part in np.split(sets.flat, sets.starts[1:-1]))
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("how", [EXACT, NEAR], ids=["exact", "minhash"])
def test_case_spacing_and_compatibility_forms_are_no_difference(how: How) -> None:
    again = SOUP.upper().replace(" ", " \n ")
    assert twins(how, SOUP, TRAINS, again, "straße ﬁn!", "STRASSE fin!") == [
        None, None, 0, None, 3,
    ]  # fmt: skip


@pytest.mark.parametrize("how", [EXACT, NEAR], ids=["exact", "minhash"])
def test_null_is_nobodys_twin(how: How) -> None:
    assert twins(how, None, SOUP, None, SOUP) == [None, None, None, 1]
    assert twins(how, None, None) == [None, None]
    assert twins(how) == []
    assert duplicates(pl.Series("text", [None, None]), *how).twin.to_list() == [None, None]


def test_an_edited_text_is_dropped_with_its_similarity() -> None:
    edited = SOUP.replace("a bay leaf", "one bay leaf")
    answer = found(NEAR, TRAINS, SOUP, edited)
    assert answer.twin.to_list() == [None, None, 1]
    assert answer.similarity.to_list() == [None, None, pytest.approx(jaccard(SOUP, edited))]
    assert twins(EXACT, TRAINS, SOUP, edited) == [None, None, None]


def test_the_most_similar_of_the_texts_that_stayed_is_the_twin() -> None:
    strict = How("minhash", 0.8)
    words = SOUP.split()
    far = " ".join(
        [*words[:-9], "an", "entirely", "other", "ending", "to", "this", "old", "recipe", "here"]
    )
    near = " ".join([*words[:-3], "quite", "another", "end"])
    assert jaccard(SOUP, far) < 0.8 <= jaccard(SOUP, near)
    assert twins(strict, far, SOUP, near) == [None, None, 1]


def test_what_resembles_only_a_dropped_text_stays() -> None:
    chain = [SOUP]
    for n in range(5):
        words = chain[-1].split()
        words[n * 8 : n * 8 + 4] = [f"x{n}a", f"x{n}b", f"x{n}c", f"x{n}d"]
        chain.append(" ".join(words))
    answer = found(NEAR, *chain)
    for row, twin in enumerate(answer.twin.to_list()):
        earlier = [r for r in range(row) if answer.twin[r] is None]
        like = [r for r in earlier if jaccard(chain[row], chain[r]) >= 0.7]
        assert (twin is None) == (not like)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Yes.", "yes", True),
        ("Yes, please", "Please, yes", True),
        ("Yes", "No", False),
        ("!!!", "!!!", True),
        ("!!!", "???", False),
        ("", " ", True),
        ("😀", "😡", False),
        (
            "今天天气很好，我们去公园散步吧，然后喝茶。",
            "今天天气很好，我们去公园散步吧，然后喝茶！",
            True,
        ),
        ("今天天气很好，我们去公园散步。", "明年他想去北京学习中文。", False),
    ],
)
def test_short_texts_and_those_without_words_or_spaces(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a test's case
    assert twins(NEAR, one, other) == [None, 0 if same else None]


def test_ten_thousand_copies_of_one_text_are_no_trouble() -> None:
    answer = duplicates(pl.Series("text", [TRAINS, *[SOUP] * 10_000]), *NEAR)
    assert answer.twin.to_list() == [None, None, *[1] * 9_999]


def test_a_megabyte_without_spaces_is_a_text_like_others() -> None:
    assert twins(NEAR, "a" * 10**6, "漢字" * 10**5, "\0" * 10**6, "a" * 10**6) == [
        None, None, None, 0,
    ]  # fmt: skip


def test_only_texts_can_be_compared() -> None:
    with pytest.raises(MistakeError, match="dedup compares texts, and text is Int64"):
        duplicates(pl.Series("text", [1]), *NEAR)
    categories = pl.Series("text", ["a", "a"], dtype=pl.Categorical)
    assert duplicates(categories, *EXACT).twin.to_list() == [None, 0]


def test_fewer_rows_per_band_find_less_similar_twins() -> None:
    assert Bands.finding(0.7) == Bands(25, 5)
    for threshold in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        bands = Bands.finding(threshold)
        assert bands.number * bands.rows <= 125
        assert 1 - (1 - threshold**bands.rows) ** bands.number >= 0.985


def test_the_best_of_a_kind_stays_and_the_first_of_the_best() -> None:
    texts = pl.Series([SOUP, TRAINS, SOUP.lower(), SOUP.upper(), None, TRAINS])
    scores = pl.Series([0.2, None, 0.9, 0.9, 1.0, float("nan")])
    for how in (EXACT, NEAR):
        answer = duplicates(texts, *how, scores=scores)
        assert answer.twin.to_list() == [2, None, None, 2, None, 1]
        assert answer.similarity.to_list() == [1.0, None, None, 1.0, None, 1.0]


@pytest.mark.parametrize("how", [EXACT, NEAR], ids=["exact", "minhash"])
def test_what_was_published_before_stays_whatever_it_repeats(how: How) -> None:
    texts = pl.Series(["something else", SOUP, TRAINS, TRAINS])
    before = pl.Series([None, SOUP.lower(), SOUP])
    answer = duplicates(texts, *how, against=before)
    assert answer.against.to_list() == [None, 1, None, None]
    assert answer.twin.to_list() == [None, None, None, 2]
    assert answer.similarity.to_list() == [None, 1.0, None, 1.0]
    assert duplicates(texts.clear(), *how, against=before).twin.to_list() == []
    again = duplicates(texts, *how, scores=pl.Series([1, 9, 2, 3]), against=before)
    assert again.against.to_list() == [None, 1, None, None]
    assert again.twin.to_list() == [None, None, 3, None]


def test_the_most_similar_is_named_whether_it_was_there_before_or_not() -> None:
    edited = SOUP.replace("a bay leaf", "one bay leaf")
    twice = edited.replace("good oil", "olive oil")
    texts = pl.Series([twice, twice.replace("old", "stale")])
    answer = duplicates(texts, *NEAR, against=pl.Series([SOUP, edited]))
    assert answer.against.to_list() == [1, 1]


def prose(rng: random.Random, words: int) -> list[str]:
    vocabulary = sorted(set((SOUP + " " + TRAINS).lower().split()))
    return rng.choices(vocabulary, k=words)


def test_planted_edits_are_found_and_nothing_else() -> None:
    rng = random.Random(5)  # noqa: S311 - planted edits are no secret
    texts = [prose(rng, rng.randint(60, 120)) for _ in range(300)]
    for original in texts[:300]:
        edited = list(original)
        for _ in range(len(edited) // 40):
            edited[rng.randrange(len(edited))] = "elsewhere"
        texts.append(edited)
    rows = [" ".join(words) for words in texts]
    expected = [n if jaccard(rows[n], rows[n + 300]) >= 0.7 else None for n in range(300)]
    answer = twins(NEAR, *rows)
    assert answer[:300] == [None] * 300
    missed = [n for n in range(300) if answer[n + 300] != expected[n]]
    assert expected.count(None) < 30
    assert len(missed) <= 3
    assert all(answer[n + 300] is None for n in missed)


WORDS = st.sampled_from(["soup", "bread", "salt", "the", "Tea", "new", "old", "cup"])
TEXTS = st.lists(
    st.one_of(
        st.none(),
        st.lists(WORDS, max_size=9).map(" ".join),
        st.integers(0, 40).map(lambda n: " ".join(SOUP.split()[: n + 20])),
        st.text(max_size=6),
    ),
    max_size=40,
)
STEPS = st.sampled_from([EXACT, NEAR, How("minhash", 0.4)])


@given(STEPS, TEXTS, st.integers(0, 40))
def test_rows_added_later_change_nothing_before_them(
    how: How, texts: list[str | None], cut: int
) -> None:
    whole, start = found(how, *texts), found(how, *texts[:cut])
    assert whole.twin.to_list()[:cut] == start.twin.to_list()
    assert whole.similarity.to_list()[:cut] == start.similarity.to_list()


@given(STEPS, TEXTS)
def test_a_twin_stays_comes_first_and_is_as_similar_as_is_said(
    how: How, texts: list[str | None]
) -> None:
    answer = found(how, *texts)
    for row, (twin, similarity) in enumerate(zip(answer.twin, answer.similarity, strict=True)):
        assert (twin is None) == (similarity is None)
        if twin is None:
            continue
        text, other = texts[row], texts[twin]
        assert text is not None
        assert other is not None
        assert twin < row
        assert answer.twin[twin] is None
        if how.method == "exact":
            assert similarity == 1.0
            assert normalized(text).split() == normalized(other).split()
        else:
            assert similarity == pytest.approx(jaccard(text, other))
            assert similarity >= how.threshold


@given(STEPS, TEXTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference_where_scores_say_which_stays(
    how: How, texts: list[str | None], rng: random.Random
) -> None:
    scores = rng.sample(range(len(texts)), len(texts))
    order = rng.sample(range(len(texts)), len(texts))
    one = duplicates(pl.Series(texts, dtype=pl.String), *how, scores=pl.Series(scores))
    shuffled = pl.Series([texts[n] for n in order], dtype=pl.String)
    other = duplicates(shuffled, *how, scores=pl.Series([scores[n] for n in order]))
    for place, n in enumerate(order):
        twin = other.twin[place]
        assert one.twin[n] == (None if twin is None else order[twin])
        assert one.similarity[n] == other.similarity[place]
        if one.twin[n] is not None:
            assert scores[one.twin[n]] > scores[n]
            assert one.twin[one.twin[n]] is None


@given(STEPS, TEXTS, TEXTS)
def test_texts_that_were_there_before_count_as_rows_that_stay(
    how: How, before: list[str | None], texts: list[str | None]
) -> None:
    known = pl.Series(before, dtype=pl.String)
    answer = duplicates(pl.Series(texts, dtype=pl.String), *how, against=known)
    for row, (twin, old) in enumerate(zip(answer.twin, answer.against, strict=True)):
        assert (answer.similarity[row] is None) == (twin is None and old is None)
        assert twin is None or old is None
        if old is not None:
            text, other = texts[row], before[old]
            assert text is not None
            assert other is not None
            assert normalized(text).split() == normalized(other).split() or (
                how.method == "minhash" and jaccard(text, other) >= how.threshold
            )
    unique = known.filter(duplicates(known, *how).similarity.is_null())
    if how.method == "exact":
        rows = duplicates(pl.concat([unique, pl.Series(texts, dtype=pl.String)]), *how)
        dropped = rows.similarity[len(unique) :].is_not_null()
        assert dropped.to_list() == answer.similarity.is_not_null().to_list()


@given(TEXTS)
def test_what_is_the_same_exactly_is_so_by_its_shingles_too(texts: list[str | None]) -> None:
    exact = found(EXACT, *texts).twin
    near = found(How("minhash", 1.0), *texts).twin
    assert all(b is not None for a, b in zip(exact, near, strict=True) if a is not None)


@given(TEXTS)
def test_very_similar_texts_never_both_stay(texts: list[str | None]) -> None:
    twin = found(NEAR, *texts).twin
    stayed = [t for t, n in zip(texts, twin, strict=True) if n is None and t is not None]
    pairs = itertools.combinations(stayed, 2)
    assert all(jaccard(one, other) < 0.95 for one, other in pairs)


@given(TEXTS)
def test_identical_texts_never_both_stay(texts: list[str | None]) -> None:
    for how in (EXACT, NEAR):
        twin = found(how, *texts).twin
        stayed = [t for t, n in zip(texts, twin, strict=True) if n is None and t is not None]
        assert len(stayed) == len(set(stayed))


def test_neither_chunks_nor_how_rows_are_gone_through_make_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(1)  # noqa: S311 - planted edits are no secret
    rows = [" ".join(prose(rng, 5)) for _ in range(150)]
    rows += ["", *(f"{SOUP} {' '.join(prose(rng, rng.randrange(25)))}" for _ in range(150))]
    rng.shuffle(rows)
    whole = everything(NEAR, rows)
    assert 50 < sum(twin is not None for twin in whole[0]) < 250
    monkeypatch.setattr("soupstock.similarity.duplicates._CHUNK_CHARACTERS", 100)
    monkeypatch.setattr("soupstock.similarity.minhash._PIECE", 64)
    assert everything(NEAR, rows) == whole
    monkeypatch.setattr("soupstock.similarity.buckets._PAIRS", 3)
    assert everything(NEAR, rows) == whole
    for least_share in (0.0, 2.0):  # all in rounds, or but one
        monkeypatch.setattr("soupstock.similarity.buckets._LEAST_SHARE", least_share)
        assert everything(NEAR, rows) == whole


def test_hashes_are_the_same_in_every_process_and_on_every_machine() -> None:
    script = (
        "import sys\n"
        "from soupstock.similarity.minhash import Bands, band_keys, shingles\n"
        "sets = shingles(sys.argv[1:])\n"
        "print(int(sets.flat.sum()), int(band_keys(sets, Bands(25, 5)).sum()))\n"
    )
    texts = ["the old soup pot is here", "yes", "", "今天天气很好"]
    answer = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script, *texts],
        env={"PYTHONHASHSEED": "11", "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    sets = shingles(texts)
    here = (int(sets.flat.sum()), int(band_keys(sets, Bands(25, 5)).sum()))
    assert answer.stdout.split() == [str(number) for number in here]
    assert here == (5457024179747602916, 18435375420943454238)


def one_by_one(
    keys: Hashes, like: Similarities, settled: int, crowd: int
) -> list[tuple[int, float]]:
    """Go through rows as the rule has it, one by one."""
    shared: dict[tuple[int, int], list[int]] = {}
    found = []
    for row in range(len(like)):
        mine = [
            shared.setdefault((band, key), []) for band, key in enumerate(keys[:, row].tolist())
        ]
        others = {other for bucket in mine for other in bucket[:crowd]}
        best = max(((like[row, other], -other) for other in others), default=(0.0, 0))
        if best[0] and row >= settled:
            found.append((-int(best[1]), float(best[0])))
            continue
        found.append((-1, 0.0))
        for bucket in mine:
            bucket.append(row)
    return found


@settings(max_examples=300)
@given(
    st.integers(1, 60), st.integers(1, 4), st.integers(1, 12), st.integers(0, 70), st.integers(0)
)
def test_rows_stay_as_if_gone_through_one_by_one(
    height: int, bands: int, different: int, settled: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    keys = draw.integers(different, size=(bands, height)).astype(np.uint64) << np.uint64(40)
    like = np.round(draw.random((height, height)) + 0.1, 1) * (draw.random((height, height)) < 0.3)
    like = np.maximum(like, like.T)
    members = shared_buckets(keys, np.arange(height))
    for least_share in (0.0, 2.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(buckets, "_LEAST_SHARE", least_share)
            patch.setattr(buckets, "CROWD", 3)
            expected = one_by_one(keys, like, settled, 3)
            answer = find_duplicates(members, height, settled, lambda a, b: like[a, b])
        assert list(zip(answer.twin.tolist(), answer.similarity.tolist(), strict=True)) == expected


def test_boilerplate_that_all_rows_share_costs_each_a_bounded_number_of_comparisons() -> None:
    height, bands = 2000, 5
    compared = 0

    def never_alike(one: Integers, other: Integers) -> Similarities:
        nonlocal compared
        compared += len(one)
        assert (one != other).all()
        return np.zeros(len(one))

    keys = np.zeros((bands, height), np.uint64)
    members = shared_buckets(keys, np.arange(height))
    assert (find_duplicates(members, height, 0, never_alike).twin == -1).all()
    assert compared <= height * bands * buckets.CROWD
