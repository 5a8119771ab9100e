"""What is asked and what is answered, as data: forms, calls, answers and failures. Asks nothing."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import orjson

from soupstock.servers import Model

Alternatives = Sequence[tuple[str, float]]
"""What could have stood in a token's place: tokens and the natural logarithms of their chances."""


CHAT, COMPLETIONS, EMBEDDINGS = "chat/completions", "completions", "embeddings"


class Call(NamedTuple):
    """One question to one model."""

    model: Model
    body: bytes
    """The request's body, as it is sent."""
    key: bytes
    """The hash of everything that shapes the answer: 20 bytes."""
    max_tokens: int
    messages: int
    """How many messages the body holds."""
    path: str = CHAT
    """What is asked for, as the address under the server's base URL."""


class Answer(NamedTuple):
    """What a model answered."""

    text: str
    finish: str
    """Why it ended: `stop`, `length`, `content_filter`, …"""
    prompt_tokens: int
    completion_tokens: int
    reasoning: str | None = None
    """What the model thought before it answered, where that is told apart."""
    served: str | None = None
    """The model's name as the server gives it."""
    cached_tokens: int = 0
    """Those of the prompt's tokens that the server had computed before."""
    numbers: Sequence[tuple[int, Alternatives]] | None = None
    """Where the text has a token that is a whole number, counted in characters, and what else
    could have stood there. None where the server tells no log-probabilities."""


class Failure(NamedTuple):
    """Why there is no answer."""

    cause: str
    """The kind of failure, to group by: `RateLimitError`, `Budget`, `Unreadable`."""
    message: str


Reply = Answer | Failure

Ask = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
"""Asks several calls at once; the replies come in the calls' order."""


class Answering(Protocol):
    """Whoever has answers: the client, or the store alone."""

    stopped: Failure | None
    """Why nothing more is asked, where that is so."""

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return those answers that are there already, by the call's key."""

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Call `done` with the reply to a call, sooner or later; a higher rank goes first."""

    def rest(self) -> None:
        """Hear that nothing more is asked before an answer comes."""

    def is_unasked(self, cause: str) -> bool:
        """Tell whether a failure of this cause means that the call was never sent."""

    def stop(self, why: Failure) -> None:
        """Ask nothing more."""


WARMTH = 0.7
"""The temperature of a second try, where the first took only the likeliest tokens."""


@dataclass(frozen=True)
class Form:
    """How one step asks one model: all of a request but its messages and seed."""

    model: Model
    sampling: Mapping[str, Any]
    """The sampling parameters as the OpenAI protocol names them, `max_tokens` among them."""
    schema: Mapping[str, Any] | None = None
    """The JSON Schema that an answer must have."""
    schema_name: str = "answer"
    top_logprobs: int = 0
    """How many alternatives to each token to ask for; none where it is 0."""
    seed: int = 0
    """The pipeline's seed, from which each call's own is derived."""
    _heads: tuple[bytes, bytes] = field(init=False, repr=False, compare=False)
    """The body's beginning: of a first try, and of a further one."""

    def __post_init__(self) -> None:
        further = {"temperature": WARMTH} if self.is_greedy else {}
        object.__setattr__(self, "_heads", (self._head({}), self._head(further)))

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken, so that a seed changes nothing."""
        return self.sampling.get("temperature") == 0

    def call(
        self, messages: Sequence[Mapping[str, str]], purpose: str, sample: int = 0, attempt: int = 0
    ) -> Call:
        """Fill the form in. `purpose` (a row's id and a column) makes equal questions differ.

        A greedy first try has one seed for all purposes: rows that look the same share one answer.
        """
        if self.is_greedy:
            purpose = ""
        seed = seed_of(self.seed, purpose, sample, attempt)
        head = self._heads[attempt > 0]
        body = b'%b,"messages":%b,"seed":%d}' % (head, orjson.dumps(messages), seed)
        key = blake2b(body + self._revision, digest_size=20).digest()
        return Call(self.model, body, key, self.sampling["max_tokens"], len(messages))

    def completion(
        self, prompt: str, purpose: str, sample: int = 0, attempt: int = 0, stop: str | None = None
    ) -> Call:
        """Ask for a text to be completed as it stands, past the model's chat template."""
        if self.is_greedy:
            purpose = ""
        body = orjson.loads(self._heads[attempt > 0] + b"}")
        body["prompt"] = prompt
        if stop is not None:
            body["stop"] = [*body.get("stop", ()), stop]
        body["seed"] = seed_of(self.seed, purpose, sample, attempt)
        raw = orjson.dumps(body)
        key = blake2b(raw + self._revision + b"\0completion", digest_size=20).digest()
        return Call(self.model, raw, key, self.sampling["max_tokens"], 1, COMPLETIONS)

    def identity(self) -> bytes:
        """Say in bytes everything that the form adds to a question."""
        return b"%b%b%d" % (self._heads[0], self._revision, self.seed)

    @property
    def _revision(self) -> bytes:
        return b"\0" + (self.model.revision or "").encode()

    def _head(self, changes: Mapping[str, Any]) -> bytes:
        body: dict[str, Any] = {"model": self.model.name, **self.sampling, **changes}
        if self.schema is not None:
            shape = {"name": self.schema_name, "strict": True, "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        if self.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return orjson.dumps(body | dict(self.model.extra), option=orjson.OPT_SORT_KEYS)[:-1]


def seed_of(start: int, purpose: str, sample: int = 0, attempt: int = 0) -> int:
    """Derive a call's seed from what it is for: 31 bits, the same in every run."""
    name = f"{start}\0{purpose}\0{sample}\0{attempt}".encode()
    return int.from_bytes(blake2b(name, digest_size=4).digest()) >> 1


def encode(answer: Answer) -> bytes:
    """Write an answer as the store keeps it."""
    return orjson.dumps(tuple(answer))


def decode(stored: bytes) -> Answer:
    """Read an answer as the store keeps it."""
    return Answer(*orjson.loads(stored))
