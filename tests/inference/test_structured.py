"""How a server holds a model to a JSON Schema is found by a probe, once, and only where needed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import Folder
from soupstock import testing
from soupstock.inference.budget import Budget
from soupstock.inference.call import Answer, CallForm, Failure
from soupstock.inference.probe import LONG, VALUE, Probe
from soupstock.inference.servers.model import Model
from soupstock.inference.structured import with_instruction
from soupstock.runs.cache import unused
from soupstock.runs.coverage import coverage_of
from soupstock.runs.run import Run
from soupstock.testing import Request, Server, imitation

SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
MODEL = Model("test", "tester", base_url="http://test/v1")
HEEDED = Answer(f'{{"stock": "{VALUE}"}}', "stop", 20, 9)
CHAT = Answer("hello", "stop", 20, 1)
REFUSED = Failure("BadRequestError", "400: no such field")


def spoken(request: Request) -> str:
    """Write what a model does whose server knows no schema: it heeds the words of its prompt."""
    text = "".join(message["content"] for message in request.messages)
    _, found, rest = text.partition("JSON Schema:\n")
    if not found:
        seed = request.body["seed"]
        return imitation.write({"messages": request.messages, "seed": seed}, 0)
    schema, _ = json.JSONDecoder().raw_decode(rest)
    return json.dumps(testing.instance(schema, text))


@contextmanager
def serving(folder: Folder, **settings: Any) -> Iterator[Server]:
    """Serve the project's model, which says nothing of how it takes a schema."""
    with Server(**settings) as server:
        folder.point_at(server.base_url, structured_output=None)
        yield server


def probes(server: Server) -> list[Request]:
    return [request for request in server.requests if request.prompt.startswith("Reply with")]


def mode_of(run: Run) -> str | None:
    (server,) = run.manifest.paid.servers
    return server.structured_output


@pytest.mark.parametrize(
    ("settings", "mode", "count"),
    [
        ({}, "json_schema", 1),
        ({"ignores": ["response_format"]}, "structured_outputs", 2),
        ({"refuses": ["response_format"]}, "structured_outputs", 2),
        ({"refuses": ["response_format", "structured_outputs"], "answer": spoken}, "prompt", 2),
        ({"answer": spoken}, "prompt", 2),
    ],
    ids=["it heeds", "it ignores", "it refuses", "it refuses all", "it ignores all"],
)
def test_a_run_finds_how_its_server_takes_a_schema_and_makes_every_row(
    folder: Folder, settings: dict[str, Any], mode: str, count: int
) -> None:
    with serving(folder, **settings) as server:
        run = folder.run()
        assert mode_of(run) == mode
        assert len(probes(server)) == count
        verdicts = run.rows["quality"]
    assert len(verdicts) == 20
    assert verdicts.null_count() == 0


@pytest.mark.parametrize("answer", [None, spoken], ids=["heeded", "in the prompt"])
def test_a_run_again_finds_its_answers_without_a_probe(
    folder: Folder, answer: Callable[[Request], str] | None
) -> None:
    with serving(folder, answer=answer) as server:
        first = folder.run()
        count = server.count
        again = folder.run()
        assert server.count == count
    assert again.manifest.paid.calls == again.manifest.paid.probes == 0
    assert again.manifest.paid.found == 60
    assert again.rows.equals(first.rows)


def test_what_a_probe_takes_is_counted_and_no_row_rests_on_it(folder: Folder) -> None:
    with serving(folder, ignores=["response_format"]) as server:
        folder.point_at(server.base_url, structured_output=None, input_price=1.0, output_price=2.0)
        said = folder.run().manifest
        assert said.paid.calls == server.count == 62
    assert said.paid.probes == 2
    assert said.paid.found == 0
    assert said.answers == 60
    assert said.paid.tokens.prompt > said.tokens.prompt
    assert said.paid.cost is not None
    assert said.cost is not None
    assert said.paid.cost > said.cost


@pytest.mark.parametrize("calls", range(0, 70, 7))
def test_a_probe_is_within_the_budget(folder: Folder, calls: int) -> None:
    with serving(folder, ignores=["response_format"]) as server:
        said = folder.run(budget=Budget(max_calls=calls)).manifest
        assert server.count == said.paid.calls == min(calls, 62)


def test_a_pipeline_without_a_schema_probes_nothing(folder: Folder) -> None:
    judge = "  - judge: quality\n    model: judge\n    rubric: plain\n    canaries: false\n"
    folder.replace("pipelines/mine.yaml", judge, "")
    folder.replace("pipelines/mine.yaml", "  - filter:\n", "")
    folder.replace("pipelines/mine.yaml", "      - score: {column: quality, min: 0.5}\n", "")
    with serving(folder) as server:
        folder.run()
        assert server.count == 40
        assert not probes(server)


