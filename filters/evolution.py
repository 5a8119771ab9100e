"""Tasks that were rewritten to be harder."""

import polars as pl

_LEFT_OVER = (
    r"(?i)\b(given|rewritten|new|original) (prompt|task)\b|#\s*(prompt|task)|^\s*(task|way):"
)
"""Words of the prompts that ask for it, which are not for the task itself."""


def evolved(column: str, of: str) -> pl.Expr:
    """Keep rows whose `column` says something that `of` did not, and is more than signs.

    These are three of the four rules by which WizardLM eliminates an evolution (Xu et al. 2023,
    arXiv:2304.12244); the fourth, a refusal, is `not_refusal`.
    """
    before, after = pl.col(f"{of}::text"), pl.col(f"{column}::text")
    plain = [
        text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ") for text in (before, after)
    ]
    is_same = plain[0].str.strip_chars() == plain[1].str.strip_chars()
    has_words = after.str.contains(r"\p{L}{2}")
    return ~is_same & has_words & ~after.str.contains(_LEFT_OVER)
