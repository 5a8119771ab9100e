"""Look through a file of rows line by line, so that a mistake in it names its line."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from soupstock.errors import MistakeError, Place, quoted, shown


def check_jsonl(path: Path) -> None:
    """Check that each line is a JSON object, and that no value changes its kind; or MistakeError.

    Blank lines are no rows. Null may stand for a value of any kind.
    """
    kinds: dict[str, tuple[str, int]] = {}
    has_rows = False
    for number, line in _numbered(path):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise MistakeError(
                f"this line is not JSON: {error.msg}", Place(path, number)
            ) from error
        if not isinstance(row, dict):
            problem = f"a line should be a JSON object, not {_kind(row)}"
            raise MistakeError(problem, Place(path, number))
        has_rows = True
        for where, kind in _kinds(row):
            first, line_of_first = kinds.setdefault(where, (kind, number))
            if kind != first:
                problem = f"{quoted(where)} is {kind} here, and {first} in line {line_of_first}"
                raise MistakeError(problem, Place(path, number))
    if not has_rows:
        raise MistakeError("it has no rows", Place(path))


def _kinds(row: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield what kind each value is, by its path: `item.question`, `tags[]`."""
    for key, value in row.items():
        where = f"{path}.{key}" if path else key
        yield from _kinds_at(where, value)


def _kinds_at(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    yield where, _kind(value)
    if isinstance(value, dict):
        yield from _kinds(value, where)
    elif isinstance(value, list):
        for item in value:
            yield from _kinds_at(f"{where}[]", item)


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true or false", list: "a list", dict: "a mapping"}
    return names.get(type(value), "null" if value is None else "a number")


def check_csv(path: Path) -> None:
    """Check that no row has more fields than the header, and no name comes twice; or MistakeError.

    The file is UTF-8 with commas, its first line the columns' names. A row may be short: what it
    lacks is null.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_texts(path), strict=True)
    line = 0
    try:
        if not (header := next(reader, [])):
            raise MistakeError("it should begin with the columns' names", Place(path, 1))
        if repeated := [name for name in header if header.count(name) > 1]:
            raise MistakeError(f"the column {quoted(repeated[0])} is there twice", Place(path, 1))
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
    """Yield a file's lines, counted from 1; raises MistakeError where it cannot be read."""
    try:
        with path.open("rb") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise MistakeError(f"it cannot be read: {error.strerror}", Place(path)) from error
