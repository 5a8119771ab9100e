"""The steps for review by people and for the dataset."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints

from soupstock.spec.fields import MAX_ROWS, ColumnPath, Name, Repository, Rows, Share, Spec

SplitName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
"""The name of a split or a configuration: lower-case letters, digits and underscores."""


def _checked_names(configs: dict[str, Any]) -> dict[str, Any]:
    if "data" in configs:
        raise ValueError("the name `data` is reserved; choose another name for the configuration")
    return configs


def _checked_shares(splits: dict[str, float]) -> dict[str, float]:
    if "train" in splits:
        raise ValueError("`train` gets the remaining rows; name only the other splits")
    if sum(splits.values()) >= 1:
        raise ValueError("the splits take all rows; leave some for `train`")
    return splits


class Config(Spec):
    """One of several configurations of the dataset."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that each row must match. Default: all columns, with the rows' ids."""


class Stratified(Spec):
    """Equally many rows of each kind."""

    stratified: ColumnPath
    """The column that the kind is taken from: the value itself for texts, the quartile for numbers
    and a judge's scores."""

    by: Literal["value", "length"] = "value"
    """`value`: as described. `length`: the quartile of a text's length. Default: value."""


Question = Literal["criteria", "correction", "comment"]


Veto = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
"""A reason to drop a row, in one word."""


class Review(Spec):
    """Let people read a sample of the rows, and apply their answers."""

    review: Literal["argilla", "file"]
    """Where people read and answer: on an Argilla server, or in JSONL files. A run only draws the
    sample and applies the answers; `soupstock review NAME` sends rows and fetches answers."""

    sample: Rows = 200
    """How many of the kept rows people read. Default: 200."""

    strategy: Literal["random", "uncertain"] | Stratified = "random"
    """How to draw the sample. `random`: each row is equally likely. `uncertain`: a row is more
    likely the less certain the judge is (a score near the threshold, several likely levels, or a
    jury that disagrees). `{stratified: topic}`: equally many rows of each kind. Default: random."""

    dropped: Annotated[int, Field(ge=0, le=MAX_ROWS)] = 0
    """How many of the rows dropped by filters people read as well, to find wrongly dropped ones.
    Default: 0."""

    rubric: Name | None = None
    """The rubric that the questions are made from. Default: the rubric of the last judge step
    before."""

    columns: tuple[ColumnPath, ...] = ()
    """The columns to show. Default: those that the rubric shows."""

    column: ColumnPath | None = None
    """The column that people may correct. Default: the one that the rubric judges."""

    questions: tuple[Question, ...] = get_args(Question)
    """What to ask besides keep or drop: the rubric's criteria, a corrected text, a comment.
    Default: all of them."""

    vetoes: Annotated[tuple[Veto, ...], Field(min_length=1, max_length=20)] = ("bad", "unsafe")
    """The reasons that people can give to drop a row: `unsafe` adds `review: unsafe` to its
    `dropped_by`. Default: [bad, unsafe]."""

    annotators: Annotated[int, Field(gt=0, le=100)] = 1
    """How many people answer for each row. Default: 1."""

    conflicts: Literal["majority", "strictest", "latest"] = "majority"
    """Which answer counts if people differ. `majority`: the most frequent one; a tie decides
    nothing. `strictest`: drop if anybody drops. `latest`: the last answer. Default: majority."""

    wait: bool = False
    """Whether to write the dataset only when all rows of the sample are answered. Default:
    false."""


class WriteDataset(Spec):
    """Write the kept rows as a Hugging Face dataset."""

    dataset: Repository
    """The dataset's id on the Hub: `my-org/chat`. A run only writes the files; `soupstock publish`
    pushes them."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that each row of the dataset must match. Default: all columns."""

    configs: Annotated[dict[SplitName, Config], AfterValidator(_checked_names)] = {}
    """Several configurations of the dataset by name, each with its `schema`. The first is the
    default when the dataset is loaded. A row that matches no schema is dropped."""

    splits: Annotated[dict[SplitName, Share], AfterValidator(_checked_shares)] = {}
    """The share of the rows that each split gets, such as `{test: 0.1}`; the rest is `train`. Rows
    that come from the same source row, and near-duplicates, go to the same split."""

    stratify: ColumnPath | None = None
    """A column: every split gets its share of the rows with each value."""

    license: str | None = None
    """The dataset's licence, by the Hub's name for it: `apache-2.0`."""

    language: tuple[str, ...] = ()
    """The languages of the texts, as ISO 639 codes: `[en]`."""
