# ruff: noqa: RUF001 - scripts and typographers have punctuation of their own
"""Of texts that repeat each other the first stays, and the others name it."""

import random
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.errors import MistakeError
from soupstock.minhash import Bands, band_keys, folded, shingles
from soupstock.steps.dedup import Deduplication, Duplicates, duplicates

EXACT = Deduplication("text", "exact")
NEAR = Deduplication("text", "minhash", 0.7)

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


def found(step: Deduplication, *texts: str | None) -> Duplicates:
    return duplicates(step, pl.Series("text", texts, dtype=pl.String))


def twins(step: Deduplication, *texts: str | None) -> list[int | None]:
    twin: list[int | None] = found(step, *texts).twin.to_list()
    return twin


def jaccard(a: str, b: str) -> float:
    sets = shingles([folded(a), folded(b)])
    one, other = (set(part.tolist()) for part in np.split(sets.flat, sets.starts[1:-1]))
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("step", [EXACT, NEAR], ids=["exact", "minhash"])
def test_case_spacing_and_compatibility_forms_are_no_difference(step: Deduplication) -> None:
    again = SOUP.upper().replace(" ", " \n ")
    assert twins(step, SOUP, TRAINS, again, "straße ﬁn!", "STRASSE fin!") == [
        None, None, 0, None, 3,
    ]  # fmt: skip


@pytest.mark.parametrize("step", [EXACT, NEAR], ids=["exact", "minhash"])
def test_null_is_nobodys_twin(step: Deduplication) -> None:
    assert twins(step, None, SOUP, None, SOUP) == [None, None, None, 1]
    assert twins(step, None, None) == [None, None]
    assert twins(step) == []
    assert duplicates(step, pl.Series("text", [None, None])).twin.to_list() == [None, None]


def test_an_edited_text_is_dropped_with_its_similarity() -> None:
    edited = SOUP.replace("a bay leaf", "one bay leaf")
    answer = found(NEAR, TRAINS, SOUP, edited)
    assert answer.twin.to_list() == [None, None, 1]
    assert answer.similarity.to_list() == [None, None, pytest.approx(jaccard(SOUP, edited))]
    assert twins(EXACT, TRAINS, SOUP, edited) == [None, None, None]


def test_the_most_similar_of_the_texts_that_stayed_is_the_twin() -> None:
    strict = Deduplication("text", "minhash", 0.8)
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
    answer = duplicates(NEAR, pl.Series("text", [TRAINS, *[SOUP] * 10_000]))
    assert answer.twin.to_list() == [None, None, *[1] * 9_999]


def test_a_megabyte_without_spaces_is_a_text_like_others() -> None:
    assert twins(NEAR, "a" * 10**6, "漢字" * 10**5, "\0" * 10**6, "a" * 10**6) == [
        None, None, None, 0,
    ]  # fmt: skip


def test_only_texts_can_be_compared() -> None:
    with pytest.raises(MistakeError, match="dedup compares texts, and text is Int64"):
        duplicates(NEAR, pl.Series("text", [1]))
    categories = pl.Series("text", ["a", "a"], dtype=pl.Categorical)
    assert duplicates(EXACT, categories).twin.to_list() == [None, 0]


def test_fewer_rows_per_band_find_less_similar_twins() -> None:
    assert Bands.finding(0.7) == Bands(25, 5)
    for threshold in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        bands = Bands.finding(threshold)
        assert bands.number * bands.rows <= 125
        assert 1 - (1 - threshold**bands.rows) ** bands.number >= 0.985


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
STEPS = st.sampled_from([EXACT, NEAR, Deduplication("text", "minhash", 0.4)])


@settings(deadline=None)
@given(STEPS, TEXTS, st.integers(0, 40))
def test_rows_added_later_change_nothing_before_them(
    step: Deduplication, texts: list[str | None], cut: int
) -> None:
    whole, start = found(step, *texts), found(step, *texts[:cut])
    assert whole.twin.to_list()[:cut] == start.twin.to_list()
    assert whole.similarity.to_list()[:cut] == start.similarity.to_list()


@settings(deadline=None)
@given(STEPS, TEXTS)
def test_a_twin_stays_comes_first_and_is_as_similar_as_is_said(
    step: Deduplication, texts: list[str | None]
) -> None:
    answer = found(step, *texts)
    for row, (twin, similarity) in enumerate(zip(answer.twin, answer.similarity, strict=True)):
        assert (twin is None) == (similarity is None)
        if twin is None:
            continue
        text, other = texts[row], texts[twin]
        assert text is not None
        assert other is not None
        assert twin < row
        assert answer.twin[twin] is None
        if step.method == "exact":
            assert similarity == 1.0
            assert folded(text).split() == folded(other).split()
        else:
            assert similarity == pytest.approx(jaccard(text, other))
            assert similarity >= step.threshold


@settings(deadline=None)
@given(TEXTS)
def test_identical_texts_never_both_stay(texts: list[str | None]) -> None:
    for step in (EXACT, NEAR):
        twin = found(step, *texts).twin
        stayed = [t for t, n in zip(texts, twin, strict=True) if n is None and t is not None]
        assert len(stayed) == len(set(stayed))


def test_how_texts_are_cut_into_chunks_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(1)  # noqa: S311 - planted edits are no secret
    rows = [" ".join(prose(rng, 5)) for _ in range(400)]
    whole = twins(NEAR, *rows)
    monkeypatch.setattr("soupstock.steps.dedup._CHUNK_CHARACTERS", 100)
    monkeypatch.setattr("soupstock.steps.dedup._CHUNK_ROWS", 3)
    assert twins(NEAR, *rows) == whole


def test_hashes_are_the_same_in_every_process_and_on_every_machine() -> None:
    script = (
        "import sys\n"
        "from soupstock.minhash import Bands, band_keys, shingles\n"
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
    assert here == (1524696591886454, 7043800457443052174)
