"""The steps that prune, in a pipeline: what stays, what is named, and what is a mistake."""

from typing import Any

import polars as pl
import pytest
from embedders import static_model
from pruned_rows import NEAR, SOUP, TRAIN, jsonl, pipeline, texts

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.reports.life import explain


def kept(folder: Folder) -> list[Any]:
    rows = folder.run().rows
    return rows.filter(pl.col("dropped_by").list.len() == 0)["text"].to_list()


BEST = "  - dedup: text\n    keep: {best: stars}\n"


def test_the_best_of_several_twins_stays_wherever_it_stands(folder: Folder) -> None:
    rows: list[dict[str, Any]] = [
        {"text": SOUP, "stars": None},
        {"text": NEAR, "stars": 4.5},
        {"text": TRAIN, "stars": 1.0},
        {"text": SOUP, "stars": 3.0},
    ]
    for order in ([0, 1, 2, 3], [3, 2, 0, 1], [1, 0, 3, 2]):
        pipeline(folder, BEST, [rows[n] for n in order])
        assert sorted(kept(folder)) == sorted([NEAR, TRAIN])


def test_of_equally_good_twins_the_first_stays(folder: Folder) -> None:
    pipeline(folder, BEST, [{"text": text, "stars": 2} for text in (NEAR, SOUP)])
    run = folder.run()
    assert run.rows["twin"].to_list() == [None, run.rows["id"][0]]


def test_a_judges_score_says_which_twin_is_best(folder: Folder) -> None:
    rows = [
        {"text": SOUP, "verdict": {"score": 0.1, "reason": "dull"}},
        {"text": SOUP, "verdict": {"score": 0.9, "reason": "fine"}},
    ]
    pipeline(folder, "  - dedup: text\n    keep: {best: verdict}\n", rows)
    run = folder.run()
    assert run.rows["twin"].to_list() == [run.rows["id"][1], None]
    pipeline(folder, "  - dedup: text\n    keep: {best: verdict.score}\n", rows)
    assert folder.run().rows["twin"].null_count() == 1


def test_rows_that_repeat_an_earlier_file_are_dropped_and_name_its_row(folder: Folder) -> None:
    folder.write("old.jsonl", jsonl([{"said": TRAIN}, {"said": None}, {"said": NEAR}]))
    steps = "  - dedup: text\n    against: [{file: old.jsonl, column: said}]\n"
    pipeline(folder, steps, texts(SOUP, "Something new.", SOUP))
    run = folder.run()
    assert run.rows["twin"].to_list() == ["old.jsonl row 3", None, "old.jsonl row 3"]
    assert run.rows["similarity"][0] >= 0.7
    assert run.manifest.steps[0].dropped == {"dedup: text (in old.jsonl)": 2}
    life = explain(Project(folder.root), "mine", run.rows["id"][0])
    assert life.twin is None
    assert life.chapters[0].value["there before"] == "old.jsonl row 3"


