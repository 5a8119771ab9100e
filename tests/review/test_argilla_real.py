"""The real Argilla server: records out, answers back, and nothing lost in between."""

import html
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from argilla_server import Server as Argilla
from argilla_server import argilla, serving
from reviewing import review, with_review

from conftest import CHAT, Folder
from soupstock.review.apply import COLUMN
from soupstock.testing import Server

__all__ = ["argilla"]

pytestmark = pytest.mark.argilla

STEP = "review: argilla\n    sample: {}"
ODD = "<img src=x onerror=alert(1)> **bold** \0 \u202e [link](javascript:alert(1)) {{ x }}"


@pytest.fixture
def dataset(folder: Folder, server: Server, argilla: Argilla) -> Iterator[Folder]:
    """Make a project with a review; its datasets are gone afterwards."""
    with_review(folder, STEP.format(6))
    folder.run()
    yield folder
    for one in argilla.datasets():
        argilla.call("DELETE", f"datasets/{one['id']}")
    del server


def the_dataset(argilla: Argilla) -> str:
    (one,) = argilla.datasets()
    return str(one["id"])


def rows_of(folder: Folder) -> dict[str, dict[str, object]]:
    rows = pl.read_parquet(folder.root / "runs/mine/latest/rows.parquet", glob=False)
    return {row["id"]: row for row in rows.to_dicts()}


def words(text: str) -> str:
    """Return what was printed as one line."""
    return " ".join(text.split())


def answers(folder: Folder) -> Path:
    return folder.root / "runs/mine/review/answers.jsonl"


def test_a_record_shows_the_row_asks_by_the_rubric_and_suggests_what_the_judge_said(
    dataset: Folder, argilla: Argilla
) -> None:
    result = review(dataset, **argilla.environment)
    place = the_dataset(argilla)
    assert "sent: 6 new; 0 were sent before" in result.stdout
    assert f"{argilla.url}/dataset/{place}" in result.stdout
    asked = argilla.call("GET", f"datasets/{place}/questions")["items"]
    questions = {one["name"]: one for one in asked}
    criteria = ["criterion_1_right", "criterion_2_kind"]
    assert list(questions) == ["verdict", *criteria, "correction", "comment"]
    options = questions["criterion_1_right"]["settings"]["options"]
    assert [one["text"] for one in options] == ["wrong", "half", "right"]
    rows = rows_of(dataset)
    records = argilla.records(place)
    assert len(records) == 6
    for name, record in records.items():
        row = rows[name]
        verdict, told = row["quality"], row[COLUMN]
        assert isinstance(verdict, dict)
        assert isinstance(told, dict)
        assert record["fields"]["answer"] == row["answer"]
        assert record["external_id"] == told["key"]
        assert record["metadata"]["score"] == verdict["score"]
        assert record["metadata"]["source"][0] == f"topic: {row['topic']}"
        suggested = {one["question_id"]: one for one in record["suggestions"]}
        level = suggested[questions["criterion_1_right"]["id"]]
        found = verdict["criteria"]["right"]
        assert level["value"] == str(found["level"])
        assert level["score"] == pytest.approx(1 - found["uncertainty"], abs=1e-3)
        assert level["agent"] == "tester"
        assert suggested[questions["correction"]["id"]]["value"] == row["answer"]


def test_answers_come_back_with_who_gave_them_and_change_the_dataset(
    dataset: Folder, argilla: Argilla, server: Server
) -> None:
    review(dataset, **argilla.environment)
    asked = server.count
    records = argilla.records(the_dataset(argilla))
    ann = argilla.person("ann", "annotator", "soupstock")
    vetoed, corrected, left, passed, drafted, _ = records
    argilla.say(records[vetoed], verdict="unsafe", comment="It names a person.", key=ann)
    argilla.say(records[corrected], verdict="keep", correction="A better answer.", key=ann)
    as_it_was = records[left]["fields"]["answer"]
    argilla.say(records[left], verdict="keep", criterion_1_right="3", correction=as_it_was)
    argilla.say(records[passed], "discarded")
    argilla.say(records[drafted], "draft", verdict="bad")
    result = review(dataset, **argilla.environment)
    assert "answers: 4; 4 new or changed" in result.stdout
    assert "waiting: 2 of 6" in result.stdout
    run = dataset.run()
    assert server.count == asked
    rows = {row["id"]: row for row in run.rows.to_dicts()}
    assert rows[vetoed]["dropped_by"] == ["review: unsafe"]
    assert rows[vetoed][COLUMN]["comment"] == "It names a person."
    assert rows[corrected]["answer"] == "A better answer."
    assert rows[corrected]["answer_original"] == records[corrected]["fields"]["answer"]
    assert rows[left]["answer_original"] is None
    assert rows[drafted][COLUMN]["people"] == 0
    told = run.manifest.review
    assert told is not None
    assert (told.answered, told.waiting, told.annotators) == (4, 2, 2)
    text = answers(dataset).read_text(encoding="utf-8")
    assert '"annotator":"ann"' in text
    assert '"criteria":{"right":"right"}' in text


