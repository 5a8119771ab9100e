"""Measures of a column: derived columns that filters can name, though no step makes them.

An expression may name a field of a column (`item.question`, at any depth), a measure of one
(`response::language`), or both, and a measure of a measure (`item.chat::user::language`). Such
columns are derived just before the expression is evaluated, and then discarded. Each row is
measured independently.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import orjson
import polars as pl

from soupstock.errors import hint, quoted
from soupstock.text import conversations, repetition
from soupstock.text.pii import IDENTIFIERS, Identifier
from soupstock.text.tokens import count_tokens

Measure = Callable[[pl.Series], pl.Series]

_CALLED = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
# Not within parentheses: a tokenizer's path may hold anything.
_SEPARATOR = re.compile(r"::(?![^(]*\))")
_JSON_FENCE = re.compile(
    r"^[ \t]*```[ \t]*json\b[^\n]*\n(.*?)(?:^[ \t]*```|\Z)",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_FENCED = re.compile(r"\s*```\w*[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


class Root(NamedTuple):
    """The parts of a column's name in an expression: `item.question::language`."""

    column: str
    fields: tuple[str, ...]
    measures: tuple[str, ...]


def resolve(root: str) -> Root:
    """Split a column's name into its parts.

    Raises:
        ValueError: There is no such measure; the message is for the user.
    """
    path, *measures = _SEPARATOR.split(root)
    for measure in measures:
        _find(measure)
    column, *fields = path.split(".")
    return Root(column, tuple(fields), tuple(measures))


def roots(expressions: Iterable[pl.Expr]) -> list[str]:
    """Return the columns that expressions name, derived or not, each once."""
    return list(dict.fromkeys(root for e in expressions for root in e.meta.root_names()))


def requires(expressions: Iterable[pl.Expr]) -> frozenset[str]:
    """Return the columns that expressions need: `response` for `response::language`.

    Raises:
        ValueError: An expression names an unknown measure.
    """
    return frozenset(resolve(root).column for root in roots(expressions))


