"""Write what a model server would, without a model: answers, instances of a schema, embeddings.

Everything depends only on the request and a seed. Used by soupstock.testing; knows no HTTP.
"""

import base64
import math
import random
import re
from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

CHARACTERS_PER_TOKEN = 4
"""The length of a token in this server."""

DIMENSIONS = 64
"""The default length of an embedding."""

_DEEPEST = 16
_WORDS = [
    "a",
    "and",
    "the",
    "of",
    "to",
    "in",
    "is",
    "it",
    "you",
    "that",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "one",
    "had",
    "not",
    "but",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
    "how",
    "up",
    "out",
    "them",
    "then",
    "she",
    "many",
    "some",
    "so",
    "these",
    "would",
    "other",
    "into",
    "has",
    "more",
    "her",
    "two",
    "like",
    "him",
    "see",
]
_FORMATS = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PIECE = re.compile(r"\d| ?[^\W\d_]+|.", re.DOTALL | re.ASCII)
_COMPLETION = (
    b'{"id":"chatcmpl-%b","object":"chat.completion","created":0,"model":%b,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":%b%b},"finish_reason":"%b","logprobs":%b}],'
    b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%b}}'
)


def tokens(text: str) -> int:
    """Count tokens: four characters each."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def text_of(content: object) -> str:
    """Return a message's text, joined if it comes in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def write(body: Mapping[str, Any], seed: int) -> str:
    """Write an answer to a request's body: a sentence, or JSON if it asks for a schema."""
    asked = orjson.dumps([seed, body.get("seed"), body.get("messages") or body.get("prompt")])
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema")
    if schema := schema or (body.get("structured_outputs") or {}).get("json"):
        return orjson.dumps(instance(schema, asked.decode())).decode()
    return _sentence(blake2b(asked, digest_size=24).digest())


def completion(  # noqa: PLR0913 - each argument is a field of a completion
    body: Mapping[str, Any],
    text: str,
    finish: str = "stop",
    *,
    reasoning: str | None = None,
    cached: int = 0,
    logprobs: Sequence[Mapping[str, Any]] | None = None,
) -> bytes:
    """Return a chat completion's body; a text longer than `max_tokens` is cut."""
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if most is not None and tokens(text) > most:
        text, finish = text[: most * CHARACTERS_PER_TOKEN], "length"
    asked = sum(4 + tokens(text_of(message.get("content"))) for message in body["messages"])
    written = tokens(text)
    content = orjson.dumps(text)
    return _COMPLETION % (
        blake2b(content, digest_size=8).hexdigest().encode(),
        orjson.dumps(body.get("model")),
        content,
        b"" if reasoning is None else b',"reasoning_content":' + orjson.dumps(reasoning),
        finish.encode(),
        _logprobs(text, body, logprobs),
        asked,
        written,
        asked + written,
        b',"prompt_tokens_details":{"cached_tokens":%d}' % cached if cached else b"",
    )


def streamed(body: Mapping[str, Any], text: str, finish: str = "stop") -> bytes:
    """Return a chat completion as the events of a stream, one word each."""
    pieces = [f"{word} " for word in text.split(" ")]
    pieces[-1] = pieces[-1][:-1]
    deltas: list[tuple[dict[str, str], str | None]] = [({"content": p}, None) for p in pieces]
    events = [
        {
            "id": "chatcmpl-stream",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": body.get("model"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": why}],
        }
        for delta, why in [*deltas, ({}, finish)]
    ]
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events) + b"data: [DONE]\n\n"


def continuation(body: Mapping[str, Any], text: str, finish: str = "stop") -> bytes:
    """Return a text completion's body."""
    used = {"prompt_tokens": tokens(str(body.get("prompt"))), "completion_tokens": tokens(text)}
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    head = {"object": "text_completion", "created": 0, "model": body.get("model")}
    return orjson.dumps({**head, "choices": [choice], "usage": used})


def embeddings(body: Mapping[str, Any], seed: int) -> bytes:
    """Return the body of an embeddings response: a vector of length 1 for each text."""
    texts = body.get("input") or []
    texts = [texts] if isinstance(texts, str) else texts
    size = int(body.get("dimensions") or DIMENSIONS)
    used = sum(tokens(str(text)) for text in texts)
    vectors = [_vector(f"{seed} {text}", size) for text in texts]
    is_packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(v) if is_packed else v}
        for index, v in enumerate(vectors)
    ]
    usage = {"prompt_tokens": used, "total_tokens": used}
    return orjson.dumps(
        {"object": "list", "data": data, "model": body.get("model"), "usage": usage}
    )


def instance(schema: Mapping[str, Any], seed: int | str = 0) -> Any:
    """Return a small instance of a JSON Schema: required properties only, shortest arrays.

    Enumerations, numbers and texts vary with `seed`. Patterns are ignored.

    Raises:
        ValueError: The schema requires itself, so no finite instance exists.
    """
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
    return _Instances(schema, draw).make(schema, 0)


