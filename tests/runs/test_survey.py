"""`soupstock models` says which models are there, what they can, and in words what is missing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conftest import Folder
from soupstock import testing
from soupstock.cli.main import main
from soupstock.project.project import Project
from soupstock.runs.survey import ModelSurvey, survey
from soupstock.testing import Request, Server, imitation


@pytest.fixture(autouse=True)
def _at_home(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.root)


@pytest.fixture
def server(folder: Folder) -> Iterator[Server]:
    with Server(models=["tester", "other"]) as server:
        folder.point_at(server.base_url, structured_output=None)
        yield server


def found(folder: Folder, *, is_probed: bool = True) -> ModelSurvey:
    (finding,) = survey(Project(folder.root), "mine", is_probed=is_probed)
    return finding


def models(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments])


def test_a_model_that_answers_is_shown_with_all_that_it_can(folder: Folder, server: Server) -> None:
    finding = found(folder)
    assert finding.roles == ("writer", "judge")
    assert finding.addresses == {server.base_url: "answers"}
    assert finding.abilities == {
        "embeddings": "yes",
        "structured output": "json_schema",
        "log-probabilities": "yes",
        "seed": "yes",
    }
    assert not finding.missing
    assert finding.calls == server.count == 7
    assert finding.tokens > 0


@pytest.mark.parametrize(
    ("settings", "ability", "how"),
    [
        ({"ignores": ["response_format"]}, "structured output", "structured_outputs"),
        (
            {"refuses": ["response_format", "structured_outputs"]},
            "structured output",
            "no, only by the prompt",
        ),
        ({"ignores": ["logprobs"]}, "log-probabilities", "no"),
        ({"refuses": ["logprobs"]}, "log-probabilities", "no"),
        ({"ignores": ["seed"]}, "seed", "unknown: its answers are always the same"),
    ],
)
def test_what_a_server_ignores_or_refuses_it_cannot(
    folder: Folder, settings: dict[str, list[str]], ability: str, how: str
) -> None:
    with Server(**settings) as server:  # type: ignore[arg-type]
        folder.point_at(server.base_url, structured_output=None)
        assert found(folder).abilities[ability] == how


def test_a_server_that_draws_anew_each_time_knows_no_seed(folder: Folder) -> None:
    with Server(lambda request: f"sentence {request.number}") as server:
        folder.point_at(server.base_url)
        assert found(folder).abilities["seed"] == "no"


def test_a_server_of_embeddings_alone_can_be_used(folder: Folder, server: Server) -> None:
    chats = testing.error(404, "no such route")
    server.fail(lambda request: chats if request.path.endswith("completions") else None)
    finding = found(folder)
    assert finding.abilities == {"embeddings": "yes"}
    assert not finding.missing


def test_nothing_is_asked_without_probes(folder: Folder, server: Server) -> None:
    finding = found(folder, is_probed=False)
    assert server.count == 0
    assert finding.addresses == {server.base_url: "answers"}
    assert finding.abilities == {}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("is_probed", [True, False])
def test_a_model_that_is_not_served_is_named_beside_the_one_that_was_meant(
    folder: Folder, *, is_probed: bool
) -> None:
    folder.replace("pyproject.toml", "tester", "testr")
    assert found(folder, is_probed=is_probed).missing == [
        "the model 'testr' is not among those served; did you mean 'tester'?"
    ]
    assert "testr" in models("mine").output


def test_a_model_that_is_not_listed_but_answers_can_be_used(folder: Folder) -> None:
    with Server() as server:
        folder.point_at(server.base_url)
        finding = found(folder)
    assert finding.addresses == {server.base_url: "answers, but does not list the model"}
    assert not finding.missing


def test_a_server_that_is_not_there_is_said_to_be_so(folder: Folder) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    finding = found(folder)
    (what,) = finding.addresses.values()
    assert what.startswith("nothing answers (")
    assert finding.missing == [f"http://127.0.0.1:9/v1: {what}"]


def test_one_address_of_several_is_enough(folder: Folder, server: Server) -> None:
    folder.point_at(["http://127.0.0.1:9/v1", server.base_url])
    finding = found(folder)
    assert not finding.missing
    assert finding.addresses["http://127.0.0.1:9/v1"].startswith("nothing answers (")
    assert finding.addresses[server.base_url] == "answers"


def test_a_key_is_wanted_refused_or_not_set(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(api_key="right-key-4711") as server:
        folder.point_at(server.base_url)
        assert "it wants a key: set api_key_env (401: " in found(folder).missing[0]
        folder.point_at(server.base_url, api_key_env="TEST_KEY")
        monkeypatch.delenv("TEST_KEY", raising=False)
        assert found(folder).missing == ["the environment variable TEST_KEY is not set"]
        monkeypatch.setenv("TEST_KEY", "wrong-key-4711")
        assert "the key is refused (401: " in found(folder).missing[0]
        assert "TEST_KEY is set" in models("mine").output
        monkeypatch.setenv("TEST_KEY", "right-key-4711")
        assert not found(folder).missing


def test_a_reference_that_stands_for_nothing_is_listed_with_the_one_that_was_meant(
    folder: Folder, server: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "writer: test,", "writer: tset,")
    first, second = survey(Project(folder.root), "mine")
    assert first.missing[0].startswith("no model is called 'tset'; did you mean 'test'?")
    assert (second.roles, second.missing) == (("judge",), [])
    assert server.count


def test_without_a_pipeline_all_that_are_declared_are_shown(folder: Folder, server: Server) -> None:
    references = [finding.reference for finding in survey(Project(folder.root))]
    assert references == ["embedded", "test"]
    shown = models("--no-probe")
    assert shown.exit_code == 0
    assert "a run starts the embedded server (llama.cpp) for it" in shown.output
    assert server.base_url in shown.output


def test_a_model_that_a_run_would_serve_is_not_started(folder: Folder, tmp_path: Path) -> None:
    folder.write("pyproject.toml", '[tool.soupstock.models.test]\nvllm = "Qwen/Qwen3-8B"\n')
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\ntouch started\n", encoding="utf-8")
    program.chmod(0o755)
    entry = f'\ncommand = "{program}"\n'
    folder.replace("pyproject.toml", '8B"\n', f'8B"{entry}')
    finding = found(folder)
    assert (finding.started, finding.missing) == ("vLLM", [])
    assert not (folder.root / "started").exists()
    program.unlink()
    (missing,) = found(folder).missing
    assert missing.endswith("is not found")


def test_another_model_may_be_tried_for_a_role(server: Server) -> None:
    shown = models("mine", "--model", "writer=test/other", "--no-probe")
    assert "writer: test/other (other)" in shown.output
    assert "judge: test (tester)" in shown.output
    assert server.count == 0
    wrong = models("mine", "--model", "writr=test")
    assert wrong.exit_code == 2
    assert "no role is called 'writr'; did you mean 'writer'?" in wrong.output
    assert models("--model", "writer=test").exit_code == 2


def test_what_is_missing_ends_the_command_with_1_where_that_is_asked_for(folder: Folder) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    assert models("mine").exit_code == 0
    strict = models("mine", "--strict")
    assert strict.exit_code == 1
    assert "0 of 1 models can be used" in strict.output


def test_prices_are_told_and_what_they_are_missing_for(folder: Folder, server: Server) -> None:
    assert "unknown: set input_price and output_price" in models("mine", "--no-probe").output
    folder.point_at(server.base_url, input_price=0.25, output_price=2.0)
    shown = models("mine", "--no-probe").output
    assert "$0.25 (prompt) and $2 (answer) per million tokens" in shown


def test_a_name_that_a_server_lists_does_no_harm_to_the_terminal(folder: Folder) -> None:
    with Server(models=["\x1b[2Jtester", "\u202eother"]) as server:
        folder.point_at(server.base_url)
        shown = models("mine")
    assert shown.exit_code == 0
    assert "\\x1b[2Jtester" in shown.output
    assert "\x1b" not in shown.output
    assert "\u202e" not in shown.output


def test_a_list_of_models_that_is_none_is_no_list(folder: Folder) -> None:
    def answer(request: Request) -> str:
        return imitation.write(request.body, 0)

    for listed in (b"[]", b"<html>", b'{"data":[{}]}', json.dumps({"data": 1}).encode()):
        with Server(answer) as server:
            server.listing = listed
            folder.point_at(server.base_url)
            finding = found(folder, is_probed=False)
        assert (list(finding.addresses.values()), finding.missing) == (["answers"], [])
