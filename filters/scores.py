"""What a judge said, as a number."""

import polars as pl


def score(column: str, min: float = 0.0, max: float | None = None) -> pl.Expr:
    """Keep rows whose score in `column` is at least `min` and at most `max`.

    `column` is a judge's column or one of numbers. A row without a score is not kept: a judge
    that failed did not say that the row is bad, nor that it is good.
    """
    if max is not None and max < min:
        raise ValueError(f"min is {min} and max is {max}: nothing could be kept")
    value = pl.col(f"{column}::score")
    return value >= min if max is None else value.is_between(min, max)
