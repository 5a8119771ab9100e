"""What a run left is made again from its manifest and the cache, or what is wrong is named."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from conftest import Folder, repetitive
from soupstock import testing
from soupstock.cli.main import main
from soupstock.dataset.reproduce import Reproduced, reproduce
from soupstock.project.project import Project
from soupstock.runs.run import Run
from soupstock.testing import Server


def reproduced(folder: Folder, name: str = "mine") -> Reproduced:
    return reproduce(Project(folder.root), name)


def problems(folder: Folder, name: str = "mine") -> list[str]:
    return list(reproduced(folder, name).problems)


def changed(path: Path, column: str, row: int, value: Any) -> None:
    """Change one cell of a Parquet file."""
    rows = pl.read_parquet(path, glob=False)
    values = rows[column].to_list()
    values[row] = value
    series = pl.Series(column, values, dtype=rows[column].dtype)
    rows.with_columns(series).write_parquet(path)


@pytest.fixture
def run(folder: Folder, server: Server) -> Run:
    """Run a pipeline with everything that can differ: dedup, a jury of one, splits, a schema."""
    server.answer = repetitive
    folder.publish_conversations()
    folder.replace("pipelines/mine.yaml", "    schema: Conversation", SPLIT)
    folder.replace("pipelines/mine.yaml", "  - judge: quality", DEDUP)
    return folder.run()


SPLIT = "    configs: {sft: {schema: Conversation}, raw: {}}\n    splits: {test: 0.4}"
DEDUP = "  - dedup: instruction\n  - judge: quality"


def test_a_replay_gives_the_same_rows_and_asks_no_model(
    folder: Folder, run: Run, server: Server
) -> None:
    asked = server.count
    done = reproduced(folder)
    assert done.problems == ()
    assert done.notes == ()
    assert done.files == len(run.manifest.files) - 1 > 3
    assert done.rows == 20
    assert server.count == asked
    told = CliRunner().invoke(main, ["--project", str(folder.root), "reproduce", "mine"])
    assert told.exit_code == 0
    assert told.output.endswith("files are the same, byte for byte\n")


@pytest.mark.usefixtures("run")
def test_what_is_edited_after_a_run_makes_no_difference(folder: Folder) -> None:
    folder.write("prompts/ask.md", "Ask otherwise about {{ topic }}.")
    folder.write("prompts/rubrics/plain.yaml", "no rubric at all")
    folder.replace("pipelines/mine.yaml", "rows: 20", "rows: 3")
    assert problems(folder) == []


def test_a_changed_row_is_named_and_its_file(folder: Folder, run: Run) -> None:
    path = run.folder / "rows.parquet"
    row = run.rows["id"][4]
    changed(path, "response", 4, "tampered")
    assert problems(folder) == [
        "rows.parquet is not the file that the run wrote",
        f"rows.parquet: row {row} has another response than when made again",
    ]


def test_a_changed_file_of_the_dataset_is_named_and_the_row_in_it(folder: Folder, run: Run) -> None:
    file = next(name for name in run.manifest.files if name.startswith("dataset/raw/"))
    rows = pl.read_parquet(run.folder / file, glob=False)
    changed(run.folder / file, "instruction", 0, "tampered")
    told = problems(folder)
    assert told == [
        f"{file} is not the file that the run wrote",
        f"{file}: row {rows['id'][0]} has another instruction than when made again",
    ]
    card = run.folder / "dataset/README.md"
    card.write_text(card.read_text().replace("mine", "yours"))
    assert "dataset/README.md is not the file that the run wrote" in problems(folder)


def test_files_that_came_or_went_are_named(folder: Folder, run: Run) -> None:
    (run.folder / "report.html").unlink()
    (run.folder / "dataset/raw/more.parquet").write_bytes(b"")
    assert problems(folder) == [
        "report.html is missing",
        "dataset/raw/more.parquet is not a file of the run",
    ]


def test_hashes_that_were_changed_to_match_do_not_help(folder: Folder, run: Run) -> None:
    from soupstock.artifacts import manifest
    from soupstock.artifacts.files import sha256

    path = run.folder / "rows.parquet"
    changed(path, "response", 4, "tampered")
    files = run.manifest.files | {"rows.parquet": sha256(path)}
    manifest.write(run.folder, run.manifest.model_copy(update={"files": files}))
    told = problems(folder)
    assert len(told) == 1
    assert told[0].startswith("rows.parquet: row ")


def test_numbers_and_texts_in_the_manifest_are_verified_too(folder: Folder, run: Run) -> None:
    path = run.folder / "manifest.json"
    said = json.loads(path.read_text())
    said["steps"][0]["rows_in"] += 1
    path.write_text(json.dumps(said))
    assert problems(folder) == [
        "dataset/README.md differs from the file that was made again",
        "'generate: instruction' has 21 rows in and 20 kept, and 20 and 20 when made again",
    ]
    said["steps"][0]["rows_in"] -= 1
    said["prompts"][0]["text"] += " Be rude."
    path.write_text(json.dumps(said))
    (text, cause) = problems(folder)
    assert text == "prompts/ask.md: its text in the manifest was changed"
    assert cause.startswith(
        "it cannot be reproduced: the pipeline, a model's settings or a reference dataset has"
    )


def test_answers_that_the_cache_lacks_are_named_by_step_and_row(folder: Folder, run: Run) -> None:
    with sqlite3.connect(folder.root / "runs" / "calls.sqlite") as cache:
        (table,) = cache.execute("select name from sqlite_master where type = 'table'").fetchone()
        before = cache.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
        cache.execute(f"delete from {table} where rowid in (select rowid from {table} limit 3)")  # noqa: S608
        after = cache.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
    assert before - after == 3
    told = problems(folder)
    assert told
    ids = set(run.rows["id"])
    for line in told:
        assert line.startswith("the cache has no answer of '")
        assert set(line.rpartition(": ")[2].split(", ")) <= ids
    (folder.root / "runs" / "calls.sqlite").unlink()
    (none,) = problems(folder)
    assert none.startswith("the cache has no answer of 'generate: instruction' for 20 rows: ")


def test_calls_that_failed_in_the_run_fail_in_the_replay(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, attempts=1)
    server.fail(testing.share(0.3, testing.error(500, "it is broken")))
    run = folder.run()
    causes = {failure.cause for step in run.manifest.steps for failure in step.failures}
    assert causes == {"InternalServerError"}
    assert 0 < run.manifest.kept < 20
    assert problems(folder) == []


def test_a_source_that_changed_is_named(folder: Folder) -> None:
    folder.write("seeds.jsonl", '{"text": "one"}\n{"text": "two"}\n')
    folder.write(
        "pipelines/read.yaml",
        "source: {file: seeds.jsonl}\nsteps:\n  - filter: [length: {column: text}]\n"
        "  - dataset: me/read\n",
    )
    folder.run("read")
    assert problems(folder, "read") == []
    folder.write("seeds.jsonl", '{"text": "one"}\n{"text": "three"}\n')
    assert problems(folder, "read") == ["its source has changed since: it would have other rows"]


def test_a_partial_run_is_compared_with_its_hashes_alone(folder: Folder, server: Server) -> None:
    from soupstock.inference.budget import Budget

    run = folder.run(budget=Budget(max_calls=15))
    assert run.manifest.outcome == "partial"
    assert server.count == 15
    done = reproduced(folder)
    assert done.problems == ()
    assert "the run is partial" in done.notes[0]
    told = CliRunner().invoke(main, ["--project", str(folder.root), "reproduce", "mine"])
    assert told.output.endswith("the files are those that the run wrote\n")
    (run.folder / "report.html").write_text("")
    assert problems(folder) == ["report.html is not the file that the run wrote"]


def test_a_run_with_a_target_comes_out_the_same(folder: Folder, server: Server) -> None:
    folder.replace("pipelines/mine.yaml", "  rows: 20\n", "")
    folder.replace("pipelines/mine.yaml", "source:", "target: 7\nsource:")
    folder.run()
    assert server.count > 0
    assert problems(folder) == []


def test_an_old_run_and_one_that_was_moved_are_found(folder: Folder, run: Run) -> None:
    moved = folder.root / "elsewhere"
    shutil.copytree(run.folder, moved)
    name = f"mine/{run.folder.name[:8]}"
    assert problems(folder, name) == []
    assert problems(folder, str(moved)) == []
