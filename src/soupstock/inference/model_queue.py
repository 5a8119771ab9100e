"""What the queues before models have in common: jobs, what they share, and how answers are kept.

Two kinds of queue stand behind one protocol: `live_queue` sends calls one by one, `batch` hands
them in together. Both keep answers through the same `AnswerWriter`. Sends nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from soupstock.inference.budget import Budget
from soupstock.inference.cache import Cache, CacheEntry, CacheError
from soupstock.inference.call import Answer, Call, Failure, Reply, decode, encode
from soupstock.inference.servers.endpoint import Mode
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.transport import Transport

T = TypeVar("T")


class PriorityQueue(Generic[T]):
    """Items with ranks, in the order they came.

    The highest rank goes first: rows leave before more come in. When few are left, the lowest rank
    goes first: those rows have the most steps ahead, and the run waits for the last row.
    """

    def __init__(self) -> None:
        self._urgent: deque[T] = deque()
        self._ranks: dict[int, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: T, rank: int) -> None:
        """Put an item behind those of its rank."""
        self._ranks.setdefault(rank, deque()).append(item)
        self._count += 1

    def add_urgent(self, item: T) -> None:
        """Put an item before all ranks."""
        self._urgent.append(item)
        self._count += 1

    def first(self, few: int) -> T:
        """Return the item that goes next; `few` is how many are few."""
        return self._line(few)[0]

    def take(self, few: int) -> T:
        """Take out the item that goes next."""
        item = self._line(few).popleft()
        self._count -= 1
        return item

    def _line(self, few: int) -> deque[T]:
        if self._urgent:
            return self._urgent
        choose = min if self._count <= few else max
        return self._ranks[choose(rank for rank, line in self._ranks.items() if line)]


@dataclass(slots=True, eq=False)
class Job:
    """A call that is to be answered, and who waits for it."""

    key: bytes
    """Identifies equal questions, whatever the mode they are asked in."""
    call: Call
    done: list[Callable[[Reply], None]]
    rank: int = 0
    is_probe: bool = False
    """Whether it only asks what the server can do."""
    attempts: int = 0
    refusals: int = 0


@dataclass(slots=True, eq=False)
class Usage:
    """What calls took."""

    calls: int = 0
    """Answers, those to probes included."""
    probes: int = 0
    """Answers that only tell what a server can do."""
    failed: int = 0
    refused: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Those of the prompts that the server had computed before."""
    completion_tokens: int = 0
    served: set[str] = field(default_factory=set)
    """The model's names as the server gives them."""
    began: float | None = None
    """When the first request was sent, in seconds of a clock that never goes back."""
    ended: float | None = None
    """When the last answer came."""

    @property
    def seconds(self) -> float:
        """How long the server was asked: from the first request to the last answer."""
        return 0.0 if self.began is None or self.ended is None else self.ended - self.began

    def start(self, now: float) -> None:
        """Note that a request was sent."""
        if self.began is None:
            self.began = now

    def add(self, answer: Answer, now: float) -> None:
        """Count an answer."""
        self.calls += 1
        self.ended = now
        self.prompt_tokens += answer.prompt_tokens
        self.cached_tokens += answer.cached_tokens
        self.completion_tokens += answer.completion_tokens
        if answer.served is not None:
            self.served.add(answer.served)

    @classmethod
    def total(cls, usages: Iterable["Usage"]) -> "Usage":
        """Add up what calls to several models took, without the times."""
        total = cls()
        for usage in usages:
            total.calls += usage.calls
            total.probes += usage.probes
            total.failed += usage.failed
            total.refused += usage.refused
            total.retried += usage.retried
            total.prompt_tokens += usage.prompt_tokens
            total.cached_tokens += usage.cached_tokens
            total.completion_tokens += usage.completion_tokens
            total.served |= usage.served
        return total


class AddressAccount(NamedTuple):
    """What one address of a model did."""

    base_url: str
    answered: int
    failed: int


