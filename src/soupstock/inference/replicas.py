"""The addresses at which a model answers, and where the next call goes.

A call goes where least is in flight. An address that fails is left out, tried again with one call
after a growing pause, and used in full again after its first answer. When all fail, none is left
out: then the model fails as one with a single address does. Sends nothing.
"""

import random
from dataclasses import dataclass

from soupstock.inference.limits import Limit
from soupstock.inference.retry import FORBIDDEN, RequestError
from soupstock.inference.servers.model import Model
from soupstock.inference.transport import Address

OUT_AFTER = 3
"""Consecutive troubles after which an address is left out."""

_LONGEST_OUT = 60.0


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
    """Requests without an answer; refused ones do not count."""
    troubles: int = 0
    """Troubles since the last answer."""
    outs: int = 0
    """How often it was left out since the last answer; 0 if it is in use."""
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

    def recover(self) -> None:
        """Note an answer: whatever troubles there were are over."""
        self.answered += 1
        self.troubles = self.outs = 0
        self.out_until = 0.0

    def leave_out(self, now: float) -> None:
        """Send nothing there for a while: twice as long each time."""
        # Requests that were under way together fail together, and count once.
        if now >= self.out_until:
            longest = min(_LONGEST_OUT, 2.0**self.outs)
            self.outs += 1
            self.out_until = now + longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


class Replicas:
    """All addresses of one model."""

    def __init__(self, model: Model) -> None:
        urls = model.addresses or (None,)
        self.all = tuple(Replica(Limit(fixed=model.concurrency), url) for url in urls)

    @property
    def first(self) -> Replica:
        """The first address."""
        return self.all[0]

    @property
    def active(self) -> int:
        """How many calls are under way."""
        return sum(replica.active for replica in self.all)

    @property
    def allowed(self) -> int:
        """How many calls may be under way at once."""
        if len(self.all) == 1:
            return self.all[0].limit.allowed
        well = [replica.limit.allowed for replica in self.all if replica.is_well]
        return sum(well) or sum(replica.limit.allowed for replica in self.all)

    def free(self, now: float) -> Replica | None:
        """Return where the next call goes; None if no replica has room now."""
        if len(self.all) == 1:
            return self.all[0] if self.all[0].has_room(now) else None
        is_any_well = any(replica.is_well for replica in self.all)
        free = [
            replica
            for replica in self.all
            if (replica.has_room if replica.is_well or not is_any_well else replica.is_due)(now)
        ]
        return min(free, key=lambda replica: (replica.active, replica.sent), default=None)

    def resumes_at(self, now: float) -> float | None:
        """Return when the first pause ends; None if no replica pauses."""
        pauses = [max(one.limit.resume_at, one.out_until) for one in self.all]
        return min((until for until in pauses if until > now), default=None)

    def note_trouble(self, replica: Replica, trouble: RequestError, now: float) -> None:
        """Count a trouble at an address, and leave the address out where that is enough."""
        replica.failed += not trouble.is_refusal
        if len(self.all) == 1 or trouble.is_refusal:
            return
        if trouble.is_passing or trouble.is_rejection:
            replica.troubles += 1
            if _is_down(trouble) or replica.outs or replica.troubles >= OUT_AFTER:
                replica.leave_out(now)

    def is_other_free(self, replica: Replica, trouble: RequestError, now: float) -> bool:
        """Tell whether a call that met a trouble here should go to another address at once."""
        others = [other for other in self.all if other is not replica and other.is_well]
        if trouble.is_refusal:
            return any(other.limit.resume_at <= now for other in others)
        is_about_address = trouble.is_passing or trouble.is_rejection
        return is_about_address and not replica.is_well and bool(others)


def _is_down(trouble: RequestError) -> bool:
    """Tell whether one trouble is enough to know that an address is of no use for now."""
    if trouble.is_rejection:
        return trouble.status != FORBIDDEN
    return trouble.status is None and trouble.failure.cause == "APIConnectionError"
