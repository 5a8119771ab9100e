"""YAML into a model, with lines: every mistake names its file, its line and what would be right."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from soupstock.errors import MistakeError, Place, hint, quoted, shown
from soupstock.spec import SOURCES, VERBS, Pipeline

T = TypeVar("T", bound=BaseModel)
Keys = tuple[str | int, ...]

MOST_NODES = 100_000
"""How many values a file may hold, aliases expanded: a bomb is refused before it grows."""

DEEPEST = 40
"""How many levels deep a file may be."""

_KINDS: Mapping[str, str] = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_PATTERNS: Mapping[str, str] = {
    r"^[A-Za-z][A-Za-z0-9_]*$": "letters, digits and underscores, a letter first",
    r"^[A-Za-z][A-Za-z0-9_-]*$": "letters, digits, hyphens and underscores, a letter first",
    r"^\S+$": "a name without spaces",
}


@dataclass(frozen=True)
class Located:
    """A file's data, and the line of each key and item in it."""

    data: Any
    file: Path
    lines: Mapping[Keys, int] = field(repr=False)
    """Lines from 1, by the keys and indexes that lead there."""

    def place(self, *keys: str | int) -> Place:
        """Find the line of a key or item, or of the nearest thing around it."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.lines:
                return Place(self.file, self.lines[keys[:end]])
        return Place(self.file, self.lines.get((), None))


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A model that was read from a file."""

    value: T
    located: Located

    def place(self, *keys: str | int) -> Place:
        """Find the line of a key or item."""
        return self.located.place(*keys)


def load(path: Path, model: type[T]) -> Loaded[T]:
    """Read a YAML file as a model; raises MistakeError."""
    return validate(read_yaml(path), model)


def read_text(path: Path) -> str:
    """Read a text file; raises MistakeError where it is not there or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise MistakeError("this is not UTF-8 text", Place(path, line)) from error
    except OSError as error:
        raise MistakeError(f"cannot be read: {error.strerror}", Place(path)) from error


def read_yaml(path: Path) -> Located:
    """Read a YAML file; raises MistakeError."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, file: Path, start: int = 0) -> Located:
    """Read YAML whose first line is line `start` (from 0) of the file; raises MistakeError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    reader = YAML(typ="rt")
    reader.allow_duplicate_keys = False
    try:
        data = reader.load(text)
    except YAMLError as error:
        raise _syntax(error, file, start) from error
    except RecursionError as error:
        raise MistakeError("this is nested too deeply", Place(file, start + 1)) from error
    # What ruamel.yaml makes of broken dates and numbers.
    except (ValueError, TypeError) as error:
        raise MistakeError(f"this is not YAML: {shown(error)}", Place(file, start + 1)) from error
    if data is None:
        raise MistakeError("the file is empty", Place(file))
    walk = _Walk(file, start)
    return Located(walk.plain(data, ()), file, walk.lines)


def _syntax(error: Any, file: Path, start: int) -> MistakeError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = start + (mark.line if mark else 0) + 1
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    if problem.startswith("found duplicate key"):
        key = problem.split('"')[1]
        return MistakeError(f"the key {quoted(key)} is there twice", Place(file, line))
    return MistakeError(f"this is not YAML: {shown(problem)}", Place(file, line))


class _Walk:
    """Turns what ruamel.yaml read into plain data, and notes the lines."""

    def __init__(self, file: Path, start: int) -> None:
        self.file = file
        self.lines: dict[Keys, int] = {(): start + 1}
        self._start = start
        self._nodes = 0

    def plain(self, node: Any, keys: Keys) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or len(keys) > DEEPEST:
            raise MistakeError("this holds too much: too many aliases or levels", self._at(keys))
        if isinstance(node, Mapping):
            return {self._key(key, keys): self._value(node, key, keys) for key in node}
        if isinstance(node, list):
            return [self._value(node, index, keys) for index in range(len(node))]
        return self._scalar(node, keys)

    def _key(self, key: Any, keys: Keys) -> str:
        if isinstance(key, bool) or key is None or not isinstance(key, (str, int, float)):
            raise MistakeError(f"{quoted(key)} cannot be a key; write text", self._at(keys))
        return str(key)

    def _value(self, parent: Any, key: Any, keys: Keys) -> Any:
        inner = (*keys, key if isinstance(parent, list) else str(key))
        position = (parent.lc.data or {}).get(key) if hasattr(parent, "lc") else None
        if position:
            self.lines[inner] = self._start + position[0] + 1
        return self.plain(parent[key], inner)

    def _scalar(self, node: Any, keys: Keys) -> Any:
        if node is None or isinstance(node, bool):
            return node
        if type(node).__name__ == "ScalarBoolean":
            return bool(node)
        for kind in (str, int, float):
            if isinstance(node, kind):
                return kind(node)
        if isinstance(node, (datetime.date, datetime.datetime)):
            return node.isoformat()
        raise MistakeError("tags (!name) are not used here", self._at(keys))

    def _at(self, keys: Keys) -> Place:
        return Located(None, self.file, self.lines).place(*keys)


def validate(located: Located, model: type[T]) -> Loaded[T]:
    """Make a model of a file's data; raises MistakeError for the first mistake by line."""
    try:
        return Loaded(model.model_validate(located.data), located)
    except ValidationError as error:
        details = error.errors(include_url=False)
    except RecursionError as error:
        raise MistakeError("this is nested too deeply", Place(located.file)) from error
    mistakes = [_Mistake(located, model, detail) for detail in _innermost(details)]
    mistakes.sort(key=lambda mistake: mistake.place.line or 0)
    first = mistakes[0]
    more = len({mistake.keys for mistake in mistakes}) - 1
    others = f" (and {more} more mistake{'s' if more > 1 else ''})" if more else ""
    raise MistakeError(first.message() + others, first.place)


