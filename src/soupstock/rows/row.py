"""A row: its id, the reasons why it was dropped, and its failures; and frames of rows."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl
import pyarrow as pa

from soupstock.errors import SoupstockError

if TYPE_CHECKING:
    from polars._typing import PolarsDataType


class WriteError(SoupstockError):
    """Rows that cannot be written."""


Row = dict[str, Any]
"""A row in a run: its values by column. A missing column is null."""


FAILURE = pl.Struct({"step": pl.String, "cause": pl.String, "message": pl.String})
"""A failed call: the step's label, the kind of failure, and the message."""


FIRST_COLUMNS: Mapping[str, pl.DataType] = {"id": pl.String()}
"""The engine's columns before all others."""


LAST_COLUMNS: Mapping[str, pl.DataType] = {
    "twin": pl.String(),
    "similarity": pl.Float64(),
    "failures": pl.List(FAILURE),
    "dropped_by": pl.List(pl.String),
}
"""The engine's columns after all others."""


Columns = Mapping[str, pl.DataType]
"""A table's columns and their types, in order."""


class Ids:
    """Makes ids of rows from their content, so that no id depends on other rows or their order.

    The n-th row with the same content gets the n-th id of that content.
    """

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    def name(self, content: Mapping[str, Any]) -> str:
        """Return the next row's id: 16 hexadecimal digits."""
        text = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
        digest = blake2b(text, digest_size=8).digest()
        seen = self._seen[digest]
        self._seen[digest] = seen + 1
        if seen:
            digest = blake2b(digest + seen.to_bytes(8), digest_size=8).digest()
        return digest.hex()


KEPT = pl.col("dropped_by").list.len() == 0
"""Whether a row is kept: nothing dropped it so far."""


def is_kept(row: Row) -> bool:
    """Tell whether a row is kept: nothing dropped it so far."""
    return not row["dropped_by"]


def dropped(row: Row, *reasons: str) -> Row:
    """Add reasons to a row."""
    return row | {"dropped_by": [*row["dropped_by"], *reasons]}


def failed(row: Row, step: str, cause: str, message: str) -> Row:
    """Add a failure to a row; the step decides whether it also drops the row."""
    failure = {"step": step, "cause": cause, "message": message}
    return row | {"failures": [*row["failures"], failure]}


def frame(rows: Iterable[Row], columns: Columns) -> pl.DataFrame:
    """Make a frame of rows, with null for a missing value or one that the column cannot hold."""
    rows = list(rows)
    return pl.DataFrame(
        [_series(name, [row.get(name) for row in rows], dtype) for name, dtype in columns.items()]
    )


def instance(dtype: "PolarsDataType") -> pl.DataType:
    """Return a type as an instance: polars also accepts a class as a type."""
    return dtype() if isinstance(dtype, type) else dtype


def _series(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    """Make a column from its innermost columns: polars is fast with those of plain types."""
    match dtype:
        case pl.Struct(fields=[_, *_] as fields):
            return _structs(name, values, fields)
        case pl.List(inner=inner):
            return _lists(name, values, instance(inner))
        case _:
            return pl.Series(name, values, dtype=dtype, strict=False)


def _structs(name: str, values: list[Any], fields: Sequence[pl.Field]) -> pl.Series:
    is_present = [isinstance(value, dict) for value in values]
    present = list(itertools.compress(values, is_present)) if not all(is_present) else values
    parts = [_series(f.name, [v.get(f.name) for v in present], instance(f.dtype)) for f in fields]
    structs = pl.DataFrame(parts).to_struct(name)
    if present is values:
        return structs
    places = pl.Series(is_present)
    return structs.gather(pl.select(pl.when(places).then(places.cum_sum() - 1)).to_series())


def _lists(name: str, values: list[Any], inner: pl.DataType) -> pl.Series:
    lists = [value if isinstance(value, list | tuple) else () for value in values]
    flat = _series(name, [one for some in lists for one in some], inner)
    # Made by polars, because pyarrow would import pandas.
    ends = pl.Series([0, *itertools.accumulate(map(len, lists))], dtype=pl.Int64).to_arrow()
    is_present = [value is some for value, some in zip(values, lists, strict=True)]
    is_null = (~pl.Series(is_present, dtype=pl.Boolean)).to_arrow()
    arrow = pa.LargeListArray.from_arrays(ends, flat.to_arrow(), mask=is_null)
    return pl.Series(name, arrow)


def column(path: str) -> pl.Expr:
    """Return the expression of a column or a field of it, by path: `item.question`."""
    name, *fields = path.split(".")
    expression = pl.col(name)
    for inner in fields:
        expression = expression.struct.field(inner)
    return expression


def flatten(row: Row, paths: Sequence[str]) -> dict[str, Any]:
    """Return a row's columns or fields of columns by path: `item.question`."""
    return {path: _at(row, path) if "." in path else row.get(path) for path in paths}


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
