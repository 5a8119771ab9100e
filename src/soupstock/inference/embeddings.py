"""Texts into vectors by a model's `/v1/embeddings`: through the store, as every other call.

One call for each text, so that a text that was embedded once never is again, whatever stands beside
it. Knows no rows and no steps.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import orjson
from numpy.typing import NDArray

from soupstock.errors import ModelError
from soupstock.inference.call import EMBEDDINGS, Answer, Answering, Call, Failure, Reply
from soupstock.inference.servers.model import Model

Vectors = NDArray[np.float32]

_AT_ONCE = 4096


@dataclass(frozen=True)
class EmbeddingForm:
    """How a model is asked for a text's vector."""

    model: Model
    _head: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        head = {**dict(self.model.extra), "model": self.model.name}
        object.__setattr__(self, "_head", orjson.dumps(head, option=orjson.OPT_SORT_KEYS)[:-1])

    def call(self, text: str) -> Call:
        """Ask for one text's vector."""
        body = b'%b,"input":%b}' % (self._head, orjson.dumps(text))
        key = blake2b(body + self.identity(), digest_size=20).digest()
        return Call(self.model, body, key, 0, 1, EMBEDDINGS)

    def identity(self) -> bytes:
        """Say in bytes everything that the form adds to a text."""
        return b"%b\0%b\0%b" % (
            EMBEDDINGS.encode(),
            self._head,
            (self.model.revision or "").encode(),
        )


async def embed(form: EmbeddingForm, texts: Sequence[str], answering: Answering) -> Vectors:
    """Return a vector for each text, in a row each.

    Raises:
        ModelError: a text got no vector, or vectors are of several lengths.
    """
    found: list[Vectors] = []
    for start in range(0, len(texts), _AT_ONCE):
        calls = [form.call(text) for text in texts[start : start + _AT_ONCE]]
        found += [_vector(form.model, reply) for reply in await _replies(calls, answering)]
    if len({len(vector) for vector in found}) > 1:
        raise ModelError(f"{form.model.reference} gives vectors of several lengths")
    return np.stack(found) if found else np.empty((0, 0), np.float32)


async def _replies(calls: Sequence[Call], answering: Answering) -> list[Reply]:
    """Take what the store has, and ask for the rest at once."""
    loop = asyncio.get_running_loop()
    replies: dict[bytes, Reply] = dict(answering.found(calls))
    missing = {call.key: call for call in calls if call.key not in replies}
    waiting = {key: loop.create_future() for key in missing}
    for key, call in missing.items():
        answering.ask(call, 0, waiting[key].set_result)
    answering.rest()
    for key, reply in waiting.items():
        replies[key] = await reply
    return [replies[call.key] for call in calls]


def vector_of(answer: Answer) -> Vectors:
    """Read the vector that an answer holds."""
    return np.frombuffer(base64.b64decode(answer.text), "<f4")


def _vector(model: Model, reply: Reply) -> Vectors:
    match reply:
        case Answer():
            return vector_of(reply)
        case Failure(message=message):
            raise ModelError(f"{model.reference} gave no vector: {message}")
