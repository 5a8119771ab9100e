"""No near-duplicate and no source row is on both sides, and rows stay where they are."""

import itertools
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.rows.splits import Splits, assign_splits, texts_of
from soupstock.runs.run import Run
from soupstock.similarity.clusters import CROWD, connected_components, near_duplicate_clusters
from soupstock.similarity.minhash import normalized

WORDS = [f"w{number}" for number in range(3000)]


def draw_from(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - words, no secret


def text_of(drawn: random.Random, words: int = 60) -> list[str]:
    return drawn.choices(WORDS, k=words)


def edited(words: list[str], drawn: random.Random, edits: int = 2) -> list[str]:
    """Change a few words: nearly the same text."""
    copy = list(words)
    for place in drawn.sample(range(len(copy)), edits):
        copy[place] = drawn.choice(WORDS)
    return copy


def grams(text: str) -> set[tuple[str, ...]]:
    words = normalized(text).split()
    return set(zip(words, words[1:], words[2:], strict=False)) if len(words) > 2 else {(text,)}


def alike(texts: list[str], least: float = 0.7) -> list[tuple[int, int]]:
    """Compare all pairs, one by one."""
    sets = [grams(text) for text in texts]
    return [
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if len(sets[one] & sets[other]) >= least * len(sets[one] | sets[other])
    ]


def planted(seed: int) -> list[str]:
    """Make texts of which many are edits of others, edits of edits, and copies."""
    drawn = draw_from(seed)
    texts = [text_of(drawn) for _ in range(60)]
    for _ in range(120):
        texts.append(edited(drawn.choice(texts), drawn, drawn.randrange(8)))
    drawn.shuffle(texts)
    return [" ".join(words) for words in texts]


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_what_comparing_all_pairs_finds(seed: int) -> None:
    texts = planted(seed)
    pairs = np.array(alike(texts))
    expected = connected_components(len(texts), pairs[:, 0], pairs[:, 1])
    assert near_duplicate_clusters(pl.Series(texts)).tolist() == expected.tolist()
    assert len(set(expected.tolist())) < len(texts)


def test_nothing_and_the_same_are_clusters_too() -> None:
    assert near_duplicate_clusters(pl.Series([], dtype=pl.String)).tolist() == []
    assert near_duplicate_clusters(pl.Series([None, "a b c", None, "A  b c", ""])).tolist() == [
        0,
        1,
        2,
        1,
        4,
    ]


def test_a_crowd_is_one_cluster() -> None:
    drawn = draw_from(1)
    words = text_of(drawn)
    texts = [" ".join([*words, str(number)]) for number in range(3 * CROWD)]
    assert set(near_duplicate_clusters(pl.Series(texts)).tolist()) == {0}


def test_what_all_texts_have_in_common_brings_none_of_them_together() -> None:
    drawn = draw_from(4)
    same = " ".join(text_of(drawn))
    texts = [f"{same} {' '.join(text_of(drawn))}" for _ in range(4 * CROWD)]
    assert near_duplicate_clusters(pl.Series(texts)).tolist() == list(range(4 * CROWD))


def test_a_chain_is_followed_to_its_end() -> None:
    one = np.arange(999)
    assert set(connected_components(1000, one[::-1], one[::-1] + 1).tolist()) == {0}


def ids(number: int) -> list[str]:
    return [f"{place:016x}" for place in range(number)]


def test_each_split_gets_about_its_share() -> None:
    splits = Splits({"test": 0.1, "validation": 0.2})
    sides = assign_splits(splits, np.arange(10_000), ids(10_000))
    counts = Counter(sides.names.to_list())
    assert counts.keys() == {"train", "test", "validation"}
    assert abs(counts["test"] - 1000) < 120
    assert abs(counts["validation"] - 2000) < 160


def test_without_strata_where_a_row_goes_depends_on_nothing_but_its_id() -> None:
    splits, names = Splits({"test": 0.3}), ids(500)
    before = dict(zip(names, assign_splits(splits, np.arange(500), names).names, strict=True))
    fewer = draw_from(0).sample(names, 200)
    after = dict(zip(fewer, assign_splits(splits, np.arange(200), fewer).names, strict=True))
    assert all(before[name] == side for name, side in after.items())


@pytest.mark.parametrize("stratified", [False, True])
def test_rows_that_are_added_move_none(*, stratified: bool) -> None:
    splits, names = Splits({"test": 0.1, "dev": 0.05}, "x"), ids(3000)
    drawn = draw_from(5)
    strata = [drawn.choice("abc") for _ in names]
    group = np.sort(np.array([drawn.randrange(place + 1) for place in range(3000)]))
    group = np.array([np.flatnonzero(group == value)[0] for value in group])

    def sides(rows: int) -> list[str]:
        told = strata[:rows] if stratified else None
        return assign_splits(splits, group[:rows], names[:rows], told).names.to_list()

    assert sides(1000) == sides(3000)[:1000]


def test_with_strata_each_value_has_its_share_in_every_split() -> None:
    drawn = draw_from(3)
    strata: list[Any] = [drawn.choice(["a", "a", "a", "b", None, 7]) for _ in range(3000)]
    sides = assign_splits(Splits({"test": 0.1}, "x"), np.arange(3000), ids(3000), strata)
    found: dict[Any, Counter[str]] = defaultdict(Counter)
    for value, side in zip(strata, sides.names, strict=True):
        found[value][side] += 1
    for counts in found.values():
        assert abs(counts["test"] - 0.1 * counts.total()) <= 1


def test_a_group_that_a_split_has_no_room_for_stays_in_train() -> None:
    group = np.zeros(100, np.int64)
    for number in range(50):
        sides = assign_splits(Splits({"test": 0.5}), group, [f"{number:016x}", *ids(99)])
        assert (sides.groups, sides.largest) == (1, 100)
        assert set(sides.names) == {"train"}


def test_who_says_it_and_what_judges_say_is_not_compared() -> None:
    row = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "So."},
        ],
        "quality": {"score": 1.0, "criteria": {"right": {"reason": "fine"}}},
        "n": 3,
    }
    assert texts_of(row) == ("Be kind.\nWhy?\nSo.", "Why?")
    assert texts_of({"instruction": "Say it in French.", "input": "Hi", "output": "Salut"}) == (
        "Say it in French.\nHi\nSalut",
        "Say it in French.\nHi",
    )
    chat = {"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": "B"}]}
    assert texts_of(chat) == ("A\nB", "A")
    assert texts_of({"n": 1}) == (None, None)


