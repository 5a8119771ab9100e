"""What one step did with a row, as data: verbs make it, terminal and report show it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from soupstock.artifacts.manifest import Manifest, PartRecord
from soupstock.errors import MistakeError
from soupstock.judging.rubric import Rubric
from soupstock.project import recorded
from soupstock.rows.row import Columns, Row
from soupstock.spec.prompt import Prompt, PromptError, parse_prompt
from soupstock.steps.step import Context

Messages = Sequence[Mapping[str, str]]

ASKED = "asked"
"""The label of a question to a model."""


class Round(NamedTuple):
    """One question to a model."""

    messages: Messages
    answer: str | None = None
    """What it answered, if the row does not hold that."""
    title: str = ""
    """Which question it was, if there are several: `turn 2, user`."""


@dataclass(frozen=True)
class CriterionResult:
    """A judge's verdict on one criterion."""

    criterion: str
    score: float
    level: int | None
    """From 1; None for a rule, and for several judges together."""
    levels: int
    """How many levels there are."""
    words: str
    """The level in words."""
    reason: str


@dataclass(frozen=True)
class Opinion:
    """The verdict of one of several judges."""

    role: str
    score: float
    findings: Sequence[CriterionResult]


@dataclass(frozen=True)
class Pair:
    """One judge's verdict on two answers, in both orders."""

    judge: str
    places: tuple[int, int]
    """The numbers of the answers, from 1."""
    outcome: str
    reasons: Sequence[str]


@dataclass(frozen=True)
class Repeat:
    """The row that a dropped row repeats: its number (from 1), its text, and the similarity."""

    number: int
    text: str
    similarity: float | None = None


@dataclass(frozen=True)
class Chapter:
    """What one step did with a row."""

    title: str = ""
    """The step: `generate: response`."""
    model: str | None = None
    """The model that was asked, by name and revision; several are joined."""
    role: str | None = None
    """The model's role; several are joined."""
    is_asked: bool = True
    """Whether the step asked its model about this row."""
    rounds: Sequence[Round] = ()
    """The questions, in order, with the answers that are not the value itself."""
    value: Any = None
    """What the step added or found: an answer, a verdict, a filter's figures."""
    passages: Mapping[str, Any] = field(default_factory=dict)
    """What people read of it, by label: texts, lists of texts, conversations, fields."""
    score: float | None = None
    findings: Sequence[CriterionResult] = ()
    opinions: Sequence[Opinion] = ()
    """Each judge's verdict, if there are several."""
    pairs: Sequence[Pair] = ()
    twin: Repeat | None = None
    """The row that this one repeats."""
    failures: Sequence[tuple[str, str]] = ()
    """Causes and messages."""
    reasons: Sequence[str] = ()
    """Why the row was dropped here."""

    @property
    def messages(self) -> Messages:
        """The first question."""
        return self.rounds[0].messages if self.rounds else ()


class Recorded:
    """A run's prompts and rubrics as its manifest holds them, whatever the files hold now."""

    def __init__(self, manifest: Manifest) -> None:
        """Read from a manifest."""
        self.manifest = manifest
        self._prompts: dict[str, Prompt] = {}
        self._rubrics: dict[str, Rubric | None] = {}

    def prompt(self, name: str) -> Prompt:
        """Return a prompt of the run; raises PromptError if it cannot be read any more."""
        if name not in self._prompts:
            part = _named(self.manifest.prompts, name)
            if part is None:
                raise PromptError(f"the run's manifest does not hold the prompt {name}")
            self._prompts[name] = parse_prompt(name, part.text, Path(part.file))
        return self._prompts[name]

    def rubric(self, name: str) -> Rubric | None:
        """Return a rubric of the run; None if it cannot be read any more."""
        if name not in self._rubrics:
            self._rubrics[name] = read_rubric(self.manifest, name)
        return self._rubrics[name]


def read_rubric(manifest: Manifest, name: str) -> Rubric | None:
    """Read a rubric from a manifest; None if it cannot be read any more."""
    try:
        return recorded.rubric(manifest, name)
    except MistakeError:
        return None


def _named(parts: Sequence[PartRecord], name: str) -> PartRecord | None:
    return next((part for part in parts if part.name == name), None)


@dataclass(frozen=True)
class RowStep:
    """A row at one step of a finished run."""

    row: Row
    recorded: Recorded
    reasons: Sequence[str] = ()
    """Why the row was dropped at this step; empty if it was not."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """The figures that the step's filters read in the row, by their labels."""
    twin: Callable[[str], Repeat | None] = lambda _: None
    """Finds, for a reason, the row that this one repeats, with the text that was compared."""
    columns: Columns = field(default_factory=dict)
    """The columns of the table, with their types."""
    context: Context | None = None
    """What the step can be bound in again, from the project as it is now."""
    has_questions: bool = False
    """Whether questions to judges are shown too, which no text answers."""

    def asked(self, prompt: str, given: Row | None = None) -> Iterator[Round]:
        """Render a prompt for the row; yields nothing if it cannot be rendered."""
        try:
            yield Round(self.recorded.prompt(prompt).messages(given or self.row))
        except PromptError:
            return

    def cells(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the row's values in some columns."""
        return {name: self.row[name] for name in names}

    def question(self, rounds: Sequence[Round]) -> dict[str, Any]:
        """Return the first question, by its label, unless a column holds the same text."""
        if not rounds:
            return {}
        text = rounds[0].messages[-1]["content"].strip()
        return {} if text in self.row.values() else {ASKED: text}


def likeness(row_step: RowStep) -> Mapping[str, Any] | None:
    """Return which row or item a dropped row resembles, and how similar it is."""
    found = row_step.cells(("twin", "similarity"))
    return found if row_step.reasons and found["twin"] else None
