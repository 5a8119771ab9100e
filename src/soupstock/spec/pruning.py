"""Steps that drop rows."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, model_serializer

from soupstock.errors import quoted
from soupstock.spec.fields import (
    MAX_TOKENS,
    Column,
    ColumnPath,
    Name,
    Role,
    Rows,
    Share,
    Spec,
    TextPath,
)
from soupstock.spec.source import Reference


class FilterUse(Spec):
    """A filter by its name, and the arguments that it is called with."""

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
    written = "a mapping of several" if isinstance(value, Mapping) else quoted(value)
    raise ValueError(
        "a filter is a name, or one name with its arguments: `length: {column: response}`; "
        f"{written} is neither"
    )


FilterEntry = Annotated[FilterUse, BeforeValidator(_filter_use)]
"""A filter as YAML writes it: `not_refusal` or `length: {column: response}`."""


class Filter(Spec):
    """Drop the rows that do not pass a filter."""

    filter: Annotated[tuple[FilterEntry, ...], Field(min_length=1)]
    """The filters, each defined in filters/*.py. All of them see every row, so a dropped row has
    all its reasons."""


class Best(Spec):
    """Keep the best of several near-duplicates."""

    best: ColumnPath
    """The column to compare rows by: numbers, or a judge's scores."""


IdentifierKind = Literal["secrets", "emails", "ibans", "cards", "phones", "ips"]


KINDS: tuple[IdentifierKind, ...] = get_args(IdentifierKind)
"""What can be masked, in the order of the search."""


DEFAULT_THRESHOLDS: Mapping[str, float] = {"exact": 1.0, "minhash": 0.7, "semantic": 0.9}
"""The default threshold of each method."""


class Dedup(Spec):
    """Drop the rows that repeat another one, and name that one in the column `twin`."""

    dedup: TextPath
    """The column whose texts to compare."""

    method: Literal["exact", "minhash", "semantic"] = "minhash"
    """`exact`: the same text, ignoring case and spacing. `minhash`: nearly the same words.
    `semantic`: nearly the same meaning, according to the embedder. Default: minhash."""

    threshold: Share | None = None
    """The least similarity of two near-duplicates. For minhash it is the Jaccard similarity of
    their word 3-grams (default: 0.7), for semantic the cosine of their embeddings (default:
    0.9)."""

    keep: Literal["first"] | Best = "first"
    """Which of several near-duplicates to keep: the first, or the best by a column:
    `{best: quality}`. Default: first."""

    against: tuple[Reference, ...] = ()
    """Existing rows to compare with as well: a row that repeats one of them is dropped."""

    embedder: str | None = None
    """For semantic: the role of an embedding model, or a static model of model2vec (a folder or an
    id on the Hub)."""

    @property
    def similar(self) -> float:
        """The least similarity of two near-duplicates."""
        return DEFAULT_THRESHOLDS[self.method] if self.threshold is None else self.threshold


class Mask(Spec):
    """Copy a column, with placeholders for personal data and secrets."""

    mask: TextPath
    """The column to read: texts, or conversations."""

    into: Column
    """The column to make."""

    kinds: Annotated[tuple[IdentifierKind, ...], Field(min_length=1)] = KINDS
    """What to mask: an e-mail address becomes `[email]`, and so on. Default: all kinds."""


class Decontaminate(Spec):
    """Drop the rows that resemble an item of an evaluation set, and name the item in `twin`."""

    decontaminate: TextPath
    """The column whose texts to compare."""

    against: Annotated[tuple[Reference, ...], Field(min_length=1)]
    """The evaluation sets, each with the column that holds its questions."""

    overlap: Share = 0.5
    """A row quotes an item if it has at least this share of the item's word 8-grams. Default:
    0.5."""

    threshold: Share = 0.6
    """A row rephrases an item if the cosine of their character n-grams (by TF-IDF) is at least
    this. Used if no model is asked. Default: 0.6."""

    model: Role | None = None
    """Which of the pipeline's models to ask whether a row and the item that it resembles are the
    same question. Rows that quote an item are dropped without asking. Default: no model is
    asked."""

    ask_from: Share = 0.45
    """Ask the model if the cosine is at least this. It is lower than `threshold`, to find more.
    Default: 0.45."""

    prompt: Name = "same_question"
    """The prompt for the model: `same_question` is prompts/same_question.md. Default:
    same_question."""

    into: Column = "same_question"
    """The column to make, for the model's answer. The dataset leaves it out. Default:
    same_question."""

    canaries: Annotated[int, Field(ge=8, le=1000)] | Literal[False] = 50
    """How many items to test the model with, to measure its errors: it should recognise edited
    copies of an item, and tell the item from the most similar other one. `false` skips the test.
    Default: 50."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    """How random the model's answers are. Default: 0."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """The maximum length of an answer, in tokens. Default: 1024."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, if an answer cannot be parsed. Default: 2."""


Amount = Annotated[str, StringConstraints(pattern=r"^(all|(100|[0-9]{1,2}(\.[0-9]+)?)%)$")]
"""A share of the rows, `50%`, or `all`."""


class Select(Spec):
    """Keep some of the rows: the best, the most different, or equally many of each kind."""

    select: Rows | Amount
    """How many rows to keep: a number, a share such as `50%`, or `all` (with `at_most`)."""

    by: ColumnPath | None = None
    """The column to rank rows by: numbers, or a judge's scores. Default: all rows are equal."""

    method: Literal["best", "deita", "k_center"] = "best"
    """`best`: the best rows by `by`. `deita`: the best rows, skipping those similar to a row that
    is already selected. `k_center`: the rows that differ most from each other. Default: best."""

    column: TextPath | None = None
    """For deita, k_center and clusters: the column whose texts to compare."""

    threshold: Share = 0.9
    """For deita: two texts are similar if their cosine is at least this. Default: 0.9."""

    per: ColumnPath | None = None
    """A column: keep equally many rows for each of its values, as far as there are enough."""

    clusters: Annotated[int, Field(gt=1, le=10_000)] | None = None
    """Group the texts in this many clusters, and keep equally many rows of each."""

    at_most: Rows | None = None
    """The maximum number of rows for each value of `per`, or each cluster."""

    embedder: str | None = None
    """What to compare texts by: the role of an embedding model, or a static model of model2vec (a
    folder or an id on the Hub). Default: their words."""
