"""What datasets share is counted to the row, and told apart from their common anchor."""

import json
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from embedders import static_model
from hypothesis import given
from hypothesis import strategies as st

from conftest import Folder
from soupstock.artifacts.overlap import OverlapRecord, SharedRowsRecord
from soupstock.cli.main import main
from soupstock.dataset.corpus import Corpus, corpus_of
from soupstock.dataset.overlap import overlap
from soupstock.dataset.versions import Version
from soupstock.similarity.cosine import Embedder, Vectors
from soupstock.similarity.cross_duplicates import cosine_matches, minhash_matches
from soupstock.similarity.vocabulary import divergence, vocabulary

SYSTEM = "You are kind."
Pair = tuple[str, str]


def pairs(seed: int, number: int) -> list[Pair]:
    """Make up prompts and answers, of words that no other seed has."""
    drawn = random.Random(seed)  # noqa: S311 - words, no secret

    def text(size: int) -> str:
        return " ".join(f"w{seed}x{drawn.randrange(3000)}" for _ in range(size))

    return [(text(12), text(40)) for _ in range(number)]


def messages(asked: str, answered: str, system: str | None = SYSTEM) -> list[dict[str, str]]:
    turns = {"system": system, "user": asked, "assistant": answered}
    return [{"role": role, "content": text} for role, text in turns.items() if text is not None]


def corpus(name: str, rows: Sequence[Pair], system: str | None = SYSTEM, **more: Any) -> Corpus:
    told = {"messages": [messages(*row, system=system) for row in rows], **more}
    return corpus_of(Version(name, pl.DataFrame(told)), name)


def edited(row: Pair) -> Pair:
    """Change the last two words: 46 of 54 word 3-grams stay, of 54 + 4."""
    return row[0], " ".join([*row[1].split()[:-2], "changed", "here"])


def crossing(found: OverlapRecord, of: str, within: str) -> SharedRowsRecord:
    (one,) = (c for c in found.crossings if (c.of, c.within) == (of, within))
    return one


@pytest.mark.parametrize("seed", range(5))
def test_every_planted_copy_and_near_copy_is_found_and_nothing_else(seed: int) -> None:
    a, b = pairs(10 + seed, 300), pairs(20 + seed, 200)
    copies, near = a[:17], [edited(row) for row in a[50:73]]
    found = overlap([corpus("a", a), corpus("b", b + near + copies)])
    one, other = crossing(found, "a", "b"), crossing(found, "b", "a")
    assert (one.same, one.near, one.rows) == (17, 23, 300)
    assert (other.same, other.near, other.rows) == (17, 23, 240)
    assert one.overlapping == 40
    assert one.share == pytest.approx(40 / 300, abs=1e-6)
    example = next(example for example in one.examples if example.kind == "near")
    assert (example.row, example.twin) == (51, 201)
    assert example.similarity > 0.8


def test_a_near_copy_is_found_though_its_own_dataset_has_one_that_is_nearer() -> None:
    (row,) = pairs(1, 1)
    words = row[1].split()
    nearer = (row[0], " ".join([*words[:-2], "changed", "again"]))
    found = overlap([corpus("a", [edited(row), nearer]), corpus("b", [row])])
    assert crossing(found, "a", "b").near == 2


