"""Valid JSON."""

from typing import Literal

import polars as pl


def valid_json(
    column: str, kind: Literal["any", "object", "array", "string", "number", "boolean"] = "any"
) -> pl.Expr:
    """Keep rows whose `column` is JSON (RFC 8259) of this kind, alone or in one code fence.

    In a conversation each of the assistant's turns must be JSON.
    """
    found = pl.col(f"{column}::json")
    return found.is_not_null() if kind == "any" else found == kind


def no_broken_json(column: str) -> pl.Expr:
    """Keep rows whose `column` has valid JSON in every code fence that is marked `json`."""
    return pl.col(f"{column}::broken_json") == 0
