"""What one step meant for a row, as data: verbs tell it, terminal and report lay it out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from soupstock.artifacts.manifest import Manifest, PartRecord
from soupstock.errors import MistakeError
from soupstock.judging.rubric import Rubric
from soupstock.rows.rows import Columns, Row
from soupstock.spec.loader import parse_yaml, validate
from soupstock.spec.prompt import Prompt, PromptError, parse_prompt
from soupstock.steps.step import Context

Messages = Sequence[Mapping[str, str]]

ASKED = "asked"
"""The label of the question that a text answers."""


class Round(NamedTuple):
    """One question to a model, and what it answered, where the row does not hold that."""

    messages: Messages
    answer: str | None = None
    title: str = ""
    """Which question it was, where there are several: `turn 2, user`."""


@dataclass(frozen=True)
class Finding:
    """What a judge found for one criterion."""

    criterion: str
    score: float
    level: int | None
    """None for a rule, and for several judges together."""
    levels: int
    words: str
    reason: str


@dataclass(frozen=True)
class Opinion:
    """What one of several judges found."""

    role: str
    score: float
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Pair:
    """What one judge said of two answers, each shown first once."""

    judge: str
    places: tuple[int, int]
    """Which answers, from 1."""
    outcome: str
    reasons: Sequence[str]


@dataclass(frozen=True)
class Repeat:
    """A row's number (from 1), its text, and how similar that is to its twin's."""

    number: int
    text: str
    similarity: float | None = None


@dataclass(frozen=True)
class Chapter:
    """What one step meant for a row."""

    title: str = ""
    """The step: `generate: response`."""
    model: str | None = None
    """Which model was asked: name and revision; of several, all of them."""
    role: str | None = None
    """The model's role; of several, all of them."""
    is_asked: bool = True
    """Whether a model was asked about this row, where the step asks any."""
    rounds: Sequence[Round] = ()
    """What was asked, in order, with the answers that are not the value itself."""
    value: Any = None
    """What the step added or found: an answer, a verdict, a filter's figures."""
    passages: Mapping[str, Any] = field(default_factory=dict)
    """What of it is text to read, by label: texts, lists of them, conversations, fields."""
    score: float | None = None
    findings: Sequence[Finding] = ()
    opinions: Sequence[Opinion] = ()
    """The judges one by one, where there are several."""
    pairs: Sequence[Pair] = ()
    twin: Repeat | None = None
    """The row that this one repeats."""
    failures: Sequence[tuple[str, str]] = ()
    """Causes and messages."""
    reasons: Sequence[str] = ()
    """Why the row was dropped here."""

    @property
    def messages(self) -> Messages:
        """What was asked first."""
        return self.rounds[0].messages if self.rounds else ()


class Recorded:
    """What a run recorded: its prompts and rubrics as they were, whatever became of the files."""

    def __init__(self, manifest: Manifest) -> None:
        """Read from a manifest."""
        self.manifest = manifest
        self._prompts: dict[str, Prompt] = {}
        self._rubrics: dict[str, Rubric | None] = {}

    def prompt(self, name: str) -> Prompt:
        """Return a prompt of the run; raises PromptError where it cannot be read any more."""
        if name not in self._prompts:
            part = _named(self.manifest.prompts, name)
            if part is None:
                raise PromptError(f"the run does not say what the prompt {name} was")
            self._prompts[name] = parse_prompt(name, part.text, Path(part.file))
        return self._prompts[name]

    def rubric(self, name: str) -> Rubric | None:
        """Return a rubric of the run; None where it cannot be read any more."""
        if name not in self._rubrics:
            self._rubrics[name] = read_rubric(self.manifest, name)
        return self._rubrics[name]


def read_rubric(manifest: Manifest, name: str) -> Rubric | None:
    """Read a rubric from a manifest; None where it cannot be read any more."""
    part = _named(manifest.rubrics, name)
    if part is None:
        return None
    try:
        return validate(parse_yaml(part.text, Path(part.file)), Rubric).value
    except MistakeError:
        return None


def _named(parts: Sequence[PartRecord], name: str) -> PartRecord | None:
    return next((part for part in parts if part.name == name), None)


@dataclass(frozen=True)
class RowStep:
    """A row at one step of a run that is over."""

    row: Row
    recorded: Recorded
    reasons: Sequence[str] = ()
    """Why the row was dropped at this step; empty where it was not."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """What the step's filters looked at in the row, by their labels."""
    twin: Callable[[str], Repeat | None] = lambda _: None
    """Finds the row that this one repeats, with the text that was compared for a reason."""
    columns: Columns = field(default_factory=dict)
    """The columns of the table, with their types."""
    context: Context | None = None
    """Where the step could be bound once more, from the project as it is now."""

    def asked(self, prompt: str, given: Row | None = None) -> Iterator[Round]:
        """Render a prompt for the row; yields nothing where it cannot be rendered."""
        try:
            yield Round(self.recorded.prompt(prompt).messages(given or self.row))
        except PromptError:
            return

    def cells(self, names: Iterable[str]) -> dict[str, Any]:
        """Return what the row holds in some columns."""
        return {name: self.row[name] for name in names}

    def question(self, rounds: Sequence[Round]) -> dict[str, Any]:
        """Return what was asked first, by its label, unless a column holds just that."""
        if not rounds:
            return {}
        text = rounds[0].messages[-1]["content"].strip()
        return {} if text in self.row.values() else {ASKED: text}


def likeness(row_step: RowStep) -> Mapping[str, Any] | None:
    """Tell what a dropped row is too much like."""
    like = row_step.cells(("twin", "similarity"))
    return like if row_step.reasons and like["twin"] else None
