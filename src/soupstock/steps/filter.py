"""Ask every filter about every row. Knows expressions and labels, not where filters come from."""

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from soupstock.errors import MistakeError, Place, UnknownNameError, hint, quoted
from soupstock.rows.expressions import FAULTS, Columns, check_shape, evaluate, try_out
from soupstock.text.measures import requires, roots


@dataclass(frozen=True, eq=False)
class Bound:
    """A filter with its arguments: an expression that is true for the rows it keeps."""

    name: str
    arguments: Mapping[str, object]
    expression: pl.Expr

    @property
    def label(self) -> str:
        """Name the filter and its column, as the reason of a drop: `length(response)`."""
        column = self.arguments.get("column")
        return f"{self.name}({column})" if isinstance(column, str) else self.name

    @property
    def full_label(self) -> str:
        """Name the filter and all its arguments: `length(response, min=80)`."""
        inside = (v if k == "column" else f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.name}({', '.join(map(str, inside))})"


@dataclass(frozen=True, eq=False)
class Filtering:
    """A filter step: the reason that is given for a drop, and what keeps a row from it."""

    keeps: tuple[tuple[str, pl.Expr], ...]

    @classmethod
    def of(cls, filters: Sequence[Bound]) -> "Filtering":
        """Label filters so that no two have one label."""
        labels = [bound.label for bound in filters]
        if repeated := {label for label, n in Counter(labels).items() if n > 1}:
            labels = [
                bound.full_label if label in repeated else label
                for bound, label in zip(filters, labels, strict=True)
            ]
        return cls(tuple(zip(_numbered(labels), (b.expression for b in filters), strict=True)))


def _numbered(labels: Iterable[str]) -> list[str]:
    seen: Counter[str] = Counter()
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return numbered


def filter_rows(step: Filtering, rows: pl.DataFrame) -> list[list[str]]:
    """Give for each row the labels of the filters that do not keep it, in the filters' order.

    Every filter is asked, whatever the others say. What a filter cannot tell (null) it does not
    keep. A row's reasons depend on that row alone as long as the expressions do: one that looks at
    other rows (`over`, `shift`) sees whichever rows happen to stream by together.

    Raises:
        MistakeError: A filter cannot be evaluated on these rows.
    """
    reasons: list[list[str]] = [[] for _ in range(rows.height)]
    if not rows.height or not step.keeps:
        return reasons
    for label, kept in zip((label for label, _ in step.keeps), _ask(step, rows), strict=True):
        # Plain Python: on the few rows that stream by, each call into polars costs more.
        for row, keep in enumerate(kept.to_list()):
            if not keep:
                reasons[row].append(label)
    return reasons


def _ask(step: Filtering, rows: pl.DataFrame) -> list[pl.Series]:
    try:
        return evaluate([keep for _, keep in step.keeps], rows)
    except FAULTS as error:
        for label, keep in step.keeps:
            try:
                evaluate([keep], rows)
            except FAULTS as own:
                raise MistakeError(f"filter {quoted(label)} failed: {_line(own)}") from own
        raise MistakeError(f"the filters failed: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """Return the first paragraph of what an error says, in one line."""
    said = " ".join(str(error).strip().partition("\n\n")[0].split())
    return said or type(error).__name__


def bind(  # noqa: PLR0913 - a filter is bound to all of these
    name: str,
    function: Callable[..., object],
    arguments: Mapping[str, object],
    columns: Columns,
    place: Place | None = None,
    *,
    is_score: bool = False,
) -> Bound:
    """Call a filter's function with a pipeline's arguments, and check what it gives.

    Everything that can be known before the run is: arguments and their types, the columns, by a
    trial on rows of nulls that the expression gives one Boolean for each row, and by one on rows
    that are made up that it does not take all day. A rule of a rubric may
    give numbers, too (`is_score`). Not known is whether a row's answer depends on
    other rows (`over`, `shift`).

    Raises:
        UnknownNameError: The expression names a column that is not in `columns`.
        MistakeError: Anything else that is wrong with the arguments or the expression.
    """
    bound = called(name, function, arguments, place)
    try:
        check_shape(bound.expression)
        _check_columns(bound.expression, columns, place)
        try_out(bound.expression, columns, is_score=is_score)
    except FAULTS as error:
        raise MistakeError(f"filter {quoted(name)}: {_line(error)}", place) from error
    return bound


def called(
    name: str,
    function: Callable[..., object],
    arguments: Mapping[str, object],
    place: Place | None = None,
) -> Bound:
    """Call a filter's function with a pipeline's arguments; what it gives is not looked at.

    Raises:
        MistakeError: The arguments are wrong, or the function gives no expression.
    """
    try:
        return Bound(name, arguments, _call(function, arguments))
    except FAULTS as error:
        raise MistakeError(f"filter {quoted(name)}: {_line(error)}", place) from error


def _call(function: Callable[..., object], arguments: Mapping[str, object]) -> pl.Expr:
    checked = _checked_arguments(function, arguments)
    try:
        expression = function(**checked)
    except ValueError:
        raise
    # A user's function may raise anything, and may call sys.exit().
    except (Exception, SystemExit) as error:
        raise ValueError(f"it raised {type(error).__name__}: {_line(error)}") from error
    if inspect.iscoroutine(expression):
        # Or else Python would warn that nobody awaited it.
        expression.close()
    if not isinstance(expression, pl.Expr):
        raise ValueError(  # noqa: TRY004 - bind turns it into the user's error
            f"it gives {type(expression).__name__}, not a polars expression"
        )
    return expression


def _checked_arguments(
    function: Callable[..., object], arguments: Mapping[str, object]
) -> dict[str, object]:
    parameters = _parameters(function)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for given in arguments:
        if given not in named and not takes_any:
            raise ValueError(f"it has no argument {quoted(given)}{hint(given, named)}")
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ValueError(f"it needs the argument {quoted(name)}")
    return {
        name: _checked(name, value, named[name].annotation) if name in named else value
        for name, value in arguments.items()
    }


def _parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    # An annotation in quotes is code, and may raise anything.
    except Exception:  # noqa: BLE001 - it is then left unchecked
        return inspect.signature(function).parameters


def _checked(name: str, value: object, annotation: Any) -> object:
    """Read an argument as its annotation says, strictly: `"80"` is no number, a list is a tuple."""
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return value
    try:
        return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except PydanticUserError:
        return value
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"][:1].lower() + first["msg"][1:]
        raise ValueError(f"{name} is {quoted(value)}, but the {said}") from error


def _check_columns(expression: pl.Expr, columns: Columns, place: Place | None) -> None:
    for root in roots([expression]):
        if root not in columns:
            (column,) = requires([pl.col(root)])
            if column not in columns:
                raise UnknownNameError("column", column, columns, place)
