"""Of rows whose vectors point the same way the first stays, and the others name it."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.similarity import cosine
from soupstock.similarity.cosine import Embedder, Vectors, cosine_duplicates
from soupstock.similarity.duplicates import TextDuplicates, duplicates


def directions(seed: int, height: int, kinds: int, spread: float = 0.2, width: int = 24) -> Vectors:
    """Draw vectors of several kinds around a mean that is far from the origin."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(kinds, width))
    own = centres[draw.integers(kinds, size=height)] + draw.normal(size=(height, width)) * spread
    return (own + 5).astype(np.float32)


def cosines(vectors: Vectors) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Compare all pairs the plain way."""
    centred = vectors.astype(np.float64)
    centred -= centred.sum(axis=0) / (len(vectors) + 1)
    centred /= np.linalg.norm(centred, axis=1)[:, None]
    return centred @ centred.T


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few hundred rows be many blocks, cells and tiles."""
    monkeypatch.setattr(cosine, "_BLOCK", 32)
    monkeypatch.setattr(cosine, "_TILE", 16)
    monkeypatch.setattr(cosine, "_PAIRS", 8)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 0.95])
def test_rows_stay_as_if_each_were_compared_with_all_before_it(threshold: float) -> None:
    vectors = directions(3, 400, 60)
    like = cosines(vectors)
    expected: list[int] = []
    for row in range(len(vectors)):
        earlier = [other for other in range(row) if expected[other] < 0]
        best = max(earlier, key=lambda other: like[row, other], default=-1)
        expected.append(best if best >= 0 and like[row, best] >= threshold else -1)
    found = cosine_duplicates(vectors, threshold)
    assert found.twin.tolist() == expected
    rows = np.flatnonzero(found.twin >= 0)
    assert 0 < rows.size < 400
    assert found.similarity[rows] == pytest.approx(like[rows, found.twin[rows]])


@pytest.mark.usefixtures("small")
def test_cells_find_nearly_all_that_comparing_every_pair_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = directions(4, 3000, 1500, spread=0.1)
    every = cosine_duplicates(vectors, 0.9)
    monkeypatch.setattr(cosine, "EXHAUSTIVE", 100)
    found = cosine_duplicates(vectors, 0.9)
    dropped = found.twin >= 0
    assert (found.twin[found.twin[dropped]] < 0).all()
    assert (every.twin >= 0).sum() > 1000
    assert dropped.sum() >= 0.98 * (every.twin >= 0).sum()


def test_common_ground_is_taken_away_before_cosines_are_compared() -> None:
    far = np.eye(8, dtype=np.float32) + 1
    assert (cosine_duplicates(far, 0.5).twin == -1).all()
    assert cosine_duplicates(far, 0.5, mean=np.zeros(8)).twin.tolist() == [-1, *[0] * 7]
    near = np.concatenate((far, far + np.float32(0.01)))
    assert cosine_duplicates(near, 0.9).twin.tolist() == [*[-1] * 8, *range(8)]


def test_few_rows_are_compared_like_many() -> None:
    one = np.array([[3, 1, 2]], np.float32)
    assert cosine_duplicates(one, 0.9).twin.tolist() == [-1]
    assert cosine_duplicates(one[:0], 0.9).twin.tolist() == []
    twins = np.array([[3, 1, 2], [3.01, 1, 2]], np.float32)
    assert cosine_duplicates(twins, 0.9).twin.tolist() == [-1, 0]
    others = np.array([[3, 1, 2], [-1, 2, 0]], np.float32)
    assert cosine_duplicates(others, 0.9).twin.tolist() == [-1, -1]


def test_equal_vectors_are_twins_at_any_threshold_and_zeros_never() -> None:
    vectors = np.array([[1, 2, 3], [0, 0, 0], [1, 2, 3], [-0.0, 0, 0], [3, 2, 1]], np.float32)
    found = cosine_duplicates(vectors, 1.0)
    assert found.twin.tolist() == [-1, -1, 0, -1, -1]
    assert found.similarity.tolist() == [0, 0, 1, 0, 0]


def test_a_crowd_of_nearly_equal_vectors_is_no_trouble() -> None:
    vectors = directions(1, 20_000, 1, spread=0.01)
    found = cosine_duplicates(vectors, 0.9, mean=np.full(24, 5.0))
    assert found.twin.tolist() == [-1, *[0] * 19_999]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="a number that is not finite"):
        cosine_duplicates(np.array([[1, float("nan")]], np.float32), 0.9)


