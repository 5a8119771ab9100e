"""Calls that are handed in together: by a provider's batch API, and as files for vLLM."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from clients import calls_to, model_at, opened

from conftest import Folder, running, until
from soupstock.errors import ModelError
from soupstock.inference.batch.ledger import groups, lines, read_results
from soupstock.inference.budget import Budget, prompt_bound
from soupstock.inference.cache import connect
from soupstock.inference.call import Answer, Call, CallForm, Reply
from soupstock.inference.servers.model import Model
from soupstock.runs.run import Run, preview
from soupstock.testing import Server, error, share


@pytest.fixture
def batched(folder: Folder) -> Iterator[Server]:
    """Start a server whose calls are handed in by the batch."""
    with Server() as server:
        folder.point_at(server.base_url, mode="batch", poll=0.01)
        yield server


def live(folder: Folder, server: Server) -> Run:
    """Run as if there were no batches, and no cache."""
    folder.point_at(server.base_url)
    (folder.root / "runs" / "calls.sqlite").unlink()
    return folder.run()


def sizes(server: Server) -> list[int]:
    return [one["request_counts"]["total"] for one in server.batches.batches.values()]


def test_each_step_is_one_batch_and_gives_the_same_rows_as_live_calls(
    folder: Folder, batched: Server
) -> None:
    run = folder.run()
    assert sizes(batched) == [20, 20, 20]
    assert run.manifest.paid.calls == 60
    assert folder.run().manifest.paid.found == 60
    assert len(batched.batches.batches) == 3
    assert live(folder, batched).rows.equals(run.rows)


def test_a_run_that_was_left_is_picked_up_and_nothing_is_handed_in_twice(
    folder: Folder, batched: Server
) -> None:
    batched.batches.hold()
    with running(folder) as process:
        until(lambda: batched.batches.looks > 0, process)
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert "the next run fetches the answers" in told
    assert batched.count == 0
    batched.batches.release()
    run = folder.run()
    assert sizes(batched) == [20, 20, 20]
    assert (run.manifest.paid.calls, run.manifest.kept > 0) == (60, True)


def test_a_run_that_was_killed_is_picked_up_too(folder: Folder, batched: Server) -> None:
    batched.batches.hold()
    with running(folder) as process:
        until(lambda: batched.batches.looks > 0, process)
        process.kill()
    batched.batches.release()
    folder.run()
    assert sizes(batched) == [20, 20, 20]


def test_a_batch_whose_id_was_never_heard_is_found_by_its_file(
    folder: Folder, batched: Server
) -> None:
    batched.batches.hold()
    with running(folder) as process:
        until(lambda: batched.batches.looks > 0, process)
        process.kill()
    db = connect(folder.root / "runs" / "calls.sqlite")
    db.execute("UPDATE batches SET batch = NULL")
    db.close()
    batched.batches.release()
    folder.run()
    assert sizes(batched) == [20, 20, 20]


def test_a_run_that_is_killed_while_its_batch_is_created_finds_it_among_all_of_the_account(
    folder: Folder, batched: Server
) -> None:
    batches = batched.batches
    batches.fall_silent()
    with running(folder) as process:
        until(lambda: batches.batches, process)
        process.kill()
    batches.fall_silent(is_silent=False)
    for number in range(250):
        batches.batches[f"other_{number}"] = {
            **next(iter(batches.batches.values())),
            "id": f"other_{number}",
            "input_file_id": f"other-{number}",
        }
    run = folder.run()
    own = [one for name, one in batches.batches.items() if not name.startswith("other")]
    assert [one["request_counts"]["total"] for one in own] == [20, 20, 20]
    assert len({one["input_file_id"] for one in own}) == 3
    assert batched.count == run.manifest.paid.calls == 60


def test_a_run_that_is_killed_before_its_batch_is_created_hands_it_in_within_the_budget(
    folder: Folder, batched: Server
) -> None:
    batched.batches.fall_silent()
    with running(folder) as process:
        until(lambda: batched.batches.batches, process)
        process.kill()
    batched.batches.fall_silent(is_silent=False)
    # As if the request to create it had never come.
    batched.batches.batches.clear()
    run = folder.run(budget=Budget(max_calls=7))
    assert batched.count == run.manifest.paid.calls == 7
    assert folder.run().manifest.paid.calls == 53


def test_answers_of_a_batch_are_kept_even_if_no_row_wants_them_any_more(
    folder: Folder, batched: Server
) -> None:
    batched.batches.hold()
    with running(folder) as process:
        until(lambda: batched.batches.looks > 0, process)
        process.kill()
    batched.batches.release()
    folder.write("prompts/ask.md", "Ask something else about {{ topic }}, {{ style }}.")
    assert folder.run().manifest.paid.calls == 80
    folder.write("prompts/ask.md", "Ask about {{ topic }}, {{ style }}.")
    assert folder.run().manifest.paid.calls == 40


def test_calls_that_failed_for_a_passing_reason_go_into_the_next_batch(
    folder: Folder, batched: Server
) -> None:
    tried: set[str] = set()

    def fail_once(request: object) -> object:
        key = request.key  # type: ignore[attr-defined]
        is_first = key not in tried and share(0.2, error(500))(request) is not None  # type: ignore[arg-type]
        tried.add(key)
        return error(500) if is_first else None

    batched.fail(fail_once)  # type: ignore[arg-type]
    run = folder.run()
    assert run.manifest.paid.calls == 60
    assert not any(step.failures for step in run.manifest.steps)
    assert sum(sizes(batched)) > 60


def test_calls_that_the_provider_refuses_fail_their_rows_alone(
    folder: Folder, batched: Server
) -> None:
    batched.fail(share(0.2, error(400, "not this one")))
    run = folder.run()
    failures = run.manifest.steps[0].failures
    assert [failure.cause for failure in failures] == ["BadRequestError"]
    assert "not this one" in failures[0].example
    assert run.manifest.kept > 0


def test_what_an_expired_batch_left_out_is_handed_in_again(folder: Folder, batched: Server) -> None:
    batched.batches.end_as("expired", answered=12)
    run = folder.run()
    assert run.manifest.paid.calls == 60
    assert batched.count == 60
    assert sum(sizes(batched)) > 60


def test_a_batch_that_always_fails_ends_with_each_row_saying_so(
    folder: Folder, batched: Server
) -> None:
    batched.batches.end_as("failed", answered=0)
    folder.point_at(batched.base_url, mode="batch", poll=0.01, attempts=2)
    run = folder.run()
    assert run.manifest.kept == 0
    assert [one.rows for one in run.manifest.steps[0].failures] == [20]
    assert sizes(batched) == [20, 20]


def test_a_wrong_key_ends_the_run_in_one_line(folder: Folder) -> None:
    with Server(api_key="right") as server:
        folder.point_at(server.base_url, mode="batch", poll=0.01)
        with pytest.raises(ModelError, match="401"):
            folder.run()


def test_a_budget_is_never_overshot_by_a_batch(folder: Folder, batched: Server) -> None:
    run = folder.run(budget=Budget(max_calls=7))
    assert batched.count == run.manifest.paid.calls == 7
    assert run.manifest.reason == "stopped: the budget is spent"
    assert folder.run().manifest.paid.calls == 53


async def test_a_live_call_that_waits_for_a_batch_s_budget_goes_on_when_the_batch_is_over(
    tmp_path: Path,
) -> None:
    with Server() as server:
        server.batches.hold()
        by_batch = calls_to(model_at(server.base_url, mode="batch", poll=0.01), 4)
        (live_call,) = calls_to(model_at(server.base_url), 5)[4:]
        most = prompt_bound(len(live_call.body), live_call.messages) + live_call.max_tokens
        replies: list[Reply] = []
        done = asyncio.Event()

        def receive(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) == len(by_batch) + 1:
                done.set()

        # All calls of the batch have room together, and the live one only beside what they used.
        async with opened(tmp_path, Budget(max_tokens=4 * most + most // 2)) as client:
            for call in by_batch:
                client.ask(call, 0, receive)
            client.rest()
            while not server.batches.looks:  # noqa: ASYNC110 - the server is in a thread
                await asyncio.sleep(0.001)
            client.ask(live_call, 0, receive)
            client.rest()
            server.batches.release()
            async with asyncio.timeout(30):
                await done.wait()
    assert all(isinstance(reply, Answer) for reply in replies)


async def test_a_batch_that_waits_for_another_s_budget_is_handed_in_when_that_is_over(
    tmp_path: Path,
) -> None:
    with Server() as server:
        server.batches.hold()
        models = [
            model_at(server.base_url, mode="batch", poll=0.01, revision=revision)
            for revision in ("one", "other")
        ]
        first, second = (calls_to(model, 4) for model in models)
        most = prompt_bound(len(first[0].body), first[0].messages) + first[0].max_tokens
        replies: list[Reply] = []
        done = asyncio.Event()

        def receive(reply: Reply) -> None:
            replies.append(reply)
            # As whoever asks does: it waits again.
            asyncio.get_running_loop().call_soon(client.rest)
            if len(replies) == len(first) + len(second):
                done.set()

        budget = Budget(max_tokens=4 * most + most // 2)
        async with opened(tmp_path, budget) as client:
            for call in first:
                client.ask(call, 0, receive)
            client.rest()
            while not server.batches.looks:  # noqa: ASYNC110 - the server is in a thread
                await asyncio.sleep(0.001)
            for call in second:
                client.ask(call, 0, receive)
            client.rest()
            server.batches.release()
            async with asyncio.timeout(30):
                await done.wait()
    assert all(isinstance(reply, Answer) for reply in replies)
    assert sizes(server)[0] == 4
    # Both have one name at one server, and neither takes the other's batch over.
    assert sum(sizes(server)) == budget.spent.calls == 8


async def test_a_batch_whose_server_refuses_log_probabilities_is_asked_again_without(
    tmp_path: Path,
) -> None:
    with Server(refuses=["logprobs"]) as server:
        model = model_at(server.base_url, mode="batch", poll=0.01, structured_output="json_schema")
        schema = {"type": "object", "properties": {}}
        form = CallForm(model, {"max_tokens": 32}, schema, top_logprobs=5)
        calls = [form.call([{"role": "user", "content": str(n)}], str(n)) for n in range(3)]
        replies: list[Reply] = []
        done = asyncio.Event()

        def receive(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) == len(calls):
                done.set()

        async with opened(tmp_path) as client:
            for call in calls:
                client.ask(call, 0, receive)
            client.rest()
            async with asyncio.timeout(30):
                await done.wait()
            assert client.found(calls).keys() == {call.key for call in calls}
    assert all(isinstance(reply, Answer) for reply in replies)
    assert sizes(server) == [3, 3]


def test_a_preview_asks_live(folder: Folder, batched: Server) -> None:
    preview(folder.plan(rows=2), lambda _: None)
    assert batched.count == 6
    assert not batched.batches.batches


def test_a_live_writer_and_a_judge_by_the_batch_make_one_batch(
    folder: Folder, batched: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "writer: test", "writer: live")
    settings = (folder.root / "pyproject.toml").read_text()
    live_one = f'\n[tool.soupstock.models.live]\nbase_url = "{batched.base_url}"\n'
    folder.write("pyproject.toml", settings + live_one)
    folder.run()
    assert sizes(batched) == [20]


def test_a_file_for_vllm_is_written_and_its_results_are_read_by_the_next_run(
    folder: Folder,
) -> None:
    folder.point_at("http://127.0.0.1:1/v1", mode="batch_file")
    place = folder.root / "runs" / "batches"
    with Server() as server:
        for step in range(3):
            run = folder.run()
            assert run.manifest.reason is not None
            assert "vllm run-batch -i " in run.manifest.reason
            assert "--model tester" in run.manifest.reason
            assert len(list(place.glob("*.jsonl"))) == 2 * step + 1
            answer_files(place, server)
        run = folder.run()
        assert run.manifest.outcome == "complete"
        assert server.count == 60
        assert live(folder, server).rows.equals(run.rows)


def answer_files(place: Path, server: Server) -> None:
    """Do what `vllm run-batch` does."""
    for path in place.glob("*[0-9].jsonl"):
        out = path.with_suffix(".out.jsonl")
        if out.exists():
            continue
        told = []
        for line in path.read_bytes().splitlines():
            asked = orjson.loads(line)
            status, body = server._batch_answer(asked["url"], {}, orjson.dumps(asked["body"]))
            response = {"status_code": status, "request_id": "r", "body": orjson.loads(body)}
            told.append(orjson.dumps({"custom_id": asked["custom_id"], "response": response}))
        out.write_bytes(b"\n".join(told))


def test_batches_are_cut_by_lines_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    form = CallForm(Model("m", "m"), {"max_tokens": 5})
    calls = [form.call([{"role": "user", "content": "x" * 50}], str(n)) for n in range(10)]
    monkeypatch.setattr("soupstock.inference.batch.ledger.MOST_LINES", 4)
    assert [len(group) for group in groups(calls)] == [4, 4, 2]
    monkeypatch.setattr(
        "soupstock.inference.batch.ledger.MOST_BYTES", 3 * len(lines(calls[:1])) + 5
    )
    assert [len(group) for group in groups(calls)] == [3, 3, 3, 1]
    other: list[Call] = [call._replace(path="embeddings") for call in calls[:1]]
    assert [len(group) for group in groups([*other, *calls[1:3]])] == [2, 1]


def test_a_result_that_is_no_result_is_passed_over() -> None:
    raw = b'not json\n{}\n{"custom_id":"zz"}\n{"custom_id":"00ff","response":null,"error":"x"}\n'
    (result,) = read_results(raw)
    assert (result.key, result.status, result.is_answer) == (b"\x00\xff", 500, False)
