"""Call a filter with its arguments, and check its expression against the columns."""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from soupstock.errors import MistakeError, Place, UnknownNameError, hint, quoted
from soupstock.rows.expressions import FAULTS, Columns, check_shape, first_paragraph, try_out
from soupstock.text.measures import requires, roots


@dataclass(frozen=True, eq=False)
class BoundFilter:
    """A filter with its arguments: an expression that is true for the rows that it keeps."""

    name: str
    arguments: Mapping[str, object]
    expression: pl.Expr

    @property
    def label(self) -> str:
        """The filter and its column, as in the reason of a drop: `length(response)`."""
        column = self.arguments.get("column")
        return f"{self.name}({column})" if isinstance(column, str) else self.name

    @property
    def full_label(self) -> str:
        """The filter and all its arguments: `length(response, min=80)`."""
        inside = (v if k == "column" else f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.name}({', '.join(map(str, inside))})"


def bind_filter(  # noqa: PLR0913 - a filter is bound to all of these
    name: str,
    function: Callable[..., object],
    arguments: Mapping[str, object],
    columns: Columns,
    place: Place | None = None,
    *,
    is_score: bool = False,
) -> BoundFilter:
    """Call a filter's function with a pipeline's arguments, and check the expression it returns.

    This checks everything that can be known before the run: the arguments and their types, the
    columns, that the expression gives one Boolean for each row (tried on rows of nulls), and that
    it is fast enough (tried on made-up rows). A rule of a rubric may also give numbers
    (`is_score`). Whether a row's answer depends on other rows (`over`, `shift`) is not checked.

    Raises:
        UnknownNameError: The expression names a column that is not in `columns`.
        MistakeError: Anything else that is wrong with the arguments or the expression.
    """
    bound = call_filter(name, function, arguments, place)
    try:
        check_shape(bound.expression)
        _check_columns(bound.expression, columns, place)
        try_out(bound.expression, columns, is_score=is_score)
    except FAULTS as error:
        raise MistakeError(f"filter {quoted(name)}: {first_paragraph(error)}", place) from error
    return bound


def call_filter(
    name: str,
    function: Callable[..., object],
    arguments: Mapping[str, object],
    place: Place | None = None,
) -> BoundFilter:
    """Call a filter's function with a pipeline's arguments, without checking the expression.

    Raises:
        MistakeError: The arguments are wrong, or the function returns no expression.
    """
    try:
        return BoundFilter(name, arguments, _call(function, arguments))
    except FAULTS as error:
        raise MistakeError(f"filter {quoted(name)}: {first_paragraph(error)}", place) from error


def _call(function: Callable[..., object], arguments: Mapping[str, object]) -> pl.Expr:
    checked = _checked_arguments(function, arguments)
    try:
        expression = function(**checked)
    except ValueError:
        raise
    # A user's function may raise anything, and may call sys.exit().
    except (Exception, SystemExit) as error:
        raise ValueError(f"it raised {type(error).__name__}: {first_paragraph(error)}") from error
    if inspect.iscoroutine(expression):
        # Otherwise Python would warn that it was never awaited.
        expression.close()
    if not isinstance(expression, pl.Expr):
        raise ValueError(  # noqa: TRY004 - bind turns it into the user's error
            f"it returns {type(expression).__name__}, not a polars expression"
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
    except Exception:  # noqa: BLE001 - the arguments are then not checked
        return inspect.signature(function).parameters


def _checked(name: str, value: object, annotation: Any) -> object:
    """Validate an argument by its annotation, strictly: `"80"` is not a number."""
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return value
    try:
        return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except PydanticUserError:
        return value
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise ValueError(f"{name} is {quoted(value)}, but the {message}") from error


def _check_columns(expression: pl.Expr, columns: Columns, place: Place | None) -> None:
    for root in roots([expression]):
        if root not in columns:
            (column,) = requires([pl.col(root)])
            if column not in columns:
                raise UnknownNameError("column", column, columns, place)
