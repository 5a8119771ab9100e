"""Requests to the test server, replies, and the rules that decide which request gets which reply.

Part of soupstock.testing, which re-exports it. Knows no HTTP.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import orjson

from soupstock.testing.imitation import text_of


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    number: int
    """The number of the request, from 1, over the server's whole life."""
    path: str
    headers: Mapping[str, str]
    raw: bytes
    when: float
    """When it was received: `time.monotonic()`."""

    @cached_property
    def body(self) -> dict[str, Any]:
        """The body; empty if it is not a JSON object."""
        try:
            body = orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}

    @cached_property
    def key(self) -> str:
        """A hash of the body, independent of the order of its keys."""
        return blake2b(
            orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS), digest_size=16
        ).hexdigest()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of a chat."""
        return list(self.body.get("messages") or [])

    @property
    def prompt(self) -> str:
        """The last message's text, or the text to complete."""
        if "prompt" in self.body:
            return str(self.body["prompt"])
        return text_of(self.messages[-1].get("content")) if self.messages else ""

    def share(self, salt: str = "") -> float:
        """Return a number from 0 up to 1 that depends only on the body."""
        digest = blake2b((salt + self.key).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


@dataclass(frozen=True)
class Reply:
    """The server's response to a request."""

    text: str = ""
    """The answer's text."""
    finish: str = "stop"
    """Why the answer ends: `stop`, `length`, `content_filter`."""
    reasoning: str | None = None
    """The value of `reasoning_content`, as reasoning models send it."""
    cached: int = 0
    """How many of the prompt's tokens the server reports as cached."""
    logprobs: Sequence[Mapping[str, Any]] | None = None
    """The tokens with their log-probabilities, instead of made-up ones, if the request asks."""
    status: int = 200
    body: bytes | None = None
    """The body to send, instead of an answer made from `text`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0
    """Seconds to wait before the response; `math.inf` never answers."""
    drip: float = 0.0
    """Seconds over which the body is sent, piece by piece."""
    is_reset: bool = False
    """Whether the connection breaks in the middle of the body."""


Answer = Callable[[Request], Reply | str | dict[str, Any]]
"""Returns the answer: a text, a dictionary to send as JSON text, or a Reply for anything else."""

When = Callable[[Request], Reply | None]
"""Returns the failure of a request, or None."""


def error(status: int, message: str = "told to fail", **more: str | None) -> Reply:
    """Return an error in OpenAI's form; `more` may set its type, param and code."""
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004
    body = {"message": message, "type": kind, "param": None, "code": None} | more
    return Reply(status=status, body=orjson.dumps({"error": body}))


def refused(retry_after: float | None = None, status: int = 429) -> Reply:
    """Return a refusal for too many requests, with a Retry-After header in seconds if given."""
    reply = error(status, "Rate limit reached", type="requests", code="rate_limit_exceeded")
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Reply(status=status, body=reply.body, headers=headers)


def unauthorized() -> Reply:
    """Return the error for a wrong key."""
    return error(401, "Incorrect API key provided.", code="invalid_api_key")


def unknown_model(name: str) -> Reply:
    """Return the error for a model that does not exist."""
    return error(404, f"The model `{name}` does not exist", code="model_not_found")


def too_long(limit: int = 4096) -> Reply:
    """Return the error for a prompt that is longer than the model's context."""
    message = f"This model's maximum context length is {limit} tokens."
    return error(400, message, param="messages", code="context_length_exceeded")


def unsupported(field: str) -> Reply:
    """Return the error for a field of the body that the server does not support."""
    return error(
        400, f"Unsupported parameter: '{field}'", param=field, code="unsupported_parameter"
    )


def filtered() -> Reply:
    """Return an answer that a content filter removed."""
    return Reply(finish="content_filter")


def garbage() -> Reply:
    """Return a body that is not JSON."""
    return Reply(body=b"<html>Bad gateway</html>")


def misshapen() -> Reply:
    """Return JSON that is not an answer."""
    return Reply(body=b'{"choices":[]}')


def reset() -> Reply:
    """Break the connection in the middle of an answer."""
    return Reply(text="This answer never ends", is_reset=True)


def silence() -> Reply:
    """Never answer."""
    return Reply(after=math.inf)


def drip(text: str, seconds: float) -> Reply:
    """Return an answer that is sent piece by piece over `seconds`."""
    return Reply(text, drip=seconds)


def streaming_only(request: Request) -> Reply | None:
    """Fail every request that does not ask for a stream: `server.fail(streaming_only)`."""
    if request.body.get("stream"):
        return None
    return error(400, "This model only supports streaming: set stream to true", param="stream")


def nth(number: int, reply: Reply) -> When:
    """Fail one request by its number, counted from 1 over the server's life."""
    return lambda request: reply if request.number == number else None


def first(count: int, reply: Reply) -> When:
    """Fail the first `count` requests."""
    return lambda request: reply if request.number <= count else None


def share(of_all: float, reply: Reply, salt: str = "share") -> When:
    """Fail a share of requests, chosen by their bodies: always the same ones."""
    return lambda request: reply if request.share(salt) < of_all else None


def once(of_all: float, reply: Reply, salt: str = "once") -> When:
    """Fail a share of requests, each only the first time."""
    seen: set[str] = set()

    def when(request: Request) -> Reply | None:
        if request.share(salt) >= of_all or request.key in seen:
            return None
        seen.add(request.key)
        return reply

    return when


def between(shortest: float, longest: float) -> Callable[[Request], float]:
    """Return a function from a request to a delay in seconds, uniform and fixed by its body."""

    def delay(request: Request) -> float:
        # The raw body: parsing it again, to sort its keys, would cost more than answering.
        digest = blake2b(request.raw, digest_size=4).digest()
        return shortest + (longest - shortest) * int.from_bytes(digest) / 2**32

    return delay
