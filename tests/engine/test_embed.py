"""Vectors come from a model server, through the cache, or a row says why it has none."""

from typing import Any

import pytest
from pruned_rows import jsonl, texts

from conftest import Folder
from soupstock.cli.display.plan import show_plan
from soupstock.errors import MistakeError
from soupstock.inference.budget import Budget
from soupstock.project.project import Project
from soupstock.runs.coverage import coverage_of
from soupstock.runs.prune import Pruning, prune
from soupstock.testing import Request, Server, error

STEP = "  - dedup: text\n    method: semantic\n    embedder: vectors\n"
ROWS = texts("a cat", "a dog", None, "a cat", "a bird", "a dog")


def pipeline(folder: Folder, steps: str, rows: Any = ROWS) -> None:
    folder.write("rows.jsonl", jsonl(rows))
    folder.write(
        "pipelines/mine.yaml",
        f"models: {{vectors: test}}\nsource: {{file: rows.jsonl}}\nsteps:\n{steps}"
        "  - dataset: me/mine\n",
    )


def test_each_text_is_asked_for_once_and_never_again(folder: Folder, server: Server) -> None:
    pipeline(folder, STEP)
    run = folder.run()
    ids = run.rows["id"]
    assert run.rows["twin"].to_list() == [None, None, None, ids[0], None, ids[1]]
    assert server.count == 3
    (step, _) = run.manifest.steps
    assert (step.rows_in, step.rows_kept, step.answers, step.model) == (6, 4, 5, "vectors")
    assert step.tokens.prompt > 0
    again = folder.run()
    assert server.count == 3
    assert again.manifest.steps == run.manifest.steps


def test_what_was_there_before_is_asked_for_too(folder: Folder, server: Server) -> None:
    folder.write("old.jsonl", jsonl(texts("a bird", "a fish", "a bird")))
    pipeline(folder, f"{STEP}    against: [{{file: old.jsonl}}]\n")
    run = folder.run()
    assert run.rows["twin"][4] == "old.jsonl row 1"
    assert server.count == 4


def test_the_plan_names_the_model_that_compares_texts(
    folder: Folder, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline(folder, STEP)
    show_plan(folder.plan())
    said = capsys.readouterr().out
    assert "   asks      vectors = test, calls: at most 6\n" in said
    assert "   embedder  test\n" in said
    assert server.count == 0


def test_rows_can_be_selected_by_a_servers_vectors(folder: Folder, server: Server) -> None:
    pipeline(
        folder,
        "  - select: 3\n    method: deita\n    column: text\n    embedder: vectors\n",
        texts("a cat", "a cat", "a dog", "a cat", "a bird"),
    )
    run = folder.run()
    assert run.manifest.kept == 3
    assert server.count == 3
    assert run.manifest.steps[0].dropped == {"select: alike": 2}


def test_a_row_whose_text_gets_no_vector_is_dropped_with_the_reason(
    folder: Folder, server: Server
) -> None:
    def refuse(request: Request) -> Any:
        return error(400, "no dogs here") if "dog" in str(request.body) else None

    server.fail(refuse)
    pipeline(folder, STEP)
    run = folder.run()
    dropped = run.rows["dropped_by"].to_list()
    assert dropped[1] == dropped[5] == ["dedup: text failed"]
    assert dropped[3] == ["dedup: text"]
    step = run.manifest.steps[0]
    assert step.rows_in == step.rows_kept + sum(step.dropped.values()) == 6
    assert step.failures[0].rows == 2
    assert "no dogs here" in step.failures[0].example


def test_a_run_that_may_ask_no_more_goes_on_where_it_stopped(
    folder: Folder, server: Server
) -> None:
    pipeline(folder, STEP)
    run = folder.run(budget=Budget(max_calls=2))
    assert run.manifest.outcome == "partial"
    assert server.count == 2
    stopped = [reasons for reasons in run.rows["dropped_by"].to_list() if "stopped" in str(reasons)]
    assert len(stopped) >= 1
    assert folder.run().manifest.outcome == "complete"
    assert server.count == 3


def test_the_cache_alone_tells_what_would_be_asked(folder: Folder, server: Server) -> None:
    pipeline(folder, STEP)
    assert not coverage_of(folder.plan()).is_complete
    folder.run()
    found = coverage_of(folder.plan())
    assert found.is_complete
    assert len(found.keys) == 3
    assert server.count == 3


def test_another_model_is_another_plan(folder: Folder, server: Server) -> None:
    pipeline(folder, STEP)
    first = folder.plan()
    assert first.steps[0].calls == 1
    folder.point_at(server.base_url, revision="2")
    assert folder.plan().fingerprint != first.fingerprint


def test_a_file_is_pruned_without_a_server(folder: Folder, server: Server) -> None:
    pipeline(folder, STEP)
    pruning = Pruning(folder.root / "rows.jsonl", folder.root / "out.parquet")
    with pytest.raises(
        MistakeError, match="'vectors' is a model server, and only a run asks models"
    ):
        prune(pruning, Project(folder.root), "mine")
    assert server.count == 0