class _Instances:
    def __init__(self, root: Mapping[str, Any], draw: random.Random) -> None:
        self.root = root
        self.draw = draw

    def make(self, schema: Mapping[str, Any], depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("the schema has no finite instance")
        if "$ref" in schema:
            return self.make(self.found(schema["$ref"]) | _without_ref(schema), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.draw.choice(schema["enum"])
        if cases := schema.get("anyOf") or schema.get("oneOf"):
            return self.one_of(cases, depth)
        if parts := schema.get("allOf"):
            return self.make({k: v for part in parts for k, v in part.items()}, depth + 1)
        return self.of_type(schema, depth)

    def found(self, reference: str) -> dict[str, Any]:
        part: Any = self.root
        for name in reference.removeprefix("#").strip("/").split("/"):
            part = part[name.replace("~1", "/").replace("~0", "~")] if name else part
        return dict(part)

    def one_of(self, cases: list[Mapping[str, Any]], depth: int) -> Any:
        """Return an instance of the first case that has a finite one."""
        for case in cases[:-1]:
            try:
                return self.make(case, depth + 1)
            except ValueError:
                continue
        return self.make(cases[-1], depth + 1)

    def of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type") or ("object" if "properties" in schema else "string")
        match kind[0] if isinstance(kind, list) else kind:
            case "object":
                known = schema.get("properties", {})
                names = schema.get("required", [])
                return {name: self.make(known.get(name, {}), depth + 1) for name in names}
            case "array":
                parts = list(schema.get("prefixItems", []))
                parts += [schema.get("items") or {}] * (schema.get("minItems", 0) - len(parts))
                return [self.make(part, depth + 1) for part in parts]
            case "string":
                return self.string(schema)
            case other:
                return self.simple(other, schema)

    def simple(self, kind: str, schema: Mapping[str, Any]) -> float | bool | None:
        match kind:
            case "integer":
                return self.integer(schema)
            case "number":
                return round(self.draw.uniform(*_bounds(schema, 1e-3)), 3)
            case "boolean":
                return self.draw.choice([True, False])
            case _:
                return None

    def integer(self, schema: Mapping[str, Any]) -> int:
        low, high = _bounds(schema, 1)
        step = schema.get("multipleOf", 1)
        return int(self.draw.randint(math.ceil(low / step), math.floor(high / step)) * step)

    def string(self, schema: Mapping[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return str(_FORMATS[schema["format"]])
        text = _sentence(self.draw.randbytes(8)).ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength")]


def _bounds(schema: Mapping[str, Any], gap: float) -> tuple[float, float]:
    """Return the smallest and the largest number; a missing limit is ten from the other."""
    low = schema.get("minimum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + gap
    high = schema.get("maximum")
    if high is None and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - gap
    if low is None:
        low = 0 if high is None else high - 10
    return low, low + 10 if high is None else high


def _without_ref(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$ref"}


def _sentence(digest: bytes) -> str:
    return " ".join([_WORDS[byte % len(_WORDS)] for byte in digest]).capitalize() + "."


def _logprobs(
    text: str, body: Mapping[str, Any], given: Sequence[Mapping[str, Any]] | None
) -> bytes:
    if not body.get("logprobs"):
        return b"null"
    content = _alternatives(text, int(body.get("top_logprobs") or 0)) if given is None else given
    return orjson.dumps({"content": content})


def _alternatives(text: str, most: int) -> list[dict[str, Any]]:
    """Return log-probabilities that depend only on the text; each digit is a token.

    The alternatives to a digit are the other digits: the nearer, the likelier.
    """
    draw = random.Random(text)  # noqa: S311 - repeatable on purpose
    content = []
    for piece in _PIECE.findall(text):
        likely = draw.uniform(0.5, 1.0)
        others = _others(piece)[: most - 1]
        shares = [2.0**-rank for rank in range(len(others))]
        chances = [likely, *((1 - likely) * share / sum(shares) for share in shares)]
        top = [
            _logprob(token, math.log(chance))
            for token, chance in zip([piece, *others], chances, strict=True)
        ]
        content.append(top[0] | {"top_logprobs": top[:most]})
    return content


def _others(piece: str) -> list[str]:
    if not piece.isdigit():
        return [f" {word}" for word in _WORDS[:20]]
    return sorted(
        set("0123456789") - {piece}, key=lambda other: (abs(int(other) - int(piece)), other)
    )


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _vector(text: str, size: int) -> list[float]:
    draw = random.Random(text)  # noqa: S311 - repeatable on purpose
    numbers = [draw.gauss() for _ in range(size)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _packed(vector: list[float]) -> str:
    """Encode a vector as the openai library requests it: little-endian floats in base64."""
    numbers = array("f", vector)
    return base64.b64encode(numbers.tobytes()).decode()
