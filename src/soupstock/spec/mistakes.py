"""Turn pydantic's validation errors into plain sentences, each with its place in the file."""

import difflib
import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from soupstock import spec
from soupstock.errors import MistakeError, Place, hint, quoted, shown

Keys = tuple[str | int, ...]
"""The path of a value: keys, and indexes of items (from 0)."""

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
}
_LIMITS = {
    "greater_than": "be more than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "literal_error": "be {expected}",
    "too_short": "hold {min_length} or more",
    "too_long": "hold {max_length} or fewer",
    "string_too_short": "be a text of at least {min_length} characters",
    "string_too_long": "be a text of at most {max_length} characters",
}
_FILTER = "a filter is a name, or one name with its arguments: `length: {column: response}`"


def _pattern(kind: Any) -> str:
    """Return the pattern of a text that is annotated with one."""
    return next(str(p) for item in get_args(kind) if (p := getattr(item, "pattern", None)))


_NAMES = {
    _pattern(spec.Column): "a name of letters, digits and underscores that begins with a letter",
    _pattern(spec.ColumnPath): "a column's name, or a field of a column: `answer`, `item.question`",
    _pattern(spec.TextPath): (
        "a column's name, a field of one or a role of one: `answer`, `item.question`,"
        " `messages::user`"
    ),
    _pattern(spec.Amount): "a number of rows, a share such as `50%`, or `all`",
    _pattern(spec.Name): "a name of letters, digits, `_`, `.` and `-`, with `/` between folders",
    _pattern(spec.Role): "a name of letters, digits, `_` and `-` that begins with a letter",
    _pattern(spec.ModelName): "a model's name, without spaces",
    _pattern(spec.Repository): "a dataset's id: `my-org/chat`",
}


@dataclass(frozen=True)
class _Finding:
    """One of pydantic's errors, and its place in the file."""

    error: ErrorDetails
    path: Keys
    holder: Any
    """The type of the parent of the value: for an unknown key, the model without that key."""
    here: Any
    """The type of the value itself."""
    verbs: tuple[str, ...]
    """If a key selected the parent's case of a union: all such keys."""

    @property
    def kind(self) -> str:
        return self.error["type"]

    @property
    def key(self) -> str:
        return str(self.error["loc"][-1])


def mistake(
    error: ValidationError, model: type[BaseModel], place: Callable[..., Place]
) -> MistakeError:
    """Turn pydantic's error into one sentence: the first mistake, and the number of others."""
    findings = [_find(model, detail) for detail in error.errors(include_url=False)]
    kept = [finding for finding in findings if not _overshadowed(finding, findings)]
    said: dict[tuple[Keys, str], list[_Finding]] = {}
    for finding in kept:
        # Several wrong types at one place are one mistake: each case of a union reports its own.
        group = "type" if finding.kind in _TYPES or finding.holder is spec.FilterUse else ""
        said.setdefault((finding.path, group or str(id(finding))), []).append(finding)

    def by_line(item: tuple[Place, str]) -> float:
        return item[0].line or float("inf")

    mistakes = sorted(((place(*path), _say(same)) for (path, _), same in said.items()), key=by_line)
    where, message = mistakes[0]
    more = len(mistakes) - 1
    rest = f" (and {more} more mistake{'s' if more > 1 else ''})" if more else ""
    return MistakeError(message + rest, where)


def _find(model: type[BaseModel], error: ErrorDetails) -> _Finding:
    """Follow pydantic's location through the types: unlike the file it also names union cases."""
    here: Any = model
    holder: Any = None
    path: Keys = ()
    verbs: tuple[str, ...] = ()
    for key in error["loc"]:
        here = _bare(here)
        if cases := _cases(here):
            verbs = _tags(cases)
            here = _case(cases, key)
        elif here is spec.FilterUse:
            # Its YAML has neither `name` nor `arguments`.
            return _Finding(error, path, here, here, verbs)
        elif key != "[key]":
            verbs = verbs if inspect.isclass(here) else ()
            holder, here, path = here, _within(here, key), (*path, key)
    return _Finding(error, path, holder, _bare(here), verbs)


def _bare(kind: Any) -> Any:
    """Strip annotations, and None if it is one of two cases."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        cases = [case for case in get_args(kind) if case is not types.NoneType]
        return _bare(cases[0]) if len(cases) == 1 else kind
    return kind


def _cases(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


def _tags(cases: Iterable[Any]) -> tuple[str, ...]:
    return tuple(item.tag for case in cases for item in get_args(case) if isinstance(item, Tag))


def _case(cases: Iterable[Any], label: str | int) -> Any:
    """Find the case of a union by pydantic's label for it: a tag, or `list[…]`."""
    for case in cases:
        bare = _bare(case)
        name = getattr(get_origin(bare) or bare, "__name__", "")
        if label in _tags([case]) or str(label).partition("[")[0] == name:
            return case
    return Any


