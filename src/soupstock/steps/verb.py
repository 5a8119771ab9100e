"""The record of a verb: every operation that the rest of the program needs of it. Names no verb.

Each verb's module ends in one of these, so the type checker names an operation that is missing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.project.project import Project
from soupstock.rows.row import Columns
from soupstock.spec.fields import Spec
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.step import At, Context, Step


class Made(NamedTuple):
    """The columns that a step makes."""

    main: tuple[str, ...] = ()
    """The columns that are the step's purpose. A judge has none, for verdicts are not texts."""
    beside: tuple[str, ...] = ()
    """Further columns."""
    is_written: bool = False
    """Whether models wrote the main columns."""

    @property
    def every(self) -> tuple[str, ...]:
        """All columns that the step makes."""
        return (*self.main, *self.beside)


SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class Verb(Generic[SpecT]):
    """All operations of a verb."""

    spec: type[SpecT]
    """What a person writes."""
    bind: Callable[[SpecT, Columns, At, Context], Step]
    """Binds a step to the columns that exist by then; raises MistakeError."""
    makes: Callable[[SpecT], Made]
    """Names the columns that a step makes."""
    needs: Callable[[SpecT, Project], Iterable[frozenset[str]]]
    """Names the columns that a step needs when it is applied to a file: a set for each part that
    can be left out. Nothing if it asks a model, or does not apply to files."""
    describe: Callable[[SpecT, StepRecord, Manifest], str]
    """Describes in a sentence of Markdown what the step did, for the dataset's card."""
    chapter: Callable[[SpecT, RowStep], Chapter]
    """Tells what the step did with a row."""


def not_for_files(step: Spec, project: Project) -> Iterable[frozenset[str]]:  # noqa: ARG001
    """Return nothing: a step that asks a model, or writes a dataset, does not apply to files."""
    return ()
