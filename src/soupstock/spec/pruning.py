"""Steps that drop rows."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, model_serializer

from soupstock.errors import quoted
from soupstock.spec.fields import MAX_TOKENS, Column, Name, Path_, Role, Rows, Share, Spec, Texts
from soupstock.spec.source import There


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