class ModelAccount(NamedTuple):
    """What a model's queue did so far, and does now."""

    model: Model
    usage: Usage
    active: int
    """How many calls are under way."""
    allowed: int
    """How many may be under way at once."""
    schema_mode: Mode | None
    """How the server holds the model to a JSON Schema; None as long as that is not known."""
    addresses: Sequence[AddressAccount]
    prefix_hits: float | None = None
    """The share of prompt tokens that the server's prefix cache had, where that is known."""

    @property
    def cost(self) -> int:
        """What the answers cost, in pico-dollars."""
        used = self.usage
        return self.model.price.cost(used.prompt_tokens, used.completion_tokens, used.cached_tokens)


class Account(NamedTuple):
    """What a client did: with each model, and in all."""

    models: Sequence[ModelAccount]
    usage: Usage
    stopped: Failure | None
    """Why nothing more is asked, where that is so."""


class Shutdown:
    """Whether the run still asks, and if not, why; `stop` is called once, when that changes."""

    def __init__(self, stop: Callable[[Failure], None]) -> None:
        self.why: Failure | None = None
        """Why nothing more is asked; None as long as it is."""
        self.error: Exception | None = None
        """The error that ended the run early, where it was one."""
        self._stop = stop

    def begin(self, why: Failure) -> None:
        """Ask nothing more."""
        if self.why is None:
            self.why = why
            self._stop(why)

    def fail(self, error: Exception) -> None:
        """Ask nothing more, because going on makes no sense."""
        self.error = self.error or error
        self.begin(Failure(type(error).__name__, str(error)))


class AnswerWriter:
    """Keeps answers: each is counted and committed to the cache before it is given out."""

    def __init__(self, cache: Cache, shutdown: Shutdown) -> None:
        self.cache = cache
        self._shutdown = shutdown
        self._now = asyncio.get_running_loop().time
        self._latest: asyncio.Future[bytes] | None = None

    def count(self, usage: Usage, answer: Answer) -> None:
        """Count an answer that is not kept: a probe's."""
        usage.add(answer, self._now())

    async def keep(self, usage: Usage, model: Model, key: bytes, answer: Answer) -> Answer:
        """Count an answer and have it committed; returns the one that the cache holds."""
        usage.add(answer, self._now())
        entry = CacheEntry(key, model.name, encode(answer))
        committing = self._latest = self.cache.put(entry)
        try:
            kept = await committing
        except CacheError as error:
            self._shutdown.fail(error)
            return answer
        # Another run may have had an answer first. With its own, this run could not be repeated.
        return answer if kept is entry.answer else decode(kept)

    async def wait(self) -> None:
        """Wait until the answers so far are committed.

        A failure that overtook them would make it seem that all calls fail.
        """
        if self._latest is not None and not self._latest.done():
            await asyncio.wait([self._latest])


@dataclass(eq=False)
class QueueContext:
    """What the queues of one client share."""

    servers: Servers
    transport: Transport
    budget: Budget
    keeper: AnswerWriter
    shutdown: Shutdown
    finish: Callable[[Job, Reply], None]
    """Gives a reply to everyone who waits for it."""
    hand_in: Callable[[], None]
    """Lets batches be handed in, if whoever asks waits and nothing is under way."""
    _starved: list[Callable[[], None]] = field(default_factory=list)

    def wait_for_budget(self, go_on: Callable[[], None]) -> None:
        """Call a function when the budget may have room again."""
        if go_on not in self._starved:
            self._starved.append(go_on)

    def free_budget(self) -> None:
        """Let those go on who wait for room in the budget."""
        starved, self._starved = self._starved, []
        for go_on in starved:
            go_on()


class ModelQueue(Protocol):
    """The calls to one model: those that wait, and those under way."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing comes of it before `rest` is called."""

    def add(self, job: Job) -> None:
        """Take a call; the reply comes sooner or later."""

    def rest(self) -> None:
        """Note that nothing more is asked before an answer comes."""

    def forget_address(self) -> None:
        """Ask again where the server is, if the run starts it."""

    def stop(self, why: Failure) -> None:
        """Answer all that wait with a reason; what is under way is finished and kept."""

    async def close(self) -> None:
        """End what is under way."""

    def account(self) -> ModelAccount:
        """Say what it did so far, and does now."""
