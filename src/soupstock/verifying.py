"""Bind a verify step: its columns checked, its rule found."""

from collections.abc import Callable, Sequence

import polars as pl

from soupstock import spec
from soupstock.answers import same_line, same_value
from soupstock.columns import check_new, type_at
from soupstock.errors import MistakeError, Place, quoted
from soupstock.records import Columns
from soupstock.sandbox import Limits, tested
from soupstock.steps.verify import Check, Verification

At = Callable[..., Place | None]


def bind_verify(step: spec.Verify, columns: Columns, at: At) -> Verification:
    """Bind a step to the columns that are there by then; raises MistakeError."""
    check_new(step.verify, columns, at("verify"))
    key, path = ("tests", step.tests) if step.by == "tests" else ("answer", step.answer)
    if path is None:
        problem = f"`by: {step.by}` needs `{key}`: the column to hold the answers against"
        raise MistakeError(problem, at("by") or at("verify"))
    _check_text(step.column, columns, at("column"), is_list=True)
    if type_at(path, columns, at(key)).is_nested():
        raise MistakeError(f"{quoted(path)} is no text and no number", at(key))
    if step.than is not None:
        _check_text(step.than, columns, at("than"))
    return Verification(
        step.verify,
        step.column,
        path,
        _check(step, at),
        step.than,
        is_slow=step.by == "tests",
    )


def _check_text(path: str, columns: Columns, place: Place | None, *, is_list: bool = False) -> None:
    allowed = (pl.String(), pl.List(pl.String)) if is_list else (pl.String(),)
    if type_at(path, columns, place) not in allowed:
        several = " and no list of texts" if is_list else ""
        raise MistakeError(f"{quoted(path)} is no text{several}", place)


def _check(step: spec.Verify, at: At) -> Check:
    match step.by:
        case "math":
            return _compared(same_value)
        case "exact":
            return _compared(same_line)
        case "tests":
            limits = Limits(step.seconds, step.megabytes)
            if (lacking := limits.lacking()) is not None:
                raise MistakeError(f"`by: tests` cannot be run here: {lacking}", at("by"))
            return lambda asked: tested(asked, limits)


def _compared(is_same: Callable[[str, str], bool]) -> Check:
    def check(asked: Sequence[tuple[str, str]]) -> Sequence[str | None]:
        return [None if is_same(said, right) else "another answer" for said, right in asked]

    return check