@settings(max_examples=50)
@given(
    st.integers(0), st.integers(1, 150), st.integers(1, 40), st.integers(0, 160),
    st.sampled_from([0.3, 0.7, 0.9, 1.0]), st.booleans(),
)  # fmt: skip
def test_a_twin_stays_comes_first_and_is_as_similar_as_is_said(  # noqa: PLR0913, PLR0917 - each is drawn
    seed: int,
    height: int,
    kinds: int,
    settled: int,
    threshold: float,
    cells: bool,  # noqa: FBT001
) -> None:
    vectors = directions(seed, height, kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosine, "_BLOCK", 32)
        patch.setattr(cosine, "EXHAUSTIVE", 20 if cells else 1000)
        found = cosine_duplicates(vectors, threshold, settled)
    like = cosines(vectors)
    for row, twin in enumerate(found.twin.tolist()):
        if twin < 0:
            assert found.similarity[row] == 0
            continue
        assert settled <= row
        assert twin < row
        assert found.twin[twin] < 0
        assert found.similarity[row] >= threshold
        assert found.similarity[row] == pytest.approx(like[row, twin], abs=1e-6)


@settings(max_examples=30)
@given(st.integers(0), st.integers(2, 120), st.integers(0, 60), st.booleans())
def test_with_a_known_mean_rows_added_later_change_nothing_before_them(
    seed: int,
    height: int,
    cut: int,
    at_once: bool,  # noqa: FBT001 - drawn
) -> None:
    vectors = directions(seed, height, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosine, "_BLOCK", 512 if at_once else 16)
        whole = cosine_duplicates(vectors, 0.8, mean=np.full(24, 5.0))
        start = cosine_duplicates(vectors[:cut], 0.8, mean=np.full(24, 5.0))
    assert whole.twin[:cut].tolist() == start.twin.tolist()
    assert whole.similarity[:cut].tolist() == start.similarity.tolist()


def test_neither_threads_nor_processes_make_a_difference() -> None:
    script = (
        "import numpy as np\n"
        "from soupstock.similarity import cosine as semantic\n"
        "semantic.EXHAUSTIVE = 100\n"
        "draw = np.random.default_rng(1)\n"
        "vectors = np.repeat(draw.normal(size=(1500, 96)), 2, axis=0)\n"
        "vectors += draw.normal(size=vectors.shape) * 0.3\n"
        "found = semantic.cosine_duplicates(vectors.astype(np.float32), 0.9)\n"
        "print(sum((found.twin >= 0).tolist()), found.twin.tolist(), found.similarity.tolist())\n"
    )
    answers = [
        subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-c", script],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for threads in ("1", "2", "7")
    ]
    assert 0 < int(answers[0].split()[0]) < 1500
    assert len(set(answers)) == 1


def letters(texts: Sequence[str]) -> Vectors:
    """Embed a text by how often it has each letter."""
    return np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)


semantic = partial(duplicates, method="semantic", threshold=0.95)


def test_a_dedup_step_compares_what_an_embedder_makes_of_the_texts() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> Vectors:
        asked.extend(texts)
        return letters(texts)

    texts = pl.Series(["listen", "plum", None, "silent", "plum", "", "tinsel", ""])
    found = semantic(texts, embedder=Embedder(embed))
    assert found.twin.to_list() == [None, None, None, 0, 1, None, 0, 5]
    assert found.similarity.to_list() == [None, None, None, 1.0, 1.0, None, 1.0, 1.0]
    assert sorted(asked) == ["", "listen", "plum", "silent", "tinsel"]
    scored = semantic(
        texts,
        scores=pl.Series([1, 2, 3, 4, 5, 6, 7, 8]),
        against=pl.Series(["lump"]),
        embedder=Embedder(embed),
    )
    assert scored.twin.to_list() == [6, None, None, 6, None, 7, None, None]
    assert scored.against.to_list() == [None, 0, None, None, 0, None, None, None]


def test_an_embedder_must_be_there_and_return_a_vector_for_each_text() -> None:
    texts = pl.Series(["a", "b"])
    with pytest.raises(ValueError, match="needs an embedder"):
        semantic(texts)
    short = Embedder(lambda texts: letters(texts[:1]))
    with pytest.raises(ValueError, match=r"2 texts got embeddings of the shape \(1, 26\)"):
        semantic(texts, embedder=short)
    none = semantic(texts.clear(), embedder=Embedder(letters))
    assert none.twin.to_list() == []


@settings(max_examples=30)
@given(
    st.lists(st.text("abc", max_size=4), max_size=30),
    st.randoms(use_true_random=False),
    st.sampled_from([5, 100]),
)
def test_the_order_of_rows_makes_no_difference_where_scores_say_which_stays(
    texts: list[str], rng: random.Random, most: int
) -> None:
    scores = rng.sample(range(len(texts)), len(texts))
    order = rng.sample(range(len(texts)), len(texts))

    def found(rows: Sequence[int]) -> TextDuplicates:
        column = pl.Series([texts[n] for n in rows], dtype=pl.String)
        by = pl.Series([scores[n] for n in rows])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cosine, "EXHAUSTIVE", most)
            return semantic(column, scores=by, embedder=Embedder(letters))

    one, other = found(range(len(texts))), found(order)
    names = [None if twin is None else order[twin] for twin in other.twin]
    assert names == [one.twin[n] for n in order]
    assert other.similarity.to_list() == [one.similarity[n] for n in order]
