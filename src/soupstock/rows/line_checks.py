"""Check a JSONL or CSV file line by line, so that a mistake names its line."""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from soupstock.errors import MistakeError, Place, quoted, shown


@dataclass(slots=True)
class _Kind:
    """The kind of the values at one path, and the first line that shows it."""

    path: str
    kind: type | None = None
    line: int = 0
    inside: dict[str, "_Kind"] = field(default_factory=dict)

    def within(self, key: str) -> "_Kind":
        """Return the kind of a mapping's values under a key, or of a list's items (`[]`)."""
        if key not in self.inside:
            dot = "." if self.path and key != "[]" else ""
            self.inside[key] = _Kind(f"{self.path}{dot}{key}")
        return self.inside[key]


_WORDS = {str: "text", bool: "true or false", float: "a number", list: "a list", dict: "a mapping"}


def check_jsonl(path: Path) -> None:
    """Check that each line is a JSON object, and that a path always has values of one kind.

    Blank lines are skipped. Null is allowed everywhere. Raises MistakeError.
    """
    kinds = _Kind("")
    for number, line in _numbered(path):
        if not line.strip():
            continue
        place = Place(path, number)
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise MistakeError(f"this line is not JSON: {error.msg}", place) from error
        if not isinstance(row, dict):
            raise MistakeError(f"a line should be a JSON object, not {_word(row)}", place)
        if odd := _other_kind(kinds, row, number):
            first, value = odd
            word = _WORDS[first.kind or dict]
            problem = (
                f"{quoted(first.path)} is {_word(value)} here, and {word} in line {first.line}"
            )
            raise MistakeError(problem, place)
    if kinds.kind is None:
        raise MistakeError("it has no rows", Place(path))


def _other_kind(seen: _Kind, value: Any, line: int) -> tuple[_Kind, Any] | None:
    """Find a value of another kind than the values before it at its path."""
    kind = float if type(value) is int else type(value)
    if value is None:
        return None
    if seen.kind is None:
        seen.kind, seen.line = kind, line
    if seen.kind is not kind:
        return seen, value
    if kind is dict:
        parts = value.items()
    elif kind is list:
        parts = (("[]", item) for item in value)
    else:
        return None
    for key, part in parts:
        if odd := _other_kind(seen.within(key), part, line):
            return odd
    return None


def _word(value: Any) -> str:
    return "null" if value is None else _WORDS.get(type(value), "a number")


def check_csv(path: Path) -> None:
    """Check that no row has more fields than the header, and that no name is repeated.

    The file is UTF-8 with commas; its first line has the names of the columns. A row may have fewer
    fields: the others are null. Raises MistakeError.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_texts(path), strict=True)
    line = 0
    try:
        if not (header := next(reader, [])):
            raise MistakeError("the first line should hold the columns' names", Place(path, 1))
        if repeated := [name for name in header if header.count(name) > 1]:
            raise MistakeError(f"the column {quoted(repeated[0])} appears twice", Place(path, 1))
        line = reader.line_num
        for row in reader:
            if len(row) > len(header):
                problem = f"this row has {len(row)} fields, and the header has {len(header)}"
                raise MistakeError(problem, Place(path, line + 1))
            line = reader.line_num
    except csv.Error as error:
        raise MistakeError(f"not CSV: {shown(error)}", Place(path, line + 1)) from error


def _texts(path: Path) -> Iterator[str]:
    for number, line in _numbered(path):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise MistakeError("it is not UTF-8 text", Place(path, number)) from error


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield a file's lines, counted from 1; raises MistakeError if it cannot be read."""
    try:
        with path.open("rb") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise MistakeError(f"it cannot be read: {error.strerror}", Place(path)) from error
