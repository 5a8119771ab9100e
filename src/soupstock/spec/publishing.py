"""Steps for people, and for the Hub."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints

from soupstock.spec.fields import MAX_ROWS, Name, Path_, Repository, Rows, Share, Spec

Part_ = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
"""The name of a split or a configuration: small letters, digits and underscores."""


def _apart(configs: dict[str, Any]) -> dict[str, Any]:
    if "data" in configs:
        raise ValueError("the name `data` is taken; choose another for the configuration")
    return configs


def _shares(splits: dict[str, float]) -> dict[str, float]:
    if "train" in splits:
        raise ValueError("`train` takes what the other splits leave; name their shares alone")
    if sum(splits.values()) >= 1:
        raise ValueError("the splits take all rows; leave some for `train`")
    return splits


class Config(Spec):
    """One of several ways in which the rows are published."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that each row must have; all columns, and the rows' ids, without one."""


class Stratified(Spec):
    """As many rows of each kind."""

    stratified: Path_
    """A column: texts by their values; numbers, and a judge's scores, in quarters."""

    by: Literal["value", "length"] = "value"
    """`length`: texts in quarters by how long they are."""


Question = Literal["criteria", "correction", "comment"]


Veto = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
"""A reason for which people drop a row, in a word."""


class Review(Spec):
    """Let people read a sample of the rows, and take in what they say."""

    review: Literal["argilla", "file"]
    """Where people read and answer: an Argilla server, or JSONL files. A run only chooses the rows
    and takes in what came back; `soupstock review NAME` sends and fetches."""

    sample: Rows = 200
    """How many of the rows that are there people read."""

    strategy: Literal["random", "uncertain"] | Stratified = "random"
    """`random`: each row as likely. `uncertain`: likelier the less sure the judge is: near the
    threshold, unsure of the level, or a jury that disagrees. `{stratified: topic}`: as many of each
    kind."""

    dropped: Annotated[int, Field(ge=0, le=MAX_ROWS)] = 0
    """How many of the rows that filters dropped people read, too: to find those dropped wrongly."""

    rubric: Name | None = None
    """Which rubric the questions are made of; that of the last judge before, where left out."""

    columns: tuple[Path_, ...] = ()
    """What people are shown; what the rubric shows, where left out."""

    column: Path_ | None = None
    """Which column they correct; the one that the rubric judges, where left out."""

    questions: tuple[Question, ...] = get_args(Question)
    """What is asked beside keep or drop: the rubric's criteria, a corrected text, a comment."""

    vetoes: Annotated[tuple[Veto, ...], Field(min_length=1, max_length=20)] = ("bad", "unsafe")
    """For what people drop a row: `unsafe` adds `review: unsafe` to its `dropped_by`."""

    annotators: Annotated[int, Field(gt=0, le=100)] = 1
    """How many people answer for each row."""

    conflicts: Literal["majority", "strictest", "latest"] = "majority"
    """Who is right where people differ. `majority`: most of them, and nobody where as many say one
    thing as another. `strictest`: who drops. `latest`: who answered last."""

    wait: bool = False
    """Whether no dataset is written before all rows of the sample are answered."""


class Publish(Spec):
    """Write what is left as a Hugging Face dataset."""

    publish: Repository
    """The dataset's id on the Hub: `my-org/chat`. Nothing is sent there by a run."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that each published row must have; all columns are published without one."""

    configs: Annotated[dict[Part_, Config], AfterValidator(_apart)] = {}
    """Several ways in which the rows are published, by name, each with its `schema`; the first is
    what is loaded where none is named. A row that no schema takes is dropped."""

    splits: Annotated[dict[Part_, Share], AfterValidator(_shares)] = {}
    """Which share of the rows each split takes, such as `{test: 0.1}`; the rest is `train`. Rows
    that come from one source row or are nearly the same go to one split together."""

    stratify: Path_ | None = None
    """A column, of each value of which every split gets its share."""

    license: str | None = None
    """The dataset's licence, as the Hub names it: `apache-2.0`."""

    language: tuple[str, ...] = ()
    """The languages of the texts, as ISO 639 codes: `[en]`."""
