"""Look for what is on both sides of a split: near-duplicates, and rows from one source row.

What a dataset holds is read from its files as they would be pushed. Which source row a published
row is from is told by its own columns; where a schema left these out, by the run's kept rows, each
shaped by that schema again.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from soupstock.artifacts import run_folder
from soupstock.artifacts.dataset import ConfigRecord, ShardRecord
from soupstock.dataset.release import Release
from soupstock.dataset.versions import KEPT
from soupstock.rows.rows import Row
from soupstock.rows.splits import groups, source_of, texts_of

_BATCH = 4096

SchemaOf = Callable[[str], type[BaseModel] | None]
"""Finds a schema by its name, as the run had it; None where it cannot be had."""


def shards_of(release: Release, config: ConfigRecord) -> Iterator[ShardRecord]:
    """Yield a configuration's files."""
    for shard in release.dataset.shards:
        if shard.file.startswith(f"{config.folder}/"):
            yield shard


def rows_of(release: Release, config: ConfigRecord) -> Iterator[tuple[ShardRecord, list[Row]]]:
    """Yield a configuration's rows, in batches, each with the file that it is from."""
    for shard in shards_of(release, config):
        file = pq.ParquetFile(release.place / shard.file)
        for batch in file.iter_batches(batch_size=_BATCH):
            yield shard, batch.to_pylist()


def leaks(release: Release, schema_of: SchemaOf) -> Iterator[str]:
    """Say what is on both sides of the splits."""
    for config in _compared(release):
        rows = list(_placed(release, config))
        alike = groups([[texts_of(row) for _, row in rows]], None).tolist()
        leaking = _on_both(zip(alike, (split for split, _ in rows), strict=True))
        if leaking:
            yield (
                f"{config.name} leaks: {leaking:,} groups of rows that are nearly the same are on"
                " both sides of its splits"
            )
    if leaking := _on_both(_sourced(release, schema_of)):
        yield f"it leaks: of {leaking:,} source rows there are rows on both sides of the splits"


def _compared(release: Release) -> Iterator[ConfigRecord]:
    """Yield those of several splits: what schemas made, where there are any, else all."""
    configs = release.dataset.configs
    shaped = [config for config in configs if config.output_schema] or list(configs)
    yield from (config for config in shaped if len(config.splits) > 1)


def _placed(release: Release, config: ConfigRecord) -> Iterator[tuple[str, Row]]:
    """Yield a configuration's rows, each with its split."""
    for shard, rows in rows_of(release, config):
        yield from ((shard.split, row) for row in rows)


def _on_both(placed: Iterable[tuple[Hashable, str]]) -> int:
    """Count the groups, each told with a split, that are in several splits."""
    found = defaultdict(set)
    for group, split in placed:
        found[group].add(split)
    return sum(len(splits) > 1 for splits in found.values())


def _sourced(release: Release, schema_of: SchemaOf) -> Iterator[tuple[bytes, str]]:
    """Say from which source rows the published rows are, and in which split each of them is."""
    splitting, table = release.dataset.splitting, release.folder / run_folder.ROWS
    if splitting is None or not splitting.source or not table.is_file():
        return
    for config in release.dataset.configs:
        sources: dict[str, set[bytes]] = defaultdict(set)
        for row in _kept(table):
            if name := _name(_shaped(row, config, schema_of), config):
                sources[name].add(source_of(row, splitting.source))
        for split, row in _placed(release, config):
            yield from ((source, split) for source in sources.get(_name(row, config) or "", ()))


def _name(row: Row | None, config: ConfigRecord) -> str | None:
    """Name a published row by its id where that is the engine's, or else by its texts."""
    if row is None:
        return None
    is_named = config.output_schema is None and "id" in row
    own: str | None = row["id"] if is_named else texts_of(row).whole
    return own


def _kept(table: Path) -> Iterator[Row]:
    kept = pl.scan_parquet(table, glob=False).filter(KEPT).collect()
    for part in kept.iter_slices(_BATCH):
        yield from part.to_dicts()


def _shaped(row: Row, config: ConfigRecord, schema_of: SchemaOf) -> Row | None:
    """Shape a row as it was published; None where its configuration does not take it."""
    if config.output_schema is None:
        return {column: row.get(column) for column in config.features}
    schema = schema_of(config.output_schema)
    if schema is None:
        return None
    try:
        return schema.model_validate(row).model_dump(mode="json")
    except ValidationError:
        return None