def test_sending_again_adds_what_is_new_and_leaves_answers_and_metadata_as_they_are(
    dataset: Folder, argilla: Argilla
) -> None:
    review(dataset, **argilla.environment)
    place = the_dataset(argilla)
    argilla.say(next(iter(argilla.records(place).values())), "draft", verdict="bad")
    before = argilla.records(place)
    assert "sent: 0 new; 6 were sent before" in review(dataset, **argilla.environment).stdout
    assert argilla.records(place) == before
    with_review(dataset, STEP.format(9))
    dataset.run()
    assert "sent: 3 new; 6 were sent before" in review(dataset, **argilla.environment).stdout
    after = argilla.records(place)
    assert len(after) == 9
    assert {row: after[row] for row in before} == before


def test_fetching_sees_what_was_changed_or_taken_back_and_else_changes_nothing(
    dataset: Folder, argilla: Argilla
) -> None:
    review(dataset, **argilla.environment)
    place = the_dataset(argilla)
    first, second, *_ = argilla.records(place).values()
    argilla.say(first, verdict="bad")
    argilla.say(second, verdict="bad")
    assert "2 new or changed" in review(dataset, **argilla.environment).stdout
    kept = answers(dataset).read_bytes()
    assert "0 new or changed" in review(dataset, **argilla.environment).stdout
    assert answers(dataset).read_bytes() == kept
    given = [one["responses"][0] for one in argilla.records(place).values() if one["responses"]]
    argilla.call("DELETE", f"responses/{given[0]['id']}")
    other = {"values": {"verdict": {"value": "keep"}}, "status": "submitted"}
    argilla.call("PUT", f"responses/{given[1]['id']}", other)
    assert "answers: 1; 1 new or changed" in review(dataset, **argilla.environment).stdout


def test_other_questions_make_a_new_version_and_the_answers_to_the_old_one_count_on(
    dataset: Folder, argilla: Argilla
) -> None:
    review(dataset, **argilla.environment)
    first = next(iter(argilla.records(the_dataset(argilla)).values()))
    argilla.say(first, verdict="keep", criterion_2_kind="2")
    dataset.replace("prompts/rubrics/plain.yaml", "Is it kind?", "Is it warm?")
    # The judge is asked anew, and the texts are the same.
    dataset.run()
    result = review(dataset, **argilla.environment)
    said = "the questions have changed since mine: mine-v2 is a new dataset"
    assert said in words(result.stdout)
    assert "sent: 5 new" in result.stdout
    assert [one["name"] for one in argilla.datasets()] == ["mine", "mine-v2"]
    assert "answers: 1;" in result.stdout
    assert "sent: 0 new; 5 were sent before" in review(dataset, **argilla.environment).stdout


def test_a_dataset_that_was_deleted_is_made_again_and_its_answers_are_kept(
    dataset: Folder, argilla: Argilla
) -> None:
    review(dataset, **argilla.environment)
    argilla.say(next(iter(argilla.records(the_dataset(argilla)).values())), verdict="bad")
    review(dataset, **argilla.environment)
    argilla.call("DELETE", f"datasets/{the_dataset(argilla)}")
    result = review(dataset, **argilla.environment)
    assert "a dataset was deleted in Argilla" in result.stdout
    assert "sent: 5 new; 0 were sent before" in result.stdout
    assert "answers: 1; 0 new" in result.stdout