@pytest.mark.parametrize("size", [40, 400])
def test_copies_among_rows_that_are_mostly_boilerplate_are_found(size: int) -> None:
    boilerplate = " ".join(f"b{n}" for n in range(60))
    rows = [(f"{asked} {n}", f"{boilerplate} {n}") for n, (asked, _) in enumerate(pairs(3, size))]
    one, other = rows[: size // 2], rows[size // 2 :]
    found = overlap([corpus("a", one), corpus("b", other)])
    expected = {row for row in range(size // 2) if any(alike(one[row], o) for o in other)}
    assert crossing(found, "a", "b").near == len(expected)


def alike(one: Pair, other: Pair) -> bool:
    sets = [
        set(zip(w, w[1:], w[2:], strict=False)) for w in (" ".join(p).split() for p in (one, other))
    ]
    return len(sets[0] & sets[1]) >= 0.7 * len(sets[0] | sets[1])


def test_a_dataset_overlaps_with_itself_in_every_row() -> None:
    rows = pairs(1, 50)
    found = overlap([corpus("a", rows), corpus("again", rows)])
    assert crossing(found, "a", "again").same == 50
    assert crossing(found, "again", "a").share == 1
    assert found.apart[0].words == 0
    assert any("50 of a's 50 rows (100.0%) are in again too" in said for said in found.warnings)
    assert any("differ no more than those of the two halves" in said for said in found.warnings)


def test_disjoint_datasets_overlap_in_nothing_and_are_not_warned_of() -> None:
    anchor = pairs(9, 20)
    found = overlap([corpus(str(n), anchor + pairs(n, 200)) for n in range(3)])
    assert {(one.overlapping, one.rows) for one in found.crossings} == {(0, 200)}
    assert all(0.99 < (pair.words or 0) <= 1 for pair in found.apart)
    assert all(0 < (one.within or 0) < 1 for one in found.datasets)
    assert found.warnings == ()


def test_the_anchor_is_what_all_have_and_is_told_apart_from_what_two_share() -> None:
    anchor, shared = pairs(9, 30), pairs(8, 4)
    skills = [pairs(1, 100) + shared, shared + pairs(2, 100), pairs(3, 100)]
    found = overlap([corpus(name, anchor + rows) for name, rows in zip("abc", skills, strict=True)])
    assert (found.anchor, found.anchor_rows) == ("the rows that all have", 30)
    assert [one.anchor for one in found.datasets] == [30, 30, 30]
    assert crossing(found, "a", "b").same == 4
    assert crossing(found, "a", "c").same == 0
    said = "4 of {}'s 104 rows outside the anchor (3.8%) are in {} too, or their prompts are"
    assert found.warnings == tuple(
        f"{said.format(*way)}; at most 1.0% may be" for way in (("a", "b"), ("b", "a"))
    )


def test_of_two_datasets_the_anchor_is_what_is_said_to_be() -> None:
    anchor = pairs(9, 30)
    whole = corpus("chat", anchor + pairs(8, 40))
    two = [corpus("a", anchor + pairs(1, 50)), corpus("b", anchor[:25] + pairs(2, 50))]
    assert crossing(overlap(two), "a", "b").same == 25
    found = overlap(two, anchor=whole)
    assert (found.anchor, found.anchor_rows) == ("the rows of chat", 30)
    assert crossing(found, "a", "b").same == 0
    assert found.warnings == ("b lacks 5 of the 30 rows of the anchor that others have",)


def test_an_anchor_that_is_nowhere_is_warned_of() -> None:
    two = [corpus("a", pairs(1, 50)), corpus("b", pairs(2, 50))]
    found = overlap(two, anchor=corpus("c", pairs(3, 7)))
    assert found.warnings == ("no dataset has any of the rows of c, which should be their anchor",)


def test_datasets_that_are_nothing_but_the_anchor_are_warned_of() -> None:
    rows = pairs(1, 10)
    found = overlap([corpus("a", rows), corpus("b", rows), corpus("c", rows + pairs(2, 10))])
    assert [said for said in found.warnings if "no rows outside" in said] == [
        "a has no rows outside the anchor",
        "b has no rows outside the anchor",
    ]
    assert crossing(found, "c", "a").overlapping == 0


def test_the_system_prompt_is_compared_by_itself_and_makes_no_rows_alike() -> None:
    long = " ".join(f"rule{n}" for n in range(300))
    found = overlap([corpus("a", pairs(1, 20), long), corpus("b", pairs(2, 20), long)])
    assert crossing(found, "a", "b").overlapping == 0
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (SYSTEM, "You are brief.", "a has 'You are kind.', and b has 'You are brief.'"),
        (SYSTEM, None, "a has 'You are kind.', and b has none"),
    ],
)
def test_system_prompts_that_differ_are_warned_of(
    one: str | None, other: str | None, said: str
) -> None:
    row = pairs(1, 5)
    found = overlap([corpus("a", row, one), corpus("b", pairs(2, 5), other)])
    assert f"system prompts differ: {said}" in found.warnings


def test_a_dataset_with_several_system_prompts_is_warned_of() -> None:
    told = [messages(*row, system=f"You are {n // 9}.") for n, row in enumerate(pairs(1, 10))]
    mixed = corpus_of(Version("a", pl.DataFrame({"messages": told})), "a")
    found = overlap([mixed, mixed])
    assert found.datasets[0].system_prompts == 2
    assert found.warnings[0] == (
        "a does not have one system prompt for all rows: it has 'You are 0.' and 1 other"
    )


SHAPES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "messages": (
        {"messages": messages("a", "b"), "score": 1.0},
        "messages: system user assistant",
    ),
    "turns": (
        {"messages": [*messages("a", "b", None), *messages("c", "d", None)]},
        "messages: user assistant",
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        "conversations: human gpt",
    ),
    "Alpaca": (
        {"instruction": "a", "input": "", "output": "b", "system": "s"},
        "instruction, input, output",
    ),
    "texts": ({"id": "1", "question": "a", "answer": "b"}, "question, answer"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_what_is_trained_on_and_who_speaks(name: str) -> None:
    row, shape = SHAPES[name]
    assert set(corpus_of(Version("a", pl.DataFrame([row])), "a").shapes) == {shape}


def test_shapes_that_differ_are_warned_of() -> None:
    texts = [{"instruction": a, "input": "", "output": b} for a, b in pairs(2, 5)]
    alpaca = corpus_of(Version("b", pl.DataFrame(texts)), "b")
    found = overlap([corpus("a", pairs(1, 5), None), alpaca])
    assert found.warnings == (
        "shapes differ: a has messages: user assistant, and b has instruction, input, output",
    )


def test_what_is_asked_in_both_is_an_overlap_though_the_answers_differ() -> None:
    asked, answers = pairs(1, 10), pairs(2, 10)
    other = [(one[0].upper(), two[1]) for one, two in zip(asked, answers, strict=True)]
    found = overlap([corpus("a", asked), corpus("b", other)])
    one = crossing(found, "a", "b")
    assert (one.same, one.near, one.prompts, one.share) == (0, 0, 10, 1)


def test_rows_that_one_tests_on_and_another_trains_on_are_warned_of() -> None:
    rows = pairs(1, 10)
    split = ["test"] * 3 + ["train"] * 7
    found = overlap([corpus("a", rows, split=split), corpus("b", rows[:6])])
    assert found.apart[0].held_out == 3
    assert found.warnings[-1] == "3 rows are held out in one of a and b and trained on in the other"


def test_rows_without_a_text_are_nobodys_copy() -> None:
    rows = pl.DataFrame({"messages": [[{"role": "user", "content": None}]] * 3})
    found = overlap([corpus_of(Version(name, rows), name) for name in "ab"])
    assert crossing(found, "a", "b").overlapping == 0
    assert crossing(found, "a", "b").rows == 3


def test_meanings_are_compared_with_the_other_dataset_alone() -> None:
    places = {"one": (1.0, 0.0), "two": (0.999, 0.02), "three": (0.998, 0.03), "far": (-1.0, 0.5)}

    def embed(texts: Sequence[str]) -> Vectors:
        return np.array([places[text.split("\n")[0]] for text in texts], np.float32)

    a, b = corpus("a", [("one", "x y z"), ("two", "p q r")]), corpus("b", [("three", "k l m")])
    c = corpus("c", [("far", "f g h")])
    embedder = Embedder(embed)
    found = overlap([a, b, c], embedder=embedder)
    assert crossing(found, "a", "b").meaning == 2
    assert crossing(found, "b", "a").meaning == 1
    assert crossing(found, "a", "c").meaning == 0
    assert crossing(overlap([a, b]), "a", "b").meaning is None


@given(st.data())
def test_near_copies_are_those_that_comparing_all_pairs_finds(data: st.DataObject) -> None:
    words = st.lists(st.sampled_from("abcdefgh"), min_size=5, max_size=12).map(" ".join)
    texts = data.draw(st.lists(words, min_size=2, max_size=12, unique=True))
    flags = st.lists(st.booleans(), min_size=2, max_size=2).filter(any)
    member = np.array([data.draw(flags) for _ in texts])
    found = minhash_matches(pl.Series(texts), member, 0.7).twin >= 0
    for row, text in enumerate(texts):
        for which in (0, 1):
            others = [texts[n] for n in np.flatnonzero(member[:, which])]
            best = max((jaccard(text, other) for other in others), default=0)
            expected = not member[row, which] and best >= 0.7
            # Of pairs at the very threshold MinHash may miss some.
            assert found[row, which] == expected or 0.7 <= best < 0.8


def jaccard(one: str, other: str) -> float:
    sets = [set(zip(w, w[1:], w[2:], strict=False)) for w in (one.split(), other.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_meanings_are_those_that_comparing_all_pairs_finds() -> None:
    drawn = np.random.default_rng(0)
    vectors = drawn.normal(size=(400, 8)).astype(np.float32)
    vectors[200:300] = vectors[:100] + drawn.normal(scale=0.25, size=(100, 8)).astype(np.float32)
    member = np.stack([np.arange(400) < 200, np.arange(400) >= 200], axis=1)
    twin = cosine_matches(vectors, member, 0.9).twin
    centred = vectors - vectors.sum(axis=0) / 401
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = unit @ unit.T
    assert ((twin[:200, 1] >= 0) == (cosine[:200, 200:] >= 0.9).any(axis=1)).all()
    assert ((twin[200:, 0] >= 0) == (cosine[200:, :200] >= 0.9).any(axis=1)).all()
    assert 0 < (twin[:200, 1] >= 0).sum() < 200


def test_the_divergence_of_words_is_that_of_jensen_and_shannon() -> None:
    one, other = (
        vocabulary(pl.Series(texts), np.zeros(len(texts), bool)).whole
        for texts in (["sun sun moon"], ["sun moon moon star"])
    )
    p, q = np.array([2 / 3, 1 / 3, 0]), np.array([1 / 4, 2 / 4, 1 / 4])
    middle = (p + q) / 2
    expected = sum(0.5 * (a[a > 0] * np.log2(a[a > 0] / middle[a > 0])).sum() for a in (p, q))
    assert divergence(one, other) == pytest.approx(expected)
    assert divergence(one, one) == 0
    assert divergence(one, np.zeros_like(one)) is None


PIPELINE = """\
source: {{file: {name}.jsonl}}
steps:
  - filter: [length: {{column: response, min: 1}}]
  - dataset: me/{slug}
    schema: Conversation
"""


def made(folder: Folder, name: str, rows: Sequence[Pair], system: str = SYSTEM) -> None:
    told = ({"system": system, "instruction": a, "response": b} for a, b in rows)
    folder.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in told))
    text = PIPELINE.format(name=name, slug=name.replace("/", "-"))
    folder.write(f"pipelines/{name}.yaml", text)
    folder.run(name)


def told(folder: Folder, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["--project", str(folder.root), "overlap", *arguments])


def test_runs_mixes_and_folders_are_compared_in_the_terminal(folder: Folder) -> None:
    anchor = pairs(9, 20)
    made(folder, "special/anchor", anchor)
    for seed, name in enumerate(("special/one", "special/two", "special/three")):
        made(folder, name, pairs(seed, 40))
        mix = [f"{name}:0.8", "special/anchor:0.2", "-n", "50", "-o", f"soup-{name[8:]}"]
        mixed = CliRunner().invoke(main, ["--project", str(folder.root), "mix", *mix])
        assert mixed.exit_code == 0, mixed.output
    place = folder.root / "runs/soup-three/latest/dataset"
    done = told(folder, "soup-one", "soup-two", str(place), "--strict")
    assert done.exit_code == 0, done.output
    assert "anchor: the rows that all have, 10 different rows" in done.output
    assert "soup-one" in done.output
    assert "nothing here speaks against merging" in done.output
    found = json.loads(told(folder, "soup-one", "special/one", "--json").output)
    assert [one["same"] for one in found["crossings"]] == [40, 40]
    assert told(folder, "soup-one", "special/one", "--strict").exit_code == 1
    assert told(folder, "soup-one", "special/one").exit_code == 0


def test_rows_of_one_source_are_counted_where_runs_tell(folder: Folder) -> None:
    rows = pairs(1, 10)
    made(folder, "one", rows)
    made(folder, "two", rows[:4])
    found = json.loads(told(folder, "one", "two", "--json").output)
    assert found["apart"][0]["sources"] == 4
    folder.write("else/data.jsonl", "")
    pl.DataFrame({"messages": [messages(*row) for row in rows]}).write_parquet(
        folder.root / "else/train.parquet"
    )
    found = json.loads(told(folder, "one", str(folder.root / "else"), "--json").output)
    assert found["apart"][0]["sources"] is None


def test_what_rows_and_names_say_is_harmless_in_the_terminal(folder: Folder) -> None:
    rows = [("ask\x1b[31m", "red [bold]text[/bold] \x1b]0;title\x07 it says")] * 2
    made(folder, "one", rows, system="be \x1b[2J kind")
    made(folder, "two", rows)
    done = told(folder, "one", "two")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    assert "[bold]text[/bold]" in done.output


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["one", "nowhere"], "no run and no folder is called 'nowhere'"),
        (["one"], "an overlap is between two datasets or more"),
        (["one", "one", "--anchor", "nowhere"], "no run and no folder is called 'nowhere'"),
        (["one", "empty"], "there are no .parquet files in"),
        (["one", "one", "--embedder", "./nowhere"], "there is no folder './nowhere'"),
        (["one", "broken"], "'broken' cannot be read"),
        (["one", "hub:x"], "'hub:x' "),
    ],
)
def test_a_dataset_that_is_not_there_is_one_line(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, names: list[str], said: str
) -> None:
    made(folder, "one", pairs(1, 3))
    folder.write("broken/train.parquet", "no rows")
    (folder.root / "empty").mkdir()
    monkeypatch.chdir(folder.root)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = told(folder, *names)
    assert done.exit_code == 2
    assert said in done.output
    assert done.output.count("\n") == 1


