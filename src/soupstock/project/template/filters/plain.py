"""Texts without formatting."""

import polars as pl


def plain(column: str) -> pl.Expr:
    """Keep rows whose `column` has no Markdown headings, lists or bold."""
    return ~pl.col(column).str.contains(r"(?m)^\s*(#|[-*] |\d+\. )|\*\*")
