"""What was written, as records."""

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
    """One way in which the rows are published."""

    name: str
    folder: str
    """Where its files lie in the dataset's folder."""
    output_schema: str | None = None
    features: dict[str, Any]
    rows: int
    bytes: int
    splits: tuple[SplitRecord, ...]
    download: int
    """The size of its files."""


class SplittingRecord(Record):
    """How rows were put into splits."""

    shares: dict[str, float]
    """What share each split was to have; `train` has the rest."""
    stratify: str | None = None
    source: tuple[str, ...] = ()
    """The columns that are the same in all rows from one source row."""
    groups: int
    """How many groups of rows there are that belong together: each is on one side."""
    largest: int
    """How many rows the largest has."""


class DatasetRecord(Record):
    """The dataset that was written; columns and sizes are those of its first configuration."""

    repository: str
    """Its id on the Hub, once it is there."""
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
    """Null where all rows are one split, `train`."""
    personal: dict[str, int] | None = None
    """What was found in its texts that names a person or opens a door, by kind."""


class DiversityRecord(Record):
    """How different the texts of a column are from each other, of the rows that were kept."""

    column: str
    texts: int
    """How many were looked at."""
    distinct_1: float
    """Different words, as a share of all words; `distinct_2` of pairs, `distinct_3` of threes."""
    distinct_2: float
    distinct_3: float
    compression: float
    """How many times smaller zlib makes them."""
    vendi: float
    """How many texts that have nothing in common are as diverse."""
    embedder: str | None = None
    """What they are compared by for that; their words where it is null."""
    opening: str
    """The commonest first three words."""
    opening_share: float
    phrase: str
    """The commonest six words in a row."""
    phrase_share: float
    repeats: float
    """The share of texts that nearly repeat another one."""
    alarms: tuple[str, ...] = ()
    """What looks as if a model had fallen into one way of answering."""


class TopicRecord(Record):
    """How evenly a column's values are spread: how many equally frequent ones are as diverse."""

    column: str
    values: int
    drawn: float
    """Of all rows."""
    kept: float
    """Of those that were kept."""
