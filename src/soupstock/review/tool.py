"""The interface behind which a review tool stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from soupstock.errors import SoupstockError
from soupstock.review.answers import KeyAndSource, ReviewAnswer
from soupstock.review.form import Form, FormRecord

Notify = Callable[[str], object]
"""Takes a sentence for the person who waits."""


class ReviewError(SoupstockError):
    """A review tool that cannot be used just now."""


@dataclass(frozen=True)
class Pushed:
    """What came of sending records."""

    sent: int
    there: int
    """Records that the tool had already."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Records that the tool does not take, by row, each with its reason."""


@dataclass(frozen=True)
class Pulled:
    """What came of fetching answers."""

    answers: Sequence[ReviewAnswer]
    places: Sequence[KeyAndSource]
    """What was looked at: answers that were fetched from there before are out of date."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """How far was looked, in the tool's own words; the next time it is told so."""


@dataclass(frozen=True)
class ReviewPlace:
    """Where a person goes to answer."""

    where: str
    """A page or a file."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else they need: a user, and where the password is."""


class ReviewTool(Protocol):
    """Where people read records and answer.

    A record is known by its key. Sending one that is there changes nothing, so that sending again
    mends what was left half done; fetching gives all that changed since the last time.
    """

    async def pull(self, form: Form, texts: Mapping[str, str], since: Mapping[str, str]) -> Pulled:
        """Fetch the answers; `texts` are those that people could correct, by key.

        `since` is what the last fetch had `seen`; empty where all is to be fetched.
        """
        ...

    async def push(self, form: Form, records: Sequence[FormRecord]) -> Pushed:
        """Send the records that are not there yet."""
        ...

    def place(self) -> ReviewPlace:
        """Say where a person goes; after a push."""
        ...
