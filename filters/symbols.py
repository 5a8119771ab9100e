"""The share of a text that is not words: symbols, bullets, ellipses.

These are Gopher's rules for documents (Rae et al. 2021, arXiv:2112.11446, section A1.1); `symbols`
is our own.
"""

import polars as pl

_SYMBOL = r"[^\p{L}\p{M}\p{N}\s]"


def symbols(column: str, max: float = 0.25) -> pl.Expr:
    """Keep rows whose `column` has at most `max` symbols for each character.

    A symbol is neither a letter nor a digit nor white space. Prose has about 0.04; code and tables
    have 0.2 and more.
    """
    text = pl.col(f"{column}::text")
    return _share(text.str.count_matches(_SYMBOL), text.str.len_chars()) <= _checked(max)


def symbols_per_word(column: str, max: float = 0.1) -> pl.Expr:
    """Keep rows whose `column` has at most `max` hashes or ellipses for each word."""
    text = pl.col(f"{column}::text")
    found = text.str.count_matches(r"#|\.\.\.|\x{2026}")
    return _share(found, text.str.count_matches(r"\S+")) <= _checked(max)


def alphabetic_words(column: str, min: float = 0.8) -> pl.Expr:
    """Keep rows whose `column` has letters in at least a share `min` of its words."""
    text = pl.col(f"{column}::text")
    lettered = text.str.count_matches(r"[^\s\p{L}]*\p{L}\S*")
    return _share(lettered, text.str.count_matches(r"\S+")) >= _checked(min)


def bullet_lines(column: str, max: float = 0.9) -> pl.Expr:
    """Keep rows whose `column` has bullets at the start of at most a share `max` of its lines."""
    bullets = r"(?m)^[ \t]*(?:[-*+\x{2022}\x{2023}\x{25E6}]|\d{1,3}[.)])[ \t]+\S"
    text = pl.col(f"{column}::text")
    return _share(text.str.count_matches(bullets), _lines(text)) <= _checked(max)


def ellipsis_lines(column: str, max: float = 0.3) -> pl.Expr:
    """Keep rows whose `column` has ellipses at the end of at most a share `max` of its lines."""
    text = pl.col(f"{column}::text")
    found = text.str.count_matches(r"(?m)(?:\.\.\.|\x{2026})[ \t]*$")
    return _share(found, _lines(text)) <= _checked(max)


def _lines(text: pl.Expr) -> pl.Expr:
    return text.str.count_matches(r"(?m)^[^\n]*\S[^\n]*$")


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return part.cast(pl.Float64) / pl.max_horizontal(whole, 1)


def _checked(share: float) -> float:
    if not 0 <= share <= 1:
        raise ValueError(f"a share should be from 0 to 1, not {share}")
    return share
