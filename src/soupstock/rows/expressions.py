"""Evaluate the expressions of filters, and check before a run that this will work.

Knows expressions and frames, but no filters, names or arguments.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from soupstock.text.measures import derive, requires, roots

FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError)
_HEIGHTS = (0, 2, 3)
"""The numbers of rows that an expression is tried on, to find one that aggregates."""

_SAMPLE = "A row that is made up, so that a filter has something to read.\n" * 16
_TIMED = (1, 16)
"""The numbers of made-up rows that an expression is timed on: one first, to save memory."""

SLOWEST = 0.05
"""The most CPU seconds that a filter may take for a row of a thousand characters."""

Columns = Mapping[str, pl.DataType | None]
"""The existing columns; None if the type is not known before the run."""


def evaluate(
    keeps: Sequence[pl.Expr], rows: pl.DataFrame, *, are_scores: bool = False
) -> list[pl.Series]:
    """Evaluate all expressions in one query: a Boolean, a null or a number for each row."""
    named = [keep.alias(str(n)) for n, keep in enumerate(keeps)]
    # Lazily, because only then are common parts of several filters computed once.
    answers = derive(rows, keeps).lazy().select(named).collect()
    if answers.height != rows.height:
        raise ValueError(f"it returns {answers.height} values for {rows.height} rows")
    for answer in answers:
        if answer.dtype != pl.Boolean and not (are_scores and answer.dtype.is_numeric()):
            number = ", or a number" if are_scores else ""
            raise ValueError(f"it returns {answer.dtype}, not true or false{number}")
    return answers.get_columns()


def check_shape(expression: pl.Expr) -> None:
    """Check that an expression is plain data with one value for each row; raises ValueError."""
    if _holds_python(expression):
        raise ValueError(
            "it contains a Python function (map_elements, map_batches), which cannot be sent to"
            " another process; write it with polars expressions alone"
        )
    if not roots([expression]) or expression.meta.has_multiple_outputs():
        raise ValueError("it must return one value for each row, from columns that it names")


def _holds_python(expression: pl.Expr) -> bool:
    """Look for Python in the serialised form; without cloudpickle, Python cannot be serialised."""
    try:
        return _is_python(json.loads(expression.meta.serialize(format="json")))
    except pl.exceptions.ComputeError:
        return True


def _is_python(part: Any) -> bool:
    """Look for an anonymous function, or for one in the bytes of a pickle.

    Polars puts three bytes before a pickle, which begins with 128 and the protocol's number.
    """
    match part:
        case {"AnonymousFunction": _} | [_, _, _, 128, 4 | 5, *_]:
            return True
        case dict():
            return any(map(_is_python, part.values()))
        case list():
            return any(map(_is_python, part))
        case _:
            return False


def try_out(expression: pl.Expr, columns: Columns, *, is_score: bool = False) -> None:
    """Try an expression on rows of nulls and on made-up rows of these types.

    Raises:
        ValueError, or an error of polars: It cannot be evaluated, or only slowly.
    """
    needed = {c for c in columns if c in roots([expression])} | (
        requires([expression]) & columns.keys()
    )
    types = {name: columns[name] for name in sorted(needed)}
    if None in types.values():
        return
    for height in _HEIGHTS:
        evaluate([expression], _rows(types, height), are_scores=is_score)
    _check_speed(expression, types)


def _check_speed(expression: pl.Expr, types: Columns) -> None:
    for height in _TIMED:
        rows = _rows(types, height, _made_up)
        # The second time, everything is compiled and loaded.
        seconds = _timed(expression, rows)
        if seconds > SLOWEST * height:
            seconds = _timed(expression, rows)
        if seconds > SLOWEST * height:
            raise ValueError(
                f"it takes {seconds / height:.2g} seconds for a row of {len(_SAMPLE):,} characters;"
                f" the limit is {SLOWEST:g}, because all other rows wait for it"
            )


def _timed(expression: pl.Expr, rows: pl.DataFrame) -> float:
    # CPU time, because by the clock a busy machine would refuse what an idle one accepts.
    started = time.process_time()
    # The filter may not expect such values.
    with contextlib.suppress(*FAULTS):
        evaluate([expression], rows)
    return time.process_time() - started


def _rows(
    types: Columns, height: int, value: Callable[[Any], object] = lambda _: None
) -> pl.DataFrame:
    return pl.DataFrame(
        [
            pl.Series(name, [value(dtype)] * height, dtype=dtype, strict=False)
            for name, dtype in types.items()
        ]
    )


def _made_up(dtype: Any) -> object:
    """Make up a value of a type."""
    match dtype:
        case pl.String():
            return _SAMPLE
        case pl.List() | pl.Array():
            return [_made_up(dtype.inner)] * getattr(dtype, "size", 2)
        case pl.Struct():
            # Filters look at the assistant's messages in a conversation.
            roles = {"role": "assistant"}
            return {f.name: roles.get(f.name) or _made_up(f.dtype) for f in dtype.fields}
        case _:
            return 1 if dtype.is_numeric() else None


def first_paragraph(error: BaseException) -> str:
    """Return the first paragraph of an error's message, in one line."""
    paragraph = " ".join(str(error).strip().partition("\n\n")[0].split())
    return paragraph or type(error).__name__
