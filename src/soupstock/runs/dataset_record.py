"""The manifest's record of a dataset that was written."""

from pathlib import Path

from soupstock.artifacts.dataset import (
    ConfigRecord,
    DatasetRecord,
    ShardRecord,
    SplitRecord,
    SplittingRecord,
)
from soupstock.rows import features
from soupstock.rows.pii_scan import count_in_files
from soupstock.rows.shards import Shard, Written, WrittenConfig
from soupstock.steps.dataset import BoundDataset


def record_of(
    written: Written,
    bound: BoundDataset,
    place: Path,
    *,
    license: str | None,
    language: tuple[str, ...],
) -> DatasetRecord:
    """Record what was written into the folder `place`."""
    configs = tuple(map(_config, written.configs))
    first = configs[0]
    return DatasetRecord(
        repository=bound.repository,
        license=license,
        language=language,
        features=first.features,
        rows=first.rows,
        bytes=first.bytes,
        shards=tuple(
            ShardRecord(file=s.file, rows=s.rows, bytes=s.bytes, split=s.split)
            for s in written.shards
        ),
        configs=configs,
        splitting=_splitting(written, bound),
        personal=count_in_files(place, [shard.file for shard in written.shards]),
    )


def _config(config: WrittenConfig) -> ConfigRecord:
    splits = dict.fromkeys(shard.split for shard in config.shards)
    return ConfigRecord(
        name=config.shape.name,
        folder=config.shape.folder,
        output_schema=config.shape.schema.__name__ if config.shape.schema else None,
        features=features.features_of(config.schema),
        rows=sum(shard.rows for shard in config.shards),
        bytes=sum(shard.arrow_bytes for shard in config.shards),
        splits=tuple(_split(split, config.shards) for split in splits),
        download=sum(shard.bytes for shard in config.shards),
    )


def _split(name: str, shards: tuple[Shard, ...]) -> SplitRecord:
    own = [shard for shard in shards if shard.split == name]
    return SplitRecord(
        name=name,
        rows=sum(shard.rows for shard in own),
        bytes=sum(shard.arrow_bytes for shard in own),
    )


def _splitting(written: Written, bound: BoundDataset) -> SplittingRecord | None:
    if written.sides is None:
        return None
    return SplittingRecord(
        shares=dict(bound.splits.shares),
        stratify=bound.splits.stratify,
        source=bound.splits.source,
        groups=written.sides.groups,
        largest=written.sides.largest,
    )
