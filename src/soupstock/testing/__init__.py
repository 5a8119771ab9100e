"""A model server for tests: real HTTP on loopback, the OpenAI protocol, answers that you choose.

    with Server(answer=lambda request: f"You said: {request.prompt}") as server:
        ...  # point a pipeline's model at server.base_url
    assert server.count == 3

Without `answer` it writes a text that depends on the messages and their seed alone, or a small
instance of the JSON Schema that is asked for. It misbehaves on command:

    server.fail(nth(3, refused(retry_after=1)))  # the third request
    server.fail(share(0.05, error(500)))         # one in twenty, always the same ones
    server.fail(lambda request: unknown_model(request.body["model"]))
    server.capacity = 4                          # more at once are refused, from now on

`python -m soupstock.testing --delay-ms 200` runs one as a process of its own and prints its
base_url. Tokens are counted as four characters each.
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
