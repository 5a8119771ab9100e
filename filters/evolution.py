"""Tasks that were rewritten to be harder."""

import polars as pl

_LEFT_OVER = (
    r"(?i)\b(given|rewritten|new|original) (prompt|task)\b|#\s*(prompt|task)|^\s*(task|way):"
)
"""Words of the rewriting prompt, which do not belong in the task."""


def evolved(column: str, of: str, way: str | None = None) -> pl.Expr:
    """Keep rows whose `column` differs from `of`, has words, and repeats nothing of the prompt.

    Words of the rewriting prompt drop a row. `way` names the column that said how to rewrite the
    task: three consecutive words of it drop a row, too.

    These are three of the four rules by which WizardLM eliminates an evolution (Xu et al. 2023,
    arXiv:2304.12244). For the fourth, a refusal, use `not_refusal`.
    """
    after = pl.col(f"{column}::text")
    is_same = _plain(of) == _plain(column)
    has_words = after.str.contains(r"\p{L}{2}")
    has_prompt = after.str.contains(_LEFT_OVER)
    if way is not None:
        has_prompt |= _threes(column).list.set_intersection(_threes(way)).list.len() > 0
    return ~is_same & has_words & ~has_prompt


def _plain(column: str) -> pl.Expr:
    text = pl.col(f"{column}::text").str.to_lowercase()
    return text.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


def _threes(column: str) -> pl.Expr:
    word = pl.element()
    threes = pl.concat_str(word, word.shift(-1), word.shift(-2), separator=" ")
    return _plain(column).str.split(" ").list.eval(threes.drop_nulls())
