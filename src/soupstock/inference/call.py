"""What is asked and answered, as data: forms, calls, answers and failures. Asks nothing."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import orjson

from soupstock.inference.servers.endpoint import MODES, Mode
from soupstock.inference.servers.model import Model
from soupstock.inference.structured import fields, instruction, with_instruction

if TYPE_CHECKING:
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

Alternatives = Sequence[tuple[str, float]]
"""What could have stood in a token's place: tokens and the natural logarithms of their chances."""


CHAT, COMPLETIONS, EMBEDDINGS = "chat/completions", "completions", "embeddings"


class Way(NamedTuple):
    """One of the ways in which a question can be asked."""

    mode: Mode
    """How its server is held to the schema."""
    has_logprobs: bool = False
    """Whether it asks for log-probabilities."""


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
    """The endpoint: the path below the server's base URL."""
    ways: tuple[Way, ...] = (Way(MODES[0]),)
    """How it is asked, then the other ways, in the order in which answers are looked up."""
    otherwise: Callable[[Way], "Call"] | None = None
    """Asks the same question in another way; None if there is only one."""

    @property
    def has_logprobs(self) -> bool:
        """Whether it asks for log-probabilities."""
        return self.ways[0].has_logprobs

    def put(self, way: Way) -> "Call":
        """Ask the question in a way; the other ways stay possible."""
        if way == self.ways[0] or self.otherwise is None:
            return self
        return self.otherwise(way)._replace(otherwise=self.otherwise)


class Answer(NamedTuple):
    """What a model answered."""

    text: str
    finish: str
    """Why it ended: `stop`, `length`, `content_filter`, …"""
    prompt_tokens: int
    completion_tokens: int
    reasoning: str | None = None
    """What the model thought before it answered, if the server separates that."""
    served: str | None = None
    """The model's name as the server gives it."""
    cached_tokens: int = 0
    """Those of the prompt's tokens that the server had computed before."""
    numbers: Sequence[tuple[int, Alternatives]] | None = None
    """Where the text has a token that is a whole number, counted in characters, and what else
    could have stood in its place. None if the server gives no log-probabilities."""


class Failure(NamedTuple):
    """Why there is no answer."""

    cause: str
    """The kind of failure, to group by: `RateLimitError`, `Budget`, `Unreadable`."""
    message: str


Reply = Answer | Failure

T = TypeVar("T")


def read_reply(reply: Reply, read: Callable[[Answer], T | str]) -> T | Failure:
    """Read an answer; if it cannot be read, `read` returns a sentence that says why."""
    if not isinstance(reply, Answer):
        return reply
    found = read(reply)
    if isinstance(found, str):
        cut = "; it was cut off at max_tokens" if reply.finish == "length" else ""
        return Failure("Unreadable", f"{found}{cut}")
    return found


Ask = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
"""Asks several calls at once; the replies come in the calls' order."""


