"""What every verb offers: a step bound to its columns, what it does in a run. Names no verb."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import PartRecord
from soupstock.artifacts.review import ReviewRecord
from soupstock.errors import MistakeError, Place, UnknownNameError
from soupstock.inference.call import Ask
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.model import Model, resolve_all
from soupstock.inference.servers.vllm import Launch
from soupstock.inference.static_embeddings import StaticModel, find_embedder
from soupstock.project.project import Project
from soupstock.rows.references import Reference
from soupstock.rows.rows import BEFORE, Columns, Row
from soupstock.rows.table import Table
from soupstock.similarity.cosine import Embedder

Places = Callable[..., Place | None]
"""Finds the line of a key: `places("steps", 0, "prompt")`."""


@dataclass(frozen=True)
class At:
    """Finds lines within one step."""

    places: Places
    index: int

    def __call__(self, *keys: str | int) -> Place | None:
        """Find the line of a key of the step: `at("against", 0)`."""
        return self.places("steps", self.index, *keys)


class Account(Protocol):
    """What a step counts besides rows, for the manifest and for the person who waits."""

    counts: Counter[str]
    """Numbers under names of the verb's own."""
    notes: list[str]
    """What a person should know of the step, in sentences."""
    review: ReviewRecord | None
    """What people said, where the step lets them."""


@dataclass(frozen=True)
class Stage:
    """A row-wise step, ready to run: it asks, or checks rows by the block, or does both in turn."""

    label: str
    """What the step is called in reasons and tables: `generate: response`."""
    step: Callable[[Row, Ask], Coroutine[Any, Any, Row]] | None = None
    """Takes a row, and returns it with more columns."""
    check: Callable[[list[Row]], list[Row]] | None = None
    """Takes a block of rows, and returns the same rows, some of them with reasons to be dropped."""


class Pruned(NamedTuple):
    """What a step does with rows that exist already: a column that it makes, or reasons to drop."""

    made: pl.Series | None = None
    reasons: Sequence[Sequence[str]] = ()
    """For each row why it is dropped; empty where the step drops no row."""
    twins: Mapping[int, tuple[str, float]] = {}
    """By the places of rows: the item that each resembles, and how similar it is."""


class RowWise(ABC):
    """A bound step that looks at each row by itself; rows stream through it."""

    is_stateless: ClassVar[bool] = False
    """Whether worker processes may take rows through it: it remembers nothing but its counts."""
    is_slow: bool = False
    """Whether its checks take long, so that it waits until no model has to wait for it."""

    @abstractmethod
    def identity(self) -> Iterable[bytes]:
        """Yield what shapes its results besides the pipeline's words and its prompts' texts."""

    @abstractmethod
    def stage(self, step: "Step", account: Account) -> Stage:
        """Make it ready to run; it is asked for once for each passage of rows."""

    def prune(self, rows: pl.DataFrame, account: Account) -> Pruned:  # noqa: ARG002 - others do
        """Apply it to rows at rest. Only a step that asks no model can."""
        raise ValueError("a step that asks a model is not applied to rows at rest")

    def figures(self, counts: Mapping[str, int]) -> Mapping[str, Any]:  # noqa: ARG002 - others do
        """Return the fields of the step's record that follow from what it counted."""
        return {}


class ToEmbed(NamedTuple):
    """What a set-wise step needs vectors of, from a model server."""

    form: EmbeddingForm
    column: str
    against: Sequence[Reference] = ()
    """What its rows are compared with."""


class Whole(NamedTuple):
    """A table after a set-wise step, and what became of its rows."""

    table: Table
    rows_in: int
    dropped: Mapping[str, int]
    """How many rows were dropped for each reason."""


class SetWise(ABC):
    """A bound step that needs all rows at once; rows wait for it."""

    @abstractmethod
    def identity(self) -> Iterable[bytes]:
        """Yield what shapes its results besides the pipeline's words and its prompts' texts."""

    @abstractmethod
    def whole(
        self, table: Table, folder: Path, account: Account, embedder: Embedder | None
    ) -> Whole:
        """Take a table's rows through it, into a table in `folder`."""

    def to_embed(self) -> ToEmbed | None:
        """Say what a model server turns into vectors before; None where nothing is."""
        return None


