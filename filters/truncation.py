"""Texts that were cut off."""

import polars as pl

_CLOSERS = r"""["'\p{Pe}\p{Pi}\p{Pf}*_`~|>$]"""
_FINISHED = "|".join(
    (
        # Sentence punctuation of many scripts, perhaps inside quotes, brackets or emphasis.
        rf"[.!?\x{{2026}}\p{{Sentence_Terminal}}]\s*{_CLOSERS}*$",
        rf"{_CLOSERS}$",
        r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\x{FE0F}\x{20E3}]$",
        r"https?://\S+$",
        # "Best regards,\nAnna"
        r",[ \t]*\n\s*\S[^\n]{0,40}$",
    )
)
_ITEM = r"[ \t]*(?:[-*+\x{2022}\x{2013}]|\d{1,3}[.)])[ \t]+\S[^\n]*"
# A list may end without a full stop, unless its earlier items have one.
_LIST = rf"(?:[:\x{{FF1A}}]|\n{_ITEM}[^.!?;\s]|^{_ITEM}[^.!?;\s])[ \t]*\n\s*?{_ITEM}$"
_FENCE = r"(?m)^[ \t]*```"
_SHOWN = 30
"""How much of an unfinished end is shown, in characters."""


def not_truncated(column: str) -> pl.Expr:
    """Keep rows whose `column` ends like a finished text, with every code fence closed.

    A finished text ends with sentence punctuation, a closing quote or bracket, a code fence, a list
    item, an emoji, a link or a letter's signature. A bare label ("Paris", "42") has no such end:
    use `words` for columns of labels. In a conversation each of the assistant's turns must end so.
    """
    turn = pl.element().str.strip_chars()
    closed = turn.str.count_matches(_FENCE) % 2 == 0
    finished = closed & (turn.str.contains(_FINISHED) | turn.str.contains(_LIST))
    ends = pl.when(~finished).then(turn.str.tail(_SHOWN))
    unfinished = pl.col(f"{column}::turns").list.eval(ends).list.drop_nulls().list.first()
    return unfinished.is_null() & pl.col(f"{column}::text").is_not_null()
