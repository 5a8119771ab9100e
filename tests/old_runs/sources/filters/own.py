"""The project's own filters."""

import polars as pl


def begins(column: str, letters: list[str]) -> pl.Expr:
    """Keep rows whose `column` begins with one of the letters."""
    return pl.col(f"{column}::text").str.slice(0, 1).is_in(letters)


def brevity(column: str, most: int = 200) -> pl.Expr:
    """Say how short a text is, from 0 to 1."""
    # No division by a number: polars rounds that otherwise for one row than for several.
    return (1 - pl.col(f"{column}::text").str.len_chars() * (1 / most)).clip(0.0, 1.0)