def test_where_a_file_lies_on_somebodys_disk_is_not_in_the_card(folder: Folder) -> None:
    old = folder.write("private/old.jsonl", jsonl(texts(TRAIN)))
    pipeline(folder, f"  - dedup: text\n    against: [{{file: {old}}}]\n", texts(SOUP))
    card = (folder.run().folder / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "old.jsonl" in card
    assert "private" not in card


def test_columns_may_have_any_names(folder: Folder) -> None:
    rows = [{"text": SOUP, "index": n, "_twin": "a", "_why": "b", "*": 1} for n in range(2)]
    pipeline(folder, "  - dedup: text\n  - select: 1\n", rows)
    run = folder.run()
    assert run.rows["index"].to_list() == [0, 1]
    assert run.rows["twin"].null_count() == 1


def test_rows_of_a_published_dataset_and_of_a_run_can_be_compared_with(folder: Folder) -> None:
    pipeline(folder, "  - dedup: text\n", texts(SOUP, SOUP, TRAIN))
    first = folder.run()
    folder.write("pipelines/old.yaml", (folder.root / "pipelines/mine.yaml").read_text())
    old = folder.run("old")
    new = texts(NEAR, "Something new.", TRAIN)
    for against, label in (
        (f"dataset: {first.folder / 'dataset'}", "dataset row 2"),
        ("run: old", f"old/{old.folder.name} row 3"),
        (f"run: mine/{first.folder.name[:6]}", f"mine/{first.folder.name} row 3"),
    ):
        pipeline(folder, f"  - dedup: text\n    against: [{{{against}}}]\n", new)
        run = folder.run()
        assert run.rows["dropped_by"].list.len().to_list() == [1, 0, 1]
        assert run.rows["twin"][2].endswith(label)


def test_the_pipelines_own_last_run_is_a_mistake_that_says_how_to_name_one(folder: Folder) -> None:
    pipeline(folder, "  - dedup: text\n    against: [{run: mine}]\n", texts(SOUP))
    with pytest.raises(MistakeError, match=r"by its folder, `mine/3f2a1b`"):
        folder.plan()


def test_another_content_of_what_is_compared_with_is_another_plan(folder: Folder) -> None:
    folder.write("old.jsonl", jsonl([{"text": TRAIN}]))
    pipeline(folder, "  - dedup: text\n    against: [{file: old.jsonl}]\n", texts(SOUP))
    first = folder.plan().fingerprint
    folder.write("old.jsonl", jsonl([{"text": SOUP}]))
    assert folder.plan().fingerprint != first


def test_conversations_are_compared_by_what_a_role_says(folder: Folder) -> None:
    def chat(question: str, answer: str) -> dict[str, Any]:
        turns = [("user", question), ("assistant", answer)]
        return {"text": [{"role": role, "content": said} for role, said in turns]}

    rows = [chat(SOUP, "First."), chat(SOUP, "Second."), chat(TRAIN, "First.")]
    pipeline(folder, "  - dedup: text::user\n", rows)
    assert folder.run().rows["dropped_by"].list.len().to_list() == [0, 1, 0]
    pipeline(folder, "  - dedup: text\n    method: exact\n", rows)
    assert folder.run().rows["dropped_by"].list.len().to_list() == [0, 0, 1]


SEMANTIC = "  - dedup: text\n    method: semantic\n    threshold: 0.8\n"


def test_texts_of_one_meaning_are_twins_by_a_static_model(folder: Folder) -> None:
    static_model(folder.root / "vectors")
    rows = texts("cat kitten", "soup broth", "pet kitten", "automobile car", None, "stew soup")
    pipeline(folder, f"{SEMANTIC}    embedder: ./vectors\n", rows)
    run = folder.run()
    ids = run.rows["id"]
    assert run.rows["twin"].to_list() == [None, None, ids[0], None, None, ids[1]]
    folder.write("pyproject.toml", '[tool.soupstock]\nembedder = "./vectors"\n')
    pipeline(folder, SEMANTIC, rows)
    assert folder.run().rows["twin"].to_list() == run.rows["twin"].to_list()


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("dedup: text\n    keep: {best: text}", "line 4: 'text' holds neither numbers nor scores"),
        ("dedup: text\n    keep: {best: start}", "line 4: no column is called 'start'"),
        ("dedup: text\n    keep: last", "keep should be 'first'"),
        ("dedup: n", "'n' is not a text; there are: text"),
        ("dedup: text\n    against: [{file: no.jsonl}]", "line 4: there is no file 'no.jsonl'"),
        (
            "dedup: text\n    against: [{file: rows.jsonl, column: tex}]",
            "no column is called 'tex' (in rows.jsonl); did you mean 'text'?",
        ),
        ("dedup: text\n    against: [{run: none}]", "no run is called 'none'; there are none"),
        ("dedup: text\n    method: semantic", "no embedding model is named"),
        ("dedup: text\n    method: semantic\n    embedder: ./no", "there is no folder './no'"),
        ("dedup: text\n    embedder: ./no", "`embedder` is for `method: semantic` alone"),
        ("dedup: text\n    method: exact\n    threshold: 0.5", "exact` takes no threshold"),
    ],
)
def test_a_mistake_in_a_dedup_step_is_one_clear_line(folder: Folder, step: str, said: str) -> None:
    pipeline(folder, f"  - {step}\n", [{"text": SOUP, "n": 1}])
    with pytest.raises(MistakeError) as caught:
        folder.plan()
    where = f"{caught.value.place}".replace("mine.yaml:", "mine.yaml line ")
    assert said in f"{where}: {caught.value.message}"
    assert "\n" not in str(caught.value)
