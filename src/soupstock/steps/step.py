"""A step bound to its columns, and what it offers to a run. Names no verb."""

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
from soupstock.rows.references import ReferenceTexts
from soupstock.rows.row import FIRST_COLUMNS, Columns, Row
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
    """What a step counts besides rows, for the manifest and the progress display."""

    counts: Counter[str]
    """Counts by names that the verb chooses."""
    notes: list[str]
    """What the user should know of the step, in sentences."""
    review: ReviewRecord | None
    """What people answered, for a review step."""


@dataclass(frozen=True)
class Stage:
    """A row-wise step, ready to run: it checks blocks of rows, asks models about rows, or both."""

    label: str
    """The step's name in reasons and tables: `generate: response`."""
    step: Callable[[Row, Ask], Coroutine[Any, Any, Row]] | None = None
    """Takes a row, and returns it with more columns."""
    check: Callable[[list[Row]], list[Row]] | None = None
    """Takes a block of rows, and returns the same rows, some of them with reasons to be dropped."""


class PrunedRows(NamedTuple):
    """The result of a step on a file: a column that it makes, or reasons to drop rows."""

    made: pl.Series | None = None
    reasons: Sequence[Sequence[str]] = ()
    """For each row why it is dropped; empty if the step drops no row."""
    twins: Mapping[int, tuple[str, float]] = {}
    """By row index: the item that the row resembles, and how similar it is."""


class RowWise(ABC):
    """A bound step that takes each row by itself; rows stream through it."""

    is_stateless: ClassVar[bool] = False
    """Whether worker processes may take rows through it: it keeps nothing but its counts."""
    is_slow: bool = False
    """Whether its checks take long; they then start when no model waits for their rows."""

    @abstractmethod
    def identity(self) -> Iterable[bytes]:
        """Yield what shapes the results besides the pipeline's words and the texts of its parts."""

    @abstractmethod
    def stage(self, step: "Step", account: Account) -> Stage:
        """Make it ready to run; called once for each passage of rows."""

    def prune(self, rows: pl.DataFrame, account: Account) -> PrunedRows:  # noqa: ARG002 - others do
        """Apply it to the rows of a file. Only a step that asks no model can."""
        raise ValueError("a step that asks a model does not apply to files")

    def figures(self, counts: Mapping[str, int]) -> Mapping[str, Any]:  # noqa: ARG002 - others do
        """Return the fields of the step's record that follow from its counts."""
        return {}


class ToEmbed(NamedTuple):
    """The texts of a set-wise step that a model server embeds."""

    form: EmbeddingForm
    column: str
    against: Sequence[ReferenceTexts] = ()
    """The datasets that rows are compared with."""


class SetWiseResult(NamedTuple):
    """A table after a set-wise step."""

    table: Table
    rows_in: int
    dropped: Mapping[str, int]
    """How many rows were dropped for each reason."""


class SetWise(ABC):
    """A bound step that needs all rows at once; rows wait for it."""

    @abstractmethod
    def identity(self) -> Iterable[bytes]:
        """Yield what shapes the results besides the pipeline's words and the texts of its parts."""

    @abstractmethod
    def whole(
        self, table: Table, folder: Path, account: Account, embedder: Embedder | None
    ) -> SetWiseResult:
        """Apply it to a table, and write the result as a table in `folder`."""

    def to_embed(self) -> ToEmbed | None:
        """Return the texts that a model server embeds first; None if there are none."""
        return None


Bound = RowWise | SetWise


@dataclass(frozen=True)
class Step:
    """A step of a plan, with everything it needs."""

    spec: spec.Step
    bound: Bound
    title: str
    """The step in a few words: `generate: response`."""
    reads: tuple[str, ...]
    """The columns it needs, or fields of them."""
    adds: Columns = field(default_factory=dict)
    """The columns it makes."""
    models: tuple[tuple[str, Model], ...] = ()
    """The models that it asks, with their roles."""
    parts: tuple[tuple[str, PartRecord], ...] = ()
    """The files that it uses, each with its kind: prompt, rubric, schema, filter."""
    calls: int = 0
    """Calls for each row that reaches it, if every first answer is usable."""
    columns: Columns = field(default_factory=dict)
    """The columns that its checks read, with their types."""
    texts: tuple[str, ...] = ()
    """The columns of texts, or fields of them, that it makes or compares."""
    withholds: tuple[str, ...] = ()
    """Columns that stay out of the dataset."""

    @property
    def role(self) -> str | None:
        """The role of the model that it asks; several are joined."""
        return ", ".join(role for role, _ in self.models) or None

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The servers that a run starts for it, without repetition."""
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
    """Whether models are asked: True in a run, False when a file is pruned."""
    before: tuple[Step, ...] = ()
    """The steps before it, bound."""

    @property
    def seed(self) -> int:
        """The pipeline's seed."""
        return self.pipeline.seed

    def model(self, role: str, place: Place | None) -> Model:
        """Find the model that plays a role; raises UnknownNameError."""
        if role not in self.models:
            raise UnknownNameError("model", role, self.models, place)
        return self.models[role]

    def embedding_models(
        self, embedder: StaticModel | EmbeddingForm | None
    ) -> tuple[tuple[str, Model], ...]:
        """Return the model server that embeds texts, with its role; none for a static model."""
        if not isinstance(embedder, EmbeddingForm):
            return ()
        role = next(role for role, model in self.models.items() if model is embedder.model)
        return ((role, embedder.model),)

    def embedder(self, name: str | None, place: Place | None) -> StaticModel | EmbeddingForm:
        """Find an embedder: a model of the pipeline, or a static one; raises MistakeError."""
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
    """Return columns with their types; at least `id`, for a frame without columns has no rows."""
    return {name: columns[name] for name in names} or {"id": FIRST_COLUMNS["id"]}


def column_of(path: str) -> str:
    """Return the column of a path: `item` of `item.question`, `messages` of `messages::user`."""
    return path.partition("::")[0].partition(".")[0]


def sampling(step: spec.Sampling) -> dict[str, Any]:
    """Return the sampling parameters that a step sets."""
    names = spec.Sampling.model_fields
    given = {name: getattr(step, name) for name in names}
    return {name: value for name, value in given.items() if value is not None and value != ()}


def located(place: Place | None, make: Callable[[Any], Any], value: Any) -> Any:
    """Add a place to an error that has none."""
    try:
        return make(value)
    except MistakeError as error:
        raise MistakeError(error.message, error.place or place) from error
