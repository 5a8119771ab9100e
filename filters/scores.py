"""Judges' scores, and other numbers."""

import polars as pl


def score(column: str, min: float = 0.0, max: float | None = None) -> pl.Expr:
    """Keep rows whose score in `column` is at least `min` and at most `max`.

    `column` is a judge's column or a column of numbers. A row without a score is not kept, because
    a failed judge has said neither that the row is good nor that it is bad.
    """
    return _within(pl.col(f"{column}::score"), min, max)


def number(column: str, min: float | None = None, max: float | None = None) -> pl.Expr:
    """Keep rows whose number in `column` is at least `min` and at most `max`.

    A row without a number, or with NaN, is not kept.
    """
    if min is None and max is None:
        raise ValueError("give min, max or both")
    return _within(pl.col(f"{column}::number"), min, max)


def _within(value: pl.Expr, min: float | None, max: float | None) -> pl.Expr:
    if min is None:
        return value <= max
    if max is None:
        return value >= min
    if max < min:
        raise ValueError(f"min is {min} and max is {max}, so no row could be kept")
    return value.is_between(min, max)
