"""Find leaks between splits: near-duplicates in two splits, and rows from one source row.

Rows are read from the files that would be pushed. The source row of a published row is found by the
row's own columns or, if a schema left these out, by the run's kept rows, which are shaped by that
schema again.
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
from soupstock.rows.row import KEPT, Row
from soupstock.rows.splits import groups, source_key, texts_of

_BATCH = 4096

SchemaOf = Callable[[str], type[BaseModel] | None]
"""Finds a schema by its name, as the run had it; None if it cannot be had."""


def shards_of(release: Release, config: ConfigRecord) -> Iterator[ShardRecord]:
    """Yield a config's files."""
    for shard in release.dataset.shards:
        if shard.file.startswith(f"{config.folder}/"):
            yield shard


def rows_of(release: Release, config: ConfigRecord) -> Iterator[tuple[ShardRecord, list[Row]]]:
    """Yield a config's rows in batches, each batch with its file."""
    for shard in shards_of(release, config):
        file = pq.ParquetFile(release.place / shard.file)
        for batch in file.iter_batches(batch_size=_BATCH):
            yield shard, batch.to_pylist()


def leaks(release: Release, schema_of: SchemaOf) -> Iterator[str]:
    """Say what is in more than one split."""
    for config in _compared(release):
        rows = list(_placed(release, config))
        duplicates = groups([[texts_of(row) for _, row in rows]], None).tolist()
        leaking = _count_leaking(zip(duplicates, (split for split, _ in rows), strict=True))
        if leaking:
            yield (
                f"{config.name} leaks: {leaking:,} groups of near-duplicates are in more than one"
                " split"
            )
    if leaking := _count_leaking(_sourced(release, schema_of)):
        yield f"it leaks: rows from {leaking:,} source rows are in more than one split"


def _compared(release: Release) -> Iterator[ConfigRecord]:
    """Yield the configs with several splits; if schemas made any config, only those."""
    configs = release.dataset.configs
    shaped = [config for config in configs if config.output_schema] or list(configs)
    yield from (config for config in shaped if len(config.splits) > 1)


def _placed(release: Release, config: ConfigRecord) -> Iterator[tuple[str, Row]]:
    """Yield a config's rows, each with its split."""
    for shard, rows in rows_of(release, config):
        yield from ((shard.split, row) for row in rows)


def _count_leaking(placed: Iterable[tuple[Hashable, str]]) -> int:
    """Count the groups that are in several splits, of pairs of group and split."""
    found = defaultdict(set)
    for group, split in placed:
        found[group].add(split)
    return sum(len(splits) > 1 for splits in found.values())


def _sourced(release: Release, schema_of: SchemaOf) -> Iterator[tuple[bytes, str]]:
    """Yield the source row of each published row, with the split that the row is in."""
    splitting, table = release.dataset.splitting, release.folder / run_folder.ROWS
    if splitting is None or not splitting.source or not table.is_file():
        return
    for config in release.dataset.configs:
        sources: dict[str, set[bytes]] = defaultdict(set)
        for row in _kept(table):
            if name := _name(_shaped(row, config, schema_of), config):
                sources[name].add(source_key(row, splitting.source))
        for split, row in _placed(release, config):
            yield from ((source, split) for source in sources.get(_name(row, config) or "", ()))


def _name(row: Row | None, config: ConfigRecord) -> str | None:
    """Name a published row by its id if that is the engine's, or else by its texts."""
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
    """Shape a row as it was published; None if its config does not take it."""
    if config.output_schema is None:
        return {column: row.get(column) for column in config.features}
    schema = schema_of(config.output_schema)
    if schema is None:
        return None
    try:
        return schema.model_validate(row).model_dump(mode="json")
    except ValidationError:
        return None
