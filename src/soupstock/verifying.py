"""Bind a verify step: its columns checked, its rule found."""

from collections.abc import Callable, Sequence

import polars as pl

from soupstock import spec
from soupstock.errors import MistakeError, Place, quoted
from soupstock.judging import formulas, function_calls
from soupstock.judging.answers import same_line, same_value
from soupstock.judging.sandbox import Limits, tested
from soupstock.rows.table import Columns
from soupstock.steps.columns import check_new, type_at
from soupstock.steps.verify import Check, Finding, Verification

At = Callable[..., Place | None]

_NEEDS = {
    "number": "answer",
    "math": "answer",
    "exact": "answer",
    "tests": "tests",
    "call": "tools",
}
"""What each rule holds answers against."""

_RUN = ("math", "tests", "stubs")
"""What is run in a process of its own, with limits."""


def bind_verify(step: spec.Verify, columns: Columns, at: At) -> Verification:
    """Bind a step to the columns that are there by then; raises MistakeError."""
    check_new(step.verify, columns, at("verify"))
    key = _NEEDS[step.by]
    if getattr(step, key) is None:
        problem = f"`by: {step.by}` needs `{key}`: the column to hold the answers against"
        raise MistakeError(problem, at("by") or at("verify"))
    keys = [key, *(["stubs"] if step.by == "call" and step.stubs else [])]
    _check_text(step.column, columns, at("column"), is_list=True)
    for one in keys:
        path = getattr(step, one)
        if type_at(path, columns, at(one)).is_nested():
            raise MistakeError(f"{quoted(path)} is no text and no number", at(one))
    if step.than is not None:
        _check_text(step.than, columns, at("than"))
    if step.tokens is not None:
        _check_count(step.tokens, columns, at("tokens"))
    identity = formulas.version(at("by")).encode() if step.by == "math" else b""
    run = next((one for one in (step.by, *keys) if one in _RUN), None)
    limits = Limits(step.seconds, step.megabytes)
    if run and (lacking := limits.lacking()) is not None:
        raise MistakeError(f"`{run}` cannot be run here: {lacking}", at(run) or at("by"))
    return Verification(
        step.verify,
        step.column,
        tuple(getattr(step, one) for one in keys),
        _check(step, limits, at),
        step.than,
        step.tokens,
        _than_tokens(step, columns, at),
        identity,
        is_slow=run is not None,
    )


def _than_tokens(step: spec.Verify, columns: Columns, at: At) -> str | None:
    """Find the count of the longer answer's tokens beside it; raises MistakeError."""
    if step.tokens is None or step.than is None:
        return None
    path = step.than.removesuffix("shortest") + "tokens"
    try:
        _check_count(path, columns, at("than"))
    except MistakeError as error:
        problem = (
            f"{quoted(step.than)} is not known to have so many tokens: name the `shortest` of a"
            " verify step that has `tokens`, too"
        )
        raise MistakeError(problem, at("than")) from error
    return path


def _check_count(path: str, columns: Columns, place: Place | None) -> None:
    if type_at(path, columns, place) not in (pl.Int64(), pl.List(pl.Int64)):
        raise MistakeError(f"{quoted(path)} is no number of tokens", place)


def _check_text(path: str, columns: Columns, place: Place | None, *, is_list: bool = False) -> None:
    allowed = (pl.String(), pl.List(pl.String)) if is_list else (pl.String(),)
    if type_at(path, columns, place) not in allowed:
        several = " and no list of texts" if is_list else ""
        raise MistakeError(f"{quoted(path)} is no text{several}", place)


def _check(step: spec.Verify, limits: Limits, at: At) -> Check:
    match step.by:
        case "number":
            return _compared(same_value)
        case "math":
            return lambda asked: list(map(Finding, formulas.faults(asked, limits)))
        case "exact":
            return _compared(same_line)
        case "tests":
            return lambda asked: list(map(Finding, tested(asked, limits)))
        case "call":
            function_calls.check_installed(at("by"))
            return lambda asked: function_calls.called(asked, limits)


def _compared(is_same: Callable[[str, str], bool]) -> Check:
    def check(asked: Sequence[tuple[str, ...]]) -> Sequence[Finding]:
        return [
            Finding(None if is_same(said, right) else formulas.ANOTHER) for said, right in asked
        ]

    return check
