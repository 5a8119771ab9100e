"""What is said about a text, held against the text."""

import polars as pl


def _plain(column: str) -> pl.Expr:
    """Even out case, spacing and quotation marks."""
    text = pl.col(f"{column}::text").str.to_lowercase()
    return text.str.replace_all(r"[\s\"'\x{2018}-\x{201F}]+", " ").str.strip_chars(" .!?")


def quoted(column: str, of: str, words: int = 3) -> pl.Expr:
    """Keep rows whose `column` stands in the text in `of`, word for word, with so many words."""
    quote = _plain(column)
    is_long = quote.str.count_matches(r"\S+") >= words
    return is_long & _plain(of).str.contains(quote, literal=True)


def numbers_from(column: str, of: str) -> pl.Expr:
    """Keep rows whose `column` has no number in digits that the text in `of` has not."""
    found, there = (
        pl.col(f"{name}::text").str.extract_all(r"\d+(?:[.,]\d+)*") for name in (column, of)
    )
    return found.list.set_difference(there).list.len() == 0
