"""Before each model's servers a lane: what waits for them, what is under way, and at which address.

A model may answer at several addresses. A call goes where least is in flight; an address that fails
is left out, tried again with one call after a growing pause, and full again at the first answer.
When all fail, none is left out: then the model fails as one with a single address does. Sends
nothing.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from soupstock.inference.call import Call, Reply
from soupstock.inference.limits import Limit
from soupstock.inference.probe import Probe
from soupstock.inference.quota import Quota
from soupstock.inference.servers.endpoint import Mode, Price
from soupstock.inference.servers.model import Model
from soupstock.inference.transport import Address, Trouble

T = TypeVar("T")


class Waiting(Generic[T]):
    """Items with ranks, in the order they came.

    The highest rank goes first: rows leave before more come in. When few are left it is the other
    way round, for the lowest have the longest way to go, and all wait for the last one.
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


OUT_AFTER = 3
"""Troubles on end, with no answer between, after which an address is left out."""

_LONGEST_OUT = 60.0
_FORBIDDEN = 403


@dataclass(slots=True, eq=False)
class Job:
    """A call that is to be answered, and who waits for it."""

    key: bytes
    """By which equal questions are known, whatever the mode they are asked in."""
    call: Call
    done: list[Callable[[Reply], None]]
    rank: int = 0
    is_probe: bool = False
    """Whether it only asks what the server can do."""
    attempts: int = 0
    refusals: int = 0


@dataclass(eq=False)
class Replica:
    """One address at which a model answers."""

    limit: Limit
    base_url: str | None = None
    """Where it is; None for a server that the run starts."""
    address: Address | None = None
    """How to ask there; None where that must be found out (again)."""
    active: int = 0
    sent: int = 0
    answered: int = 0
    failed: int = 0
    """Requests without an answer, refused ones not among them."""
    troubles: int = 0
    """Troubles since the last answer."""
    outs: int = 0
    """How often it was left out since the last answer; 0 where it is not."""
    out_until: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether it is not left out."""
        return self.outs == 0

    def has_room(self, now: float) -> bool:
        """Tell whether one more call may be sent there."""
        return self.active < self.limit.allowed and self.limit.resume_at <= now

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to try it again, with one call."""
        return self.active == 0 and self.out_until <= now and self.limit.resume_at <= now

    def recovered(self) -> None:
        """Note an answer: whatever troubles there were are over."""
        self.troubles = self.outs = 0
        self.out_until = 0.0

    def leave_out(self, now: float) -> None:
        """Send nothing there for a while: twice as long each time."""
        # What was under way together fails together.
        if now >= self.out_until:
            longest = min(_LONGEST_OUT, 2.0**self.outs)
            self.outs += 1
            self.out_until = now + longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


@dataclass(eq=False)
class Lane:
    """The calls to one model: those that wait, and those under way."""

    model: Model
    replicas: list[Replica]
    price: Price
    """What the server takes for tokens."""
    quota: Quota | None = None
    """What may be asked in a minute."""
    waiting: Waiting[Job] = field(default_factory=Waiting)
    parked: list[Job] = field(default_factory=list)
    """What waits until the server's mode is known."""
    schema_mode: Mode | None = None
    """How the server holds the model to a JSON Schema; None as long as that is not known."""
    probe: Probe | None = None
    """Finds the mode, just now."""
    is_unweighed: bool = False
    """Whether the server refused to tell log-probabilities."""
    answered: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    """Tokens asked, those of them that the server had computed before, and tokens answered."""
    served: set[str] = field(default_factory=set)
    """The model's names as the server gives them."""
    prefix_hits: float | None = None
    """The share of prompt tokens that the server's prefix cache had, where that is known."""
    began: float | None = None
    """When the first request was sent, in seconds of a clock that never goes back."""
    ended: float | None = None
    """When the last answer came."""
    rejected: int = 0
    """Rejections since the last answer."""
    refused_since: float | None = None
    """When the first refusal since the last answer was."""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    waking: asyncio.TimerHandle | None = None

    @classmethod
    def to(cls, model: Model) -> "Lane":
        """Return an empty lane to a model."""
        urls = model.addresses or (None,)
        has_quota = model.requests_per_minute or model.tokens_per_minute
        return cls(
            model,
            [Replica(Limit(fixed=model.concurrency), url) for url in urls],
            model.price,
            Quota(model.requests_per_minute, model.tokens_per_minute) if has_quota else None,
            schema_mode=model.structured_output,
        )

    @property
    def seconds(self) -> float:
        """How long the server was asked: from the first request to the last answer."""
        return 0.0 if self.began is None or self.ended is None else self.ended - self.began

    @property
    def cost(self) -> int:
        """What the answers cost, in pico-dollars."""
        return self.price.cost(self.prompt_tokens, self.tokens, self.cached_tokens)

    @property
    def active(self) -> int:
        """How many calls are under way."""
        return sum(replica.active for replica in self.replicas)

    @property
    def allowed(self) -> int:
        """How many calls may be under way at once."""
        if len(self.replicas) == 1:
            return self.replicas[0].limit.allowed
        well = [replica.limit.allowed for replica in self.replicas if replica.is_well]
        return sum(well) or sum(replica.limit.allowed for replica in self.replicas)

    def free(self, now: float) -> Replica | None:
        """Return where the next call goes; None where nothing has room just now."""
        if len(self.replicas) == 1:
            return self.replicas[0] if self.replicas[0].has_room(now) else None
        is_any_well = any(replica.is_well for replica in self.replicas)
        free = [
            replica
            for replica in self.replicas
            if (replica.has_room if replica.is_well or not is_any_well else replica.is_due)(now)
        ]
        return min(free, key=lambda replica: (replica.active, replica.sent), default=None)

    def resumes_at(self, now: float) -> float | None:
        """Say when a pause ends; None where nothing pauses."""
        pauses = [max(one.limit.resume_at, one.out_until) for one in self.replicas]
        return min((until for until in pauses if until > now), default=None)

    def goes_elsewhere(self, replica: Replica, trouble: Trouble, now: float) -> bool:
        """Note a trouble at an address, and tell whether its call should go to another at once."""
        if len(self.replicas) == 1:
            return False
        others = [other for other in self.replicas if other is not replica and other.is_well]
        if trouble.is_refusal:
            return any(other.limit.resume_at <= now for other in others)
        if not (trouble.is_passing or trouble.is_rejection):
            return False
        replica.troubles += 1
        if _is_down(trouble) or replica.outs or replica.troubles >= OUT_AFTER:
            replica.leave_out(now)
        return not replica.is_well and bool(others)


def _is_down(trouble: Trouble) -> bool:
    """Tell whether one trouble is enough to know that an address is of no use for now."""
    if trouble.is_rejection:
        # A 403 may be about what one call asks.
        return trouble.status != _FORBIDDEN
    return trouble.status is None and trouble.failure.cause == "APIConnectionError"
