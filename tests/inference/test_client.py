"""A client gets each answer once, however the server behaves, and says why where it gets none."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import ledger
import pytest
from clients import ask, calls_to, model_at, opened

from soupstock import testing
from soupstock.errors import ModelError
from soupstock.inference.budget import prompt_bound
from soupstock.inference.call import Answer, Call, CallForm, Failure, Reply
from soupstock.inference.client import Client
from soupstock.inference.retry import REFUSED_AFTER, REJECTED_AFTER, RequestError
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.transport import Address, Transport
from soupstock.spec.prompt import parse_prompt
from soupstock.testing import Server
from soupstock.testing.replies import Request


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_a_status_that_may_pass_is_asked_again(tmp_path: Path, status: int) -> None:
    with Server() as server:
        server.fail(testing.first(1, testing.error(status)))
        async with opened(tmp_path) as client:
            (reply,) = await ask(client, calls_to(model_at(server.base_url), 1))
        assert isinstance(reply, Answer)
        assert server.count == 2
        assert client.usage.retried == 1


@pytest.mark.parametrize(
    "fault",
    [testing.reset(), testing.garbage(), testing.misshapen(), testing.silence()],
    ids=["a broken connection", "no JSON", "no completion", "silence"],
)
async def test_a_reply_that_is_none_is_asked_for_again(
    tmp_path: Path, fault: testing.Reply
) -> None:
    with Server() as server:
        server.fail(testing.first(1, fault))
        async with opened(tmp_path) as client:
            (reply,) = await ask(client, calls_to(model_at(server.base_url, timeout=0.5), 1))
        assert isinstance(reply, Answer)
        assert server.count == 2


CAUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "APIStatusError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    413: "APIStatusError",
    422: "UnprocessableEntityError",
}


@pytest.mark.parametrize("status", CAUSES)
async def test_a_status_that_will_not_pass_fails_that_call_at_once_by_its_name_in_openai(
    tmp_path: Path, status: int
) -> None:
    with Server() as server:
        server.fail(testing.nth(2, testing.error(status, "no such luck")))
        async with opened(tmp_path) as client:
            calls = calls_to(model_at(server.base_url, concurrency=1), 3)
            replies = await ask(client, calls)
        assert replies[1] == Failure(CAUSES[status], f"{status}: no such luck")
        assert [type(reply) for reply in replies] == [Answer, Failure, Answer]
        assert server.count == 3


async def test_a_call_fails_when_it_was_tried_as_often_as_allowed(tmp_path: Path) -> None:
    with Server() as server:
        server.fail(lambda request: testing.error(500, f"broken {request.number}"))
        async with opened(tmp_path) as client:
            (reply,) = await ask(client, calls_to(model_at(server.base_url, attempts=3), 1))
        assert reply == Failure("InternalServerError", "500: broken 3")
        assert server.count == 3


def refusal(headers: dict[str, str]) -> testing.Reply:
    return replace(testing.refused(), headers=headers)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (lambda: {"Retry-After": "0.4"}, 0.4),
        (lambda: {"Retry-After": "9", "retry-after-ms": "400"}, 0.4),
        # A date has no fractions, so one 2 seconds ahead is more than 1 second away.
        (lambda: {"Retry-After": formatdate(time.time() + 2, usegmt=True)}, 1.0),
    ],
    ids=["in seconds", "in milliseconds", "as a date"],
)
async def test_a_server_that_says_when_to_come_again_is_asked_no_earlier(
    tmp_path: Path, headers: Callable[[], dict[str, str]], seconds: float
) -> None:
    with Server() as server:
        server.fail(lambda request: refusal(headers()) if request.number == 1 else None)
        async with opened(tmp_path) as client:
            replies = await ask(client, calls_to(model_at(server.base_url, concurrency=1), 3))
        first, *later = server.requests
        assert all(isinstance(reply, Answer) for reply in replies)
        assert min(request.when for request in later) - first.when >= seconds


@pytest.mark.parametrize("value", ["soon", "-5", "", "Thu, 99 Foo", "nan"])
async def test_a_retry_after_that_makes_no_sense_is_no_pause(tmp_path: Path, value: str) -> None:
    with Server() as server:
        fault = refusal({"Retry-After": value, "retry-after-ms": value})
        server.fail(testing.first(1, fault))
        async with opened(tmp_path) as client:
            (reply,) = await ask(client, calls_to(model_at(server.base_url), 1))
        assert isinstance(reply, Answer)


class Script(Transport):
    """Says the same of every request, and notes when each came."""

    def __init__(self, trouble: Callable[[], RequestError]) -> None:
        super().__init__()
        self.trouble = trouble
        self.times: list[float] = []

    async def post(self, address: Address, call: Call) -> Answer:  # noqa: ARG002
        self.times.append(asyncio.get_running_loop().time())
        raise self.trouble()


def refused() -> RequestError:
    return RequestError(Failure("RateLimitError", "429: slow down"), status=429)


def broken() -> RequestError:
    return RequestError(Failure("InternalServerError", "500: broken"), status=500)


def scripted(
    folder: Path, trouble: Callable[[], RequestError], count: int, **settings: Any
) -> tuple[Client, list[Reply], list[float]]:
    """Ask a scripted server in virtual time, where a quarter of an hour takes no time."""
    script: list[Script] = []

    async def main() -> tuple[Client, list[Reply]]:
        script.append(Script(trouble))
        async with opened(folder, transport=script[0]) as client:
            calls = calls_to(model_at("http://script/v1", **settings), count)
            return client, await ask(client, calls)

    with asyncio.Runner(loop_factory=ledger.VirtualLoop) as runner:
        client, replies = runner.run(main())
    return client, replies, script[0].times


def test_pauses_between_tries_grow_and_are_left_to_chance(tmp_path: Path) -> None:
    _, replies, times = scripted(tmp_path, broken, 1, attempts=7)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert isinstance(replies[0], Failure)
    assert len(pauses) == 6
    assert all(pause <= 2**n for n, pause in enumerate(pauses))
    assert len({round(pause / 2**n, 6) for n, pause in enumerate(pauses)}) == 6


def test_a_server_that_refuses_everything_for_a_quarter_of_an_hour_is_given_up(
    tmp_path: Path,
) -> None:
    client, replies, times = scripted(tmp_path, refused, 20, concurrency=None)
    assert isinstance(client.broken, ModelError)
    assert str(client.broken) == "test: 429: slow down"
    assert all(isinstance(reply, Failure) for reply in replies)
    assert REFUSED_AFTER < times[-1] - times[0] < 1.2 * REFUSED_AFTER
    assert len(times) < 120


async def test_a_rejected_key_stops_everything_after_the_requests_under_way(tmp_path: Path) -> None:
    with Server(api_key="another") as server:
        async with opened(tmp_path) as client:
            replies = await ask(client, calls_to(model_at(server.base_url, concurrency=4), 100))
        assert server.count <= 4
        assert isinstance(client.broken, ModelError)
        assert all(isinstance(reply, Failure) for reply in replies)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_a_server_that_rejects_all_calls_after_some_answers_is_given_up_soon(
    tmp_path: Path, status: int
) -> None:
    with Server() as server:
        server.fail(lambda request: testing.error(status) if request.number > 10 else None)
        async with opened(tmp_path) as client:
            replies = await ask(client, calls_to(model_at(server.base_url, concurrency=1), 100))
        assert server.count == 10 + REJECTED_AFTER
        assert sum(isinstance(reply, Answer) for reply in replies) == 10
        assert isinstance(client.broken, ModelError)


async def test_a_403_about_one_question_stops_nothing_even_if_it_comes_first(
    tmp_path: Path,
) -> None:
    with Server() as server:
        server.fail(testing.nth(1, testing.error(403, "flagged")))
        async with opened(tmp_path) as client:
            replies = await ask(client, calls_to(model_at(server.base_url, concurrency=1), 3))
        assert [type(reply) for reply in replies] == [Failure, Answer, Answer]


async def test_a_spent_account_is_no_reason_to_wait(tmp_path: Path) -> None:
    spent = testing.error(429, "You exceeded your current quota", code="insufficient_quota")
    with Server() as server:
        server.fail(lambda _: spent)
        async with opened(tmp_path) as client:
            await ask(client, calls_to(model_at(server.base_url, concurrency=1), 5))
        assert server.count == 1
        assert str(client.broken) == "test: 429: You exceeded your current quota"


async def test_a_stopped_client_finishes_and_keeps_what_is_under_way(tmp_path: Path) -> None:
    why = Failure("Interrupted", "enough")
    with Server() as server:

        def answer(request: Request) -> str:
            if request.number == 2:
                loop.call_soon_threadsafe(client.stop, why)
            return "fine"

        server.answer, server.delay = answer, 0.05
        loop = asyncio.get_running_loop()
        calls = calls_to(model_at(server.base_url, concurrency=2), 10)
        async with opened(tmp_path) as client:
            replies = await ask(client, calls)
            assert [type(reply) for reply in replies] == [Answer] * 2 + [Failure] * 8
            assert set(replies[2:]) == {why}
            assert client.found(calls).keys() == {call.key for call in calls[:2]}
        assert server.count == 2


class Moving(Servers):
    """A run's own server, which comes back elsewhere each time that it is asked for."""

    def __init__(self, folder: Path, servers: Sequence[Server]) -> None:
        super().__init__(folder, lambda _: None)
        self.left = list(servers)

    async def address(self, model: Model) -> tuple[str, str | None]:
        if not self.left:
            raise ModelError(f"{model.reference}: it ended twice")
        return self.left.pop(0).base_url, None