@pytest.mark.parametrize("mode", ["json_schema", "structured_outputs", "prompt"])
def test_a_setting_takes_the_place_of_the_probe(folder: Folder, mode: str) -> None:
    with serving(folder, answer=spoken if mode == "prompt" else None) as server:
        folder.point_at(server.base_url, structured_output=mode)
        run = folder.run()
        assert server.count == 60
        assert not probes(server)
        judged = [request for request in server.requests if "JSON" in request.prompt]
    assert mode_of(run) is None
    assert run.rows["quality"].null_count() == 0
    field = {"json_schema": "response_format"}.get(mode, mode)
    assert all((field in request.body) is (mode != "prompt") for request in judged)


def test_another_mode_in_the_settings_is_another_plan_and_asks_anew(folder: Folder) -> None:
    with serving(folder, answer=spoken) as server:
        fingerprints = set()
        for mode in ("json_schema", "prompt"):
            folder.point_at(server.base_url, structured_output=mode)
            fingerprints.add(folder.plan().fingerprint)
        folder.point_at(server.base_url, structured_output=None)
        assert folder.plan().fingerprint in fingerprints
    assert len(fingerprints) == 2


def test_a_server_that_learns_to_take_a_schema_keeps_its_earlier_answers(folder: Folder) -> None:
    with serving(folder, answer=spoken):
        folder.run(budget=Budget(max_calls=50))
    with serving(folder) as server:
        whole = folder.run()
        assert mode_of(whole) == "json_schema"
        count = server.count
        assert folder.run().rows.equals(whole.rows)
        assert server.count == count
        # What was asked in either mode is led to by the pipeline.
        assert coverage_of(folder.plan()).is_complete
        assert not unused(folder.plan().project)


def test_the_rows_fail_that_need_a_schema_where_a_probe_gets_no_answer(folder: Folder) -> None:
    with serving(folder) as server:
        broken = testing.reset()
        server.fail(lambda request: broken if request.prompt.startswith("Reply") else None)
        run = folder.run()
    (judge,) = (step for step in run.manifest.steps if step.verb == "judge")
    assert [failure.cause for failure in judge.failures] == ["APIConnectionError"]
    assert judge.failures[0].rows == 20


def test_a_server_that_breaks_over_a_schema_is_asked_in_the_prompt(folder: Folder) -> None:
    with serving(folder, answer=spoken) as server:
        fault = testing.error(500)
        asks = {"response_format", "structured_outputs"}
        server.fail(lambda request: fault if asks & request.body.keys() else None)
        assert mode_of(folder.run()) == "prompt"


def test_a_probe_takes_a_right_answer_for_heeding_and_any_other_for_not() -> None:
    for wrong in ("", "hello", "{}", '"soup-4711"', '{"stock": "hello"}', "[" * 9):
        probe = Probe(MODEL)
        probe.note(CHAT._replace(text=wrong))
        assert probe.mode is None
        assert b"structured_outputs" in probe.call.body
        probe.note(HEEDED)
        assert probe.mode == "structured_outputs"


def test_a_model_that_thinks_for_long_is_asked_again_with_more_room() -> None:
    probe = Probe(MODEL)
    probe.note(CHAT._replace(text="", finish="length"))
    assert probe.call.max_tokens == LONG
    assert b"response_format" in probe.call.body
    probe.note(HEEDED)
    assert probe.mode == "json_schema"
    endless = Probe(MODEL)
    for _ in range(4):
        assert endless.mode is None
        endless.note(CHAT._replace(text="", finish="length"))
    assert endless.mode == "prompt"


def test_a_probe_is_over_when_a_server_refuses_every_way() -> None:
    probe = Probe(MODEL)
    probe.note(REFUSED)
    probe.note(REFUSED)
    assert (probe.mode, probe.failure) == ("prompt", None)


def test_a_probe_without_an_answer_knows_nothing() -> None:
    probe = Probe(MODEL)
    failure = Failure("APITimeoutError", "no answer within 600 seconds")
    probe.note(failure)
    assert (probe.mode, probe.failure) == (None, failure)


@pytest.mark.parametrize(
    ("roles", "place"),
    [(["user"], 0), (["system", "user"], 0), (["user", "assistant", "user"], 2)],
)
def test_a_schema_is_said_once_and_where_templates_take_it(roles: list[str], place: int) -> None:
    messages = [{"role": role, "content": f"text {n}"} for n, role in enumerate(roles)]
    said = with_instruction(messages, "words")
    assert [message["role"] for message in said] == roles
    assert [n for n, message in enumerate(said) if "words" in message["content"]] == [place]
    assert said[place]["content"] == f"text {place}\n\nwords"
    assert messages == [{"role": role, "content": f"text {n}"} for n, role in enumerate(roles)]


def test_each_mode_asks_for_something_else() -> None:
    form = CallForm(MODEL, {"max_tokens": 8}, SCHEMA)
    call = form.call([{"role": "user", "content": "x"}], "row")
    calls = [call.put(way) for way in call.ways]
    assert [way.mode for way in call.ways] == ["json_schema", "structured_outputs", "prompt"]
    assert calls[0] == call
    assert len({one.key for one in calls}) == 3
    assert [one.put(call.ways[0]).key for one in calls] == [call.key] * 3
    assert CallForm(MODEL, {"max_tokens": 8}).call([], "row").otherwise is None
