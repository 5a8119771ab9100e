"""What a pipeline says, as frozen data. Knows no files, no models and no rows."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    model_serializer,
)

from soupstock.errors import quoted

MAX_ROWS = 1_000_000_000_000
"""How many rows may be asked for."""

MAX_TOKENS = 1024
"""How long an answer may be where a step does not say, in tokens."""


class Spec(BaseModel):
    """Frozen data, written by a person: unknown keys are mistakes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A default is written as the same value from a file would be: 0 is asked as 0.0.
        validate_default=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )


RESERVED = frozenset({"id", "dropped_by", "failures", "twin", "similarity"})
"""Columns that the engine itself keeps."""


def _column(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"the column {name!r} is kept by soupstock itself; choose another name")
    return name


Column = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), AfterValidator(_column)
]
"""A column that a step makes: letters, digits and underscores."""

Path_ = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*$")
]
"""A column that is there, or a field of one: `answer`, `item.question`."""

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")
]
"""The name of a prompt, rubric, schema, filter or pipeline; folders are set apart by `/`."""

Repository = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$", max_length=96
    ),
]
"""A dataset's id on the Hub: `my-org/chat`."""

Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""What a model is for in this pipeline: writer, judge."""

ModelName = Annotated[str, StringConstraints(pattern=r"^\S+$")]
"""Which model plays a role: `embedded`, `openai/NAME`, or one of `[tool.soupstock.models]`."""

Scalar = str | int | float | bool
Weight = Annotated[float, Field(gt=0, le=1e9)]
Rows = Annotated[int, Field(gt=0, le=MAX_ROWS)]


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


def _kind(*kinds: str) -> Discriminator:
    """Tell the cases of a union apart by which of `kinds` is a key (or an attribute)."""

    def which(value: object) -> str | None:
        if isinstance(value, Spec):
            return next((kind for kind in kinds if kind in type(value).model_fields), None)
        keys: list[object] = list(value) if isinstance(value, Mapping) else []
        return next((kind for kind in kinds if kind in keys), None)

    return Discriminator(which)


SOURCES = ("sample", "file", "dataset")

Source = Annotated[
    Annotated[SampleSource, Tag("sample")]
    | Annotated[FileSource, Tag("file")]
    | Annotated[DatasetSource, Tag("dataset")],
    _kind(*SOURCES),
]


class Sampling(Spec):
    """How a model is asked. What is left out, the server decides."""

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """How freely to draw tokens: 0 takes the likeliest."""

    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the likeliest tokens that together have this probability."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """How long an answer may be, in tokens."""

    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Texts at which an answer ends."""

    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """How much to avoid tokens by how often they occurred."""

    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """How much to avoid tokens that occurred at all."""


class Generate(Sampling):
    """Ask a model, and keep its answer as a new column."""

    generate: Column
    """The column to make."""

    model: Role
    """Which of the pipeline's models to ask."""

    prompt: Name
    """Which prompt to ask with: `chat/response` is prompts/chat/response.md."""

    n: Annotated[int, Field(gt=0, le=256)] = 1
    """How many answers to ask for; more than one makes the column a list."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that the answer must have: the column then holds its fields, typed."""

    reasoning: Column | None = None
    """A second column, for what the model thought before it answered; null where it told nothing.
    It never is in the answer itself."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when an answer is empty or breaks the schema."""


class Judge(Spec):
    """Score each row against a rubric."""

    judge: Column
    """The column to make: a score from 0 to 1, and each criterion's level and reason."""

    model: Role | Annotated[tuple[Role, ...], Field(min_length=1)] | None = None
    """Which of the pipeline's models is the judge; a list is a jury. None for rules alone."""

    rubric: Name
    """Which rubric to judge by: `chat` is prompts/rubrics/chat.yaml."""

    aggregate: Literal["mean", "median", "majority", "unanimity"] = "mean"
    """How a jury's scores become one, criterion by criterion. `majority`: the level that most give,
    the lowest of several. `unanimity`: the level that all grant, which is the lowest."""

    canaries: Annotated[int, Field(ge=8, le=1000)] | Literal[False] = 20
    """How many of the rows are spoiled, each in several ways, to see whether the judge notices."""

    on_unfit: Literal["warn", "stop"] = "warn"
    """What to do when the judge does not notice: say so, or also end the run there, partial."""

    logprobs: bool = True
    """Whether to ask how likely each level was: the mean is a better score than the likeliest one.
    Servers that tell nothing of it do no harm."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    """How freely the judge draws its tokens."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """How long a verdict may be, in tokens."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when a verdict cannot be read."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The judges' roles; none where only rules judge."""
        model = self.model or ()
        return (model,) if isinstance(model, str) else model


class FilterUse(Spec):
    """A filter by its name, and the arguments it is called with."""

    name: Name
    arguments: dict[str, JsonValue] = {}

    @model_serializer
    def _written(self) -> str | dict[str, Any]:
        return {self.name: dict(self.arguments)} if self.arguments else self.name


def _filter_use(value: object) -> object:
    """Read `not_refusal` or `length: {column: response}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, arguments),) = value.items()
        return {"name": name, "arguments": {} if arguments is None else arguments}
    if isinstance(value, FilterUse):
        return value
    said = "a mapping of several" if isinstance(value, Mapping) else quoted(value)
    raise ValueError(
        "a filter is a name, or one name with its arguments: `length: {column: response}`; "
        f"{said} is none"
    )


Use = Annotated[FilterUse, BeforeValidator(_filter_use)]
"""A filter as it is written: `not_refusal` or `length: {column: response}`."""


class Filter(Spec):
    """Drop the rows that a filter does not keep."""

    filter: Annotated[tuple[Use, ...], Field(min_length=1)]
    """The filters, each from filters/*.py. Every one is asked, so every reason is kept."""


class Dedup(Spec):
    """Drop the rows that repeat an earlier one, naming the twin."""

    dedup: Path_
    """The column whose texts are compared."""

    method: Literal["exact", "minhash"] = "minhash"
    """`exact`: the same after case and spacing are evened out. `minhash`: nearly the same words."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """For minhash: from which Jaccard similarity of word 3-grams on two texts are twins."""


class Publish(Spec):
    """Write what is left as a Hugging Face dataset."""

    publish: Repository
    """The dataset's id on the Hub: `my-org/chat`. Nothing is sent there by a run."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that each published row must have; all columns are published without one."""

    license: str | None = None
    """The dataset's licence, as the Hub names it: `apache-2.0`."""

    language: tuple[str, ...] = ()
    """The languages of the texts, as ISO 639 codes: `[en]`."""


VERBS = ("generate", "judge", "filter", "dedup", "publish")

Step = Annotated[
    Annotated[Generate, Tag("generate")]
    | Annotated[Judge, Tag("judge")]
    | Annotated[Filter, Tag("filter")]
    | Annotated[Dedup, Tag("dedup")]
    | Annotated[Publish, Tag("publish")],
    _kind(*VERBS),
]


class Pipeline(Spec):
    """What to make: models by role, a source of rows, and the steps they go through."""

    description: str = ""
    """What the dataset is, for `soupstock list` and the dataset's card."""

    seed: int = 0
    """Where every random choice starts."""

    models: dict[Role, ModelName] = {}
    """Which model plays each role."""

    source: Source
    """Where the first rows come from."""

    target: Rows | None = None
    """Exactly how many rows to keep: more are drawn from the source until they are there."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """What is done to the rows, in order."""


def slug(name: str) -> str:
    """Make a name safe as a file's: `my-org/chat` becomes `my-org--chat`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name.replace("/", "--")).lstrip(".-") or "-"
