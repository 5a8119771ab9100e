"""What a pipeline says, as frozen data. Knows no files, no models and no rows."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

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


class Record(Spec):
    """Frozen data that soupstock writes itself."""

    # Only a JSON Schema for editors needs them, and reading them takes longer than all the rest.
    model_config = ConfigDict(use_attribute_docstrings=False)


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

Texts = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(::(user|assistant|system|tool))?$"
    ),
]
"""A column of texts, a field of one, or what one role says in a conversation: `messages::user`."""

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


class DocumentSource(Spec):
    """Rows that are chunks of documents: `document`, `title`, `section`, `part` and `chunk`."""

    documents: str
    """A file (.txt, .md, .html, .pdf), or a folder of such; a relative path starts at the
    project's folder."""

    characters: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """How long a chunk is at most. It is of whole paragraphs, or of whole sentences."""

    rows: Rows | None = None
    """How many chunks to take from the beginning; all where it is left out."""


def _kind(*kinds: str) -> Discriminator:
    """Tell the cases of a union apart by which of `kinds` is a key (or an attribute)."""

    def which(value: object) -> str | None:
        if isinstance(value, Spec):
            return next((kind for kind in kinds if kind in type(value).model_fields), None)
        keys: list[object] = list(value) if isinstance(value, Mapping) else []
        return next((kind for kind in kinds if kind in keys), None)

    return Discriminator(which)


SOURCES = ("sample", "file", "dataset", "documents")

Source = Annotated[
    Annotated[SampleSource, Tag("sample")]
    | Annotated[FileSource, Tag("file")]
    | Annotated[DatasetSource, Tag("dataset")]
    | Annotated[DocumentSource, Tag("documents")],
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

    tokens: Column | None = None
    """A further column, for how many tokens each answer took as the server counts them, thoughts
    included; null where it does not tell."""

    pre_query: Literal["chatml", "llama3"] | None = None
    """The model's kind of chat template, to have it write what a user would say (Magpie): the
    prompt's text is the system prompt, after which the model completes a user's turn."""

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

    compare: Path_ | None = None
    """A column of several answers (by `n`). They are compared with each other, two at a time, by
    the rubric, and the new column holds the best, the worst, the margin and all ranks."""

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


class Task(Sampling):
    """Run a task of distilabel's catalogue on each row, and keep its outputs as new columns."""

    task: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Which task: `EvolInstruct`. `soupstock tasks` lists them."""

    model: Role
    """Which of the pipeline's models to ask."""

    parameters: Annotated[dict[str, JsonValue], Field(alias="with")] = {}
    """The task's own parameters: `{num_evolutions: 2}`."""

    inputs: dict[str, Path_] = {}
    """The task's inputs, each with the column that it is read from: `{instruction: question}`. One
    that is left out is read from the column of its own name."""

    outputs: Annotated[dict[str, Column], Field(min_length=1)]
    """The task's outputs that are kept, each with the column to make:
    `{evolved_instruction: harder}`."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when the task can read nothing in an answer."""


class Side(Sampling):
    """One side of a conversation: who speaks, and how it is asked to."""

    model: Role
    """Which of the pipeline's models speaks."""

    prompt: Name
    """Which prompt to ask with. It may use the columns, `conversation` (the messages so far) and
    `message` (the last of them)."""


class Converse(Spec):
    """Let two sides talk, turn by turn, and keep what they say as a conversation."""

    converse: Column
    """The column to make: a list of messages."""

    user: Side
    """Who begins. It is shown what was said by its prompt."""

    assistant: Side
    """Who answers. What was said before stands between the head of its prompt and its last
    message, as a chat model is asked."""

    turns: Annotated[int, Field(gt=0, le=64)] = 2
    """How often each side speaks."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when nothing is said."""


class Verify(Spec):
    """Check answers by rule, and keep the shortest that is right."""

    verify: Column
    """The column to make: which answers are right (`passed`), their share (`pass_rate`), and the
    shortest that is right (`shortest`, null where none is) with its `place` among them."""

    column: Path_
    """The answers: a text, or several (by `n`)."""

    by: Literal["number", "math", "exact", "tests", "call"] = "number"
    """`number`: the last number of an answer is worth the same. `math`: its last formula is, too
    (fractions, roots, sets, intervals, equations), by the library math-verify. `exact`: the last
    line is the same text, but for case and spacing. `tests`: its Python code passes unit tests.
    `call`: it calls functions that there are, with arguments that fit."""

    answer: Path_ | None = None
    """For number, math and exact: the column with the right answer."""

    tests: Path_ | None = None
    """For tests: the column with the tests, as Python code that raises where one fails."""

    tools: Path_ | None = None
    """For call: the column with the functions, as JSON: a list of `name`, `description` and
    `parameters` (a JSON Schema)."""

    stubs: Path_ | None = None
    """For call: the column with Python code that defines the functions. Each call is carried out,
    and the new column's `results` say what came of it."""

    seconds: Annotated[float, Field(gt=0, le=600)] = 5
    """For math, tests and stubs: how long each answer may take."""

    megabytes: Annotated[int, Field(ge=64, le=65536)] = 512
    """For math, tests and stubs: how much memory may be used."""

    than: Path_ | None = None
    """A longer answer, of which these are to be shorter versions: one that is no shorter is not
    right, and the new column says which share of its length is `saved`."""

    tokens: Path_ | None = None
    """How many tokens each answer has: the column that `tokens` of its generate step makes. Then
    lengths are counted in tokens, and in characters where it is left out."""


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
    _kind(*THERE),
]

Share = Annotated[float, Field(gt=0, le=1)]


class Best(Spec):
    """Of rows that are twins, the best stays."""

    best: Path_
    """The column that says how good a row is: numbers, or a judge's scores."""


