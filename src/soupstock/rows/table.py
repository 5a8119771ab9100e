"""The table that flows: rows with an id, the reasons they were dropped, and their failures.

A row that streams is a dict of its columns; a table at rest is a folder of Parquet parts in source
order. Rows are only added to: a step puts a column or a reason there, and takes nothing away.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from soupstock.errors import SoupstockError

if TYPE_CHECKING:
    from polars._typing import PolarsDataType


class RecordsError(SoupstockError):
    """Rows that cannot be written."""


Row = dict[str, Any]
"""A row under way: its columns by name. A column that is not there is null."""

ROW_GROUP = 2048
"""How many rows of a file are compressed together: one row is read with so many others."""

PART_ROWS = 8192
"""How many rows a part of a table holds."""

OPEN_PARTS = 16
"""How many parts may wait for rows that are late."""

FAILURE = pl.Struct({"step": pl.String, "cause": pl.String, "message": pl.String})
"""A call that failed: the step's label, the kind of failure, and what was said."""

BEFORE: Mapping[str, pl.DataType] = {"id": pl.String()}
"""The engine's columns that stand before all others."""

AFTER: Mapping[str, pl.DataType] = {
    "twin": pl.String(),
    "similarity": pl.Float64(),
    "failures": pl.List(FAILURE),
    "dropped_by": pl.List(pl.String),
}
"""The engine's columns that stand after all others."""

Columns = Mapping[str, pl.DataType]
"""A table's columns and their types, in order."""


class Ids:
    """Names rows by what they hold, so that neither order nor neighbours change a name.

    The n-th row with the same content gets the n-th name of that content.
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


def is_kept(row: Row) -> bool:
    """Say whether nothing dropped a row so far."""
    return not row["dropped_by"]


def dropped(row: Row, *reasons: str) -> Row:
    """Add reasons to a row."""
    return row | {"dropped_by": [*row["dropped_by"], *reasons]}


def failed(row: Row, step: str, cause: str, message: str) -> Row:
    """Add a failure to a row; whether it also drops the row is for the step to say."""
    failure = {"step": step, "cause": cause, "message": message}
    return row | {"failures": [*row["failures"], failure]}


def frame(rows: Iterable[Row], columns: Columns) -> pl.DataFrame:
    """Make a frame of rows: null where a row has no value, or one that its column cannot hold."""
    rows = list(rows)
    return pl.DataFrame(
        [_series(name, [row.get(name) for row in rows], dtype) for name, dtype in columns.items()]
    )


def instance(dtype: "PolarsDataType") -> pl.DataType:
    """Return a type as an instance: polars lets a class stand for one, too."""
    return dtype() if isinstance(dtype, type) else dtype


def _series(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    """Make a column, and each one within it by itself: polars is quick with plain ones."""
    match dtype:
        case pl.Struct(fields=[_, *_] as fields):
            return _structs(name, values, fields)
        case pl.List(inner=inner):
            return _lists(name, values, instance(inner))
        case _:
            return pl.Series(name, values, dtype=dtype, strict=False)


def _structs(name: str, values: list[Any], fields: Sequence[pl.Field]) -> pl.Series:
    is_there = [isinstance(value, dict) for value in values]
    there = list(itertools.compress(values, is_there)) if not all(is_there) else values
    parts = [_series(f.name, [v.get(f.name) for v in there], instance(f.dtype)) for f in fields]
    structs = pl.DataFrame(parts).to_struct(name)
    if there is values:
        return structs
    places = pl.Series(is_there)
    return structs.gather(pl.select(pl.when(places).then(places.cum_sum() - 1)).to_series())


def _lists(name: str, values: list[Any], inner: pl.DataType) -> pl.Series:
    lists = [value if isinstance(value, list | tuple) else () for value in values]
    flat = _series(name, [one for some in lists for one in some], inner)
    # Made by polars, for pyarrow would import pandas to make them.
    ends = pl.Series([0, *itertools.accumulate(map(len, lists))], dtype=pl.Int64).to_arrow()
    is_there = [value is some for value, some in zip(values, lists, strict=True)]
    is_null = (~pl.Series(is_there, dtype=pl.Boolean)).to_arrow()
    arrow = pa.LargeListArray.from_arrays(ends, flat.to_arrow(), mask=is_null)
    return pl.Series(name, arrow)


@dataclass
class Table:
    """Rows at rest, in source order: Parquet parts in a folder."""

    folder: Path
    columns: Columns
    parts: list[Path] = field(default_factory=list)

    def scan(self) -> pl.LazyFrame:
        """Return all rows as one lazy frame, in source order."""
        if not self.parts:
            return pl.LazyFrame(schema=dict(self.columns))
        return pl.scan_parquet(self.parts, glob=False)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the parts, each a frame of at most PART_ROWS rows."""
        for part in self.parts:
            yield pl.read_parquet(part, glob=False)

    def rows(self) -> Iterator[list[Row]]:
        """Yield the parts as rows."""
        for part in self.frames():
            yield part.to_dicts()

    def map(self, folder: Path, frames: Iterable[pl.DataFrame]) -> "Table":
        """Make the table that holds `frames` in place of this one's parts, and drop this one."""
        table = Table(folder, self.columns)
        for number, part in enumerate(frames):
            table.write(number, part)
        self.clear()
        return table

    def write(self, number: int, part: pl.DataFrame) -> None:
        """Write one part; `number` is its place in the order."""
        path = self.folder / f"part-{number:06}.parquet"
        with _writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_parquet(path, compression="lz4", statistics=False)
        self.parts.append(path)
        self.parts.sort()

    def clear(self) -> None:
        """Remove the parts."""
        for part in self.parts:
            part.unlink(missing_ok=True)
        self.parts = []

    def save(self, path: Path) -> None:
        """Write all rows into one Parquet file, whole or not at all: same rows, same bytes."""
        save(path, self.columns, self.frames())


