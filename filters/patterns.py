"""What a text must hold: words, or what a regular expression describes."""

import polars as pl


def contains(column: str, text: str | list[str], *, ignore_case: bool = False) -> pl.Expr:
    """Keep rows whose `column` holds this text, or each of several texts."""
    texts = [text] if isinstance(text, str) else text
    if not all(texts) or not texts:
        raise ValueError("it needs a text that is not empty")
    found = pl.col(f"{column}::text")
    if ignore_case:
        found, texts = found.str.to_lowercase(), [text.lower() for text in texts]
    return pl.all_horizontal(found.str.contains(text, literal=True) for text in texts)


def matches(column: str, pattern: str) -> pl.Expr:
    """Keep rows whose `column` has something that this regular expression (of Rust) finds.

    `^` and `$` are the text's beginning and end; with `(?m)` before them, a line's.
    """
    return pl.col(f"{column}::text").str.contains(pattern)