class AnswerSource(Protocol):
    """A source of answers: the client, or the cache alone."""

    @property
    def stopped(self) -> Failure | None:
        """Why nothing more is asked; None as long as it is."""

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return those answers that are cached, by the call's key."""

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Call `done` with the reply to a call, sooner or later; a higher rank goes first."""

    def rest(self) -> None:
        """Note that nothing more is asked before an answer comes."""

    def is_unasked(self, cause: str) -> bool:
        """Tell whether a failure of this cause means that the call was never sent."""

    def stop(self, why: Failure) -> None:
        """Ask nothing more."""


RETRY_TEMPERATURE = 0.7
"""The temperature of a further try, if the first one always took the likeliest token."""


@dataclass(frozen=True)
class CallForm:
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
    _heads: Mapping[Way, tuple[bytes, bytes]] = field(init=False, repr=False, compare=False)
    """The body's beginning, by how it is asked: of a first try, and of a further one."""
    _words: str = field(init=False, repr=False, compare=False)
    """The schema in words."""

    def __post_init__(self) -> None:
        further = {"temperature": RETRY_TEMPERATURE} if self.is_greedy else {}
        heads = {way: (self._head(way, {}), self._head(way, further)) for way in self._all_ways()}
        object.__setattr__(self, "_heads", heads)
        words = "" if self.schema is None else instruction(self.schema)
        object.__setattr__(self, "_words", words)

    def _all_ways(self) -> tuple[Way, ...]:
        modes = MODES if self.schema is not None else MODES[:1]
        weighed = (True, False) if self.top_logprobs else (False,)
        return tuple(Way(mode, has_logprobs) for has_logprobs in weighed for mode in modes)

    @cached_property
    def _ways(self) -> tuple[Way, ...]:
        """The ways in which a server may turn out to take it."""
        if self.schema is None:
            return self._all_ways()[:1]
        settled = self.model.structured_output
        return tuple(way for way in self._all_ways() if settled in {None, way.mode})

    @cached_property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken, so that a seed changes nothing."""
        return self.sampling.get("temperature") == 0

    def call(
        self,
        messages: Sequence[Mapping[str, str]],
        purpose: str,
        sample: int = 0,
        attempt: int = 0,
        mode: Mode | None = None,
    ) -> Call:
        """Fill the form in. `purpose` (a row's id and a column) makes equal questions differ.

        A greedy first try has one seed for all purposes: rows that look the same share one answer.
        If several ways are open, it is put in the first one and can be put in the others; with a
        `mode` it is put in that one.
        """
        seed = self._seed(purpose, sample, attempt)
        ways = self._ways if mode is None else (Way(mode, bool(self.top_logprobs)),)
        if len(ways) == 1:
            return self._filled(messages, seed, attempt, ways)

        def otherwise(way: Way) -> Call:
            return self._filled(messages, seed, attempt, (way,))

        return self._filled(messages, seed, attempt, ways, otherwise)

    def _filled(
        self,
        messages: Sequence[Mapping[str, str]],
        seed: int,
        attempt: int,
        ways: tuple[Way, ...],
        otherwise: Callable[[Way], Call] | None = None,
    ) -> Call:
        way = ways[0]
        if way.mode == "prompt":
            messages = with_instruction(messages, self._words)
        head = self._heads[way][attempt > 0]
        body = b'%b,"messages":%b,"seed":%d}' % (head, orjson.dumps(messages), seed)
        key = blake2b(body + self._revision, digest_size=20).digest()
        most = self.sampling["max_tokens"]
        return Call(self.model, body, key, most, len(messages), CHAT, ways, otherwise)

    def completion(
        self, prompt: str, purpose: str, sample: int = 0, attempt: int = 0, stop: str | None = None
    ) -> Call:
        """Ask for a text to be completed as it stands, past the model's chat template."""
        body = orjson.loads(self._heads[Way(MODES[0])][attempt > 0] + b"}")
        body["prompt"] = prompt
        # There the field has its old name everywhere.
        body["max_tokens"] = body.pop(self.model.length_field)
        if stop is not None:
            body["stop"] = [*body.get("stop", ()), stop]
        body["seed"] = self._seed(purpose, sample, attempt)
        raw = orjson.dumps(body)
        key = blake2b(raw + self._revision + b"\0completion", digest_size=20).digest()
        return Call(self.model, raw, key, self.sampling["max_tokens"], 1, COMPLETIONS)

    def _seed(self, purpose: str, sample: int, attempt: int) -> int:
        if self.is_greedy:
            return _greedy_seed(self.seed, sample, attempt)
        return derive_seed(self.seed, purpose, sample, attempt)

    def identity(self) -> bytes:
        """Say in bytes everything that the form adds to a question.

        The mode in which a server takes it is no part of that: it is not known before a run.
        """
        head = self._heads[self._ways[0]][0]
        words = self._words.encode() if self.model.structured_output == "prompt" else b""
        return b"%b%b%d" % (head + words, self._revision, self.seed)

    @cached_property
    def _revision(self) -> bytes:
        return b"\0" + (self.model.revision or "").encode()

    def _head(self, way: Way, changes: Mapping[str, Any]) -> bytes:
        asked: CompletionCreateParamsNonStreaming = {"model": self.model.name, "messages": ()}
        if way.has_logprobs:
            asked["logprobs"], asked["top_logprobs"] = True, self.top_logprobs
        body: dict[str, Any] = {**asked, **self.sampling, **changes}
        body[self.model.length_field] = body.pop("max_tokens")
        if self.schema is not None:
            body |= fields(way.mode, self.schema, self.schema_name)
        # Each call has its own.
        del body["messages"]
        return orjson.dumps(body | dict(self.model.extra), option=orjson.OPT_SORT_KEYS)[:-1]


class CachedAnswer(NamedTuple):
    """An answer in the cache."""

    key: bytes
    """Its key in the cache: that of the way in which it was asked."""
    answer: bytes


def look_up(
    get: Callable[[Sequence[bytes]], Mapping[bytes, bytes]], calls: Sequence[Call]
) -> dict[bytes, CachedAnswer]:
    """Find answers in the cache, by the key of each call, whichever way it was asked.

    So a run finds its answers again without knowing what its server takes. The ways have an
    order, so it always finds the same answers.
    """
    found = {
        key: CachedAnswer(key, answer) for key, answer in get([call.key for call in calls]).items()
    }
    open_ = [call for call in calls if call.otherwise is not None and call.key not in found]
    for place in range(1, max((len(call.ways) for call in open_), default=0)):
        asked = {
            call.otherwise(call.ways[place]).key: call.key
            for call in open_
            if call.otherwise is not None and place < len(call.ways)
        }
        cached = get(list(asked))
        found.update({asked[key]: CachedAnswer(key, answer) for key, answer in cached.items()})
        open_ = [call for call in open_ if call.key not in found]
    return found


@lru_cache(maxsize=1024)
def _greedy_seed(start: int, sample: int, attempt: int) -> int:
    return derive_seed(start, "", sample, attempt)


def derive_seed(start: int, purpose: str, sample: int = 0, attempt: int = 0) -> int:
    """Derive a call's seed from what it is for: 31 bits, the same in every run."""
    name = f"{start}\0{purpose}\0{sample}\0{attempt}".encode()
    return int.from_bytes(blake2b(name, digest_size=4).digest()) >> 1


def encode(answer: Answer) -> bytes:
    """Write an answer as the cache keeps it."""
    return orjson.dumps(tuple(answer))


def decode(cached: bytes) -> Answer:
    """Read an answer as the cache keeps it."""
    return Answer(*orjson.loads(cached))
