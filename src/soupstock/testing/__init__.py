"""A model server for tests: real HTTP on loopback, the OpenAI protocol, answers that you choose.

    with Server(answer=lambda request: f"You said: {request.prompt}") as server:
        ...  # point a pipeline's model at server.base_url
    assert server.count == 3

Without `answer` it writes a text that depends only on the messages and their seed, or a small
instance of the requested JSON Schema. It can be made to fail:

    server.fail(nth(3, refused(retry_after=1)))  # the third request
    server.fail(share(0.05, error(500)))         # one in twenty, always the same ones
    server.fail(lambda request: unknown_model(request.body["model"]))
    server.capacity = 4                          # from now on, refuse more than four at once

`python -m soupstock.testing --delay-ms 200` runs a server as a process and prints its base_url.
A token is counted for every four characters.
"""

from soupstock.testing.imitation import instance
from soupstock.testing.replies import (
    Answer,
    Reply,
    Request,
    When,
    between,
    drip,
    error,
    filtered,
    first,
    garbage,
    misshapen,
    nth,
    once,
    refused,
    reset,
    share,
    silence,
    streaming_only,
    too_long,
    unauthorized,
    unknown_model,
    unsupported,
)
from soupstock.testing.server import Server

__all__ = [
    "Answer",
    "Reply",
    "Request",
    "Server",
    "When",
    "between",
    "drip",
    "error",
    "filtered",
    "first",
    "garbage",
    "instance",
    "misshapen",
    "nth",
    "once",
    "refused",
    "reset",
    "share",
    "silence",
    "streaming_only",
    "too_long",
    "unauthorized",
    "unknown_model",
    "unsupported",
]