def _within(kind: Any, key: str | int) -> Any:
    """Return the type of a member of a model, list or mapping."""
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        fields = kind.model_fields
        found = [field for name, field in fields.items() if key in (name, field.alias)]
        return Annotated[found[0].annotation, *found[0].metadata, ""] if found else Any
    if get_origin(kind) in (tuple, list):
        return get_args(kind)[0]
    return get_args(kind)[1] if get_origin(kind) is dict else Any


def _overshadowed(finding: _Finding, others: Sequence[_Finding]) -> bool:
    """Tell whether another finding is more precise."""
    path = finding.path
    for other in others:
        if len(other.path) > len(path) and other.path[: len(path)] == path:
            return True
        same = other.path == path and other.kind not in _TYPES
        if same and finding.kind in _TYPES and finding.holder is not spec.FilterUse:
            return True
        beside = other.path[:-1] == path[:-1] and other.kind == "extra_forbidden"
        if beside and finding.kind == "missing" and _alike(other.key, finding.key):
            return True
    return False


def _alike(key: str, known: str) -> bool:
    return bool(difflib.get_close_matches(key, [known]))


def _say(same: Sequence[_Finding]) -> str:
    """Describe what is wrong at one place; several findings are wrong types of one value."""
    finding = same[0]
    value, label = finding.error["input"], _label(finding)
    if finding.holder is spec.FilterUse and finding.key != "arguments":
        return f"{_FILTER}; {_said(value)} is neither"
    if finding.kind in _TYPES:
        words = " or ".join(dict.fromkeys(_TYPES[one.kind] for one in same))
        return f"{label} should be {words}, not {_said(value)}{_quotes(finding)}"
    if finding.kind in _LIMITS:
        return f"{label} should {_limit(finding)}"
    context = finding.error.get("ctx", {})
    match finding.kind:
        case "extra_forbidden":
            return _unknown_key(finding)
        case "missing":
            within = f" in {_name(finding.path[:-1])}" if finding.path[:-1] else ""
            return f"the key {quoted(finding.key)} is missing{within}"
        case "union_tag_not_found":
            return _no_verb(finding, label)
        case "string_pattern_mismatch":
            right = _NAMES.get(context["pattern"], f"a text that matches {context['pattern']}")
            return f"{label} should be {right}, not {_said(value)}"
        case "value_error" | "assertion_error":
            return shown(context["error"])
        case "json_invalid":
            return "it is nested too deeply"
        case _:
            return f"{label}: {shown(finding.error['msg'])}, not {_said(value)}"


def _limit(finding: _Finding) -> str:
    """Describe the limit that a value exceeds, and the value."""
    limits = {
        name: f"{limit:g}" if isinstance(limit, float) else limit
        for name, limit in finding.error.get("ctx", {}).items()
    }
    value = limits.get("actual_length", _said(finding.error["input"]))
    return f"{_LIMITS[finding.kind].format(**limits)}, not {value}"


def _unknown_key(finding: _Finding) -> str:
    if finding.key in finding.verbs:
        verb = next(v for v in finding.verbs if v in finding.holder.model_fields)
        return (
            f"{_name(finding.path[:-1])} is both {quoted(verb)} and {quoted(finding.key)};"
            " write one of them" + (", or two steps" if finding.verbs == spec.VERBS else "")
        )
    fields = finding.holder.model_fields.items()
    return f"unknown key {quoted(finding.key)}" + hint(
        finding.key, [field.alias or name for name, field in fields]
    )


def _keys_of(kind: Any) -> Iterable[str]:
    """Return the keys that a model may have."""
    fields = getattr(kind, "model_fields", {})
    return [key for name, field in fields.items() for key in (name, field.alias) if key]


def _no_verb(finding: _Finding, label: str) -> str:
    known = _tags(_cases(finding.here))
    what = "verb" if known == spec.VERBS else "kind"
    value = finding.error["input"]
    if not isinstance(value, dict):
        return f"{label} should be a mapping (`{known[0]}: …`), not {_said(value)}"
    close = (key for key in value if difflib.get_close_matches(key, known))
    fields = {name for case in _cases(finding.here) for name in _keys_of(_bare(case))}
    written = next(close, "") or next((key for key in value if key not in fields), "")
    but = f", but {quoted(written)}" if written else ""
    return f"{label} has no {what}{but}" + hint(written, known)


def _label(finding: _Finding) -> str:
    key = finding.error["loc"][-1:] == ("[key]",)
    return f"the key {quoted(finding.path[-1])}" if key else _name(finding.path)


def _name(path: Keys) -> str:
    """Name a place in few words: `temperature`, `step 2`, `item 3 of levels`."""
    match path:
        case ():
            return "the file"
        case ("source",):
            return "the source"
        case ("steps", int(index)):
            return f"step {index + 1}"
        case (*_, parent, int(index)):
            return f"item {index + 1} of {shown(parent)}"
        case _:
            return shown(path[-1])


def _said(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a mapping" if value else "an empty mapping"
        case _:
            return shown(value)


def _quotes(finding: _Finding) -> str:
    value = finding.error["input"]
    if finding.kind == "string_type" and (_is_number(value) or isinstance(value, bool)):
        return f"; to write it as text, use quotes: '{_said(value)}'"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
