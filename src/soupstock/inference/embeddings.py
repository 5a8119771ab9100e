"""How a model's `/v1/embeddings` is asked for a text's vector, and how the answer is read.

One call for each text: a text that was embedded once is found in the cache, whatever other texts
are asked for beside it. Knows no rows and no steps.
"""

import base64
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from soupstock.inference.call import EMBEDDINGS, Answer, Call
from soupstock.inference.servers.model import Model

if TYPE_CHECKING:
    from openai.types import EmbeddingCreateParams

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingForm:
    """How a model is asked for a text's vector."""

    model: Model
    _head: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        asked: EmbeddingCreateParams = {"model": self.model.name, "input": ""}
        head: dict[str, Any] = {**self.model.extra, **asked}
        # Each call has its own.
        del head["input"]
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


def vector_of(answer: Answer) -> Vectors:
    """Read the vector that an answer holds."""
    return np.frombuffer(base64.b64decode(answer.text), "<f4")
