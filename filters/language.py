"""The language of a text."""

import polars as pl

_CODES = (
    "am ar az be bg bn ca cs da de el en es et eu fa fi fr gu he hi hr hu hy is it ja ka kn ko ku"
    " lo lt lv ml mr ms nl no or pa pl pt ro ru sk sl sq sr sv ta te th tl tr uk ur vi yo zh"
)
LANGUAGES = frozenset(_CODES.split())
"""The languages that can be detected, as ISO 639-1 codes."""


def language(column: str, any_of: list[str]) -> pl.Expr:
    """Keep rows whose `column` is written in one of the languages `any_of`: `[en, de]`.

    The language is detected by eldc (Efficient Language Detector). For one or two words it is a
    guess. A row without a detectable language (numbers, symbols) is not kept.
    """
    if not any_of:
        raise ValueError("give at least one language, as in [en, de]")
    unknown = [code for code in any_of if code not in LANGUAGES]
    if unknown:
        raise ValueError(f"no language is called {unknown[0]!r}; there are: {sorted(LANGUAGES)}")
    return pl.col(f"{column}::language").is_in(any_of)
