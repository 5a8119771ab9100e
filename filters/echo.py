"""Answers that only repeat the question."""

import polars as pl

# The words that models put around a repeated question. Anything else counts as an answer.
_FILLER = (
    *("a", "an", "answer", "as", "certainly", "course", "here", "is", "instruction", "of", "ok"),
    *("okay", "please", "prompt", "question", "repeat", "repeated", "requested", "response", "s"),
    *("sentence", "sure", "task", "text", "the", "user", "you", "your"),
)
_SHARE = 0.75
_WORD = r"[\p{L}\p{M}\p{N}]+"
_BETWEEN = r"[^\p{L}\p{M}\p{N}]+"
_SIGNS = " \t\r\n.,:;?!\"'`*_#>()[]-\u2026\u2018\u2019\u201c\u201d"
_MARK = "\x1f"
_EDGE = 80
"""How far from either end of an answer to look for its first and last word, in characters."""


def not_echo(column: str, of: str) -> pl.Expr:
    """Keep rows whose `column` does more than repeat the text in the column `of`.

    Case, punctuation and spacing do not count. An echo is the whole of `of`, once or more, with
    only filler around it ("Sure! Here is your question:"), or at least three quarters of it, word
    for word. In a conversation, `column: messages` and `of: messages::user` compare everything that
    the assistant said with everything that the user said.
    """
    text, source = pl.col(f"{column}::text"), pl.col(f"{of}::text")
    # The first and the last word rule out most texts, so that only a few need the slow comparison.
    may_be = _may_echo(text, source).fill_null(value=True)
    answer = _spaced(pl.when(may_be).then(text).otherwise(pl.lit("")))
    # Each repetition becomes a mark; an echo has only filler between the marks.
    marked = answer.str.split(_spaced(source)).list.join(f" {_MARK} ")
    filler = rf"(?:\b(?:{'|'.join(_FILLER)})\b|\s)*"
    whole = marked.str.contains(rf"^{filler}{_MARK}(?:{filler}|{_MARK})*$")
    cut = text.str.to_lowercase().str.strip_chars(_SIGNS)
    part = source.str.to_lowercase().str.contains(cut, literal=True) & (
        cut.str.len_chars() >= _SHARE * source.str.len_chars()
    )
    blank = ~(text.str.contains(_WORD) & source.str.contains(_WORD))
    return blank | ~(whole | part)


def _may_echo(text: pl.Expr, source: pl.Expr) -> pl.Expr:
    """Tell whether a text begins and ends with words of its source or with filler."""
    asked = source.str.to_lowercase()
    first = text.str.head(_EDGE).str.to_lowercase().str.extract(rf"({_WORD})")
    last = text.str.tail(_EDGE).str.to_lowercase().str.extract(rf"({_WORD})(?:{_BETWEEN})?$")
    return pl.all_horizontal(
        word.is_null() | word.is_in(_FILLER) | asked.str.contains(word, literal=True)
        for word in (first, last)
    )


def _spaced(text: pl.Expr) -> pl.Expr:
    """Return a text's words with a space on each side: "art" is not in "start"."""
    words = text.str.to_lowercase().str.replace_all(_BETWEEN, "  ")
    return " " + words.str.strip_chars(" ") + " "
