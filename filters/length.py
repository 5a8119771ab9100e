"""The length of a text."""

import hashlib
from pathlib import Path

import polars as pl

# Scripts without spaces between words: each letter counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = (
    rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+(?:['\x{{2019}}][\p{{L}}\p{{M}}]+)*"
)


def length(column: str, min: int = 1, max: int | None = None) -> pl.Expr:
    """Keep rows whose `column` has at least `min` and at most `max` characters.

    Spaces around the text are not counted.
    """
    return _within(pl.col(f"{column}::text").str.strip_chars().str.len_chars(), min, max)


def words(column: str, min: int = 1, max: int | None = None) -> pl.Expr:
    """Keep rows whose `column` has at least `min` and at most `max` words.

    A word is a run of letters and digits. In Chinese, Japanese, Thai and other scripts without
    spaces, each letter is a word.
    """
    return _within(pl.col(f"{column}::text").str.count_matches(_WORD), min, max)


def tokens(column: str, tokenizer: str, min: int = 1, max: int | None = None) -> pl.Expr:
    """Keep rows whose `column` has at least `min` and at most `max` tokens of a `tokenizer`.

    `tokenizer` is the path of a `tokenizer.json`, relative to the working directory, or a model's
    name on the Hub. Special tokens are not counted. Needs the library `tokenizers`.
    """
    file = Path(tokenizer)
    if file.is_file():
        # A file with different content makes a different filter.
        tokenizer += f"@{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    elif file.suffix == ".json":
        raise ValueError(f"there is no file {tokenizer!r}")
    return _within(pl.col(f"{column}::tokens({tokenizer})"), min, max)


def _within(count: pl.Expr, min: int, max: int | None) -> pl.Expr:
    if max is not None and max < min:
        raise ValueError(f"min is {min} and max is {max}, so no row could be kept")
    return count >= min if max is None else count.is_between(min, max)
