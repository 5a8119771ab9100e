"""Markdown that hostile text cannot break out of: the parts of a card.

There are three ways to put a text into Markdown: as a code span, in which nothing has a meaning; as
prose, with its punctuation escaped; or as a fenced block, with a fence longer than any in the text.
"""

import re
from collections.abc import Iterable, Sequence

from soupstock.errors import shown


class Markdown(str):
    """Text that is already Markdown. Any other text must be escaped first."""

    __slots__ = ()


# A pipe is not among them, because in a table neither a code span nor a backslash escapes it.
_ACTIVE = re.compile(r"[`*_\[\]<>&~$]")
_LEADING = re.compile(r"^(?=[-+=#])|^(\d+)(?=[.)])")
_ENTITIES = {"\\": "&#92;", "|": "&#124;"}


def one_line(text: object, limit: int | None = None) -> str:
    """Put a text on one line, with visible control characters, cut after `limit` characters.

    Characters that change the direction of text count as control characters.
    """
    line = shown(" ".join(str(text).split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def prose(text: object, limit: int | None = None) -> Markdown:
    """Escape a text so that it is shown as written, on one line."""
    line = _ACTIVE.sub(r"\\\g<0>", one_line(text, limit).replace("\\", "\0"))
    line = _LEADING.sub(lambda found: f"{found[1] or ''}\\", line)
    return Markdown(line.replace("\0", _ENTITIES["\\"]).replace("|", _ENTITIES["|"]))


def code(text: object, limit: int | None = None) -> Markdown:
    """Return a text as a code span on one line; a pipe becomes an entity between two spans."""
    line = one_line(text, limit)
    if not line:
        return Markdown("(empty)")
    return Markdown(_ENTITIES["|"].join(_span(part) for part in line.split("|")))


def _span(text: str) -> str:
    if not text.strip():
        return text
    fence = "`" * (_longest_run(text) + 1)
    gap = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{gap}{text}{gap}{fence}"


def fenced(text: str, language: str = "") -> Markdown:
    """Return a text as a fenced block with its lines; other control characters become visible."""
    fence = "`" * max(3, _longest_run(text) + 1)
    lines = [shown(line) for line in text.rstrip("\n").split("\n")]
    return Markdown("\n".join([f"{fence}{language}", *lines, fence]))


def _longest_run(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def table(
    header: Sequence[str], rows: Iterable[Sequence[Markdown]], *, right: Sequence[str] = ()
) -> Markdown:
    """Return a table, or nothing without rows; columns in `right` are aligned to the right."""
    rules = ["---:" if name in right else "---" for name in header]
    body = [_row(row) for row in rows]
    return Markdown("\n".join([_row(header), _row(rules), *body] if body else body))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def listed(items: Iterable[Markdown]) -> Markdown:
    """Return a list with one item on each line."""
    return Markdown("\n".join(f"- {item}" for item in items))


def paragraphs(items: Iterable[Markdown]) -> Markdown:
    """Return items as paragraphs."""
    return Markdown("\n\n".join(items))


def joined(items: Sequence[Markdown]) -> Markdown:
    """Join items as in a sentence: `a, b and c`."""
    if not items:
        return Markdown()
    *first, last = items
    return Markdown(f"{', '.join(first)} and {last}" if first else last)
