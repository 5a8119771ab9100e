"""Texts that repeat themselves."""

import polars as pl


def not_repetitive(  # noqa: PLR0913 - each argument is a threshold
    column: str,
    *,
    lines: float = 0.3,
    line_characters: float = 0.2,
    paragraphs: float = 0.3,
    paragraph_characters: float = 0.2,
    top_2_gram: float = 0.2,
    top_3_gram: float = 0.18,
    top_4_gram: float = 0.16,
    duplicate_5_grams: float = 0.15,
) -> pl.Expr:
    """Keep rows whose `column` repeats at most these shares of itself.

    These are Gopher's repetition rules with their thresholds (Rae et al. 2021, arXiv:2112.11446,
    table A1), adapted to short answers: the top n-gram must occur at least three times, and of the
    duplicate n-grams only 5-grams are counted, as a share of all 5-grams. Case is ignored.

    Args:
        column: The text.
        lines: Share of lines that repeat another.
        line_characters: Share of characters in such lines.
        paragraphs: Share of paragraphs (separated by blank lines) that repeat another.
        paragraph_characters: Share of characters in such paragraphs.
        top_2_gram: Share of characters in the most common pair of words.
        top_3_gram: The same for three words.
        top_4_gram: The same for four words.
        duplicate_5_grams: Share of 5-grams that repeat another.
    """
    limits = {
        "lines": lines,
        "line_characters": line_characters,
        "paragraphs": paragraphs,
        "paragraph_characters": paragraph_characters,
        "top_2_gram": top_2_gram,
        "top_3_gram": top_3_gram,
        "top_4_gram": top_4_gram,
        "duplicate_5_grams": duplicate_5_grams,
    }
    for name, limit in limits.items():
        if not limit >= 0:
            raise ValueError(f"{name} is {limit}, but a share cannot be below 0")
    repetition = pl.col(f"{column}::repetition").struct
    return pl.all_horizontal(repetition.field(name) <= limit for name, limit in limits.items())
