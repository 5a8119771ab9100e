"""Which language a text is in."""

import polars as pl

_CODES = (
    "am ar az be bg bn ca cs da de el en es et eu fa fi fr gu he hi hr hu hy is it ja ka kn ko ku"
    " lo lt lv ml mr ms nl no or pa pl pt ro ru sk sl sq sr sv ta te th tl tr uk ur vi yo zh"
)
LANGUAGES = frozenset(_CODES.split())
"""The languages that can be told apart, as ISO 639-1 codes."""


def language(column: str, any_of: list[str]) -> pl.Expr:
    """Keep rows whose `column` is written in one of the languages `any_of`: `[en, de]`.

    The language is found by eldc (Efficient Language Detector). Of one or two words it is a
    guess, and where it cannot be told (numbers, symbols) the row is not kept.
    """
    if not any_of:
        raise ValueError("it needs languages, as [en, de]")
    unknown = [code for code in any_of if code not in LANGUAGES]
    if unknown:
        raise ValueError(f"no language is called {unknown[0]!r}; there are: {sorted(LANGUAGES)}")
    return pl.col(f"{column}::language").is_in(any_of)
