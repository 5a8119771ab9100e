"""Answer a step's calls from the cache, and record them."""

from collections.abc import Coroutine, Sequence
from typing import Any

import orjson

from soupstock.inference.call import Call, Failure, Reply, decode, look_up
from soupstock.rows.row import Row
from soupstock.steps.chapter import Round


def run_to_end(work: Coroutine[Any, Any, Row]) -> None:
    """Run a coroutine that awaits nothing but answers from the cache."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a step awaits something besides its answers")


class RecordingAsk:
    """Answers from the cache, and records the calls."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._recorded: list[tuple[Call, Reply]] = []

    async def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        """Answer from the cache."""
        found = {key: decode(one.answer) for key, one in look_up(self._read, calls).items()}
        lacking = Failure("Unasked", "the cache has no answer")
        replies: list[Reply] = [found.get(call.key, lacking) for call in calls]
        self._recorded += zip(calls, replies, strict=True)
        return replies

    def rounds(self) -> Sequence[Round]:
        """Return the questions that have an answer; whether others were asked is not known."""
        answered = [
            (call, reply) for call, reply in self._recorded if not isinstance(reply, Failure)
        ]
        return [
            Round(_messages(call), reply.text, f"question {number}" if len(answered) > 1 else "")
            for number, (call, reply) in enumerate(answered, 1)
        ]


def _messages(call: Call) -> Sequence[dict[str, str]]:
    body = orjson.loads(call.body)
    if "messages" not in body:
        return [{"role": "text to complete", "content": body["prompt"]}]
    return [{"role": one["role"], "content": one["content"]} for one in body["messages"]]
