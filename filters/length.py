"""How long a text is."""

import polars as pl

# Scripts written without spaces: each of their letters counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = (
    rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+(?:['\x{{2019}}][\p{{L}}\p{{M}}]+)*"
)


def length(column: str, min: int = 1, max: int | None = None) -> pl.Expr:
    """Keep rows whose `column` has at least `min` and at most `max` characters.

    Spaces around the text are not counted.
    """
    return _within(pl.col(column).str.strip_chars().str.len_chars(), min, max)


def words(column: str, min: int = 1, max: int | None = None) -> pl.Expr:
    """Keep rows whose `column` has at least `min` and at most `max` words.

    A word is a run of letters and digits; in Chinese, Japanese, Thai and other scripts that are
    written without spaces it is a letter.
    """
    return _within(pl.col(column).str.count_matches(_WORD), min, max)


def _within(count: pl.Expr, min: int, max: int | None) -> pl.Expr:
    if max is not None and max < min:
        raise ValueError(f"min is {min} and max is {max}: nothing could be kept")
    return count >= min if max is None else count.is_between(min, max)
