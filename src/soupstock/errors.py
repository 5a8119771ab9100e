"""Errors that the user can fix: each is shown as one clear line, without a traceback."""

import contextlib
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A file and a line in it (from 1; None for the whole file)."""

    file: Path | str
    line: int | None = None

    def __str__(self) -> str:
        name = shown(self._near())
        return f"{name}:{self.line}" if self.line else name

    def _near(self) -> Path | str:
        """Return the path relative to the current folder, if the file is in it."""
        with contextlib.suppress(OSError, ValueError):
            return Path(self.file).relative_to(Path.cwd())
        return self.file


class SoupstockError(Exception):
    """An error to show in one line. `exit_code` is the exit status of the process."""

    exit_code = 1

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class MistakeError(SoupstockError):
    """A mistake in something the user wrote: a file, a flag, a name."""

    exit_code = 2


class UnknownNameError(MistakeError):
    """A name that does not exist; `known` are the names that do."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], place: Place | None = None
    ) -> None:
        super().__init__(f"no {kind} is called {quoted(name)}{hint(name, known)}", place)


class ModelError(SoupstockError):
    """A model server that cannot be used: it does not answer, or it refuses everything."""


MANY = 20
"""The maximum number of names in an error."""


def hint(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence: the known name that was probably meant, or a list of them."""
    names = sorted(set(known))
    if close := difflib.get_close_matches(name, names, n=1):
        return f"; did you mean {quoted(close[0])}?"
    if not names:
        return "; there are none"
    rest = f" and {len(names) - MANY:,} more" if len(names) > MANY else ""
    return f"; there are: {', '.join(map(shown, names[:MANY]))}{rest}"


def quoted(value: object, limit: int = 80) -> str:
    """Quote a wrong value on one line, without control characters."""
    text = str(value)
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def shown(text: object) -> str:
    """Escape what a terminal would interpret: control characters and bidirectional overrides."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
