"""Read YAML into a model, with lines: every mistake becomes one sentence and its place."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.spec.mistakes import Keys, mistake

MAX_VALUES = 100_000
"""The maximum number of values in a file, counting aliases each time they are used."""

MAX_DEPTH = 32
"""The maximum depth of nested lists and mappings."""

T = TypeVar("T", bound=BaseModel)

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
# A date stays text: no model here has dates.
_TEXTS = frozenset({f"{_TAG}str", f"{_TAG}timestamp"})
_PLAIN = frozenset(f"{_TAG}{kind}" for kind in ("int", "float", "bool", "null"))
_ADVICE = {
    "mapping values are not allowed here": "put quotes around a text that contains `: `",
    "that cannot start any token": "indent with spaces; put quotes around a text that begins so",
}


@dataclass(frozen=True)
class Located:
    """Plain data (mappings, lists, text, numbers, true, false, None) with the line of each part."""

    data: Any
    file: Path
    lines: Mapping[Keys, int] = field(repr=False)
    """Lines from 1, by the path of keys and indexes."""
    texts: Mapping[Keys, int] = field(default_factory=dict, repr=False)
    """The lines at which texts begin; a block (`|`) begins on the line after its key."""

    def place(self, *keys: str | int) -> Place:
        """Find the line of a key or item, or else of the nearest part that holds it."""
        for end in range(len(keys), 0, -1):
            if line := self.lines.get(keys[:end]):
                return Place(self.file, line)
        return Place(self.file)


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A model read from a file."""

    value: T
    located: Located

    def place(self, *keys: str | int) -> Place:
        """Find the line of a key or item, or else of the nearest part that holds it."""
        return self.located.place(*keys)


def load(path: Path, model: type[T]) -> Loaded[T]:
    """Read a YAML file as a model; raises MistakeError."""
    return validate(read_yaml(path), model)


def validate(located: Located, model: type[T]) -> Loaded[T]:
    """Validate data as a model; raises MistakeError.

    Validation is strict, so that `n: true` is a mistake and not 1. It goes by JSON, in which a list
    can become a tuple.
    """
    try:
        value = model.model_validate_json(json.dumps(located.data, default=str), strict=True)
    except ValidationError as error:
        raise mistake(error, model, located.place) from error
    return Loaded(value, located)


def read_yaml(path: Path) -> Located:
    """Read a YAML file that holds a mapping; raises MistakeError."""
    return parse_yaml(read_text(path), path)


