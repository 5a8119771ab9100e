"""Answers that only repeat what was asked."""

import polars as pl

# What models put around a repeated question. Anything else is taken for an answer.
_FILLER = (
    r"^\s*(?:(?:a|an|answer|as|certainly|course|here|is|instruction|of|ok|okay|please|prompt"
    r"|question|repeat|repeated|requested|response|s|sentence|sure|task|text|the|user|you|your)\s*)*$"
)
_SHARE = 0.8


def not_echo(column: str, of: str) -> pl.Expr:
    """Keep rows whose `column` does more than repeat the text in the column `of`.

    Case, punctuation and spacing do not count. An echo is the whole of `of`, once or more, with
    nothing but filler around it ("Sure! Here is your question:"), or its greater part (four
    fifths) cut out.
    """
    answer, asked = _spaced(column), _spaced(of)
    nothing = " " * 2
    rest = answer.str.split(asked).list.join(" ")
    whole = (rest.str.len_chars() < answer.str.len_chars()) & rest.str.contains(_FILLER)
    part = asked.str.contains(answer, literal=True) & (
        answer.str.len_chars() >= _SHARE * asked.str.len_chars()
    )
    return (asked == nothing) | (answer == nothing) | ~(whole | part)


def _spaced(column: str) -> pl.Expr:
    """Write a text as its words alone, a space on each side of each: "art" is not in "start"."""
    words = pl.col(column).str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}]+", "  ")
    return " " + words.str.strip_chars(" ") + " "
