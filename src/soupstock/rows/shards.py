"""Write a dataset: the kept rows, shaped, in splits and configs, as Parquet shards.

Knows no step and no pipeline.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from soupstock.errors import SoupstockError, shown
from soupstock.rows.row import KEPT, LAST_COLUMNS, Columns, Row
from soupstock.rows.splits import (
    TRAIN,
    Assignment,
    Splits,
    SplitTexts,
    assign_splits,
    groups,
    source_key,
    texts_of,
)
from soupstock.rows.table import PART_ROWS, Table

SHARD_GROUPS = 24
"""How many row groups of PART_ROWS rows a shard has at most."""

CONFIG = "default"
"""The name of the config if there is only one; its folder is `data`."""


@dataclass(frozen=True)
class Shape:
    """One config of a dataset: rows shaped by a schema, or some columns as they are."""

    name: str
    columns: Columns
    """The columns of the dataset, with their types."""
    schema: type[BaseModel] | None = None

    @property
    def folder(self) -> str:
        """The folder of its files."""
        return "data" if self.name == CONFIG else self.name

    def shaped(self, row: Row) -> Row:
        """Shape a row; raises pydantic's ValidationError.

        A row in a run lacks some of the engine's columns that a written row has. They are null for
        the schema, so that it sees no difference.
        """
        if self.schema is None:
            return {column: row.get(column) for column in self.columns}
        return self.schema.model_validate({**dict.fromkeys(LAST_COLUMNS), **row}).model_dump(
            mode="json"
        )


@dataclass(frozen=True)
class Shard:
    """A file of the dataset."""

    file: str
    """Its path, relative to the dataset's folder."""
    rows: int
    bytes: int
    """The file's size."""
    arrow_bytes: int
    """The size of its rows in memory, as Arrow tables."""
    split: str = TRAIN


@dataclass(frozen=True)
class WrittenConfig:
    """One config that was written: its files, and the types of their columns."""

    shape: Shape
    schema: pa.Schema
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Written:
    """A dataset that was written."""

    configs: tuple[WrittenConfig, ...]
    sides: Assignment | None = None
    """Which split each row went to; None without splits."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All files."""
        return tuple(shard for config in self.configs for shard in config.shards)


Flags = npt.NDArray[np.bool_]


class _Part(NamedTuple):
    """The rows of one split of one config."""

    shape: Shape
    split: str
    wanted: Flags
    """Which of the kept rows they are."""


class _Assigned(NamedTuple):
    """Which config and which split each of the kept rows goes to."""

    fits: Sequence[list[bool]]
    """For each shape, whether each row fits it."""
    sides: Assignment | None


def write_shards(
    shapes: Sequence[Shape],
    splits: Splits,
    table: Table,
    folder: Path,
    shard_groups: int = SHARD_GROUPS,
) -> Written | None:
    """Write the kept rows as `data/train-…parquet`; the same rows give the same bytes.

    Each of several configs has its own folder, and each of several splits its own files. Returns
    None if no row was kept, for `datasets` refuses to load a dataset without rows.
    """
    rows = int(_kept(table.scan()).select(pl.len()).collect().item())
    if not rows:
        return None
    found = _assigned(shapes, splits, table, rows)
    configs = []
    for shape, fits in zip(shapes, found.fits, strict=True):
        shards: list[Shard] = []
        for split in (TRAIN, *splits.shares):
            wanted = np.array(fits)
            if found.sides is not None:
                wanted &= (found.sides.names == split).to_numpy()
            part = _Part(shape, split, wanted)
            shards += _write_split(part, table, folder, shard_groups)
        if shards:
            configs.append(WrittenConfig(shape, _arrow_schema(shape.columns), tuple(shards)))
    return Written(tuple(configs), found.sides)


