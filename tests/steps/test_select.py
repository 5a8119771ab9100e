"""Exactly so many rows: the best, the most different, or as many of each kind."""

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from embedders import static_model
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_rows import pipeline

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.similarity.cosine import UNIT, Vectors, directions
from soupstock.similarity.tfidf import tfidf_vectors
from soupstock.stats.apportionment import even_shares
from soupstock.steps.select import ALIKE, ENOUGH, BoundSelect, Selected, select

TOPICS = {
    "soup": "soak the beans and simmer them with onion carrot leaf salt oil bread pot stove",
    "train": "the night train leaves at ten for the coast with berths and a dining car",
    "garden": "prune roses in spring water tomatoes at dusk and mulch the beds with straw",
    "money": "save a tenth of your wage pay dear loans first and keep three months in cash",
}


def prose(rows: int, seed: int = 0) -> pl.DataFrame:
    """Make rows of a few topics, some nearly alike, with scores that repeat and are missing."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    made = []
    for n in range(rows):
        topic = draw.choice(list(TOPICS))
        words = draw.sample(TOPICS[topic].split(), 9)
        score = draw.choice([None, math.nan, 1.0, 2.0, 3.0, 4.0])
        made.append({"id": f"{n:04}", "text": " ".join(words), "stars": score, "topic": topic})
    return pl.DataFrame(made)


def chosen(found: Selected, rows: pl.DataFrame) -> list[str]:
    ids: list[str] = rows.filter(found.reason.is_null())["id"].to_list()
    return sorted(ids)


def ranked(rows: pl.DataFrame) -> list[int]:
    """Order rows as the documentation says, the plain way."""

    def key(n: int) -> tuple[bool, float, str]:
        score = rows["stars"][n]
        is_missing = score is None or math.isnan(score)
        return is_missing, 0.0 if is_missing else -score, rows["id"][n]

    return sorted(range(rows.height), key=key)


def near(rows: pl.DataFrame) -> Vectors:
    return directions(tfidf_vectors(rows["text"].to_list()))


METHODS = [
    BoundSelect(rows=20, by="stars"),
    BoundSelect(rows=20),
    BoundSelect(share=0.3, by="stars", per="topic"),
    BoundSelect(share=1.0, by="stars", per="topic", at_most=7),
    BoundSelect(rows=20, by="stars", method="deita", column="text", threshold=0.5),
    BoundSelect(rows=20, by="stars", method="deita", column="text", threshold=0.5, per="topic"),
    BoundSelect(rows=20, by="stars", method="k_center", column="text"),
    BoundSelect(rows=20, method="k_center", column="text", per="topic"),
    BoundSelect(rows=20, by="stars", clusters=5, column="text"),
]


@pytest.mark.parametrize("step", METHODS, ids=lambda step: f"{step.method}-{step.per}")
@settings(max_examples=5)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_makes_no_difference(step: BoundSelect, rng: random.Random) -> None:
    rows = prose(60)
    order = list(range(rows.height))
    rng.shuffle(order)
    shuffled = rows[order]
    one, other = select(step, rows), select(step, shuffled)
    assert chosen(one, rows) == chosen(other, shuffled)
    names = rows["id"].gather(one.twin).to_list(), shuffled["id"].gather(other.twin).to_list()
    assert dict(zip(rows["id"], names[0], strict=True)) == dict(
        zip(shuffled["id"], names[1], strict=True)
    )


@pytest.mark.parametrize("step", METHODS[:2] + METHODS[6:], ids=lambda step: step.method)
def test_exactly_so_many_rows_are_kept(step: BoundSelect) -> None:
    rows = prose(60)
    found = select(step, rows)
    assert len(chosen(found, rows)) == 20
    assert found.notes == []
    assert found.reason.drop_nulls().unique().to_list() == [ENOUGH]


def test_the_best_are_kept_and_a_missing_score_is_worst() -> None:
    rows = prose(60)
    found = select(BoundSelect(rows=20, by="stars"), rows)
    assert chosen(found, rows) == sorted(rows["id"][n] for n in ranked(rows)[:20])
    scored = rows["stars"].fill_nan(None).count()
    every = select(BoundSelect(rows=scored + 1, by="stars"), rows)
    kept = rows.filter(every.reason.is_null())["stars"].fill_nan(None)
    assert kept.count() == scored


def test_fewer_rows_than_asked_for_are_all_kept_and_it_is_said() -> None:
    rows = prose(6)
    found = select(BoundSelect(rows=1000), rows)
    assert found.reason.null_count() == 6
    assert found.notes == ["6 of the 1,000 wanted rows are selected: there are no more rows"]


def test_a_share_of_the_rows_is_kept() -> None:
    rows = prose(61)
    assert len(chosen(select(BoundSelect(share=0.5, by="stars"), rows), rows)) == 31


def test_a_row_like_a_selected_one_is_left_out_and_names_it() -> None:
    rows = prose(60)
    step = BoundSelect(rows=12, by="stars", method="deita", column="text", threshold=0.5)
    vectors = near(rows)
    taken: list[int] = []
    twins: dict[int, int] = {}
    for n in ranked(rows):
        if len(taken) == 12:
            break
        alike = {m: float(vectors[n] @ vectors[m]) / UNIT for m in taken}
        best = max(alike, key=lambda m: alike[m], default=None)
        if best is not None and alike[best] >= 0.5:
            twins[n] = best
        else:
            taken.append(n)
    found = select(step, rows)
    assert chosen(found, rows) == sorted(rows["id"][n] for n in taken)
    assert {n for n, why in enumerate(found.reason) if why == ALIKE} == set(twins)
    assert all(found.similarity[n] >= 0.5 for n in twins)
    assert all(found.twin[n] in taken for n in twins)


def test_a_row_like_one_that_was_left_out_is_no_repeat_of_it() -> None:
    # The second is like the first, the third like the second alone.
    rows = pl.DataFrame(
        {
            "id": ["a", "b", "c", "d", "e"],
            "stars": [5, 4, 3, 2, 1],
            "text": ["one two three four", "three four five six", "five six seven eight",
                     "nothing at all here", "wholly other words again"],
        }
    )  # fmt: skip
    vectors = near(rows)
    cosine = [float(vectors[n] @ vectors[m]) / UNIT for n, m in ((0, 1), (1, 2), (0, 2))]
    threshold = min(cosine[:2])
    assert cosine[2] < threshold
    step = BoundSelect(rows=4, by="stars", method="deita", column="text", threshold=threshold)
    assert chosen(select(step, rows), rows) == ["a", "c", "d", "e"]


def test_where_too_few_rows_differ_it_is_said() -> None:
    rows = pl.DataFrame({"id": list("abcd"), "text": ["same words here"] * 3 + ["others there"]})
    found = select(BoundSelect(rows=3, method="deita", column="text"), rows)
    assert chosen(found, rows) == ["a", "d"]
    assert found.notes == ["2 of the 3 wanted rows are selected: no more of them differ enough"]


def test_each_further_row_is_the_one_farthest_from_those_taken() -> None:
    rows = prose(40)
    vectors, order = near(rows), ranked(rows)
    taken = order[:1]
    while len(taken) < 8:
        rest = [n for n in order if n not in taken]
        nearest = {n: max(float(vectors[n] @ vectors[m]) for m in taken) for n in rest}
        taken.append(min(rest, key=lambda n: nearest[n]))
    found = select(BoundSelect(rows=8, by="stars", method="k_center", column="text"), rows)
    assert chosen(found, rows) == sorted(rows["id"][n] for n in taken)


def test_each_group_gets_the_same_and_the_others_get_what_one_lacks() -> None:
    rows = prose(60).filter((pl.col("topic") != "soup") | (pl.col("id") < "0010"))
    sizes = Counter(rows["topic"])
    found = select(BoundSelect(rows=40, by="stars", per="topic"), rows)
    kept = Counter(rows.filter(found.reason.is_null())["topic"])
    assert kept.total() == 40
    level = max(kept.values())
    assert kept["soup"] == sizes["soup"] < level - 1
    assert all(kept[topic] in {min(sizes[topic], n) for n in (level, level - 1)} for topic in sizes)


def test_at_most_so_many_of_each_value_are_kept_the_best_first() -> None:
    rows = prose(60)
    found = select(BoundSelect(by="stars", per="topic", at_most=3), rows)
    kept = rows.filter(found.reason.is_null())
    assert Counter(kept["topic"]) == dict.fromkeys(TOPICS, 3)
    for topic in TOPICS:
        best = [n for n in ranked(rows) if rows["topic"][n] == topic][:3]
        assert set(kept.filter(pl.col("topic") == topic)["id"]) == {rows["id"][n] for n in best}


def test_clusters_gather_texts_of_one_topic() -> None:
    rows = prose(200, seed=3)
    found = select(BoundSelect(rows=40, clusters=4, column="text"), rows)
    kept = Counter(rows.filter(found.reason.is_null())["topic"])
    assert kept == dict.fromkeys(TOPICS, 10)


def test_rows_without_text_come_last() -> None:
    rows = pl.DataFrame({"id": list("abc"), "text": [None, "one two", "three four"]})
    for method in ("deita", "k_center"):
        step = BoundSelect(rows=2, method=method, column="text")
        assert chosen(select(step, rows), rows) == ["b", "c"]


@given(st.integers(0, 60), st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_a_number_is_shared_out_as_evenly_as_there_is_room(wanted: int, room: list[int]) -> None:
    given_ = even_shares(wanted, np.array(room)).tolist()
    assert sum(given_) == min(wanted, sum(room))
    assert all(0 <= got <= most for got, most in zip(given_, room, strict=True))
    full = max(given_, default=0)
    assert all(got >= full - 1 or got == most for got, most in zip(given_, room, strict=True))


ROWS: list[dict[str, Any]] = [
    {"text": text, "stars": n, "topic": text.split()[0]}
    for n, text in enumerate(["cat pet", "cat kitten", "car vehicle", "soup broth", "soup stew"])
]


def test_a_pipeline_selects_and_says_what_it_could_not(folder: Folder) -> None:
    pipeline(folder, "  - select: 2\n    by: stars\n", ROWS)
    run = folder.run()
    assert run.manifest.kept == 2
    assert run.manifest.steps[0].dropped == {"select: enough": 3}
    pipeline(folder, "  - select: 9\n", ROWS)
    note = folder.run().manifest.steps[0].notes
    assert note == ("5 of the 9 wanted rows are selected: there are no more rows",)


def test_a_target_of_more_rows_than_are_selected_is_a_mistake(folder: Folder) -> None:
    pipeline(folder, "  - select: 2\n", ROWS)
    folder.replace("pipelines/mine.yaml", "steps:", "target: 3\nsteps:")
    with pytest.raises(MistakeError, match="select keeps 2 rows, fewer than the target of 3"):
        folder.plan()


@pytest.mark.parametrize("step", METHODS, ids=lambda step: f"{step.method}-{step.per}")
def test_of_no_rows_none_is_selected(step: BoundSelect) -> None:
    assert select(step, prose(3).clear()).reason.len() == 0


def test_a_pipeline_selects_by_meaning_with_a_static_model(folder: Folder) -> None:
    static_model(folder.root / "vectors")
    step = "  - select: 3\n    by: stars\n    method: deita\n    column: text\n    threshold: 0.7\n"
    pipeline(folder, f"{step}    embedder: ./vectors\n", ROWS)
    run = folder.run()
    assert run.rows["dropped_by"].list.first().to_list() == [ALIKE, None, None, ALIKE, None]
    ids = run.rows["id"]
    assert run.rows["twin"].to_list() == [ids[1], None, None, ids[4], None]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("select: half", "select should be a number of rows, a share such as `50%`, or `all`"),
        ("select: 0", "select should be"),
        ("select: all", "`select: all` needs `at_most` or `method: deita`"),
        ("select: 3\n    by: text", "'text' holds neither numbers nor scores"),
        ("select: 3\n    method: deita", "deita compares texts: name their `column`"),
        ("select: 3\n    clusters: 2", "clusters compares texts: name their `column`"),
        ("select: 3\n    column: text", "`column` and `embedder` are for `method: deita`"),
        ("select: 3\n    per: topik", "no column is called 'topik'; did you mean 'topic'?"),
        ("select: all\n    at_most: 3", "`at_most` needs groups"),
        ("select: 3\n    method: best_first", "method should be 'best', 'deita' or 'k_center'"),
    ],
)
def test_a_mistake_in_a_select_step_is_one_clear_line(folder: Folder, step: str, said: str) -> None:
    pipeline(folder, f"  - {step}\n", ROWS)
    with pytest.raises(MistakeError) as caught:
        folder.plan()
    assert said in str(caught.value)
    assert "pipelines/mine.yaml:" in str(caught.value)
