"""A run keeps every answer, accounts for every row, and repeats itself byte for byte."""

import hashlib
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Folder, repetitive
from soupstock import testing
from soupstock.artifacts.manifest import Manifest
from soupstock.errors import ModelError
from soupstock.inference.budget import Budget
from soupstock.rows.table import OPEN_PARTS, PART_ROWS
from soupstock.runs.run import MOST_ROWS_WITHOUT_SUCCESS, Run
from soupstock.testing import Reply, Request, Server, imitation


def digests(run: Run) -> dict[str, str]:
    files = [run.folder / "rows.parquet", *sorted((run.folder / "dataset").rglob("*.*"))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_accounted(said: Manifest) -> None:
    rows = said.rows
    for step in said.steps:
        assert step.rows_in == rows
        assert step.rows_in == step.rows_kept + sum(step.dropped.values())
        rows = step.rows_kept
    assert said.kept == rows


def test_every_row_is_kept_or_dropped_for_a_reason_at_every_step(
    folder: Folder, server: Server
) -> None:
    run = folder.run()
    assert_accounted(run.manifest)
    kept = run.rows.filter(pl.col("dropped_by").list.len() == 0)
    assert run.manifest.outcome == "complete"
    assert 0 < kept.height == run.manifest.kept < 20
    assert kept["quality"].struct.field("score").ge(0.5).all()
    assert run.manifest.paid.calls == server.count == 60


def test_running_again_asks_nothing_and_writes_the_same_bytes(
    folder: Folder, server: Server
) -> None:
    before = digests(folder.run())
    server.forget()
    again = folder.run()
    assert server.requests == []
    assert again.manifest.paid.calls == 0
    assert again.manifest.paid.found == 60
    assert digests(again) == before


def test_the_same_answers_give_the_same_bytes_whatever_the_concurrency_and_order(
    folder: Folder, server: Server
) -> None:
    found = []
    for concurrency, delay in ((1, 0.0), (3, 0.002), (64, testing.between(0.0, 0.05))):
        folder.point_at(server.base_url, concurrency=concurrency)
        server.delay = delay
        found.append(digests(folder.run()))
        (folder.root / "runs" / "calls.sqlite").unlink()
    assert found[0] == found[1] == found[2]


def test_a_dropped_row_costs_no_further_call(folder: Folder, server: Server) -> None:
    folder.replace(
        "pipelines/mine.yaml",
        "  - generate: answer",
        "  - filter: [length: {column: question, min: 1000}]\n  - generate: answer",
    )
    run = folder.run()
    assert server.count == 20
    assert run.manifest.kept == 0
    assert run.manifest.steps[1].dropped == {"filter: length(question)": 20}
    assert_accounted(run.manifest)


def test_passing_errors_are_tried_again_until_every_row_is_there(
    folder: Folder, server: Server
) -> None:
    server.fail(testing.once(0.1, testing.error(500), salt="a"))
    server.fail(testing.once(0.1, testing.reset(), salt="b"))
    server.fail(testing.once(0.1, testing.garbage(), salt="c"))
    run = folder.run()
    assert run.manifest.paid.retried > 5
    assert not any(step.failures for step in run.manifest.steps)
    assert_accounted(run.manifest)


def test_a_row_that_always_fails_is_named_and_blocks_no_other(
    folder: Folder, server: Server
) -> None:
    folder.point_at(server.base_url, attempts=2)
    server.fail(testing.share(0.2, testing.error(500, "the server <b>broke</b>")))
    run = folder.run()
    assert_accounted(run.manifest)
    failures = run.manifest.steps[0].failures
    assert [failure.cause for failure in failures] == ["InternalServerError"]
    assert failures[0].example == "500: the server <b>broke</b>"
    assert run.manifest.steps[0].dropped == {"generate: question failed": failures[0].rows}
    failed = run.rows.filter(pl.col("failures").list.len() > 0)
    assert failed.height == sum(f.rows for step in run.manifest.steps for f in step.failures)


def test_failures_are_never_cached_so_the_next_run_asks_again(
    folder: Folder, server: Server
) -> None:
    folder.point_at(server.base_url, attempts=1)
    server.fail(testing.share(0.2, testing.error(500)))
    failed = sum(
        step.dropped.get("generate: question failed", 0) for step in folder.run().manifest.steps
    )
    server.forget()
    run = folder.run()
    assert failed > 0
    assert run.manifest.steps[0].rows_kept == 20
    assert len(server.requests) >= failed


def test_a_rejected_request_is_not_tried_again(folder: Folder, server: Server) -> None:
    server.fail(testing.share(0.3, testing.too_long()))
    run = folder.run()
    assert Counter(request.key for request in server.requests).most_common(1)[0][1] == 1
    assert run.manifest.steps[0].failures[0].cause == "BadRequestError"


def test_a_wrong_key_ends_the_run_in_one_line_that_does_not_hold_the_key(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-planted-4711-secret")
    with Server(api_key="another") as server:
        folder.point_at(server.base_url, api_key_env="TEST_KEY", concurrency=4)
        with pytest.raises(ModelError, match="test: 401: Incorrect API key") as caught:
            folder.run()
        assert server.count <= 4
    assert "planted" not in str(caught.value)
    for path in folder.root.rglob("*"):
        if path.is_file():
            assert b"planted" not in path.read_bytes()


def test_a_key_that_the_server_echoes_reaches_no_file(
    folder: Folder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-planted-4711-secret")
    folder.point_at(server.base_url, api_key_env="TEST_KEY", attempts=1)
    server.fail(testing.share(0.5, testing.error(500, "your key sk-planted-4711-secret broke us")))
    run = folder.run()
    assert run.manifest.steps[0].failures[0].example == "500: your key [key] broke us"
    for path in folder.root.rglob("*"):
        if path.is_file():
            assert b"planted" not in path.read_bytes()


def test_an_unset_key_is_named_before_anything_is_asked(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, api_key_env="NO_SUCH_KEY")
    with pytest.raises(ModelError, match="the environment variable NO_SUCH_KEY is not set"):
        folder.run()
    assert server.count == 0


def test_an_unknown_model_ends_the_run_after_a_handful_of_requests(folder: Folder) -> None:
    with Server(models=["another"]) as server:
        folder.point_at(server.base_url)
        with pytest.raises(ModelError, match="404: The model `tester` does not exist"):
            folder.run()
        assert server.count <= 20


def test_a_server_that_is_not_there_ends_the_run_within_seconds(folder: Folder) -> None:
    with Server() as server:
        address = server.base_url
    folder.point_at(address)
    with pytest.raises(ModelError, match="nothing answers at"):
        folder.run()


def test_a_refusal_is_waited_out(folder: Folder, server: Server) -> None:
    server.fail(testing.first(3, testing.refused(retry_after=0.2)))
    run = folder.run()
    assert run.manifest.outcome == "complete"
    assert run.manifest.steps[0].rows_kept == 20
    for refused in server.requests[:3]:
        again = [r.when for r in server.requests if r.key == refused.key and r is not refused]
        assert [when - refused.when >= 0.2 for when in again] == [True]


def test_the_same_question_is_asked_once_even_while_it_is_under_way(
    folder: Folder, server: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "prompt: ask", "prompt: ask\n    temperature: 0")
    server.delay = 0.02
    rows = folder.run().rows
    asked = Counter(request.key for request in server.requests)
    assert max(asked.values()) == 1
    questions = [request for request in server.requests if request.prompt.startswith("Ask")]
    assert len(questions) == rows.n_unique(["topic", "style"]) < rows.height


def test_a_target_is_met_exactly_with_the_first_rows_that_survive(
    folder: Folder, server: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "  rows: 20\n", "")
    folder.replace("pipelines/mine.yaml", "steps:", "target: 33\nsteps:")
    run = folder.run()
    assert run.manifest.outcome == "complete"
    assert run.manifest.kept == 33
    assert pl.read_parquet(run.folder / "dataset" / "data" / "*.parquet").height == 33
    assert_accounted(run.manifest)
    reasons = run.rows["dropped_by"].list.first()
    enough = reasons.eq_missing("target: enough").to_list()
    assert enough == sorted(enough) or set(reasons.to_list()[enough.index(True) :]) <= {
        "target: enough",
        "filter: score(quality)",
    }
    before = digests(run)
    server.forget()
    assert digests(folder.run()) == before
    assert server.requests == []


def test_a_target_that_every_row_survives_is_met_without_a_call_too_many(
    folder: Folder, server: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "  rows: 20\n", "")
    folder.replace("pipelines/mine.yaml", "steps:", "target: 33\nsteps:")
    folder.replace("pipelines/mine.yaml", "min: 0.5", "min: 0")
    assert folder.run().manifest.kept == 33
    assert server.count == 3 * 33


def test_a_target_that_no_row_survives_for_is_given_up(folder: Folder, server: Server) -> None:
    folder.replace("pipelines/mine.yaml", "  rows: 20\n", "")
    folder.replace("pipelines/mine.yaml", "steps:", "target: 20\nsteps:")
    folder.replace(
        "pipelines/mine.yaml",
        "  - generate: answer",
        "  - filter: [length: {column: question, min: 9999}]\n  - generate: answer",
    )
    said = folder.run().manifest
    assert said.outcome == "partial"
    assert said.reason is not None
    assert "none was kept" in said.reason
    assert MOST_ROWS_WITHOUT_SUCCESS <= server.count <= 4 * MOST_ROWS_WITHOUT_SUCCESS


@pytest.mark.usefixtures("server")
def test_a_target_that_the_source_cannot_meet_says_what_drops_most(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "steps:", "target: 19\nsteps:")
    said = folder.run().manifest
    assert said.outcome == "partial"
    assert said.reason is not None
    assert f"20 source rows gave {said.kept} of the 19 wanted rows" in said.reason
    assert "'filter: score(quality)' drops the most" in said.reason


def test_a_budget_of_calls_is_never_overshot_and_the_run_goes_on_later(
    folder: Folder, server: Server
) -> None:
    partial = folder.run(budget=Budget(max_calls=25)).manifest
    assert server.count == 25
    assert partial.outcome == "partial"
    assert partial.reason == "stopped: the budget is spent"
    assert_accounted(partial)
    assert any("stopped: Budget" in step.dropped for step in partial.steps)
    whole = folder.run().manifest
    assert server.count == 60
    assert whole.outcome == "complete"


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(0, 30_000), concurrency=st.sampled_from([1, 7, 256]))
def test_a_budget_of_tokens_is_never_overshot(folder: Folder, limit: int, concurrency: int) -> None:
    with Server(seed=limit) as server:
        folder.point_at(server.base_url, concurrency=concurrency, revision=str(limit))
        said = folder.run(budget=Budget(max_tokens=limit)).manifest
    assert said.paid.tokens.prompt + said.paid.tokens.completion <= limit


def test_an_unreadable_verdict_is_asked_for_again_and_then_null(folder: Folder) -> None:
    def answer(request: Request) -> Reply | str:
        if "response_format" in request.body:
            return "I would say it is quite good."
        return imitation.write(request.body, 0)

    with Server(answer) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    assert server.count == 20 + 20 + 3 * 20
    assert run.rows["quality"].null_count() == 20
    assert run.manifest.steps[2].failures[0].cause == "Unreadable"
    assert run.manifest.steps[2].rows_kept == 20
    assert run.manifest.steps[3].dropped == {"filter: score(quality)": 20}


@pytest.mark.usefixtures("server")
def test_several_answers_and_typed_answers_are_columns(folder: Folder) -> None:
    folder.write(
        "schemas/facts.py",
        "from pydantic import BaseModel\n\nclass Fact(BaseModel):\n    text: str\n    year: int\n",
    )
    folder.replace("pipelines/mine.yaml", "prompt: ask", "prompt: ask\n    n: 3")
    folder.replace("pipelines/mine.yaml", "prompt: reply", "prompt: reply\n    schema: Fact")
    folder.replace("prompts/reply.md", "{{ question }}", "{{ question[0] }}")
    run = folder.run()
    assert run.rows["question"].list.len().unique().to_list() == [3]
    assert run.rows["answer"].dtype == pl.Struct({"text": pl.String, "year": pl.Int64})
    assert run.rows.height == 20


def test_twins_are_dropped_and_named(folder: Folder) -> None:
    folder.dedup_questions()
    with Server(repetitive) as server:
        folder.point_at(server.base_url)
        run = folder.run()
        assert server.count == 20 + 4 + 4
    rows = {row["id"]: row for row in run.rows.to_dicts()}
    repeats = [row for row in rows.values() if row["dropped_by"] == ["dedup: question"]]
    assert len(repeats) == 16
    for row in repeats:
        assert rows[row["twin"]]["question"] == row["question"]
        assert row["similarity"] == 1.0
    assert_accounted(run.manifest)


def test_rows_that_passed_a_barrier_are_all_there_however_many(folder: Folder) -> None:
    many = (OPEN_PARTS + 3) * PART_ROWS
    folder.write(
        "pipelines/many.yaml",
        f"models: {{}}\nsource: {{rows: {many}, sample: {{topic: [tea, rice, rain]}}}}\n"
        "steps:\n  - dedup: topic\n    method: exact\n"
        "  - filter: [length: {column: topic, min: 4}]\n  - dataset: me/many\n",
    )
    done = folder.run("many")
    assert done.rows.height == done.manifest.rows == many
    assert done.rows["id"].n_unique() == many
    reasons = done.rows["dropped_by"].list.first().value_counts()
    assert dict(reasons.iter_rows()) == {
        None: 2,
        "dedup: topic": many - 3,
        "filter: length(topic)": 1,
    }


@pytest.mark.usefixtures("server")
def test_the_dataset_is_loaded_by_the_datasets_library(folder: Folder, tmp_path: Path) -> None:
    from datasets import load_dataset

    folder.publish_conversations()
    run = folder.run()
    data = load_dataset(str(run.folder / "dataset"), split="train", cache_dir=str(tmp_path / "c"))
    assert len(data) == run.manifest.kept
    assert [turn["role"] for turn in data[0]["messages"]] == ["user", "assistant"]