async def test_a_server_of_the_run_that_died_is_asked_for_its_new_address(tmp_path: Path) -> None:
    with Server(delay=0.01) as first, Server() as second:
        servers = Moving(tmp_path, [first, second])
        async with opened(tmp_path, servers=servers) as client:
            calls = calls_to(model_at(None, concurrency=4), 40)
            await ask(client, calls[:8])
            first.stop()
            replies = await ask(client, calls[8:])
        assert all(isinstance(reply, Answer) for reply in replies)
        assert second.count >= 28


async def test_a_server_of_the_run_that_dies_for_good_ends_it_in_one_line(tmp_path: Path) -> None:
    with Server() as first:
        async with opened(tmp_path, servers=Moving(tmp_path, [first])) as client:
            calls = calls_to(model_at(None), 20)
            await ask(client, calls[:5])
            first.stop()
            replies = await ask(client, calls[5:])
        assert str(client.broken) == "test: it ended twice"
        assert all(isinstance(reply, Failure) for reply in replies)


async def test_two_runs_that_ask_the_same_at_once_go_on_with_the_same_answer(
    tmp_path: Path,
) -> None:
    with Server(lambda request: f"answer {request.number}", delay=0.05) as server:
        calls = calls_to(model_at(server.base_url, concurrency=32), 30)
        async with opened(tmp_path) as one, opened(tmp_path) as other:
            replies = await asyncio.gather(ask(one, calls), ask(other, calls))
            stored = one.found(calls)
        assert server.count == 60
        assert replies[0] == replies[1] == [stored[call.key] for call in calls]


