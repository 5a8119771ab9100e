"""Tables on disk: rows in source order, in a folder of Parquet parts.

Steps only add to rows: a column, a reason, a failure.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from soupstock.artifacts.files import written_whole
from soupstock.rows.row import Columns, Row, WriteError, frame

ROW_GROUP = 2048
"""How many rows of a file are compressed together: reading one row reads all of them."""

PART_ROWS = 8192
"""The number of rows in a part of a table."""

OPEN_PARTS = 16
"""How many parts may wait for missing rows."""


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
        """Return a new table with `frames` as its parts, and remove the parts of this one."""
        table = Table(folder, self.columns)
        for number, part in enumerate(frames):
            table.write(number, part)
        self.clear()
        return table

    def write(self, number: int, part: pl.DataFrame) -> None:
        """Write one part; `number` is its position in the order."""
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
    """The rows of a part that have arrived so far, with their places."""

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


class ReorderBuffer:
    """Puts rows that finish in any order back into source order, one part at a time."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._open: dict[int, _Part] = {}

    @property
    def is_full(self) -> bool:
        """Whether too many rows wait for earlier ones, so that no new row should start."""
        return len(self._open) > OPEN_PARTS

    def add(self, index: int, row: Row) -> None:
        """Add the row with this place in the source, counted from 0."""
        number = index // PART_ROWS
        part = self._part(number)
        part.rows.append((index, row))
        if len(part) == PART_ROWS:
            self._write(number)

    def add_frame(self, places: Sequence[int], rows: pl.DataFrame) -> None:
        """Add many rows with their places in the source, in order."""
        start = 0
        for number, some in itertools.groupby(places, lambda place: place // PART_ROWS):
            part, own = self._part(number), list(some)
            part.places += own
            part.frames.append(rows.slice(start, len(own)))
            start += len(own)
            if len(part) == PART_ROWS:
                self._write(number)

    def finish(self) -> Table:
        """Write the remaining rows and return the table."""
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
    plain = pl.CompatLevel.oldest()
    schema = pl.DataFrame(schema=dict(columns)).to_arrow(compat_level=plain).schema
    with (
        written_whole(path) as file,
        _writing(path),
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for part in frames:
            arrow = part.to_arrow(compat_level=plain).cast(schema)
            writer.write_table(arrow, row_group_size=ROW_GROUP)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full or broken disk into one line."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        raise WriteError(f"{path} cannot be written: {error}; every answer is kept") from error
