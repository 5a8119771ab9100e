"""A server inside the process that answers at once, to measure the engine alone."""

import asyncio
from contextlib import AbstractContextManager
from unittest.mock import patch

import orjson

from soupstock.inference import client
from soupstock.inference.call import Answer, Call
from soupstock.inference.transport import Address, Transport
from soupstock.testing import imitation


class Stub(Transport):
    """Answers as soupstock.testing does, without HTTP."""

    async def post(self, address: Address, call: Call) -> Answer:  # noqa: ARG002 - as the real one
        """Answer in the event loop's next round, the soonest that is possible."""
        await asyncio.sleep(0)
        text = imitation.write(orjson.loads(call.body), 0)
        return Answer(text, "stop", len(call.body) // 4, len(text) // 4)


def installed() -> AbstractContextManager[object]:
    """Let every client of this process ask a stub during a `with` statement."""
    return patch.object(client, "Transport", Stub)