async def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as proxy, Server() as server:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        async with opened(tmp_path) as client:
            far = calls_to(model_at("http://model.invalid/v1"), 2)
            near = calls_to(model_at(server.base_url), 5)[2:]
            replies = await ask(client, [*far, *near])
        assert all(isinstance(reply, Answer) for reply in replies)
        assert (proxy.count, server.count) == (2, 3)


@pytest.mark.parametrize("base_url", ["localhost:8000/v1", "http://", "http://[x/v1", "/v1"])
async def test_a_base_url_that_is_none_ends_the_run_in_one_line(
    tmp_path: Path, base_url: str
) -> None:
    async with opened(tmp_path) as client:
        await ask(client, calls_to(model_at(base_url), 2))
    assert str(client.broken).startswith(f"test: its base_url '{base_url}' is no address")


@pytest.mark.parametrize("examples", [0, 3])
def test_a_prompt_s_bound_counts_each_of_its_messages(tmp_path: Path, examples: int) -> None:
    few = "".join(f"- {{user: q{n}, assistant: a{n}}}\n" for n in range(examples))
    text = f"---\nsystem: Be brief.\nexamples:\n{few or '  []'}\n---\nHello {{{{ name }}}}"
    messages = parse_prompt("p", text, tmp_path / "p.md").messages({"name": "Zoë"})
    call = CallForm(model_at("http://x"), {"max_tokens": 8}).call(messages, "")
    assert call.messages == len(messages) == 2 + 2 * examples
    # ChatML, the most talkative of templates, one token for each byte of text.
    rendered = "".join(
        f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages
    )
    marks = 6 * len(messages)
    tokens = sum(len(turn["content"].encode()) for turn in messages) + marks
    assert tokens < len(rendered.encode()) <= prompt_bound(len(call.body), call.messages)


@pytest.mark.parametrize("seed", range(40))
def test_no_limit_is_passed_by_what_a_server_bills_whatever_becomes_of_its_answers(
    tmp_path: Path, seed: int
) -> None:
    outcome = ledger.run(seed, tmp_path)
    assert outcome.is_within
    assert outcome.in_flight <= 256


def test_budgets_are_put_to_use_and_not_just_kept(tmp_path: Path) -> None:
    shares = [ledger.run(seed, tmp_path).share for seed in range(100, 120)]
    assert max(shares) > 0.9