Bound = RowWise | SetWise


@dataclass(frozen=True)
class Step:
    """A step with everything it needs."""

    spec: spec.Step
    bound: Bound
    title: str
    """The step in few words: `generate: response`."""
    reads: tuple[str, ...]
    """The columns it needs, or fields of them."""
    adds: Columns = field(default_factory=dict)
    """The columns it makes."""
    models: tuple[tuple[str, Model], ...] = ()
    """The models that it asks, with their roles."""
    parts: tuple[tuple[str, PartRecord], ...] = ()
    """The files it is made from, each with its kind: prompt, rubric, schema, filter."""
    calls: int = 0
    """Calls for each row that reaches it, when no answer must be asked for again."""
    columns: Columns = field(default_factory=dict)
    """The types of the columns that its checks look at."""
    texts: tuple[str, ...] = ()
    """The columns of texts, or fields of them, that it makes or compares."""
    withholds: tuple[str, ...] = ()
    """Columns that are no part of the dataset."""

    @property
    def role(self) -> str | None:
        """The role of the model that it asks; of several, all of them."""
        return ", ".join(role for role, _ in self.models) or None

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The servers that a run starts for it, each once."""
        found = (model.launch for _, model in self.models if model.launch)
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Context:
    """What a step is bound in: its project, its pipeline, and the steps before it."""

    project: Project
    pipeline: spec.Pipeline
    name: str
    """The pipeline's name."""
    models: Mapping[str, Model]
    """The pipeline's models by role."""
    shared: tuple[str, ...] = ()
    """The source's columns that rows from one source row share."""
    asks: bool = True
    """Whether models are asked; a run does, and what prunes a file does not."""
    before: tuple[Step, ...] = ()
    """The steps before it, bound."""

    @property
    def seed(self) -> int:
        """Where every random choice starts."""
        return self.pipeline.seed

    def model(self, role: str, place: Place | None) -> Model:
        """Find the model that plays a role; raises UnknownNameError."""
        if role not in self.models:
            raise UnknownNameError("model", role, self.models, place)
        return self.models[role]

    def embedding_models(
        self, embedder: StaticModel | EmbeddingForm | None
    ) -> tuple[tuple[str, Model], ...]:
        """Return the model server that embeds texts, with its role; none where none does."""
        if not isinstance(embedder, EmbeddingForm):
            return ()
        role = next(role for role, model in self.models.items() if model is embedder.model)
        return ((role, embedder.model),)

    def embedder(self, name: str | None, place: Place | None) -> StaticModel | EmbeddingForm:
        """Find what turns texts into vectors: a model of the pipeline's, or a static one."""
        if name is not None and name in self.models:
            return EmbeddingForm(self.models[name])
        return find_embedder(name or self.project.embedder(), self.project.root, place)


def models_of(
    pipeline: spec.Pipeline, project: Project, places: Places = lambda *_: None
) -> Mapping[str, Model]:
    """Resolve a pipeline's models, by role; raises MistakeError."""
    return resolve_all(
        pipeline.models, project.endpoints(), lambda role: places("models", role), project.root
    )


def typed(names: Iterable[str], columns: Columns) -> Columns:
    """Return columns with their types; never none, for a frame without columns has no rows."""
    return {name: columns[name] for name in names} or {"id": BEFORE["id"]}


def column_of(path: str) -> str:
    """Name the column that a path leads into: `item.question`, `messages::user`."""
    return path.partition("::")[0].partition(".")[0]


def sampling(step: spec.Sampling) -> dict[str, Any]:
    """Return the sampling parameters that a step gives."""
    names = spec.Sampling.model_fields
    given = {name: getattr(step, name) for name in names}
    return {name: value for name, value in given.items() if value is not None and value != ()}


def located(place: Place | None, make: Callable[[Any], Any], value: Any) -> Any:
    """Give an error that knows no place the place."""
    try:
        return make(value)
    except MistakeError as error:
        raise MistakeError(error.message, error.place or place) from error