def derive(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    """Add the derived columns that expressions name, under the names that they use.

    A column with exactly that name stays as it is; polars reports a missing one.

    Raises:
        ValueError: A measure or a field does not exist; the message is for the user.
    """
    derived = []
    for root in roots(expressions):
        if root in frame.columns:
            continue
        column, fields, measures = resolve(root)
        if column in frame.columns and (fields or measures):
            derived.append(_derived(frame[column], fields, measures).alias(root))
    return frame.with_columns(derived) if derived else frame


def _derived(series: pl.Series, fields: Sequence[str], measures: Sequence[str]) -> pl.Series:
    name = series.name
    for field in fields:
        series = _field(series, name, field)
        name = f"{name}.{field}"
    for measure in measures:
        series = _find(measure)(series.alias(name))
        name = f"{name}::{measure}"
    return series


def _field(series: pl.Series, name: str, field: str) -> pl.Series:
    known = [f.name for f in series.dtype.fields] if isinstance(series.dtype, pl.Struct) else []
    if field not in known:
        raise ValueError(f"{name} has no field called {quoted(field)}{hint(field, known)}")
    return series.struct.field(field)


def _find(measure: str) -> Measure:
    """Find a measure by its name, or by its name and an argument: `tokens(tokenizer.json)`."""
    if measure in MEASURES:
        return MEASURES[measure]
    called = _CALLED.fullmatch(measure)
    if called and called[1] == "tokens":
        return _of_texts(partial(count_tokens, tokenizer=called[2]), pl.UInt32())
    if measure == "tokens":
        raise ValueError("the measure 'tokens' needs a tokenizer: tokens(tokenizer.json)")
    name = called[1] if called else measure
    raise ValueError(f"no measure is called {quoted(name)}{hint(name, [*MEASURES, 'tokens'])}")


def _of_texts(measure: Callable[[list[str]], Any], dtype: pl.DataType) -> Measure:
    """Return a measure that gets all texts that are not null at once; null for null."""

    def measured(values: pl.Series) -> pl.Series:
        texts = conversations.text(values)
        present = texts.drop_nulls()
        found = pl.Series(values.name, measure(present.to_list()), dtype)
        if present.len() == texts.len():
            return found
        # Gathering with a null index gives null.
        places = texts.is_not_null().cum_sum().cast(pl.Int64) - 1
        return found.gather(places.set(texts.is_null(), None))

    return measured


def _language(texts: list[str]) -> list[str | None]:
    """Return each text's language: an ISO 639-1 code, or null if it is unknown."""
    detect = _detector()
    # The detector takes a NUL for the end of the text.
    codes = [detect(text.replace("\0", " ")) for text in texts]
    return [None if code == "und" else code for code in codes]


@cache
def _detector() -> Callable[[str], str]:
    """Return our own detector: a user's code may limit the global one to other languages."""
    import eldc

    eldc.init()
    detect: Callable[[str], str] = eldc.instance().detect_mt
    return detect


def _score(values: pl.Series) -> pl.Series:
    """Return a judge's score, or a number; NaN becomes null."""
    if isinstance(values.dtype, pl.Struct):
        values = _field(values, values.name, "score")
    return _number(values)


def _number(values: pl.Series) -> pl.Series:
    """Return a number; NaN becomes null."""
    if values.dtype == pl.Null:
        return values.cast(pl.Float64)
    if not values.dtype.is_numeric():
        raise ValueError(f"{values.name} is {values.dtype}, not a number")
    # For polars NaN is greater than every number, so it would pass every `min`.
    numbers = values.cast(pl.Float64)
    return numbers.fill_nan(None) if numbers.is_nan().any() else numbers


def _repetition(texts: list[str]) -> pl.Series:
    return pl.DataFrame(repetition.shares(texts)).to_struct()


def _count(identifier: Identifier, values: pl.Series) -> pl.Series:
    return identifier.count(conversations.text(values))


def _json(values: pl.Series) -> pl.Series:
    """Return the kind of JSON of each text, alone or in one code fence: `object`; null if not JSON.

    Several texts must all be of one kind.
    """
    lists = conversations.turns(values).to_list()
    kinds = [{_kind(text) for text in texts or [""]} for texts in lists]
    found = [next(iter(kind)) if len(kind) == 1 else None for kind in kinds]
    return pl.Series(values.name, found, dtype=pl.String)


def _kind(text: str) -> str | None:
    fenced = _FENCED.fullmatch(text)
    try:
        value = orjson.loads(fenced[1] if fenced else text)
    except orjson.JSONDecodeError:
        return None
    return _KINDS.get(type(value), "number")


def _broken_json(texts: list[str]) -> list[int]:
    """Count the code fences that are marked as JSON but do not hold JSON."""
    return [
        sum(_kind(found) is None for found in _JSON_FENCE.findall(text)) if "```" in text else 0
        for text in texts
    ]


MEASURES: Mapping[str, Measure] = {
    "text": conversations.text,
    "turns": conversations.turns,
    **{role: partial(conversations.said_by, role) for role in conversations.ROLES},
    "language": _of_texts(_language, pl.String()),
    "repetition": _of_texts(_repetition, pl.Struct(dict.fromkeys(repetition.NAMES, pl.Float64()))),
    "json": _json,
    "broken_json": _of_texts(_broken_json, pl.UInt32()),
    **{name: partial(_count, found) for name, found in IDENTIFIERS.items()},
    "score": _score,
    "number": _number,
}
"""The measures of a column. Besides these, `tokens(…)` counts a tokenizer's tokens."""


def read_texts(frame: pl.DataFrame, path: str) -> pl.Series:
    """Read the texts of a column, a field or a role: `answer`, `item.answer`, `messages::user`.

    Raises:
        ValueError: The column holds no texts; the message is for the user.
    """
    return _read(frame, path, "text")


def read_turns(frame: pl.DataFrame, path: str) -> pl.Series:
    """Read the same texts as lists, with a text for each turn.

    Raises:
        ValueError: The column holds no texts; the message is for the user.
    """
    return _read(frame, path, "turns")


def read_scores(frame: pl.DataFrame, path: str) -> pl.Series:
    """Read a column's numbers, or the scores of its verdicts; null if there is none.

    Raises:
        ValueError: The column holds neither.
    """
    return _read(frame, path, "score")


def _read(frame: pl.DataFrame, path: str, measure: str) -> pl.Series:
    root = pl.col(f"{path}::{measure}")
    return derive(frame, [root]).select(root.alias("")).to_series()