@dataclass
class _Part:
    """The rows of a part that are there so far, with their places."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    frames: list[pl.DataFrame] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """The places of the frames' rows."""

    def __len__(self) -> int:
        return len(self.rows) + len(self.places)

    def in_order(self, columns: Columns) -> pl.DataFrame:
        """Return all rows, in source order."""
        self.rows.sort(key=lambda indexed: indexed[0])
        single = frame((row for _, row in self.rows), columns)
        if not self.frames:
            return single
        places = pl.Series([*(index for index, _ in self.rows), *self.places])
        return pl.concat([single, *self.frames])[places.arg_sort()]


class Gatherer:
    """Puts rows that end in any order back into source order, a part at a time."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._open: dict[int, _Part] = {}

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait here for earlier ones that no more should begin."""
        return len(self._open) > OPEN_PARTS

    def add(self, index: int, row: Row) -> None:
        """Take the row with this place in the source, counted from 0."""
        number = index // PART_ROWS
        part = self._part(number)
        part.rows.append((index, row))
        if len(part) == PART_ROWS:
            self._write(number)

    def add_frame(self, places: Sequence[int], rows: pl.DataFrame) -> None:
        """Take many rows, with their places in the source, in order."""
        start = 0
        for number, some in itertools.groupby(places, lambda place: place // PART_ROWS):
            part, own = self._part(number), list(some)
            part.places += own
            part.frames.append(rows.slice(start, len(own)))
            start += len(own)
            if len(part) == PART_ROWS:
                self._write(number)

    def finish(self) -> Table:
        """Write what is left and return the table."""
        for number in sorted(self._open):
            self._write(number)
        return self._table

    def _part(self, number: int) -> _Part:
        part = self._open.get(number)
        if part is None:
            part = self._open[number] = _Part()
        return part

    def _write(self, number: int) -> None:
        part = self._open.pop(number)
        self._table.write(number, part.in_order(self._table.columns))


def save(path: Path, columns: Columns, frames: Iterable[pl.DataFrame]) -> None:
    """Write frames into one Parquet file, whole or not at all: same rows, same bytes."""
    partial = path.with_name(f".{path.name}.partial")
    plain = pl.CompatLevel.oldest()
    schema = pl.DataFrame(schema=dict(columns)).to_arrow(compat_level=plain).schema
    with _writing(path), pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in frames:
            arrow = part.to_arrow(compat_level=plain).cast(schema)
            writer.write_table(arrow, row_group_size=ROW_GROUP)
    partial.replace(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what a full or broken disk raises into one line."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        raise RecordsError(f"{path} cannot be written: {error}; every answer is kept") from error


def column(path: str) -> pl.Expr:
    """Refer to a column or a field in it, by path: `item.question`."""
    name, *fields = path.split(".")
    expression = pl.col(name)
    for inner in fields:
        expression = expression.struct.field(inner)
    return expression


def flatten(row: Row, paths: Sequence[str]) -> dict[str, Any]:
    """Pick columns or fields of columns out of a row, by path: `item.question`."""
    return {path: _at(row, path) if "." in path else row.get(path) for path in paths}


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
