"""Argilla's own client reads what we sent: fields, questions, suggestions, metadata and answers."""

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argilla_server
import polars as pl
import pytest
from argilla_server import Server as Argilla
from argilla_server import argilla
from reviewing import review, with_review

from conftest import Folder
from soupstock.review.apply import COLUMN
from soupstock.testing import Server

__all__ = ["argilla"]

pytestmark = pytest.mark.argilla

READER = Path(argilla_server.__file__).with_name("argilla_reader.py")
DOCUMENTATION = argilla_server.ROOT / "docs/review.md"
STEP = "review: argilla\n    sample: 6"


@pytest.fixture
def project(folder: Folder, server: Server, argilla: Argilla) -> Iterator[Folder]:
    """Make a project whose rows are reviewed; its datasets are gone afterwards."""
    with_review(folder, STEP)
    yield folder
    for one in argilla.datasets():
        argilla.call("DELETE", f"datasets/{one['id']}")
    del server


def read_by_the_client(argilla: Argilla, name: str = "mine") -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", str(READER), name]
    said = subprocess.run(command, env=argilla.environment, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own
    read: dict[str, Any] = json.loads(said.stdout)
    return read


def rows_of(folder: Folder) -> dict[str, dict[str, Any]]:
    rows = pl.read_parquet(folder.root / "runs/mine/latest/rows.parquet", glob=False)
    return {row["id"]: row for row in rows.to_dicts()}


def test_the_client_reads_fields_questions_suggestions_and_metadata_as_they_were_sent(
    project: Folder, argilla: Argilla
) -> None:
    project.run()
    assert review(project, **argilla.environment).exit_code == 0
    read = read_by_the_client(argilla)
    texts = {"question": "text", "answer": "text", "judge_reasons": "text"}
    assert read["fields"] == texts
    assert read["questions"]["criterion_1_right"] == ["1", "2", "3"]
    assert next(iter(read["questions"])) == "verdict"
    rows = rows_of(project)
    assert len(read["records"]) == 6
    for record in read["records"]:
        row = rows[record["metadata"]["row"]]
        verdict, told = row["quality"], row[COLUMN]
        assert record["id"] == told["key"]
        assert record["status"] == "pending"
        assert html.unescape(record["fields"]["answer"]) == row["answer"]
        assert html.unescape(record["fields"]["question"]) == row["question"]
        assert record["metadata"]["score"] == verdict["score"]
        found = verdict["criteria"]["right"]
        level = record["suggestions"]["criterion_1_right"]
        assert level["value"] == str(found["level"])
        assert level["score"] == pytest.approx(1 - found["uncertainty"], abs=1e-3)
        assert level["agent"] == "tester"
        assert record["suggestions"]["correction"]["value"] == row["answer"]
        assert record["responses"] == []


def test_the_client_reads_who_answered_what(project: Folder, argilla: Argilla) -> None:
    project.run()
    review(project, **argilla.environment)
    (place,) = argilla.datasets()
    ann = argilla.person("ann-of-the-client", "annotator", "soupstock")
    kept, passed, *_ = argilla.records(place["id"]).values()
    argilla.say(kept, verdict="keep", criterion_1_right="3", correction="A better one.", key=ann)
    argilla.say(passed, "discarded", key=ann)
    read = read_by_the_client(argilla)
    records = {record["id"]: record for record in read["records"]}
    responses = records[kept["external_id"]]["responses"]
    assert {one["question"]: one["value"] for one in responses} == {
        "verdict": "keep",
        "criterion_1_right": "3",
        "correction": "A better one.",
    }
    assert {(one["status"], one["person"]) for one in responses} == {
        ("submitted", "ann-of-the-client")
    }
    assert records[kept["external_id"]]["status"] == "completed"
    flat = {row["id"]: row for row in read["flat"]}
    assert flat[kept["external_id"]]["verdict.responses"] == ["keep"]
    assert flat[kept["external_id"]]["answer"] == kept["fields"]["answer"]


def test_the_notebook_of_the_documentation_works(project: Folder, argilla: Argilla) -> None:
    project.run()
    review(project, **argilla.environment)
    (place,) = argilla.datasets()
    for record in argilla.records(place["id"]).values():
        argilla.say(record, verdict="keep", criterion_1_right="2")
    project.write("runs/.argilla/key", argilla.key)
    (code,) = re.findall(
        r"```python\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL
    )
    code = code.replace("http://127.0.0.1:6900", argilla.url)
    code = code.replace('"chat"', '"mine"').replace("runs/chat/", "runs/mine/")
    command = [sys.executable, "-W", "ignore", "-c", code]
    said = subprocess.run(  # noqa: S603 - our own
        command, env={}, cwd=project.root, check=True, stdout=subprocess.PIPE, text=True
    )
    assert re.search("verdict .* keep .* 6", said.stdout)
    assert re.search("criterion_1_right .* 2 .* 6", said.stdout)


def test_the_client_reads_a_conversation_turn_by_turn(project: Folder, argilla: Argilla) -> None:
    project.publish_conversations()
    project.replace("pipelines/mine.yaml", STEP, f"{STEP}\n    columns: [instruction, response]")
    project.run()
    assert review(project, **argilla.environment).exit_code == 0
    read = read_by_the_client(argilla)
    assert read["fields"] == {"conversation": "chat", "judge_reasons": "text"}
    rows = rows_of(project)
    for record in read["records"]:
        row = rows[record["metadata"]["row"]]
        turns = [
            (turn["role"], html.unescape(turn["content"]))
            for turn in record["fields"]["conversation"]
        ]
        assert turns == [("user", row["instruction"]), ("assistant", row["response"])]