def _assigned(shapes: Sequence[Shape], splits: Splits, table: Table, rows: int) -> _Assigned:
    """Find which shapes each row fits, and which split it goes to."""
    if len(shapes) == 1 and not splits.shares:
        return _Assigned([[True] * rows], None)
    texts: list[list[SplitTexts | None]] = [[] for _ in shapes]
    ids: list[str] = []
    sources: list[bytes] = []
    strata: list[Any] = []
    for part in table.frames():
        for row in _kept(part.lazy()).collect().to_dicts():
            ids.append(row.get("id", str(len(ids))))
            sources.append(source_key(row, splits.source))
            strata.append(_value(row, splits.stratify))
            for shape, own in zip(shapes, texts, strict=True):
                own.append(_texts(shape, row))
    fits = [[one is not None for one in own] for own in texts]
    if not splits.shares:
        return _Assigned(fits, None)
    group = groups(_grouped_by(shapes, texts), sources if splits.source else None)
    sides = assign_splits(splits, group, ids, strata if splits.stratify else None)
    return _Assigned(fits, sides)


def _grouped_by(
    shapes: Sequence[Shape], texts: Sequence[list[SplitTexts | None]]
) -> list[list[SplitTexts | None]]:
    """Choose the texts by which rows are grouped: those of schemas, if there are any."""
    shaped = [some for shape, some in zip(shapes, texts, strict=True) if shape.schema]
    return shaped or list(texts)


def _texts(shape: Shape, row: Row) -> SplitTexts | None:
    try:
        return texts_of(shape.shaped(row))
    except ValidationError:
        return None


def _value(row: Row, path: str | None) -> Any:
    value: Any = row if path else None
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _write_split(part: _Part, table: Table, folder: Path, shard_groups: int) -> Iterator[Shard]:
    shape, split, wanted = part
    number = -(-int(wanted.sum()) // (shard_groups * PART_ROWS))
    if not number:
        return
    schema = _arrow_schema(shape.columns)
    parts = _regrouped(_frames(shape, table, wanted), PART_ROWS)
    (folder / shape.folder).mkdir(parents=True, exist_ok=True)
    for place in range(number):
        name = f"{shape.folder}/{split}-{place:05}-of-{number:05}.parquet"
        some = itertools.islice(parts, shard_groups)
        yield _write_shard(folder, name, schema, some, split)


def _kept(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(KEPT)


def _frames(shape: Shape, table: Table, wanted: Flags) -> Iterator[pl.DataFrame]:
    """Yield the wanted ones of the kept rows, shaped."""
    start = 0
    for part in table.frames():
        kept = _kept(part.lazy()).collect()
        end = start + kept.height
        kept, start = kept.filter(pl.Series(wanted[start:end])), end
        if shape.schema is None:
            # By name alone: polars takes a column called `*` for all of them.
            yield pl.DataFrame([kept.get_column(name) for name in shape.columns])
        elif kept.height:
            yield _typed([shape.shaped(row) for row in kept.to_dicts()], shape.columns)


def _typed(rows: list[Row], columns: Columns) -> pl.DataFrame:
    """Make a frame of shaped rows; a value that does not fit is an error, and not null."""
    data = {name: [row.get(name) for row in rows] for name in columns}
    try:
        return pl.DataFrame(data, schema=dict(columns), strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        reason = shown(str(error).splitlines()[0])
        raise SoupstockError(f"a row does not fit the dataset's columns: {reason}") from error


def _regrouped(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Cut frames into frames of a number of rows; the last may have fewer."""
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
    folder: Path, name: str, schema: pa.Schema, frames: Iterable[pl.DataFrame], split: str
) -> Shard:
    path = folder / name
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for frame in frames:
            plain = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write_table(plain.cast(schema), row_group_size=PART_ROWS)
    # Measured as it is read back: a column without nulls then has no bitmap for them.
    file = pq.ParquetFile(path)
    arrow = sum(file.read_row_group(group).nbytes for group in range(file.num_row_groups))
    return Shard(name, file.metadata.num_rows, path.stat().st_size, arrow, split)


def _arrow_schema(columns: Columns) -> pa.Schema:
    empty = pl.DataFrame(schema=dict(columns))
    schema = empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    return pa.schema([pa.field(field.name, _common(field.type)) for field in schema])


def _common(dtype: pa.DataType) -> pa.DataType:
    """Return the type that most datasets have instead: `string` for polars' `large_string`.

    Datasets cannot be concatenated if their types differ in this alone.
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
