"""Texts that contain given words, or match a regular expression."""

import polars as pl


def contains(column: str, text: str | list[str], *, ignore_case: bool = False) -> pl.Expr:
    """Keep rows whose `column` contains `text`, or all of several texts."""
    texts = [text] if isinstance(text, str) else text
    if not all(texts) or not texts:
        raise ValueError("give a text that is not empty")
    found = pl.col(f"{column}::text")
    if ignore_case:
        found, texts = found.str.to_lowercase(), [text.lower() for text in texts]
    return pl.all_horizontal(found.str.contains(text, literal=True) for text in texts)


def matches(column: str, pattern: str) -> pl.Expr:
    """Keep rows whose `column` matches this regular expression (of Rust's `regex`) anywhere.

    `^` and `$` match the beginning and the end of the text; after `(?m)`, those of a line.
    """
    return pl.col(f"{column}::text").str.contains(pattern)
