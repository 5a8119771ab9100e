"""The manifest says everything of a run, agrees with its files, and holds no secret."""

import hashlib
import json
import sys
from importlib import metadata
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from conftest import Folder
from soupstock import __version__, testing
from soupstock.artifacts import manifest
from soupstock.artifacts.manifest import SpreadRecord
from soupstock.cli.main import main
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.runs import manifest as manifest_module
from soupstock.runs.run import Run
from soupstock.spec.pipeline import Pipeline
from soupstock.testing import Server

KEPT = pl.col("dropped_by").list.len() == 0


def differences(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one if one[key] != other[key]}


@pytest.mark.usefixtures("server")
def test_a_manifest_is_read_as_it_was_written(folder: Folder) -> None:
    run = folder.run()
    assert manifest.read(run.folder) == run.manifest


@pytest.mark.usefixtures("server")
def test_it_vouches_for_every_file_of_the_run(folder: Folder) -> None:
    run = folder.run()
    there = {
        path.relative_to(run.folder).as_posix()
        for path in run.folder.rglob("*")
        if path.is_file() and path.name not in {"manifest.json", ".lock"}
    }
    assert set(run.manifest.files) == there
    for name, expected in run.manifest.files.items():
        assert hashlib.sha256((run.folder / name).read_bytes()).hexdigest() == expected


@pytest.mark.usefixtures("server")
def test_it_says_what_the_run_was_made_from(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "models:", "seed: 7\nmodels:")
    said = folder.run().manifest
    assert (said.soupstock, said.name, said.seed) == (__version__, "mine", 7)
    assert said.fingerprint == folder.plan().fingerprint
    assert Pipeline.model_validate(said.pipeline) == folder.plan().pipeline
    for part in (*said.prompts, *said.rubrics, *said.schemas, *said.filters):
        assert hashlib.sha256(part.text.encode()).hexdigest() == part.sha256
    assert [part.name for part in said.prompts] == ["ask", "reply", "judge"]
    assert [part.file for part in said.filters] == ["standard:filters/scores.py"]
    assert said.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert said.versions["polars"] == metadata.version("polars")


def test_the_embedded_model_is_named_by_the_hash_of_its_weights(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "writer: test, judge: test", "writer: embedded")
    folder.replace("pipelines/mine.yaml", "model: judge", "model: writer")

    (record,) = map(manifest_module._hashed, folder.plan().model_records())
    assert record.sha256 == SMOLLM2.sha256
    assert record.license == "apache-2.0"


@pytest.mark.usefixtures("server")
def test_only_what_was_paid_and_when_differs_from_run_to_run(folder: Folder) -> None:
    one, other = (json.loads(folder.run().manifest.model_dump_json()) for _ in range(2))
    assert differences(one, other) <= {"paid", "timing", "files"}
    changed = differences(one["files"], other["files"])
    # The report tells how long the run took.
    assert changed <= {"report.html"}
    assert one["paid"]["calls"] == 60
    assert other["paid"]["calls"] == 0


def test_the_sums_are_those_of_the_steps(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, input_price=2.0, output_price=10.0)
    said = folder.run().manifest
    assert said.answers == sum(step.answers for step in said.steps) == 60
    assert said.tokens.prompt == sum(step.tokens.prompt for step in said.steps)
    assert said.tokens.completion == said.paid.tokens.completion
    expected = (said.tokens.prompt * 2 + said.tokens.completion * 10) / 1e6
    assert said.cost == pytest.approx(expected)
    assert said.paid.cost == pytest.approx(expected)
    again = folder.run().manifest
    assert again.cost == said.cost
    assert again.paid.tokens.prompt == 0


@pytest.mark.usefixtures("server")
def test_a_price_that_is_not_known_makes_no_sum(folder: Folder) -> None:
    said = folder.run().manifest
    assert said.cost is None
    assert [step.cost for step in said.steps] == [None] * 5


def spread(scores: pl.Series) -> SpreadRecord:
    quarters = [round(float(scores.quantile(q, "linear") or 0), 4) for q in (0, 0.25, 0.5, 0.75, 1)]
    lowest, lower, median, upper, highest = quarters
    return SpreadRecord(
        rows=scores.len(),
        mean=round(sum(scores) / scores.len(), 4),
        lowest=lowest,
        lower_quartile=lower,
        median=median,
        upper_quartile=upper,
        highest=highest,
    )


@pytest.mark.usefixtures("server")
def test_the_scores_are_those_of_the_rows(folder: Folder) -> None:
    run = folder.run()
    (found,) = run.manifest.scores
    scores = run.rows.select(KEPT, score=pl.col("quality").struct.field("score"))
    assert (found.column, found.model) == ("quality", "judge")
    assert found.judged == spread(scores["score"])
    assert found.kept == spread(scores.filter("dropped_by")["score"])
    assert found.judged != found.kept


def test_rows_without_a_verdict_are_in_no_spread(folder: Folder, server: Server) -> None:
    server.answer = lambda _: "no verdict"
    (found,) = folder.run().manifest.scores
    assert found.judged is None
    assert found.kept is None


def everything(run: Run) -> bytes:
    """Return all that a run left on the disk, the answers among it."""
    runs = run.folder.parents[1]
    return b"".join(path.read_bytes() for path in sorted(runs.rglob("*")) if path.is_file())


def test_keys_of_headers_and_environment_are_in_no_file(
    folder: Folder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-planted-in-environment")
    folder.point_at(server.base_url, api_key_env="TEST_KEY", attempts=1)
    with (folder.root / "pyproject.toml").open("a") as file:
        file.write('headers = {"X-Api-Key" = "planted-in-header"}\n')
    server.fail(
        testing.share(0.3, testing.error(500, "no: sk-planted-in-environment, planted-in-header"))
    )
    run = folder.run()
    assert {request.headers["X-Api-Key"] for request in server.requests} == {"planted-in-header"}
    assert run.manifest.steps[0].failures[0].example == "500: no: [key], [key]"
    assert b"planted" not in everything(run)
    assert b"InternalServerError" in everything(run)


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "mine", "0"),
        ("review", "mine"),
        ("calibrate", "mine"),
        ("reproduce", "mine"),
        ("publish", "mine", "--dry-run"),
        ("mix", "mine:1", "-o", "soup"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("is_damaged", [False, True], ids=["another version's", "damaged"])
def test_a_manifest_that_cannot_be_read_is_a_mistake_in_one_line(
    folder: Folder,
    server: Server,  # noqa: ARG001 - it must be up
    command: tuple[str, ...],
    *,
    is_damaged: bool,
) -> None:
    path = folder.run().folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    last = manifest["pipeline"]["steps"][-1]
    last["publish"] = last.pop("dataset")
    path.write_text("garbage" if is_damaged else json.dumps(manifest), encoding="utf-8")
    ended = CliRunner().invoke(main, ["--project", str(folder.root), *command])
    assert ended.exit_code == 2
    assert ended.output.count("\n") == 1
    assert "manifest.json: it was not made by this version of soupstock; run the" in ended.output


def test_pruning_the_cache_names_runs_whose_answers_are_unknown(
    folder: Folder,
    server: Server,  # noqa: ARG001 - it must be up
) -> None:
    (folder.run().folder / "manifest.json").write_text("garbage", encoding="utf-8")
    ended = CliRunner().invoke(main, ["--project", str(folder.root), "cache", "--prune"])
    assert "1 past run cannot be read by this version: their answers count as" in ended.output
