"""Render templates that only print variables, without running them for every row.

For rows of the same shape, what such a template renders differs only in the texts that it prints.
So it is run once with a mark in place of each text; from then on, texts replace the marks.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes

MAX_CHARACTERS = 2_000_000
"""The maximum length of a message."""

MOST_SHAPES = 256
"""How many shapes have a pattern; Jinja renders the rows of any further shape."""

Render = Callable[[Mapping[str, object]], str]

_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(frozen=True)
class PrintedVariables:
    """The variables that a template prints, if it does nothing else."""

    texts: tuple[str, ...]
    """Variables that it prints as they are."""
    groups: tuple[str, ...]
    """Mappings that it loops over, to print their keys and values."""


@dataclass(frozen=True)
class FastRenderer:
    """Renders a template that only prints: texts by a pattern, everything else with Jinja."""

    printed: PrintedVariables
    render: Render
    """Runs the template."""
    _patterns: dict[object, "_Pattern | None"] = field(default_factory=dict, repr=False)

    def __call__(self, columns: Mapping[str, object]) -> str:
        """Render for a row; if a value is not text, Jinja renders or refuses it."""
        values = [columns.get(name) for name in self.printed.texts]
        shape: list[tuple[object, ...]] = []
        if None in values:
            return self.render(columns)
        for name in self.printed.groups:
            group = columns.get(name)
            if type(group) is not dict:
                return self.render(columns)
            inner = group.values()
            values += inner
            shape.append((*group, *[value is None for value in inner]))
        for value in values:
            if type(value) is not str and value is not None:
                return self.render(columns)
        pattern = self._pattern(tuple(shape), columns)
        text = None if pattern is None else pattern.fill(values)
        if text is None or len(text) > MAX_CHARACTERS:
            return self.render(columns)
        return text.strip()

    def _pattern(self, shape: object, columns: Mapping[str, object]) -> "_Pattern | None":
        if shape not in self._patterns:
            if len(self._patterns) == MOST_SHAPES:
                return None
            self._patterns[shape] = self._new_pattern(columns)
        return self._patterns[shape]

    def _new_pattern(self, columns: Mapping[str, object]) -> "_Pattern | None":
        """Run the template with marks for texts; None if it fails, or contains marks of its own."""
        numbers = itertools.count()
        marked: dict[str, object] = {n: _mark(next(numbers)) for n in self.printed.texts}
        for name in self.printed.groups:
            group: Any = columns[name]
            # A null keeps its number among the values, though it is not printed.
            places = {key: next(numbers) for key in group}
            marked[name] = {k: v if v is None else _mark(places[k]) for k, v in group.items()}
            if any(_OPEN in str(key) for key in group):
                return None
        try:
            return _Pattern(self.render(marked))
        except Exception:  # noqa: BLE001 - rendering the row itself will raise it, with its own texts
            return None


class _Pattern:
    """A text with blanks, and which of a row's values goes into each."""

    def __init__(self, rendered: str) -> None:
        parts = _MARK.split(rendered)
        places = [int(place) for place in parts[1::2]]
        self._blank = "%s".join(part.replace("%", "%%") for part in parts[::2])
        self._chosen: Callable[[Sequence[object]], Any] = (
            itemgetter(*places) if places else lambda _: ()
        )

    def fill(self, texts: Sequence[object]) -> str:
        filled: str = self._blank % self._chosen(texts)
        return filled


def _mark(number: int) -> str:
    return f"{_OPEN}{number}{_CLOSE}"


class _NotOnlyPrintingError(Exception):
    """A template does more than print."""


def printed_variables(tree: "nodes.Template") -> PrintedVariables | None:
    """Return the variables that a template prints; None if it does more than print."""
    try:
        texts, groups = _names(tree.body, frozenset())
    except _NotOnlyPrintingError:
        return None
    return None if texts & groups else PrintedVariables(tuple(sorted(texts)), tuple(sorted(groups)))


def _names(body: Iterable["nodes.Node"], own: frozenset[str]) -> tuple[set[str], set[str]]:
    """Collect the variables printed and those looped over; `own` are the names that loops set."""
    from jinja2 import nodes

    texts, groups = set[str](), set[str]()
    for statement in body:
        match statement:
            case nodes.Output(nodes=parts):
                texts |= {name for part in parts if (name := _name(part)) not in own and name}
            case nodes.For(
                target=nodes.Tuple(items=[nodes.Name(name=key), nodes.Name(name=value)]),
                iter=nodes.Call(node=nodes.Getattr(node=nodes.Name(name=group), attr="items")),
                body=inner,
                else_=[],
                test=test,
            ) if group not in own and (test is None or _is_not_none(test, value)):
                more = _names(inner, own | {key, value})
                texts, groups = texts | more[0], groups | more[1] | {group}
            case _:
                raise _NotOnlyPrintingError
    return texts, groups


def _name(part: "nodes.Node") -> str:
    """Return the variable that a part of an output prints; empty for plain text."""
    from jinja2 import nodes

    match part:
        case nodes.Name(name=name):
            return name
        case nodes.TemplateData(data=data) if _OPEN not in data:
            return ""
        case _:
            raise _NotOnlyPrintingError


def _is_not_none(test: "nodes.Node", value: str) -> bool:
    """Tell whether a test is `value is not none`."""
    from jinja2 import nodes

    match test:
        case nodes.Not(node=nodes.Test(node=nodes.Name(name=name), name="none")):
            return bool(name == value)
        case _:
            return False
