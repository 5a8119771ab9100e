"""Shape what is left as a dataset's rows, and write them as Parquet shards. Pushes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ValidationError

from soupstock.records import Columns, Row, Table, dropped, failed, frame, save

SHARD_ROWS = 200_000
"""How many rows a shard holds at most."""


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
    """A file of the dataset, relative to its folder, and how many rows it holds."""

    file: str
    rows: int


def check(step: Publication, rows: list[Row]) -> list[Row]:
    """Drop the rows that break the schema; what is wrong with each is among its failures."""
    return [_checked(step, row) for row in rows] if step.schema else rows


def _checked(step: Publication, row: Row) -> Row:
    value = _shaped(step, row)
    if isinstance(value, ValidationError):
        first = value.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg']}" if where else first["msg"]
        reason = f"publish: no {step.schema.__name__}" if step.schema else "publish"
        return dropped(failed(row, step.label, "Schema", message), reason)
    return row


def _shaped(step: Publication, row: Row) -> dict[str, Any] | ValidationError:
    if step.schema is None:
        return {column: row.get(column) for column in step.columns}
    try:
        return step.schema.model_validate(row).model_dump(mode="json")
    except ValidationError as error:
        return error


def write(step: Publication, table: Table, folder: Path) -> list[Shard]:
    """Write the kept rows as `data/train-…parquet`; the same rows give the same bytes."""
    kept = table.scan().filter(pl.col("dropped_by").list.len() == 0)
    rows = int(kept.select(pl.len()).collect().item())
    shards = max(1, -(-rows // SHARD_ROWS))
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(shards):
        part = kept.slice(number * SHARD_ROWS, SHARD_ROWS)
        name = f"train-{number:05}-of-{shards:05}.parquet"
        save(data / name, step.columns, _frames(step, part))
        written.append(Shard(f"data/{name}", min(SHARD_ROWS, rows - number * SHARD_ROWS)))
    return written


def _frames(step: Publication, part: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    for some in part.collect_batches(chunk_size=8192, maintain_order=True):
        if step.schema is None:
            yield some.select(list(step.columns))
            continue
        shaped = (_shaped(step, row) for row in some.to_dicts())
        yield frame((row for row in shaped if isinstance(row, dict)), step.columns)
