"""Read what a server answers: a text and the reasoning before it, or a vector."""

import base64
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from soupstock.inference.call import CHAT, COMPLETIONS, EMBEDDINGS, Alternatives, Answer

_BEGIN, _END = "<think>", "</think>"


class SplitAnswer(NamedTuple):
    """An answer, and the reasoning before it."""

    text: str
    reasoning: str | None


def read_completion(raw: bytes) -> Answer:
    """Read a chat completion's body; raises ValueError if it is none."""
    try:
        body = orjson.loads(raw)
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage") or {}
        text, reasoning = _apart(message)
        return Answer(
            text=text,
            finish=str(choice.get("finish_reason") or "stop"),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            reasoning=reasoning,
            served=_text(body.get("model")),
            cached_tokens=_cached(usage),
            numbers=_numbers(text, choice.get("logprobs")),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the reply is no chat completion ({_reason(error)})") from error


def read_continuation(raw: bytes) -> Answer:
    """Read how a text was completed; raises ValueError if it was not."""
    try:
        body = orjson.loads(raw)
        choice = body["choices"][0]
        usage = body.get("usage") or {}
        return Answer(
            text=str.strip(choice["text"]),
            finish=str(choice.get("finish_reason") or "stop"),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            served=_text(body.get("model")),
            cached_tokens=_cached(usage),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the reply is no completion ({_reason(error)})") from error


def read_embedding(raw: bytes) -> Answer:
    """Read the embedding of one text; raises ValueError if there is none.

    The answer's text is the vector: little-endian float32 in base64.
    """
    try:
        body = orjson.loads(raw)
        vector = body["data"][0]["embedding"]
        is_packed = isinstance(vector, str)
        packed = base64.b64decode(vector) if is_packed else array("f", vector).tobytes()
        array("f").frombytes(packed or b"no vector")
        usage = body.get("usage") or {}
        return Answer(
            text=base64.b64encode(packed).decode(),
            finish="stop",
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=0,
            served=_text(body.get("model")),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the reply is no embedding ({_reason(error)})") from error


READERS: Mapping[str, Callable[[bytes], Answer]] = {
    CHAT: read_completion,
    COMPLETIONS: read_continuation,
    EMBEDDINGS: read_embedding,
}
"""How to read a reply, by the path of what was asked."""


def split_reasoning(text: str) -> SplitAnswer:
    """Separate the reasoning in think tags at the beginning of an answer from the answer.

    Some templates write the opening tag themselves, so that an answer has the closing one alone.
    An answer that was cut off may lack the closing one.
    """
    before, closed, after = text.partition(_END)
    opened = before.lstrip().startswith(_BEGIN)
    if opened or (closed and _BEGIN not in before):
        reasoning = before.lstrip().removeprefix(_BEGIN).strip()
        return SplitAnswer(after.lstrip(), reasoning or None)
    return SplitAnswer(text, None)


def _apart(message: Mapping[str, Any]) -> SplitAnswer:
    content = message.get("content") or ""
    if not isinstance(content, str):
        raise TypeError("its content is no text")
    reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    return SplitAnswer(content, reasoning) if reasoning else split_reasoning(content)


def _cached(usage: Mapping[str, Any]) -> int:
    details = usage.get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def _numbers(text: str, logprobs: object) -> list[tuple[int, Alternatives]] | None:
    """Find the text's tokens that are whole numbers; None if there are no log-probabilities."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not content:
        return None
    pieces = [_bytes(token) for token in content]
    wanted = text.encode()
    # The reasoning's tokens may come before the text, and the token that ends an answer after it.
    start = b"".join(pieces).rfind(wanted)
    if start < 0:
        return None
    return list(_located(content, pieces, wanted, start))


def _located(
    content: Sequence[Mapping[str, Any]], pieces: Sequence[bytes], text: bytes, start: int
) -> Iterator[tuple[int, Alternatives]]:
    place = -start
    for token, piece in zip(content, pieces, strict=True):
        if 0 <= place < len(text) and piece.strip().isdigit():
            blank = len(piece) - len(piece.lstrip())
            others = token.get("top_logprobs") or [token]
            yield (
                len(text[: place + blank].decode(errors="ignore")),
                [(str(other["token"]), float(other["logprob"])) for other in others],
            )
        place += len(piece)


def _bytes(token: Mapping[str, Any]) -> bytes:
    """Return a token's bytes; its text alone cannot show half of a letter."""
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode(errors="replace")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _reason(error: Exception) -> str:
    if isinstance(error, orjson.JSONDecodeError):
        return "not JSON"
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    return str(error)