def test_a_push_that_was_broken_off_is_mended_by_the_next(
    dataset: Folder, argilla: Argilla
) -> None:
    review(dataset, **argilla.environment)
    place = the_dataset(argilla)
    gone = ",".join(one["id"] for one in list(argilla.records(place).values())[:2])
    argilla.call("DELETE", f"datasets/{place}/records?ids={gone}")
    assert "sent: 2 new; 4 were sent before" in review(dataset, **argilla.environment).stdout
    # A dataset that was never finished has no answers; it is made from the start.
    argilla.call("DELETE", f"datasets/{place}")
    workspaces = argilla.call("GET", "me/workspaces")["items"]
    own = next(one["id"] for one in workspaces if one["name"] == "soupstock")
    mark = {"soupstock": {"pipeline": "mine", "form": "half"}}
    argilla.call("POST", "datasets", {"name": "mine", "workspace_id": own, "metadata": mark})
    assert "sent: 6 new" in review(dataset, **argilla.environment).stdout
    (only,) = argilla.datasets()
    assert (only["name"], only["status"]) == ("mine", "ready")


def test_an_annotators_key_is_not_enough_and_an_admins_is(
    dataset: Folder, argilla: Argilla
) -> None:
    review(dataset, **argilla.environment)
    key = argilla.person("cid", "annotator", "soupstock")
    result = review(dataset, **argilla.environment | {"ARGILLA_API_KEY": key})
    assert result.exit_code == 2
    assert "use the key of an owner, or of an admin of the workspace" in words(result.stderr)
    admin = argilla.person("dan", "admin", "soupstock")
    assert review(dataset, **argilla.environment | {"ARGILLA_API_KEY": admin}).exit_code == 0


def test_a_wrong_key_or_workspace_is_one_line(dataset: Folder, argilla: Argilla) -> None:
    wrong = review(dataset, **argilla.environment | {"ARGILLA_API_KEY": "secret-thing"})
    assert wrong.exit_code == 2
    assert "does not know the key in ARGILLA_API_KEY" in wrong.stderr
    assert "secret-thing" not in wrong.output
    elsewhere = review(dataset, **argilla.environment, ARGILLA_WORKSPACE="soupstok")
    assert elsewhere.exit_code == 2
    assert "no workspace is called 'soupstok'" in elsewhere.stderr


def test_texts_of_any_length_and_kind_are_sent_as_they_are(
    folder: Folder, server: Server, argilla: Argilla
) -> None:
    start, end = CHAT.index("  - judge"), CHAT.index("  - dataset")
    step = "  - {review: argilla, columns: [question, answer]}\n"
    text = CHAT[:start] + step + CHAT[end:].replace("me/mine", "me/mine\n    schema: Conversation")
    text = text.replace("rows: 20", "rows: 6")
    text = text.replace("prompt: reply", "prompt: reply\n    max_tokens: 30000")
    text = text.replace("generate: question", "generate: instruction")
    text = text.replace("generate: answer", "generate: response")
    folder.write("pipelines/mine.yaml", text.replace("[question, answer]", "[response]"))
    folder.write("prompts/reply.md", "{{ instruction }}")
    texts = [ODD, "long " * 20_000, *(f"plain text {number}" for number in range(4))]
    server.answer = lambda request: (
        texts.pop(0) if request.prompt.startswith("Q") else f"Q? {request.prompt}"
    )
    run = folder.run()
    assert run.manifest.kept == 6
    try:
        assert review(folder, **argilla.environment).exit_code == 0
        records = argilla.records(the_dataset(argilla)).values()
        shown = [
            "".join(
                turn["content"] for turn in one["fields"]["conversation"] if turn["role"] != "user"
            )
            for one in records
        ]
        # What HTML would act on is written so that it is shown.
        assert html.escape(ODD.replace("\0", "␀"), quote=False) in shown
        assert max(map(len, shown)) >= 99_999
    finally:
        for one in argilla.datasets():
            argilla.call("DELETE", f"datasets/{one['id']}")


def test_the_server_of_make_review_is_found_and_what_is_in_it_outlives_it(
    folder: Folder, server: Server
) -> None:
    with_review(folder, STEP.format(4))
    folder.run()
    home = folder.root / "runs/.argilla"
    with serving(home) as first:
        result = review(folder)
        assert "user: argilla" in result.stdout
        assert f"password: in {home}/password" in words(result.stdout)
        assert (home / "password").stat().st_mode & 0o077 == 0
        first.say(next(iter(first.records(the_dataset(first)).values())), verdict="bad")
    gone = review(folder, **first.environment)
    assert gone.exit_code == 1
    assert "does not answer" in gone.stderr
    assert "make review" in review(folder).stderr
    with serving(home):
        assert "answers: 1; 1 new or changed" in review(folder).stdout
    assert server.count == 60
