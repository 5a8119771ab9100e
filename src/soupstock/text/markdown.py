"""Markdown that hostile text cannot leave: what a card is put together from.

A text gets into Markdown in one of three ways: as a code span, where nothing in it means anything;
as prose, with its punctuation escaped; or as a fenced block that is longer than any fence in it.
"""

import re
from collections.abc import Iterable, Sequence

from soupstock.errors import shown


class Markdown(str):
    """Text that is Markdown already. All other text must be escaped to become it."""

    __slots__ = ()


# A pipe is not among them, because in a table not even a code span or a backslash holds it.
_ACTIVE = re.compile(r"[`*_\[\]<>&~$]")
_LEADING = re.compile(r"^(?=[-+=#])|^(\d+)(?=[.)])")
_ENTITIES = {"\\": "&#92;", "|": "&#124;"}


def one_line(text: object, limit: int | None = None) -> str:
    """Put a text on one line, with control characters made visible, cut after `limit` characters.

    What would turn the direction of the text around is a control character here too.
    """
    line = shown(" ".join(str(text).split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def prose(text: object, limit: int | None = None) -> Markdown:
    """Escape a text so that it reads as it is written, on one line."""
    line = _ACTIVE.sub(r"\\\g<0>", one_line(text, limit).replace("\\", "\0"))
    line = _LEADING.sub(lambda found: f"{found[1] or ''}\\", line)
    return Markdown(line.replace("\0", _ENTITIES["\\"]).replace("|", _ENTITIES["|"]))


def code(text: object, limit: int | None = None) -> Markdown:
    """Make a code span of a text, on one line. A pipe stands between two spans, as an entity."""
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
    """Make a fenced block of a text; its lines stay, other control characters are made visible."""
    fence = "`" * max(3, _longest_run(text) + 1)
    lines = [shown(line) for line in text.rstrip("\n").split("\n")]
    return Markdown("\n".join([f"{fence}{language}", *lines, fence]))


def _longest_run(text: str) -> int:
    """Return how long the longest run of backticks is."""
    return max(map(len, re.findall("`+", text)), default=0)


def table(
    header: Sequence[str], rows: Iterable[Sequence[Markdown]], *, right: Sequence[str] = ()
) -> Markdown:
    """Make a table; the columns whose headers are in `right` hold numbers. No rows, no table."""
    rules = ["---:" if name in right else "---" for name in header]
    body = [_row(row) for row in rows]
    return Markdown("\n".join([_row(header), _row(rules), *body] if body else body))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def listed(items: Iterable[Markdown]) -> Markdown:
    """Make a list, an item a line."""
    return Markdown("\n".join(f"- {item}" for item in items))


def paragraphs(items: Iterable[Markdown]) -> Markdown:
    """Set items apart as paragraphs."""
    return Markdown("\n\n".join(items))


def joined(items: Sequence[Markdown]) -> Markdown:
    """Join items as a sentence does: `a, b and c`."""
    if not items:
        return Markdown()
    *first, last = items
    return Markdown(f"{', '.join(first)} and {last}" if first else last)
