"""Records of a written dataset: files, configurations, splits, diversity."""

from typing import Any

from soupstock.spec.fields import Record


class ShardRecord(Record):
    """A file of the dataset, relative to its folder."""

    file: str
    rows: int
    bytes: int
    split: str = "train"


class SplitRecord(Record):
    """One split of a configuration."""

    name: str
    rows: int
    bytes: int
    """The size of its rows in memory, as Arrow tables."""


class ConfigRecord(Record):
    """One configuration of the dataset."""

    name: str
    folder: str
    """The folder of its files, in the dataset's folder."""
    output_schema: str | None = None
    features: dict[str, Any]
    rows: int
    bytes: int
    splits: tuple[SplitRecord, ...]
    download: int
    """The size of its files, in bytes."""


class SplittingRecord(Record):
    """How rows were assigned to splits."""

    shares: dict[str, float]
    """The share requested for each split; `train` has the rest."""
    stratify: str | None = None
    source: tuple[str, ...] = ()
    """The columns that are equal in all rows from the same source row."""
    groups: int
    """The number of groups of rows that belong together: each is in one split."""
    largest: int
    """The number of rows in the largest group."""


class DatasetRecord(Record):
    """The written dataset; columns and sizes are those of its first configuration."""

    repository: str
    """Its id on the Hub, once it is pushed."""
    license: str | None = None
    language: tuple[str, ...] = ()
    features: dict[str, Any]
    """Its columns and their types, as `datasets.Features.to_dict` writes them."""
    rows: int
    bytes: int
    """The size of its rows in memory, as Arrow tables."""
    shards: tuple[ShardRecord, ...]
    """All files, of all configurations."""
    configs: tuple[ConfigRecord, ...] = ()
    splitting: SplittingRecord | None = None
    """Null if all rows are in one split, `train`."""
    personal: dict[str, int] | None = None
    """The number of identifiers and secrets found in its texts, by kind."""


class DiversityRecord(Record):
    """How different the texts of a column are from each other, in the kept rows."""

    column: str
    texts: int
    """How many were measured."""
    distinct_1: float
    """Distinct words as a share of all words; `distinct_2` is of pairs, `distinct_3` of triples."""
    distinct_2: float
    distinct_3: float
    compression: float
    """The compression ratio of zlib."""
    vendi: float
    """The Vendi score: how many texts without anything in common are as diverse."""
    embedder: str | None = None
    """The embedder for the Vendi score; null if it compares words."""
    opening: str
    """The most common first three words."""
    opening_share: float
    phrase: str
    """The most common six words in a row."""
    phrase_share: float
    repeats: float
    """The share of texts that are near-duplicates of another one."""
    alarms: tuple[str, ...] = ()
    """Signs that a model always answers in the same way."""


class TopicRecord(Record):
    """How evenly a column's values are spread: the number of equally frequent ones as diverse."""

    column: str
    values: int
    drawn: float
    """Of all rows."""
    kept: float
    """Of the kept rows."""
