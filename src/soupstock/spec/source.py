"""Where rows come from, as data."""

from typing import Annotated

from pydantic import Field, Tag

from soupstock.spec.fields import (
    Column,
    Name,
    Rows,
    Scalar,
    Spec,
    TextPath,
    Weight,
    discriminated_by_key,
)


class SampleSource(Spec):
    """Rows made by drawing one value for each column."""

    sample: Annotated[
        dict[Column, Annotated[list[Scalar], Field(min_length=1)] | dict[str, Weight]],
        Field(min_length=1),
    ]
    """The values of each column: a list (equally likely), or a mapping of each value to its
    weight."""

    rows: Rows | None = None
    """How many rows to draw. Required unless the pipeline has a `target`."""


class FileSource(Spec):
    """Rows read from a file."""

    file: str
    """A .jsonl, .csv or .parquet file. A relative path starts at the project's folder."""

    rows: Rows | None = None
    """How many rows to read, from the beginning. Default: all."""


class DatasetSource(Spec):
    """Rows read by the `datasets` library."""

    dataset: str
    """An id on the Hugging Face Hub, or a folder (a path that begins with `.`, `/` or `~`)."""

    split: str = "train"
    """Which split to read. Default: train."""

    config: str | None = None
    """Which configuration to read, if the dataset has several."""

    revision: str | None = None
    """Which revision to read: a commit, tag or branch of the dataset's repository. Default: the
    latest."""

    rows: Rows | None = None
    """How many rows to read, from the beginning. Default: all."""


class DocumentSource(Spec):
    """Rows that are chunks of documents: `document`, `title`, `section`, `part` and `chunk`."""

    documents: str
    """A file (.txt, .md, .html, .pdf), or a folder of such files. A relative path starts at the
    project's folder."""

    characters: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """The maximum length of a chunk, in characters. Chunks are made of whole paragraphs; a longer
    paragraph is split between sentences. Default: 2000."""

    rows: Rows | None = None
    """How many chunks to read, from the beginning. Default: all."""


SOURCES = ("sample", "file", "dataset", "documents")


Source = Annotated[
    Annotated[SampleSource, Tag("sample")]
    | Annotated[FileSource, Tag("file")]
    | Annotated[DatasetSource, Tag("dataset")]
    | Annotated[DocumentSource, Tag("documents")],
    discriminated_by_key(*SOURCES),
]


class _Reference(Spec):
    """Existing rows that a step compares its rows with."""

    column: TextPath | None = None
    """Which of its columns to compare. Default: the column of the same name."""


class FileReference(_Reference):
    """The rows of a file."""

    file: str
    """A .jsonl, .csv or .parquet file. A relative path starts at the project's folder."""


class DatasetReference(_Reference):
    """The rows of a dataset."""

    dataset: str
    """An id on the Hugging Face Hub, or a folder (a path that begins with `.`, `/` or `~`)."""

    split: str = "train"
    """Which split to read. Default: train."""

    config: str | None = None
    """Which configuration to read, if the dataset has several."""

    revision: str | None = None
    """Which revision to read: a commit, tag or branch of the dataset's repository. Default: the
    latest."""


class RunReference(_Reference):
    """The rows that a run kept."""

    run: Name
    """A pipeline, for its last run: `chat`; or one of its runs, by the beginning of its folder's
    name: `chat/3f2a1b`."""


REFERENCES = ("file", "dataset", "run")


Reference = Annotated[
    Annotated[FileReference, Tag("file")]
    | Annotated[DatasetReference, Tag("dataset")]
    | Annotated[RunReference, Tag("run")],
    discriminated_by_key(*REFERENCES),
]
