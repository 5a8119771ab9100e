"""What goes wrong is called as the official openai client calls it, met by the same server."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from clients import ask, calls_to, model_at, opened

from soupstock import testing
from soupstock.inference.call import Answer
from soupstock.inference.retry import RequestError
from soupstock.inference.transport import Address, Transport
from soupstock.testing import Reply, Request, Server

SECONDS = 0.4
"""How long both clients wait."""


def always(reply: Reply) -> Callable[[Server], object]:
    return lambda server: server.fail(lambda _: reply)


MISBEHAVIOUR: dict[str, tuple[Callable[[Server], object], str]] = {
    **{
        f"status {status}": (always(testing.error(status)), cause)
        for status, cause in {
            400: "BadRequestError",
            401: "AuthenticationError",
            403: "PermissionDeniedError",
            404: "NotFoundError",
            409: "ConflictError",
            422: "UnprocessableEntityError",
            429: "RateLimitError",
            500: "InternalServerError",
            502: "InternalServerError",
            503: "InternalServerError",
            418: "APIStatusError",
        }.items()
    },
    "a key that is refused": (always(testing.unauthorized()), "AuthenticationError"),
    "an unknown model": (always(testing.unknown_model("tester")), "NotFoundError"),
    "a prompt that is too long": (always(testing.too_long()), "BadRequestError"),
    "too many requests": (always(testing.refused(retry_after=0.01)), "RateLimitError"),
    "a spent account": (
        always(testing.error(429, "quota", code="insufficient_quota")),
        "RateLimitError",
    ),
    "a server that only streams": (
        lambda server: server.fail(testing.streaming_only),
        "BadRequestError",
    ),
    "a field that is not taken": (always(testing.unsupported("seed")), "BadRequestError"),
    "silence": (always(testing.silence()), "APITimeoutError"),
    "a slow drip": (always(testing.drip("drop by drop", seconds=60)), "APITimeoutError"),
    "a broken connection": (always(testing.reset()), "APIConnectionError"),
    "a refused connection": (lambda server: server.stop(), "APIConnectionError"),
    # What is no JSON at all makes the official client raise an error that is none of its own.
    "JSON that is no answer": (always(testing.misshapen()), "APIResponseValidationError"),
}


async def theirs(base_url: str) -> str:
    """Ask as the official client does, and name the class of what it raises."""
    async with openai.AsyncOpenAI(
        base_url=base_url,
        api_key="none",
        max_retries=0,
        timeout=SECONDS,
        _strict_response_validation=True,
    ) as client:
        try:
            await client.chat.completions.create(
                model="tester", messages=[{"role": "user", "content": "question"}], max_tokens=32
            )
        except openai.OpenAIError as error:
            return type(error).__name__
    return "an answer"


async def ours(base_url: str) -> str:
    """Ask as a run does, and name the cause of what goes wrong."""
    model = model_at(base_url, timeout=SECONDS)
    (call,) = calls_to(model, 1)
    transport = Transport()
    try:
        await transport.post(Address.of(model, base_url, None), call)
    except RequestError as trouble:
        return trouble.failure.cause
    finally:
        await transport.close()
    return "an answer"


@pytest.mark.parametrize("name", MISBEHAVIOUR)
async def test_a_failure_has_the_name_that_the_official_client_gives_it(name: str) -> None:
    misbehave, cause = MISBEHAVIOUR[name]
    with Server() as server:
        misbehave(server)
        assert await theirs(server.base_url) == cause
        assert await ours(server.base_url) == cause


async def test_an_answer_that_a_filter_took_away_is_an_answer_to_both(tmp_path: Path) -> None:
    with Server() as server:
        server.fail(lambda _: testing.filtered())
        client = openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0)
        async with client:
            their = await client.chat.completions.create(
                model="tester", messages=[{"role": "user", "content": "question"}]
            )
        async with opened(tmp_path) as our_client:
            (our,) = await ask(our_client, calls_to(model_at(server.base_url), 1))
    assert isinstance(our, Answer)
    assert their.choices[0].finish_reason == our.finish == "content_filter"
    assert (their.choices[0].message.content or "") == our.text == ""


async def test_a_drip_that_ends_in_time_is_an_answer(tmp_path: Path) -> None:
    with Server() as server:
        server.fail(lambda _: testing.drip("drop by drop", seconds=0.05))
        async with opened(tmp_path) as client:
            (reply,) = await ask(client, calls_to(model_at(server.base_url, timeout=30.0), 1))
    assert isinstance(reply, Answer)
    assert reply.text == "drop by drop"


def test_a_server_that_only_streams_streams_to_whoever_asks() -> None:
    async def streamed(base_url: str) -> str:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:
            stream = await client.chat.completions.create(
                model="tester", messages=[{"role": "user", "content": "question"}], stream=True
            )
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return "".join(pieces)

    def answer(request: Request) -> str:
        return f"You asked: {request.prompt}"

    with Server(answer) as server:
        server.fail(testing.streaming_only)
        assert asyncio.run(streamed(server.base_url)) == "You asked: question"
