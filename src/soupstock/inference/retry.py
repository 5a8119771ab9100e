"""What to do about a request without an answer: ask again, later or elsewhere, fail, or give up.

Pure functions over what is known of the call and of its server. Knows no clock, no loop, no HTTP.
"""

import random
from enum import Enum, auto
from typing import NamedTuple

from soupstock.inference.call import Failure

CAUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "APITimeoutError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""The openai library's names of errors, by status."""

REFUSALS = frozenset({429, 503})
"""Statuses by which a server says that it has too much to do; the call was not carried out."""

REJECTIONS = frozenset({401, 402, 403, 404})
"""Statuses that are about the key, the account or the model: hardly ever about one call."""

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that are worth another try."""

GATEWAY = frozenset({502, 504, 520, 522, 524})
"""Statuses of a gateway that had no answer from the server behind it, which may be at work."""

NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Error codes that come with a 429, though no waiting helps."""

FORBIDDEN = 403
"""The one rejection that may be about what a single call asks."""

REJECTED_AFTER = 8
"""Consecutive rejections after which a server is given up."""

REFUSED_AFTER = 900.0
"""Seconds of consecutive refusals after which a server is given up."""

UNREACHABLE_AFTER = 3
"""Attempts after which a server that never answered, and cannot be reached, is given up."""

_NO_LOGPROBS = frozenset({400, 403, 422})
_SERVER_ERROR = 500
_LONGEST_PAUSE = 60.0


class RequestError(Exception):
    """A request that brought no answer."""

    def __init__(
        self,
        failure: Failure,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        is_unreachable: bool = False,
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status
        self.retry_after = retry_after
        """How many seconds the server asks to wait."""
        self.is_unreachable = is_unreachable
        """Whether no connection could be made."""
        self.is_rejection = status in REJECTIONS or code in NO_CREDIT
        """Whether most likely every other call would fail too."""
        self.is_refusal = status in REFUSALS and not self.is_rejection
        """Whether the server has too much to do."""

    @property
    def is_passing(self) -> bool:
        """Whether another try may help."""
        if self.is_rejection:
            return False
        return self.status is None or self.status in PASSING or self.status >= _SERVER_ERROR

    @property
    def is_about_logprobs(self) -> bool:
        """Whether the server does not give log-probabilities."""
        return self.status in _NO_LOGPROBS and "logprobs" in self.failure.message

    @property
    def may_be_billed(self) -> bool:
        """Whether the server may have worked on the request although no answer came."""
        return self.status in GATEWAY or (self.status is None and not self.is_unreachable)


class Situation(NamedTuple):
    """What is known of a call and its server when a request brought no answer."""

    attempts: int
    """How often the call was sent, this time included; refusals do not count."""
    most_attempts: int
    is_other_address_free: bool = False
    """Whether another address of the model can take the call at once."""
    can_drop_logprobs: bool = False
    """Whether the call asks for log-probabilities, and can be asked without."""
    has_answered: bool = True
    """Whether the model ever answered."""
    rejections: int = 0
    """Rejections since the last answer, this one included."""
    refused_for: float = 0.0
    """Seconds since the first refusal after the last answer."""


class Decision(Enum):
    """What to do about a request that brought no answer."""

    ELSEWHERE = auto()
    """Ask another address of the model at once."""
    WITHOUT_LOGPROBS = auto()
    """Ask again at once, without log-probabilities."""
    LATER = auto()
    """Ask again after a pause."""
    FAIL = auto()
    """The call has failed."""
    GIVE_UP = auto()
    """The server, as it seems, will answer no call at all: end the run."""


def decide(trouble: RequestError, situation: Situation) -> Decision:
    """Decide what to do about a request that brought no answer."""
    if situation.is_other_address_free:
        return Decision.ELSEWHERE
    if trouble.is_about_logprobs and situation.can_drop_logprobs:
        return Decision.WITHOUT_LOGPROBS
    if _is_hopeless(trouble, situation):
        return Decision.GIVE_UP
    if not trouble.is_passing or situation.attempts >= situation.most_attempts:
        return Decision.FAIL
    return Decision.LATER


def _is_hopeless(trouble: RequestError, situation: Situation) -> bool:
    if trouble.is_refusal:
        return situation.refused_for > REFUSED_AFTER
    if trouble.is_rejection:
        is_first = not situation.has_answered and trouble.status != FORBIDDEN
        return is_first or situation.rejections >= REJECTED_AFTER
    never_reached = trouble.is_unreachable and not situation.has_answered
    return never_reached and situation.attempts >= UNREACHABLE_AFTER


def pause(tries: int, retry_after: float | None) -> float:
    """Draw how many seconds to wait before the next try: doubling, with "full jitter" (AWS 2015).

    `tries` counts attempts and refusals so far. What the server asks for is added.
    """
    longest = min(_LONGEST_PAUSE, 0.5 * 2**tries)
    return (retry_after or 0.0) + random.uniform(0, longest)  # noqa: S311 - no secret