def read_text(path: Path) -> str:
    """Read a UTF-8 file with Unix line ends; raises MistakeError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise MistakeError(f"it cannot be read: {error.strerror}", Place(path)) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise MistakeError("it is not UTF-8 text", Place(path, line)) from error
    return text.replace("\r\n", "\n")


def parse_yaml(text: str, file: Path, start: int = 0) -> Located:
    """Parse YAML that holds a mapping and begins at line `start` (from 0); raises MistakeError."""
    reader = _Reader(file, start + 1)
    root = reader.compose(text)
    if root is None:
        raise MistakeError("it is empty", Place(file))
    data = reader.value(root, ())
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else quoted(data)
        raise MistakeError(f"it should be a mapping (`key: value`), not {kind}", Place(file))
    return Located(data, file, reader.lines, reader.texts)


@dataclass
class _Reader:
    """Turns YAML nodes into plain data, and notes the line of each."""

    file: Path
    first_line: int
    lines: dict[Keys, int] = field(default_factory=dict)
    texts: dict[Keys, int] = field(default_factory=dict)
    values: int = 0

    def compose(self, text: str) -> Any:
        """Parse the text; return the root node, or None if there is none."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError
        from ruamel.yaml.reader import ReaderError

        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False
        self._construct = yaml.constructor.construct_object
        try:
            return yaml.compose(text)
        except MarkedYAMLError as error:
            raise self._syntax(error) from error
        except ReaderError as error:
            character = f"U+{error.character:04X}"
            line = text.count("\n", 0, error.position)
            raise self._mistake(f"the character {character} is not allowed", line) from error
        except RecursionError as error:
            raise MistakeError("it is nested too deeply", Place(self.file)) from error
        # The parser raises these for a broken directive or escape.
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise MistakeError(f"not YAML: {shown(error)}", Place(self.file)) from error

    def value(self, node: Any, path: Keys) -> Any:
        """Turn a node into plain data."""
        self.values += 1
        if self.values > MAX_VALUES:
            problem = f"it holds more than {MAX_VALUES:,} values, aliases included"
            raise MistakeError(problem, Place(self.file))
        if len(path) > MAX_DEPTH:
            raise self._mistake("it is nested too deeply", node.start_mark.line)
        if node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if node.tag == f"{_TAG}seq":
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        value = self._scalar(node)
        self.texts[path] = node.start_mark.line + self.first_line + (node.style in ("|", ">"))
        return value

    def _item(self, node: Any, path: Keys) -> Any:
        self.lines[path] = node.start_mark.line + self.first_line
        return self.value(node, path)

    def _mapping(self, node: Any, path: Keys, depth: int = 0) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for merged in self._merged(value, path, depth + 1):
                    data = merged | data
        own: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            name, line = self._key(key), key.start_mark.line
            if name in own:
                first = own[name] + self.first_line
                raise self._mistake(f"the key {quoted(name)} is already in line {first}", line)
            own[name] = line
            self.lines[*path, name] = line + self.first_line
            data[name] = self.value(value, (*path, name))
        return data

    def _merged(self, node: Any, path: Keys, depth: int) -> Iterator[dict[str, Any]]:
        line = node.start_mark.line
        for part in node.value if node.tag == f"{_TAG}seq" else [node]:
            if part.tag != f"{_TAG}map":
                raise self._mistake("`<<` merges mappings only", line)
            if depth > MAX_DEPTH:
                raise self._mistake("it is nested too deeply", line)
            yield self._mapping(part, path, depth)

    def _key(self, node: Any) -> str:
        """Return a key as written: `1: 0.5` has the key '1'."""
        if node.tag not in _TEXTS | _PLAIN or not isinstance(node.value, str):
            problem = "a key should be text; put quotes around one that begins with `{` or `[`"
            raise self._mistake(problem, node.start_mark.line)
        return self._text(node)

    def _scalar(self, node: Any) -> Any:
        line = node.start_mark.line
        if node.tag in _TEXTS and isinstance(node.value, str):
            return self._text(node)
        if node.tag not in _PLAIN or not isinstance(node.value, str):
            tag = quoted(str(node.tag).replace(_TAG, "!!"))
            raise self._mistake(f"the tag {tag} is not allowed; write plain values", line)
        try:
            value = self._construct(node)
        except (ValueError, KeyError, IndexError) as error:
            raise self._mistake(f"{quoted(node.value)} cannot be read", line) from error
        limit = 2**63
        if isinstance(value, float) and not math.isfinite(value):
            raise self._mistake(f"{quoted(node.value)} is not a finite number", line)
        if isinstance(value, int) and not -limit <= value < limit:
            raise self._mistake(f"{quoted(node.value)} is too large a number", line)
        return value

    def _text(self, node: Any) -> str:
        text = str(node.value)
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self._mistake(
                f"{quoted(text)} contains half a character",
                node.start_mark.line,
            )
        return text

    def _syntax(self, error: Any) -> MistakeError:
        problem = shown(error.problem or error.context or "it cannot be read")
        # Point at the beginning of what is never closed, not at the end of the file.
        unclosed = error.context_mark and "stream" in problem
        mark = error.context_mark if unclosed else error.problem_mark or error.context_mark
        context = f"{shown(error.context)}: " if error.context and error.problem else ""
        advice = next((f" ({tip})" for known, tip in _ADVICE.items() if known in problem), "")
        return self._mistake(f"not YAML: {context}{problem}{advice}", mark.line if mark else 0)

    def _mistake(self, message: str, line: int) -> MistakeError:
        """Return a mistake at a line of the YAML (from 0)."""
        return MistakeError(message, Place(self.file, line + self.first_line))