def _innermost(details: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Leave out what follows from another mistake: a list is too short as its items failed."""
    locations = [detail["loc"] for detail in details]
    for detail in details:
        here = detail["loc"]
        if not any(len(other) > len(here) and other[: len(here)] == here for other in locations):
            yield detail


class _Mistake:
    """One of pydantic's complaints, in words and with its line."""

    def __init__(self, located: Located, model: type[BaseModel], detail: ErrorDetails) -> None:
        self._detail = detail
        self._model = model
        self._data = located.data
        self.keys, self._rest = _walked(located.data, detail["loc"])
        self.place = located.place(*self.keys)

    def message(self) -> str:
        """Say what is wrong, with which value, and what is right."""
        kind, where = self._detail["type"], self._where()
        context = self._detail.get("ctx", {})
        value = self._detail["input"]
        if kind == "extra_forbidden":
            key = str(self._detail["loc"][-1])
            return f"unknown key {quoted(key)}{self._hint(key)}"
        if kind == "missing":
            return f"{where or 'the file'} needs {quoted(self._detail['loc'][-1])}"
        if kind in {"union_tag_not_found", "union_tag_invalid"}:
            return self._untagged(where, value)
        if kind == "value_error":
            return f"{where}: {context['error']}" if where else str(context["error"])
        if kind == "too_short":
            return f"{where} must not be empty"
        return f"{where}: {_brief(value)} is not {self._right(kind, context)}"

    def _right(self, kind: str, context: Mapping[str, Any]) -> str:
        if kind in _KINDS:
            return _KINDS[kind]
        if kind == "literal_error":
            return f"one of {context['expected']}"
        if kind == "string_pattern_mismatch":
            pattern = str(context["pattern"])
            return _PATTERNS.get(pattern, "a name: letters, digits, '.', '-', '_', folders by '/'")
        message = self._detail["msg"]
        return message.removeprefix("Input should be ").removeprefix("String should ")

    def _untagged(self, where: str, value: object) -> str:
        kinds, what = (VERBS, "verb") if "step" in where else (SOURCES, "kind")
        if not isinstance(value, Mapping):
            return f"{where} must be a mapping that begins with its {what}: {', '.join(kinds)}"
        for key in value:
            if close := hint(str(key), kinds):
                if "did you mean" in close:
                    return f"unknown {what} {quoted(key)}{close}"
        listed = ", ".join(kinds)
        found = ", ".join(quoted(key) for key in value)
        return f"{where} has no {what} among its keys ({found}); there are: {listed}"

    def _where(self) -> str:
        """Name the place in the user's words: `step 2: temperature`."""
        keys = list(self.keys)
        if len(keys) > 1 and keys[0] == "steps" and isinstance(keys[1], int):
            keys[:2] = [f"step {keys[1] + 1}"]
        words = [f"item {key + 1}" if isinstance(key, int) else str(key) for key in keys]
        return shown(": ".join(words))

    def _hint(self, key: str) -> str:
        schema = _schema_at(self._model, self._detail["loc"][:-1])
        return hint(key, schema.get("properties", {}))


def _walked(data: Any, location: Sequence[str | int]) -> tuple[Keys, Keys]:
    """Follow pydantic's location in the data; it also names cases of unions, which are no keys."""
    keys: list[str | int] = []
    rest: list[str | int] = []
    for part in location:
        if isinstance(data, Mapping) and str(part) in data:
            data = data[str(part)]
            keys.append(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
            keys.append(part)
        else:
            rest.append(part)
    return tuple(keys), tuple(rest)


def _schema_at(model: type[BaseModel], location: Sequence[str | int]) -> Mapping[str, Any]:
    """Find the JSON Schema of the model at pydantic's location."""
    root = model.model_json_schema(by_alias=True)
    schema: Mapping[str, Any] = root
    for part in location:
        schema = _resolved(schema, root)
        cases = [_resolved(case, root) for case in schema.get("oneOf", schema.get("anyOf", []))]
        if isinstance(part, int):
            schema = schema.get("items", {})
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        elif cases:
            schema = next((case for case in cases if part in case.get("properties", {})), {})
        else:
            schema = schema.get("additionalProperties") or {}
    return _resolved(schema, root)


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    if "$ref" in schema:
        found: Mapping[str, Any] = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return found
    return schema


def _brief(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else quoted(value)


def pipeline_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline's file, for editors."""
    schema = Pipeline.model_json_schema(by_alias=True, mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A soupstock pipeline"
    use = schema["$defs"]["FilterUse"]
    arguments = use["properties"]["arguments"]
    schema["$defs"]["FilterUse"] = {
        "description": use.get("description", ""),
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": {"anyOf": [{**arguments}, {"type": "null"}]},
            },
        ],
    }
    return schema
