"""Texts that go round in circles."""

import polars as pl

_OFTEN = 3
"""How often an n-gram must occur to count as the top one: a short answer may name a thing twice."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+"
# Lines without a letter or digit (a lone brace, the rule of a table) repeat rightly.
_LINE = r"[^\n]*[\p{L}\p{N}][^\n]*"


def not_repetitive(  # noqa: PLR0913 - each is a threshold of its own
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

    The repetition rules of Gopher with their thresholds (Rae et al. 2021, arXiv:2112.11446, table
    A1), fitted to short answers: an n-gram counts as the top one from three occurrences on, and of
    the duplicate n-grams only 5-grams are counted, as a share of all 5-grams.

    Args:
        column: The text.
        lines: Share of lines that repeat another.
        line_characters: Share of characters in such lines.
        paragraphs: Share of paragraphs (set apart by blank lines) that repeat another.
        paragraph_characters: Share of characters in such paragraphs.
        top_2_gram: Share of characters in the most common pair of words.
        top_3_gram: The same for three words.
        top_4_gram: The same for four words.
        duplicate_5_grams: Share of 5-grams that repeat another.
    """
    text = pl.col(column)
    tops = ((2, top_2_gram), (3, top_3_gram), (4, top_4_gram))
    words = text.str.to_lowercase().str.extract_all(_WORD)
    characters = words.list.join(" ").str.len_chars()
    return pl.all_horizontal(
        *_distinct(text.str.extract_all(_LINE), lines, line_characters),
        *_distinct(_paragraphs(text), paragraphs, paragraph_characters),
        *(_top(_grams(words, n)) <= share * characters for n, share in tops),
        _repeats(_grams(words, 5)) <= duplicate_5_grams * _grams(words, 5).list.len(),
    )


def _paragraphs(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"\n[ \t\r]*\n\s*", "\n\n").str.strip_chars().str.split("\n\n")


def _distinct(parts: pl.Expr, count: float, characters: float) -> tuple[pl.Expr, pl.Expr]:
    total = parts.list.join("").str.len_chars()
    once = parts.list.unique().list.join("").str.len_chars()
    return _repeats(parts) <= count * parts.list.len(), total - once <= characters * total


def _repeats(parts: pl.Expr) -> pl.Expr:
    return parts.list.len() - parts.list.n_unique()


def _grams(words: pl.Expr, n: int) -> pl.Expr:
    shifted = [pl.element().shift(-k) for k in range(n)]
    return words.list.eval(pl.concat_str(shifted, separator=" ").drop_nulls())


def _top(grams: pl.Expr) -> pl.Expr:
    """Count the characters of the n-gram that covers most, if it occurs often enough."""
    counts = pl.element().unique_counts()
    covered = counts * pl.element().unique(maintain_order=True).str.len_chars()
    return (
        grams.list.eval(pl.when(counts >= _OFTEN).then(covered).otherwise(0).max())
        .list.first()
        .fill_null(0)
    )
