"""Where rows come from, as data."""

from typing import Annotated

from pydantic import Field, Tag

from soupstock.spec.fields import Column, Name, Rows, Scalar, Spec, Texts, Weight, told_by_key


class SampleSource(Spec):
    """Rows made by drawing one value for each column."""

    sample: Annotated[
        dict[Column, Annotated[list[Scalar], Field(min_length=1)] | dict[str, Weight]],
        Field(min_length=1),
    ]
    """For each column its values: a list (equally likely) or a mapping of value to weight."""

    rows: Rows | None = None
    """How many rows to draw; needed unless the pipeline has a `target`."""


class FileSource(Spec):
    """Rows read from a file."""

    file: str
    """A .jsonl, .csv or .parquet file; a relative path starts at the project's folder."""

    rows: Rows | None = None
    """How many rows to take from its beginning; all where it is left out."""


class DatasetSource(Spec):
    """Rows read by the `datasets` library."""

    dataset: str
    """An id on the Hugging Face Hub, or a folder (one that begins with `.`, `/` or `~`)."""

    split: str = "train"
    """Which split to read."""

    config: str | None = None
    """Which configuration to read, where the dataset has several."""

    revision: str | None = None
    """Which revision to read: a commit, tag or branch of the dataset's repository."""

    rows: Rows | None = None
    """How many rows to take from its beginning; all where it is left out."""


class DocumentSource(Spec):
    """Rows that are chunks of documents: `document`, `title`, `section`, `part` and `chunk`."""

    documents: str
    """A file (.txt, .md, .html, .pdf), or a folder of such; a relative path starts at the
    project's folder."""

    characters: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """How long a chunk is at most. It is of whole paragraphs, or of whole sentences."""

    rows: Rows | None = None
    """How many chunks to take from the beginning; all where it is left out."""


SOURCES = ("sample", "file", "dataset", "documents")


Source = Annotated[
    Annotated[SampleSource, Tag("sample")]
    | Annotated[FileSource, Tag("file")]
    | Annotated[DatasetSource, Tag("dataset")]
    | Annotated[DocumentSource, Tag("documents")],
    told_by_key(*SOURCES),
]


class _There(Spec):
    """Rows that were there before this pipeline."""

    column: Texts | None = None
    """Which of its columns is compared; that of the same name where it is left out."""


class FileThere(_There):
    """The rows of a file."""

    file: str
    """A .jsonl, .csv or .parquet file; a relative path starts at the project's folder."""


class DatasetThere(_There):
    """The rows of a dataset."""

    dataset: str
    """An id on the Hugging Face Hub, or a folder (one that begins with `.`, `/` or `~`)."""

    split: str = "train"
    """Which split to read."""

    config: str | None = None
    """Which configuration to read, where the dataset has several."""

    revision: str | None = None
    """Which revision to read: a commit, tag or branch of the dataset's repository."""


class RunThere(_There):
    """The rows that a run kept."""

    run: Name
    """A pipeline, for its last run: `chat`; or one run of it, by its folder: `chat/3f2a1b`."""


THERE = ("file", "dataset", "run")


There = Annotated[
    Annotated[FileThere, Tag("file")]
    | Annotated[DatasetThere, Tag("dataset")]
    | Annotated[RunThere, Tag("run")],
    told_by_key(*THERE),
]