SPLIT = """\
source:
  file: seeds.parquet
steps:
  - filter: [length: {column: response, min: 1}]
  - dataset: me/split
    schema: Conversation
    splits: {test: 0.3, validation: 0.2}
"""


def seeds(folder: Folder, rows: list[tuple[str, str]], text: str = SPLIT) -> None:
    folder.root.mkdir(exist_ok=True)
    frame = pl.DataFrame(rows, schema=["instruction", "response"], orient="row")
    frame.with_columns(kind=pl.Series(["x", "y"] * len(rows))[: len(rows)]).write_parquet(
        folder.root / "seeds.parquet"
    )
    folder.write("pipelines/split.yaml", text)


def sides_of(run: Run) -> dict[str, set[str]]:
    """Return for each question the splits that it is in, read from the files by their names."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted((run.folder / "dataset" / "data").iterdir()):
        split = file.name.partition("-")[0]
        for messages in pl.read_parquet(file, glob=False)["messages"].to_list():
            found[messages[0]["content"]].add(split)
    return found


def test_no_question_nor_near_duplicate_is_on_both_sides_of_a_dataset(folder: Folder) -> None:
    drawn = draw_from(2)
    rows = [(text, " ".join(text_of(drawn))) for text in planted(11)]
    # Nearly the same answer to another question, too.
    rows += [(" ".join(text_of(drawn)), f"{answer} more") for _, answer in rows[:30]]
    seeds(folder, rows)
    run = folder.run("split")
    found = sides_of(run)
    assert set().union(*found.values()) == {"train", "test", "validation"}
    assert all(len(sides) == 1 for sides in found.values())
    questions = [question for question, _ in rows]
    for one, other in alike(questions):
        assert found[questions[one]] == found[questions[other]]
    dataset = run.manifest.dataset
    assert dataset is not None
    assert dataset.splitting is not None
    assert sum(split.rows for split in dataset.configs[0].splits) == dataset.rows == len(rows)
    assert dataset.splitting.groups < len(rows)


def test_datasets_loads_the_splits_and_the_card_says_what_is_in_them(
    folder: Folder, tmp_path: Path
) -> None:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    drawn = draw_from(2)
    stratified = SPLIT + "    stratify: kind\n"
    rows = [(" ".join(text_of(drawn)), " ".join(text_of(drawn))) for _ in range(200)]
    seeds(folder, rows, stratified)
    run = folder.run("split")
    data = load_dataset(str(run.folder / "dataset"), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in data.items()} == {
        "train": 100,
        "test": 60,
        "validation": 40,
    }
    card = (run.folder / "dataset" / "README.md").read_text()
    assert "in the splits `train` (100), `test` (60) and `validation` (40)" in card
    assert "| `default` | `Conversation` | `test` | 60 |" in card
    assert "in the same shares for each value of `kind`" in card


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("test: 0.3", "train: 0.3", 7, "`train` gets the remaining rows"),
        ("test: 0.3", "test: 0.8", 7, "the splits take all rows"),
        ("test: 0.3", "Test: 0.3", 7, "Test"),
        ("    splits", "    stratify: colour\n    splits", 7, "no column is called 'colour'"),
        (
            "    splits: {test: 0.3, validation: 0.2}",
            "    stratify: kind",
            7,
            "`stratify` needs `splits`",
        ),
    ],
)
def test_splits_that_cannot_be_made_are_mistakes_with_their_line(
    folder: Folder, old: str, new: str, line: int, said: str
) -> None:
    seeds(folder, [("a", "b")], SPLIT.replace(old, new))
    with pytest.raises(MistakeError, match=said) as error:
        folder.plan("split")
    assert f"split.yaml:{line}: " in str(error.value)


@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([1, 2, 15]))
@pytest.mark.parametrize("values", ["", "ab"])
def test_no_split_is_empty_where_there_are_groups_enough(
    values: str, seed: int, groups: int, size: int
) -> None:
    drawn = draw_from(seed)
    group = np.repeat(np.arange(groups) * size, size)
    names = [f"{drawn.randrange(1 << 64):016x}" for _ in group]
    strata = [drawn.choice(values) for _ in names] if values else None
    shares = {"test": 0.1, "validation": 0.05}
    sides = assign_splits(Splits(shares, "x"), group, names, strata).names.to_list()
    assert set(sides) >= set(["train", "test", "validation"][:groups])
    for first in range(0, groups * size, size):
        assert len(set(sides[first : first + size])) == 1


def test_a_split_is_filled_from_the_front_and_stays_so_as_rows_are_added() -> None:
    splits = Splits({"test": 0.1})
    # The hash of none of these leads to `test`.
    names = [
        name
        for name in ids(60)
        if assign_splits(splits, np.arange(3), ["a", name, "b"]).names.to_list()
        == ["test", "train", "train"]
    ]
    found = [assign_splits(splits, np.arange(n), names[:n]).names.to_list() for n in (1, 2, 20, 40)]
    assert found[0] == ["train"]
    assert all(one == ["test", *["train"] * (len(one) - 1)] for one in found[1:])


def test_of_groups_that_are_all_too_large_the_smallest_fills_a_split() -> None:
    group = np.repeat([0, 40, 60], [40, 20, 40])
    sides = assign_splits(Splits({"test": 0.1}), group, ids(100)).names.to_list()
    assert sides == ["train"] * 40 + ["test"] * 20 + ["train"] * 40


@pytest.mark.parametrize("stratify", ["", "    stratify: kind\n"])
def test_of_a_small_dataset_each_split_has_a_row_and_one_that_cannot_is_told(
    folder: Folder, stratify: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from soupstock.cli.display.run import show_run

    drawn = draw_from(2)
    rows = [(" ".join(text_of(drawn)), " ".join(text_of(drawn))) for _ in range(3)]
    seeds(folder, rows, SPLIT.replace("0.3", "0.02").replace("0.2", "0.01") + stratify)
    full = folder.run("split")
    assert {len(sides) for sides in sides_of(full).values()} == {1}
    assert set().union(*sides_of(full).values()) == {"train", "test", "validation"}
    assert "is empty" not in (full.folder / "dataset/README.md").read_text()
    seeds(folder, rows[:1], SPLIT + stratify)
    single = folder.run("split")
    assert set().union(*sides_of(single).values()) == {"train"}
    card = (single.folder / "dataset/README.md").read_text()
    assert "The split `test` is empty: there are too few groups." in card
    assert "The split `validation` is empty: there are too few groups." in card
    show_run(single)
    assert "the split test has no row: there are too few groups of rows" in capsys.readouterr().out
