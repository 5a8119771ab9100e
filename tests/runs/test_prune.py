"""A dataset from anywhere is pruned by a pipeline's steps, and each row is accounted for."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from evaluation_set import ITEMS
from pruned_rows import NEAR, SOUP, TRAIN, jsonl

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.rows.table import PART_ROWS
from soupstock.runs.prune import PruneResult, Pruning, prune

STEPS = """\
models: {writer: test, judge: test}
source: {rows: 3, sample: {topic: [a, b]}}
steps:
  - generate: response
    model: writer
    prompt: ask
  - filter:
      - length: {column: response, min: 20}
      - not_refusal: {column: response}
  - mask: response
    into: clean
  - dedup: response
    keep: {best: quality}
  - judge: quality
    model: judge
    rubric: plain
  - filter:
      - score: {column: quality, min: 0.5}
      - language: {column: response, any_of: [en]}
  - dataset: me/mine
"""
ROWS: list[dict[str, Any]] = [
    {"response": SOUP, "quality": 0.6, "id": 11},
    {"response": NEAR, "quality": 0.9, "id": 12},
    {"response": "Too short.", "quality": 0.9, "id": 13},
    {"response": f"{TRAIN} Ask anna.berg@mail.de.", "quality": 0.8, "id": 14},
    {"response": "I'm sorry, but I can't help with that request today.", "quality": 1, "id": 15},
    {"response": "Le train de nuit part à dix heures et arrive à la côte.", "quality": 1, "id": 16},
    {"response": None, "quality": 1, "id": 17},
    {"response": f"{SOUP[60:]} And all of that again.", "quality": 0.1, "id": 18},
]


def pruned(folder: Folder, name: str = "rows.jsonl", **options: Any) -> PruneResult:
    pruning = Pruning(folder.root / name, folder.root / "out.parquet", **options)
    return prune(pruning, Project(folder.root), "mine")


@pytest.fixture
def rows(folder: Folder) -> Folder:
    folder.write("pipelines/mine.yaml", STEPS)
    folder.write("rows.jsonl", jsonl(ROWS))
    return folder


def test_rows_are_kept_or_dropped_for_a_reason_under_the_files_own_columns(rows: Folder) -> None:
    done = pruned(rows)
    kept, dropped = pl.read_parquet(done.kept), pl.read_parquet(done.dropped)
    assert kept.columns == ["response", "quality", "id", "clean"]
    assert kept["id"].to_list() == [12, 14]
    assert kept["clean"][1].endswith("Ask [email].")
    reasons = dict(dropped.select("id", "dropped_by").iter_rows())
    assert reasons == {
        11: ["dedup: response"],
        13: ["filter: length(response)"],
        15: ["filter: not_refusal(response)"],
        16: ["filter: language(response)"],
        17: ["filter: length(response)", "filter: not_refusal(response)"],
        18: ["filter: score(quality)"],
    }
    twin = dropped.filter(pl.col("id") == 11).row(0, named=True)
    assert twin["twin"] == "2"
    assert twin["similarity"] > 0.7


def test_the_account_adds_up_and_names_what_was_read(rows: Folder) -> None:
    said = pruned(rows).account
    assert (said.rows, said.kept, said.file) == (8, 2, "rows.jsonl")
    assert [step.verb for step in said.steps] == ["filter", "mask", "dedup", "filter"]
    for step in said.steps:
        assert step.rows_in == step.rows_kept + sum(step.dropped.values())
    assert said.steps[1].masked == {"emails": 1}
    assert said.steps[-1].rows_kept == said.kept
    written = json.loads((rows.root / "out.json").read_text(encoding="utf-8"))
    assert written["sha256"] == list(said.sha256)
    assert not list(rows.root.glob(".soupstock-*"))


def test_a_run_of_the_same_rows_keeps_the_same_ones(rows: Folder) -> None:
    done = pruned(rows)
    steps = STEPS[STEPS.index("  - filter") :].replace(
        "  - judge: quality\n    model: judge\n    rubric: plain\n", ""
    )
    plain = [{name: value for name, value in row.items() if name != "id"} for row in ROWS]
    rows.write("plain.jsonl", jsonl(plain))
    rows.write("pipelines/run.yaml", f"source: {{file: plain.jsonl}}\nsteps:\n{steps}")
    run = rows.run("run").rows.filter(pl.col("dropped_by").list.len() == 0)
    assert run["response"].to_list() == pl.read_parquet(done.kept)["response"].to_list()


@pytest.mark.parametrize("kind", ["parquet", "csv", "folder"])
def test_every_kind_of_file_is_read(rows: Folder, kind: str) -> None:
    frame = pl.DataFrame(ROWS, strict=False)
    name = f"data.{kind}"
    if kind == "csv":
        frame.write_csv(rows.root / name)
    elif kind == "parquet":
        frame.write_parquet(rows.root / name)
    else:
        (rows.root / name).mkdir()
        for number in (0, 1):
            frame[number * 4 : number * 4 + 4].write_parquet(rows.root / name / f"{number}.parquet")
    assert pl.read_parquet(pruned(rows, name).kept)["id"].to_list() == [12, 14]


def test_columns_can_be_named_and_given_up(rows: Folder) -> None:
    frame = pl.DataFrame(ROWS, strict=False).rename({"response": "text"}).drop("quality")
    frame = frame.with_columns(response=pl.lit("another column of that name"))
    frame.write_parquet(rows.root / "data.parquet")
    done = pruned(
        rows, "data.parquet", columns={"response": "text"}, without=frozenset({"quality"})
    )
    kept = pl.read_parquet(done.kept)
    assert kept.columns == ["text", "id", "response", "clean"]
    # Without the score nothing says which twin is the best, so nothing is deduplicated.
    assert kept["id"].to_list() == [11, 12, 14, 18]
    assert set(kept["response"]) == {"another column of that name"}
    assert [step.verb for step in done.account.steps] == ["filter", "mask", "filter"]


def test_missing_columns_are_one_line_with_those_that_there_are(rows: Folder) -> None:
    rows.write("data.jsonl", jsonl([{"text": SOUP, "label": 1}]))
    with pytest.raises(MistakeError) as caught:
        pruned(rows, "data.jsonl")
    said = str(caught.value)
    assert "needs the columns response, quality; the file has: text, label." in said
    assert "--column response=…" in said
    assert "mine.yaml:8: " in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": {"response": "tex"}}, "no column is called 'tex'"),
        ({"without": frozenset({"response", "quality"})}, "no step that can be applied"),
    ],
)
def test_a_mistaken_option_is_one_clear_line(
    rows: Folder, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MistakeError, match=said):
        pruned(rows, **options)


def test_what_is_read_is_never_written_over(rows: Folder) -> None:
    pl.DataFrame(ROWS, strict=False).write_parquet(rows.root / "out.parquet")
    before = (rows.root / "out.parquet").read_bytes()
    with pytest.raises(MistakeError, match="overwrite the file that is read"):
        pruned(rows, "out.parquet")
    assert (rows.root / "out.parquet").read_bytes() == before


def test_the_rows_of_a_run_can_be_pruned_again(rows: Folder) -> None:
    frame = pl.DataFrame(ROWS, strict=False).with_columns(
        dropped_by=pl.lit(["an old reason"]), twin=pl.lit("old")
    )
    frame.write_parquet(rows.root / "data.parquet")
    done = pruned(rows, "data.parquet")
    assert pl.read_parquet(done.kept)["dropped_by"].to_list() == [["an old reason"]] * 2
    dropped = pl.read_parquet(done.dropped)
    assert "an old reason" not in dropped["dropped_by"].explode().to_list()


def test_columns_of_any_type_and_name_come_out_as_they_went_in(rows: Folder) -> None:
    frame = pl.DataFrame(ROWS, strict=False).with_columns(
        index=pl.lit(1),
        **{"*": pl.lit("star"), "^a.*$": pl.lit("pattern"), " why": pl.lit(None)},
        when=pl.lit(datetime(2026, 1, 2, tzinfo=UTC)).dt.convert_time_zone("Europe/Berlin"),
        long=pl.lit(timedelta(days=2)),
        price=pl.lit(Decimal("1.50")),
        raw=pl.lit(b"bytes"),
        kind=pl.lit("a").cast(pl.Enum(["a", "b"])),
        sort=pl.lit("x").cast(pl.Categorical),
        small=pl.lit(3, dtype=pl.UInt8),
        half=pl.lit(0.5, dtype=pl.Float32),
        chat=pl.lit([{"role": "user", "content": "Hi"}]),
        two=pl.lit([1.0, 2.0], dtype=pl.Array(pl.Float64, 2)),
    )
    frame.write_parquet(rows.root / "data.parquet")
    kept = pl.read_parquet(pruned(rows, "data.parquet").kept)
    expected = frame[[1, 3]]
    for column in frame.columns:
        assert kept[column].to_list() == expected[column].to_list(), column


def test_decontamination_and_selection_apply_too(folder: Folder) -> None:
    folder.write("exam.jsonl", jsonl({"q": item} for item in ITEMS))
    folder.write(
        "pipelines/mine.yaml",
        "source: {file: exam.jsonl}\nsteps:\n  - decontaminate: text\n    against:\n"
        "      - {file: exam.jsonl, column: q}\n  - select: 1\n    by: n\n",
    )
    data = [{"text": ITEMS[1], "n": 9}, {"text": SOUP, "n": 1}, {"text": TRAIN, "n": 2}]
    folder.write("rows.jsonl", jsonl(data))
    done = pruned(folder)
    assert pl.read_parquet(done.kept)["text"].to_list() == [TRAIN]
    dropped = pl.read_parquet(done.dropped)
    assert dropped["twin"].to_list() == ["exam.jsonl row 2", None]
    assert dropped["dropped_by"].list.first().to_list() == [
        "decontaminate: exact",
        "select: enough",
    ]
    assert done.account.decontamination[0].canaries


LIMITS = ("min: 10", "max: 16390")


def test_more_rows_than_a_batch_are_each_read_once(folder: Folder) -> None:
    count = 2 * PART_ROWS + 100
    filters = [f"  - filter:\n      - number: {{column: n, {end}}}\n" for end in LIMITS]
    steps = f"{filters[0]}  - dedup: text\n    method: exact\n{filters[1]}"
    folder.write("pipelines/mine.yaml", f"source: {{file: none.jsonl}}\nsteps:\n{steps}")
    frame = pl.DataFrame({"n": range(count), "text": [f"text {n % 16000}" for n in range(count)]})
    frame.write_parquet(folder.root / "data.parquet", row_group_size=1000)
    done = pruned(folder, "data.parquet")
    assert pl.read_parquet(done.kept)["n"].to_list() == [*range(10, 16010)]
    dropped = pl.read_parquet(done.dropped)
    assert dropped["n"].to_list() == [*range(10), *range(16010, count)]
    assert dropped["twin"][10] == "11"
    assert done.account.rows == count


def test_the_command_prints_the_funnel_and_ends_mistakes_in_one_line(rows: Folder) -> None:
    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        code = "from soupstock.cli.main import main; main()"
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-c", code, "prune", *arguments],
            cwd=rows.root,
            capture_output=True,
            text=True,
            check=False,
        )

    fine = command("rows.jsonl", "--pipeline", "mine", "-o", "out.parquet")
    assert fine.returncode == 0, fine.stderr
    assert "8 rows in, 2 kept, 6 dropped" in fine.stdout
    assert "1 emails masked" in fine.stdout
    assert Path(rows.root / "out.dropped.parquet").is_file()
    wrong = command("rows.jsonl", "--pipeline", "mine", "-o", "out.csv")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    half = command("rows.jsonl", "--pipeline", "mine", "-o", "out.parquet", "--column", "response")
    assert half.stderr == "soupstock: --column response is not NAME=COLUMN\n"
