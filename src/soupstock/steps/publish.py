"""Shape what is left as a dataset's rows, and write them as Parquet shards. Pushes nothing."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from soupstock.errors import SoupstockError, shown
from soupstock.records import AFTER, PART_ROWS, Columns, Row, Table, dropped, failed

SHARD_GROUPS = 24
"""How many row groups, of PART_ROWS rows each, a shard holds at most."""


@dataclass(frozen=True)
class Publication:
    """A publish step, bound: the rows' schema, or the columns that are published without one."""

    repository: str
    columns: Columns
    """The published columns and their types."""
    schema: type[BaseModel] | None = None

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"publish: {self.repository}"


@dataclass(frozen=True)
class Shard:
    """A file of the dataset, relative to its folder."""

    file: str
    rows: int
    bytes: int
    """The file's size."""
    arrow_bytes: int
    """The size of its rows in memory, as Arrow tables."""


@dataclass(frozen=True)
class Written:
    """What was written: the files, and the types of their columns."""

    shards: tuple[Shard, ...]
    schema: pa.Schema


def check(step: Publication, rows: list[Row]) -> list[Row]:
    """Drop the rows that break the schema; what is wrong with each is among its failures."""
    return [_checked(step, row) for row in rows] if step.schema else rows


def _checked(step: Publication, row: Row) -> Row:
    try:
        _shaped(step, row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg']}" if where else first["msg"]
        reason = f"publish: no {step.schema.__name__}" if step.schema else "publish"
        return dropped(failed(row, step.label, "Schema", message), reason)
    return row


def _shaped(step: Publication, row: Row) -> dict[str, Any]:
    """Shape a row by the schema; raises pydantic's ValidationError.

    A row under way lacks engine's columns that a row at rest has; the schema sees no difference.
    """
    if step.schema is None:
        return {column: row.get(column) for column in step.columns}
    return step.schema.model_validate({**dict.fromkeys(AFTER), **row}).model_dump(mode="json")


def write(
    step: Publication, table: Table, folder: Path, shard_groups: int = SHARD_GROUPS
) -> Written | None:
    """Write the kept rows as `data/train-…parquet`; the same rows give the same bytes.

    None where no row was kept: a dataset without rows is one that `datasets` refuses to load.
    """
    rows = int(_kept(table.scan()).select(pl.len()).collect().item())
    shards = -(-rows // (shard_groups * PART_ROWS))
    if not shards:
        return None
    schema = _arrow_schema(step.columns)
    groups = _regrouped(_frames(step, table), PART_ROWS)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(shards):
        name = f"data/train-{number:05}-of-{shards:05}.parquet"
        some = itertools.islice(groups, shard_groups)
        written.append(_write_shard(folder, name, schema, some))
    return Written(tuple(written), schema)


def _kept(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("dropped_by").list.len() == 0)


def _frames(step: Publication, table: Table) -> Iterator[pl.DataFrame]:
    """Yield the kept rows as they are published."""
    for part in table.frames():
        kept = _kept(part.lazy()).collect()
        if step.schema is None:
            # By name alone: polars takes a column called `*` for all of them.
            yield pl.DataFrame([kept.get_column(name) for name in step.columns])
        elif kept.height:
            yield _typed([_shaped(step, row) for row in kept.to_dicts()], step.columns)


def _typed(rows: list[Row], columns: Columns) -> pl.DataFrame:
    """Make a frame of shaped rows; what does not fit must not silently become null."""
    data = {name: [row.get(name) for row in rows] for name in columns}
    try:
        return pl.DataFrame(data, schema=dict(columns), strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        reason = shown(str(error).splitlines()[0])
        raise SoupstockError(f"a row does not fit the dataset's columns: {reason}") from error


def _regrouped(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Cut frames anew, so that each but the last has so many rows."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        while sum(some.height for some in waiting) >= rows:
            whole = pl.concat(waiting)
            yield whole.head(rows)
            waiting = [whole.slice(rows)]
    rest = pl.concat(waiting) if waiting else pl.DataFrame()
    if rest.height:
        yield rest


def _write_shard(
    folder: Path, name: str, schema: pa.Schema, frames: Iterable[pl.DataFrame]
) -> Shard:
    path = folder / name
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for frame in frames:
            plain = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write_table(plain.cast(schema), row_group_size=PART_ROWS)
    # As it is read back: what is null nowhere takes no room for nulls then.
    file = pq.ParquetFile(path)
    arrow = sum(file.read_row_group(group).nbytes for group in range(file.num_row_groups))
    return Shard(name, file.metadata.num_rows, path.stat().st_size, arrow)


def _arrow_schema(columns: Columns) -> pa.Schema:
    empty = pl.DataFrame(schema=dict(columns))
    schema = empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    return pa.schema([pa.field(field.name, _common(field.type)) for field in schema])


def _common(dtype: pa.DataType) -> pa.DataType:
    """Return the type that most datasets have in its place: `string` for polars' `large_string`.

    Datasets whose types differ only so cannot be concatenated.
    """
    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype):
        return pa.binary()
    if pa.types.is_dictionary(dtype):
        return _common(dtype.value_type)
    if pa.types.is_large_list(dtype):
        return pa.list_(_common(dtype.value_type))
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(_common(dtype.value_type), dtype.list_size)
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(field.name, _common(field.type)) for field in dtype])
    return dtype