def test_without_an_embedder_it_is_said_that_meanings_are_not_compared(folder: Folder) -> None:
    made(folder, "one", pairs(1, 3))
    done = told(folder, "one", "one")
    assert "meaning: not compared; name an embedding model by --embedder" in done.output


def test_a_model_of_the_settings_or_one_that_is_named_compares_meanings(folder: Folder) -> None:
    static_model(folder.root / "small")
    made(folder, "one", [("cat", "kitten pet"), ("car", "vehicle")])
    made(folder, "two", [("pet", "cat kitten"), ("soup", "stew")])
    folder.write("pyproject.toml", '[tool.soupstock]\nembedder = "./small"\n')
    for named in ([], ["--embedder", "./small"]):
        found = json.loads(told(folder, "one", "two", "--json", *named).output)
        assert [one["meaning"] for one in found["crossings"]] == [1, 1]
        assert found["unmeasured"] is None
        (example,) = found["crossings"][0]["examples"]
        assert (example["kind"], example["row"], example["twin"]) == ("meaning", 1, 1)


def test_without_the_library_the_settings_embedder_is_no_mistake(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(folder, "one", pairs(1, 3))
    folder.write("pyproject.toml", '[tool.soupstock]\nembedder = "some/model"\n')
    monkeypatch.setitem(sys.modules, "model2vec", None)
    done = told(folder, "one", "one")
    assert done.exit_code == 0
    assert "meaning: not compared; embeddings need model2vec: pip install" in done.output
    assert told(folder, "one", "one", "--embedder", "some/model").exit_code == 2
