"""The interface of a review tool."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from soupstock.errors import SoupstockError
from soupstock.review.answers import KeyAndSource, ReviewAnswer
from soupstock.review.form import Form, FormRecord

Notify = Callable[[str], object]
"""Takes a sentence for the person who is waiting."""


class ReviewError(SoupstockError):
    """A review tool cannot be used at the moment."""


@dataclass(frozen=True)
class Pushed:
    """The result of sending records."""

    sent: int
    there: int
    """Records that the tool already had."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Records that the tool refused, by row, each with its reason."""


@dataclass(frozen=True)
class Pulled:
    """The result of fetching answers."""

    answers: Sequence[ReviewAnswer]
    places: Sequence[KeyAndSource]
    """The texts that were read, and where: earlier answers from there are out of date."""
    cursors: Mapping[str, str] = field(default_factory=dict)
    """How far was read, in the tool's own terms; the next fetch gets it as `since`."""


@dataclass(frozen=True)
class ReviewPlace:
    """Where people answer."""

    where: str
    """A page or a file."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else they need: a user name, and where the password is."""


class ReviewTool(Protocol):
    """A tool in which people read records and answer.

    A record is identified by its key. Sending one that the tool already has changes nothing, so
    sending again completes an interrupted push. Fetching returns what changed since the last time.
    """

    async def pull(self, form: Form, texts: Mapping[str, str], since: Mapping[str, str]) -> Pulled:
        """Fetch the answers; `texts` are those that people could correct, by key.

        `since` has the `cursors` of the last fetch; it is empty to fetch everything.
        """
        ...

    async def push(self, form: Form, records: Sequence[FormRecord]) -> Pushed:
        """Send the records that the tool does not have yet."""
        ...

    def place(self) -> ReviewPlace:
        """Return where people answer; call it after a push."""
        ...