Kind = Literal["secrets", "emails", "ibans", "cards", "phones", "ips"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be masked, in the order in which it is looked for."""

SIMILAR: Mapping[str, float] = {"exact": 1.0, "minhash": 0.7, "semantic": 0.9}
"""From which similarity on two texts are twins, where a step does not say."""


class Dedup(Spec):
    """Drop the rows that repeat another one, naming the twin."""

    dedup: Texts
    """The column whose texts are compared."""

    method: Literal["exact", "minhash", "semantic"] = "minhash"
    """`exact`: the same after case and spacing are evened out. `minhash`: nearly the same words.
    `semantic`: nearly the same meaning, by the embedder."""

    threshold: Share | None = None
    """From which similarity on two texts are twins: for minhash the Jaccard similarity of their
    word 3-grams (0.7), for semantic the cosine of their embeddings (0.9)."""

    keep: Literal["first"] | Best = "first"
    """Which of several twins stays: the first, or the best by a column: `{best: quality}`."""

    against: tuple[There, ...] = ()
    """Rows that were there before: what repeats one of them is dropped too."""

    embedder: str | None = None
    """For semantic: one of the pipeline's models, asked for embeddings; or a static model of
    model2vec, a folder or an id on the Hub."""

    @property
    def similar(self) -> float:
        """From which similarity on two texts are twins."""
        return SIMILAR[self.method] if self.threshold is None else self.threshold


class Mask(Spec):
    """Write a column anew, with placeholders for personal data and secrets."""

    mask: Texts
    """The column that is read: texts, or conversations."""

    into: Column
    """The column to make."""

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    """What is masked: an e-mail address becomes `[email]`, and so on."""


class Decontaminate(Spec):
    """Drop the rows that resemble an item of an evaluation set, naming the item."""

    decontaminate: Texts
    """The column whose texts are compared."""

    against: Annotated[tuple[There, ...], Field(min_length=1)]
    """The evaluation sets, each with the column that holds its questions."""

    overlap: Share = 0.5
    """From which share of an item's 8-grams (of words) on a row holds the item."""

    threshold: Share = 0.6
    """From which cosine on a row rephrases an item: of their character n-grams, by TF-IDF. It
    counts where no model is asked."""

    model: Role | None = None
    """Which of the pipeline's models is asked whether a row puts the same question as the item that
    it resembles; none where it is left out. What is the same word by word is not asked about."""

    ask_from: Share = 0.45
    """From which cosine on the model is asked: less than `threshold`, so it finds more."""

    prompt: Name = "same_question"
    """How the model is asked: `same_question` is prompts/same_question.md."""

    into: Column = "same_question"
    """The column to make: what the model says of the row. It is not published."""

    canaries: Annotated[int, Field(ge=8, le=1000)] | Literal[False] = 50
    """Of how many items the model is asked about edits, and about another item that is like it, to
    see what it misses and what it takes for the same."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    """How freely the model draws its tokens."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """How long its answer may be, in tokens."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when its answer cannot be read."""


Amount = Annotated[str, StringConstraints(pattern=r"^(all|(100|[0-9]{1,2}(\.[0-9]+)?)%)$")]
"""A share of the rows, `50%`, or `all`."""


class Select(Spec):
    """Keep so many rows: the best, the most different, or as many of each kind."""

    select: Rows | Amount
    """How many rows to keep: a number, a share such as `50%`, or `all` (with `at_most`)."""

    by: Path_ | None = None
    """How good a row is: a column of numbers, or a judge's scores. All are equal without it."""

    method: Literal["best", "deita", "k_center"] = "best"
    """`best`: the best by `by`. `deita`: the best, leaving out what is like one that is selected
    already. `k_center`: rows as different from each other as can be."""

    column: Texts | None = None
    """The column whose texts are compared, for deita, k_center and clusters."""

    threshold: Share = 0.9
    """For deita: from which cosine on two texts are alike."""

    per: Path_ | None = None
    """A column, of whose values each gets the same number of rows, as far as it has them."""

    clusters: Annotated[int, Field(gt=1, le=10_000)] | None = None
    """So many clusters of similar texts, each of which gets the same number of rows."""

    at_most: Rows | None = None
    """How many rows of each value of `per`, or of each cluster, to keep at most."""

    embedder: str | None = None
    """Compare texts by one of the pipeline's models, asked for embeddings, or by a static model of
    model2vec, a folder or an id on the Hub; without it by their words."""


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


VERBS = (
    "generate",
    "task",
    "converse",
    "verify",
    "judge",
    "filter",
    "mask",
    "dedup",
    "decontaminate",
    "select",
    "review",
    "publish",
)

Step = Annotated[
    Annotated[Generate, Tag("generate")]
    | Annotated[Task, Tag("task")]
    | Annotated[Converse, Tag("converse")]
    | Annotated[Verify, Tag("verify")]
    | Annotated[Judge, Tag("judge")]
    | Annotated[Filter, Tag("filter")]
    | Annotated[Mask, Tag("mask")]
    | Annotated[Dedup, Tag("dedup")]
    | Annotated[Decontaminate, Tag("decontaminate")]
    | Annotated[Select, Tag("select")]
    | Annotated[Review, Tag("review")]
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
    """Make a name safe as a file's: `my-org/chat` becomes `my-org--chat`.

    No other name of a pipeline becomes that: what is told apart from `/` is marked by a dot.
    """
    parted = re.sub(r"-(?=[-./])", "-.", name).replace("/", "--")
    return re.sub(r"[^A-Za-z0-9_.-]", "-", parted).lstrip(".-") or "-"


def unslugged(file: str) -> str:
    """Return the pipeline's name that became a file's."""
    return re.sub(r"-\.", "-", file.replace("--", "/"))
