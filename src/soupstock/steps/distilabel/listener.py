"""Let a step ask, and listen: it is answered from the cache, and what was asked is kept."""

from collections.abc import Coroutine, Sequence
from typing import Any

import orjson

from soupstock.inference.call import Call, Failure, Reply, decode, look_up
from soupstock.rows.rows import Row
from soupstock.steps.chapter import Round


def ended(work: Coroutine[Any, Any, Row]) -> None:
    """Run what waits for nobody to its end."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a step asks, and awaits nothing else")


class Listener:
    """Answers from the store, and keeps what was asked."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._heard: list[tuple[Call, Reply]] = []

    async def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        """Answer from the cache."""
        found = {key: decode(one.answer) for key, one in look_up(self._read, calls).items()}
        lacking = Failure("Unasked", "the store has no answer")
        replies: list[Reply] = [found.get(call.key, lacking) for call in calls]
        self._heard += zip(calls, replies, strict=True)
        return replies

    def rounds(self) -> Sequence[Round]:
        """Tell what was asked and answered; what was not answered is not known to be asked."""
        told = [(call, reply) for call, reply in self._heard if not isinstance(reply, Failure)]
        return [
            Round(_messages(call), reply.text, f"question {number}" if len(told) > 1 else "")
            for number, (call, reply) in enumerate(told, 1)
        ]


def _messages(call: Call) -> Sequence[dict[str, str]]:
    body = orjson.loads(call.body)
    if "messages" not in body:
        return [{"role": "text to complete", "content": body["prompt"]}]
    return [{"role": one["role"], "content": one["content"]} for one in body["messages"]]
