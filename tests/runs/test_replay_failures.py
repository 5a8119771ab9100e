"""What failed in a run fails in its replay as it did, whatever step asked."""

import json
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from conftest import Folder
from soupstock.dataset.reproduce import reproduce
from soupstock.project.project import Project
from soupstock.runs.run import Run
from soupstock.testing import Request, Server, When, error, share, unsupported
from soupstock.testing.imitation import write

CAUSES = {"InternalServerError", "BadRequestError", "Unreadable"}


def problems(folder: Folder) -> list[str]:
    return list(reproduce(Project(folder.root), "mine").problems)


def causes(run: Run) -> set[str]:
    found = [failure for one in run.manifest.steps for failure in one.failures]
    return {failure.cause for failure in found}


def stumbling(server: Server, verdict: Callable[[Request], str]) -> None:
    """Fail some questions to judges in one way, some in another; some replies are no verdict."""

    def answer(request: Request) -> str:
        return verdict(request) if "response_format" in request.body else write(request.body, 0)

    def only_judges(when: When) -> When:
        return lambda request: when(request) if "response_format" in request.body else None

    server.answer = answer
    server.fail(only_judges(share(0.3, error(500, "it is broken"), "one")))
    server.fail(only_judges(share(0.3, error(400, "it says no"), "two")))


def settings(folder: Folder, server: Server) -> None:
    """Declare two models at one server, each of which is asked once."""
    folder.write(
        "pyproject.toml",
        "".join(
            f'[tool.soupstock.models.{name}]\nbase_url = "{server.base_url}"\nattempts = 1\n'
            f'model = "{model}"\nstructured_output = "json_schema"\n'
            for name, model in (("test", "tester"), ("b", "other"))
        ),
    )


def better(request: Request) -> str:
    some = len(request.prompt) % 3
    return json.dumps({"reason": "x", "better": ["first", "tie", "both"][some]})


def levels(request: Request) -> str:
    some = {"right": {"reason": "", "level": 3}, "kind": {"reason": "", "level": 2}}
    return json.dumps(some if len(request.prompt) % 3 else {})


COMPARING = """\
models: {writer: test, judge: test, second: b}
source:
  rows: 20
  sample: {topic: [cooking, travel, health, money], style: [short, long]}
steps:
  - {generate: question, model: writer, prompt: ask, n: 3}
  - {judge: choice, compare: question, model: JUDGES, rubric: plain}
  - dataset: me/mine
"""


@pytest.mark.parametrize("judges", ["judge", "[judge, second]"])
def test_comparisons_that_failed(folder: Folder, server: Server, judges: str) -> None:
    settings(folder, server)
    folder.write("pipelines/mine.yaml", COMPARING.replace("JUDGES", judges))
    folder.replace("prompts/rubrics/plain.yaml", "columns: [question, answer]", "columns: [topic]")
    stumbling(server, better)
    run = folder.run()
    assert causes(run) == CAUSES
    assert 0 < run.rows["choice"].null_count() < 20 or judges != "judge"
    assert problems(folder) == []


@pytest.mark.parametrize("judges", ["judge", "[judge, second]"])
def test_verdicts_that_failed(folder: Folder, server: Server, judges: str) -> None:
    settings(folder, server)
    folder.replace("pipelines/mine.yaml", "judge: test}", "judge: test, second: b}")
    folder.replace("pipelines/mine.yaml", "model: judge", f"model: {judges}")
    stumbling(server, levels)
    run = folder.run()
    assert causes(run) == CAUSES
    assert problems(folder) == []


def test_judges_that_tell_no_probabilities(folder: Folder, server: Server) -> None:
    server.answer = lambda request: (
        levels(request) if "response_format" in request.body else write(request.body, 0)
    )
    server.fail(lambda asked: unsupported("logprobs") if asked.body.get("logprobs") else None)
    run = folder.run()
    assert run.rows["quality"].null_count() < 20
    assert problems(folder) == []


TALKING = """\
models: {writer: test}
source: {rows: 20, sample: {topic: [cooking, travel, health, money], style: [short, long]}}
steps:
  - converse: messages
    turns: 2
    user: {model: writer, prompt: says}
    assistant: {model: writer, prompt: answers}
  - dataset: me/mine
"""


def test_conversations_that_broke_off(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, attempts=1)
    folder.write("pipelines/mine.yaml", TALKING)
    folder.write("prompts/says.md", "Ask about {{ topic }}, {{ style }}.")
    folder.write("prompts/answers.md", "{{ message }}")
    server.fail(share(0.2, error(500, "it is broken")))
    run = folder.run()
    assert causes(run) == {"InternalServerError"}
    assert 0 < run.manifest.kept < 20
    assert problems(folder) == []


EVOLVING = """\
models: {writer: test}
source: {rows: 20, sample: {instruction: [Boil it., Fry it., Bake it., Eat it.]}}
steps:
  - task: EvolInstruct
    model: writer
    with: {num_evolutions: 2}
    outputs: {evolved_instruction: harder}
  - dataset: me/mine
"""


@pytest.mark.skipif(find_spec("distilabel") is None, reason="the extra is not installed")
def test_tasks_that_failed(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, attempts=1)
    folder.write("pipelines/mine.yaml", EVOLVING)
    server.fail(share(0.2, error(500, "it is broken")))
    run = folder.run()
    assert causes(run) == {"InternalServerError"}
    assert 0 < run.manifest.kept < 20
    assert problems(folder) == []


def test_one_of_several_answers_that_failed(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, attempts=1)
    folder.replace("pipelines/mine.yaml", "prompt: reply", "prompt: reply\n    n: 3")
    server.fail(share(0.1, error(500, "it is broken"), "one"))
    server.fail(share(0.1, error(400, "it says no"), "two"))
    server.answer = lambda request: "" if len(request.prompt) % 5 == 0 else write(request.body, 0)
    folder.run()
    assert problems(folder) == []
