"""The cache shows what it holds, and gives up only answers that no pipeline uses."""

import pytest
from click.testing import CliRunner

from conftest import Folder
from soupstock.cli.main import main
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.runs.cache import contents, remove_answers, unused
from soupstock.runs.run import run
from soupstock.testing import Server


def answers(folder: Folder) -> int:
    return sum(size.answers for size in contents(Project(folder.root)))


@pytest.mark.usefixtures("server")
def test_answers_of_a_pipeline_as_it_is_now_are_never_unused(folder: Folder) -> None:
    folder.run()
    assert answers(folder) == 60
    assert unused(Project(folder.root)) == frozenset()


@pytest.mark.usefixtures("server")
def test_an_edited_prompt_leaves_the_answers_it_no_longer_leads_to(folder: Folder) -> None:
    folder.run()
    folder.replace("prompts/reply.md", "Answer well.", "Answer badly.")
    project = Project(folder.root)
    found = unused(project)
    # Twenty replies and their verdicts.
    assert len(found) == 40
    remove_answers(project, found)
    assert answers(folder) == 20
    assert unused(project) == frozenset()


def test_after_pruning_a_run_asks_for_nothing_that_was_kept(folder: Folder, server: Server) -> None:
    folder.run()
    folder.replace("prompts/reply.md", "Answer well.", "Answer badly.")
    folder.run()
    project = Project(folder.root)
    remove_answers(project, unused(project))
    server.forget()
    assert folder.run().manifest.paid.calls == 0
    assert server.requests == []


@pytest.mark.usefixtures("server")
def test_a_run_with_more_rows_than_its_file_says_keeps_its_answers(folder: Folder) -> None:
    folder.run()
    run(folder.plan(rows=30))
    assert answers(folder) == 90
    assert unused(Project(folder.root)) == frozenset()


@pytest.mark.usefixtures("server")
def test_a_target_leads_to_the_answers_of_all_its_rounds(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "  rows: 20\n", "")
    folder.replace("pipelines/mine.yaml", "steps:", "target: 33\nsteps:")
    assert folder.run().manifest.kept == 33
    assert unused(Project(folder.root)) == frozenset()


@pytest.mark.usefixtures("server")
def test_nothing_is_pruned_while_a_pipeline_cannot_be_planned(folder: Folder) -> None:
    folder.run()
    folder.replace("pipelines/mine.yaml", "prompt: reply", "prompt: rely")
    told = CliRunner().invoke(
        main, ["--project", str(folder.root), "cache", "--prune", "--yes"], standalone_mode=False
    )
    assert told.exit_code == 2
    assert "no prompt is called 'rely'" in told.output
    assert answers(folder) == 60


@pytest.mark.usefixtures("server")
def test_the_command_asks_before_it_removes(folder: Folder) -> None:
    folder.run()
    folder.replace("prompts/reply.md", "Answer well.", "Answer badly.")
    command = ["--project", str(folder.root), "cache", "--prune"]
    refused = CliRunner().invoke(main, command, input="n\n")
    assert "40 cached answers are unused by any pipeline or past run" in refused.output
    assert answers(folder) == 60
    assert CliRunner().invoke(main, command, input="y\n").exit_code == 0
    assert answers(folder) == 20


def test_a_project_that_asked_nothing_has_no_cache_to_show(folder: Folder) -> None:
    with pytest.raises(MistakeError, match="no model has been asked yet"):
        contents(Project(folder.root))
