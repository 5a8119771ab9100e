"""Rows that resemble an evaluation set's items are dropped, and it is measured how well."""

import json
from typing import Any

import pytest
from evaluation_set import CLEAN, ITEMS, SAID
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_rows import jsonl, pipeline, texts

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.reports.life import explain
from soupstock.similarity import edits
from soupstock.similarity.contamination import MAX_ITEMS_PER_NGRAM, Contamination, Detector


def found(text: str, **options: Any) -> Contamination:
    return Detector(ITEMS, **{"overlap": 0.5, "threshold": 0.6} | options).find([text])[0]


def test_the_same_text_is_found_whatever_its_case_and_spacing() -> None:
    answer = found(ITEMS[2].upper().replace(" ", "\n "))
    assert answer.stages[0] == "exact"
    assert (answer.item, answer.similarity) == (2, 1.0)


def test_thirteen_words_of_an_item_within_a_text_are_found() -> None:
    words = ITEMS[0].split()
    quote = f"{' '.join(CLEAN)} {' '.join(words[3:16])} {CLEAN[0]}"
    assert found(quote).stages == ("13-gram",)
    assert found(quote).item == 0
    assert found(quote.replace(words[10], "otherwise")).stages == ()


def test_half_of_an_items_eight_grams_are_found() -> None:
    # Twelve words, so five runs of eight: three of them, where ten words are there.
    item = "one two three four five six seven eight nine ten eleven twelve"
    detector = Detector([item], overlap=0.6, threshold=1.0)
    ten, nine = (" ".join(["x", *item.split()[:n], "x"]) for n in (10, 9))
    assert [one.stages for one in detector.find([ten, nine])] == [("8-gram",), ()]
    assert detector.find([ten])[0].similarity == pytest.approx(3 / 5)


def test_a_text_in_other_words_is_found() -> None:
    answer = found(SAID)
    assert answer.stages == ("rephrased",)
    assert answer.item == 0
    assert 0.6 <= answer.similarity < 1


@pytest.mark.parametrize("text", CLEAN)
def test_a_text_of_its_own_is_not_taken_for_an_item(text: str) -> None:
    assert found(text) == Contamination()


def test_words_that_many_items_share_are_no_sign_of_one() -> None:
    frame = "Choose the right answer from these four options and give its letter only please now"
    items = [f"{frame} {topic}" for topic in map(str, range(MAX_ITEMS_PER_NGRAM + 1))]
    text = f"{frame} unlike all others, about the history of bridges in the north of the country"
    few, many = Detector(items[:MAX_ITEMS_PER_NGRAM], 0.5, 0.95), Detector(items, 0.5, 0.95)
    assert "13-gram" in few.find([text])[0].stages
    assert many.find([text])[0].stages == ()


TEXTS = st.lists(st.sampled_from([*ITEMS, *CLEAN, *map(edits.rewritten, ITEMS), "", "!"]))


@settings(max_examples=30)
@given(TEXTS)
def test_what_is_said_of_a_text_depends_on_no_other(some: list[str]) -> None:
    detector = Detector(ITEMS, 0.5, 0.6)
    assert detector.find(some) == [detector.find([text])[0] for text in some]


def test_without_items_nothing_is_found() -> None:
    assert Detector(["", "?"], 0.5, 0.6).find([ITEMS[0], "words"]) == [Contamination()] * 2
    assert Detector(ITEMS, 0.5, 0.6).find([]) == []


@pytest.mark.parametrize("edit", edits.EDITS.values(), ids=lambda edit: edit.__name__)
def test_an_edit_changes_a_text_and_leaves_most_of_it(edit: Any) -> None:
    for item in ITEMS:
        edited = edit(item)
        assert edited == edit(item)
        before, after = (set(text.lower().replace("?", "").split()) for text in (item, edited))
        assert len(before & after) >= len(before) / 3


def test_canaries_are_planted_of_items_and_none_is_left_as_it_was() -> None:
    planted = edits.planted([*ITEMS, "Too short."], most=4)
    assert set(planted) == set(edits.EDITS)
    assert {len(edited) for edited in planted.values()} <= {3, 4}
    assert not set(ITEMS) & {text for edited in planted.values() for text in edited}
    assert planted == edits.planted(["Too short.", *reversed(ITEMS)], most=4)


