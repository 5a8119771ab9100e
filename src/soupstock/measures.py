"""What the engine can say of a column: columns that filters name and no step makes.

An expression may name a field of a column (`item.question`, at any depth), a measure of one
(`response::language`), or both (`item.question::language`). Such columns are derived just before
the expression is evaluated, and are not kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import polars as pl

from soupstock.errors import hint, quoted


class Root(NamedTuple):
    """A column that an expression names: `item.question::language`, taken apart."""

    column: str
    fields: tuple[str, ...]
    measure: str | None


def resolve(root: str) -> Root:
    """Take a column's name apart.

    Raises:
        ValueError: There is no such measure; the message is one for the user.
    """
    path, separator, measure = root.partition("::")
    if separator and measure not in MEASURES:
        raise ValueError(f"no measure is called {quoted(measure)}{hint(measure, MEASURES)}")
    column, *fields = path.split(".")
    return Root(column, tuple(fields), measure or None)


def roots(expressions: Iterable[pl.Expr]) -> list[str]:
    """List the columns that expressions name, derived or not, each once."""
    return list(dict.fromkeys(root for e in expressions for root in e.meta.root_names()))


def requires(expressions: Iterable[pl.Expr]) -> frozenset[str]:
    """Say which columns must be there for these expressions: `response` for `response::language`.

    Raises:
        ValueError: An expression names a measure that there is not.
    """
    return frozenset(resolve(root).column for root in roots(expressions))


def derive(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    """Add the derived columns that these expressions name, under the names they use.

    A column that is there under the very name is left as it is, and one that is not there at all
    is left for polars to miss.

    Raises:
        ValueError: A measure or a field is not there; the message is one for the user.
    """
    derived = []
    for root in roots(expressions):
        if root in frame.columns:
            continue
        column, fields, measure = resolve(root)
        if column in frame.columns and (fields or measure):
            series = _field(frame[column], column, fields)
            derived.append((MEASURES[measure](series) if measure else series).alias(root))
    return frame.with_columns(derived) if derived else frame


def _field(series: pl.Series, name: str, fields: Sequence[str]) -> pl.Series:
    for field in fields:
        known = [f.name for f in series.dtype.fields] if isinstance(series.dtype, pl.Struct) else []
        if field not in known:
            raise ValueError(f"{name} has no field called {quoted(field)}{hint(field, known)}")
        series = series.struct.field(field)
        name = f"{name}.{field}"
    return series


def _language(texts: pl.Series) -> pl.Series:
    """Tell each text's language: an ISO 639-1 code, null where it cannot be told."""
    if isinstance(texts.dtype, (pl.Categorical, pl.Enum)):
        texts = texts.cast(pl.String)
    if texts.dtype not in (pl.String, pl.Null):
        raise ValueError(f"a language is measured of texts, and {texts.name} is {texts.dtype}")
    detect = _detector()
    # The detector stops at a NUL as at the end of the text.
    codes = [None if text is None else detect(text.replace("\0", " ")) for text in texts.to_list()]
    return pl.Series([None if code == "und" else code for code in codes], dtype=pl.String)


@cache
def _detector() -> Callable[[str], str]:
    """Make a detector of our own: a user's code may set the global one to other languages."""
    import eldc

    eldc.init()
    detect: Callable[[str], str] = eldc.instance().detect_mt
    return detect


def _score(values: pl.Series) -> pl.Series:
    """Take a judge's score, or a number as it is; null where it is none."""
    if isinstance(values.dtype, pl.Struct):
        values = _field(values, values.name, ("score",))
    if values.dtype == pl.Null:
        return values.cast(pl.Float64)
    if not values.dtype.is_numeric():
        raise ValueError(f"a score is a number, and {values.name} is {values.dtype}")
    # To polars NaN is greater than every number, and so would pass each `min`.
    scores = values.cast(pl.Float64)
    return scores.fill_nan(None) if scores.is_nan().any() else scores


MEASURES: Mapping[str, Callable[[pl.Series], pl.Series]] = {
    "language": _language,
    "score": _score,
}
"""What can be measured of a column, each row by itself."""
