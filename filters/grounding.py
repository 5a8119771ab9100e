"""Claims about a text, compared with the text."""

import polars as pl


def _plain(column: str) -> pl.Expr:
    """Return a text without case, quotation marks and repeated spaces."""
    text = pl.col(f"{column}::text").str.to_lowercase()
    return text.str.replace_all(r"[\s\"'\x{2018}-\x{201F}]+", " ").str.strip_chars(" .!?")


def quoted(column: str, of: str, words: int = 3) -> pl.Expr:
    """Keep rows whose `column` is a literal quote from `of`, of at least `words` words."""
    quote = _plain(column)
    is_long = quote.str.count_matches(r"\S+") >= words
    return is_long & _plain(of).str.contains(quote, literal=True)


def numbers_from(column: str, of: str) -> pl.Expr:
    """Keep rows whose `column` has only numbers (in digits) that the text in `of` has, too."""
    found, known = (
        pl.col(f"{name}::text").str.extract_all(r"\d+(?:[.,]\d+)*") for name in (column, of)
    )
    return found.list.set_difference(known).list.len() == 0