def evaluation(folder: Folder, steps: str = "") -> None:
    folder.write("exam.jsonl", jsonl({"question": item} for item in ITEMS))
    rows = texts(CLEAN[0], f"Please solve this. {ITEMS[0]}", None, CLEAN[1], ITEMS[3])
    step = "  - decontaminate: text\n    against: [{file: exam.jsonl, column: question}]\n"
    pipeline(folder, step + steps, rows)


def test_a_row_is_dropped_by_every_stage_that_finds_it_and_names_the_item(folder: Folder) -> None:
    evaluation(folder)
    run = folder.run()
    reasons = run.rows["dropped_by"].to_list()
    assert reasons[0] == reasons[2] == reasons[3] == []
    assert reasons[1][:2] == ["decontaminate: 13-gram", "decontaminate: 8-gram"]
    assert reasons[4][0] == "decontaminate: exact"
    assert run.rows["twin"].to_list()[1] == "exam.jsonl row 1"
    assert run.manifest.steps[0].flagged["decontaminate: 8-gram"] == 2
    life = explain(Project(folder.root), "mine", run.rows["id"][4])
    assert life.chapters[0].value == {"twin": "exam.jsonl row 4", "similarity": 1.0}


def test_an_item_in_one_of_many_turns_is_found(folder: Folder) -> None:
    evaluation(folder)
    turns = [turn for text in (*CLEAN[:3], SAID, *CLEAN[3:]) for turn in ("user", text)]
    talk = [
        {"role": role, "content": text} for role, text in zip(turns[::2], turns[1::2], strict=True)
    ]
    clean = [turn for turn in talk if turn["content"] != SAID]
    split = [{"role": "user", "content": half} for half in (ITEMS[5][:40], ITEMS[5][40:])]
    folder.write("rows.jsonl", jsonl({"text": some} for some in (clean, talk, split)))
    folder.replace("pipelines/mine.yaml", "decontaminate: text", "decontaminate: text::user")
    run = folder.run()
    assert found(" ".join([*CLEAN, SAID])).stages == ()
    reasons = run.rows["dropped_by"].to_list()
    assert reasons[:2] == [[], ["decontaminate: rephrased"]]
    assert reasons[2] != []
    assert run.rows["twin"].to_list()[1:] == ["exam.jsonl row 1", "exam.jsonl row 6"]


def test_the_manifest_certifies_what_was_compared_and_how_much_is_found(folder: Folder) -> None:
    evaluation(folder)
    run = folder.run()
    (record,) = run.manifest.decontamination
    (exam,) = record.sets
    assert (exam.name, exam.column, exam.rows) == ("exam.jsonl", "question", len(ITEMS))
    assert len(exam.sha256) == 64
    kinds = {one.kind: one for one in record.canaries}
    assert kinds["case, spaces and signs"].found == kinds["case, spaces and signs"].planted == 6
    assert all(0 <= one.low <= one.found / one.planted <= one.high <= 1 for one in kinds.values())
    assert kinds["case, spaces and signs"].low < 0.9
    card = (run.folder / "dataset" / "README.md").read_text(encoding="utf-8")
    assert exam.sha256[:12] in card
    assert "synonyms, clauses and word order" in card
    assert "were not compared with benchmarks" not in card
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert exam.sha256 in report


def test_other_items_or_another_threshold_are_another_plan(folder: Folder) -> None:
    evaluation(folder)
    prints = {folder.plan().fingerprint}
    evaluation(folder, "    threshold: 0.7\n")
    prints.add(folder.plan().fingerprint)
    folder.write("exam.jsonl", json.dumps({"question": "What else?"}) + "\n")
    prints.add(folder.plan().fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("decontaminate: text", "the key 'against' is missing"),
        ("decontaminate: text\n    against: []", "against should hold 1 or more"),
        (
            "decontaminate: text\n    against: [{file: rows.jsonl, column: q}]",
            "no column is called 'q' (in rows.jsonl)",
        ),
        ("decontaminate: text\n    against: [{dataset: ./no}]", "there is no folder './no'"),
        (
            "decontaminate: answer\n    against: [{file: rows.jsonl}]",
            "no column is called 'answer'",
        ),
    ],
)
def test_a_mistake_in_a_decontaminate_step_is_one_clear_line(
    folder: Folder, step: str, said: str
) -> None:
    pipeline(folder, f"  - {step}\n", texts("Something."))
    with pytest.raises(MistakeError) as caught:
        folder.plan()
    assert said in str(caught.value)
