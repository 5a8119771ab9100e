"""The form of a review, for any tool: what people are shown and asked; and how replies are read."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from soupstock.judging.rubric import Criterion, Rubric
from soupstock.review.answers import KEEP, ReviewAnswer
from soupstock.spec.dataset import Review

VERDICT, CORRECTION, COMMENT = "verdict", "correction", "comment"
CRITERION = "criterion_"
"""The prefix of the names of criteria's questions."""

Text = str | list[dict[str, str]]
"""The value of a field: a text, or a conversation of `role` and `content`."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_PICTURES = 0x2400


@dataclass(frozen=True)
class Field:
    """A text that people read."""

    name: str
    title: str
    kind: Literal["text", "chat"] = "text"


@dataclass(frozen=True)
class Option:
    """One of the choices of a question."""

    value: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question: people choose one of the options, or write if there are none."""

    name: str
    title: str
    options: tuple[Option, ...] = ()
    is_required: bool = False
    criterion: str | None = None
    """The criterion that the question is about."""
    description: str = ""


@dataclass(frozen=True)
class Form:
    """The fields that people read, and the questions that they answer."""

    fields: tuple[Field, ...]
    questions: tuple[Question, ...]
    guidelines: str = ""
    annotators: int = 1

    @property
    def digest(self) -> str:
        """The hash of everything that must not change once people answer."""
        asked = [*map(asdict, self.fields), *map(asdict, self.questions)]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def question(self, name: str) -> Question | None:
        """Find a question."""
        return next((one for one in self.questions if one.name == name), None)


@dataclass(frozen=True)
class Suggestion:
    """A suggested answer, as a judge gave it."""

    question: str
    value: str
    score: float | None = None
    """How sure the judge is, from 0 to 1."""
    agent: str | None = None


@dataclass(frozen=True)
class FormRecord:
    """A row in a form: the values that people read, and suggested answers."""

    key: str
    """The hash of the text."""
    row: str
    """The row's id."""
    fields: Mapping[str, Text]
    suggestions: Sequence[Suggestion] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FormReply:
    """One person's reply to a form, as the review tool returns it."""

    key: str
    annotator: str
    values: Mapping[str, str]
    """The answers by the names of the questions."""
    is_discarded: bool = False
    when: str = ""


def questions_of(step: Review, rubric: Rubric | None, corrected: str | None) -> Iterator[Question]:
    """Make the questions of a review step."""
    vetoes = [Option(veto, f"Drop: {veto}") for veto in step.vetoes]
    yield Question(
        VERDICT,
        "Should this row be in the dataset?",
        (Option(KEEP, "Keep"), *vetoes),
        is_required=True,
    )
    if rubric is not None and "criteria" in step.questions:
        for number, (name, one) in enumerate(rubric.judged.items(), 1):
            yield _criterion(number, name, one)
    if corrected is not None:
        yield Question(
            CORRECTION,
            f"How should {corrected} read?",
            description="Change the text, or leave it as it is.",
        )
    if "comment" in step.questions:
        yield Question(COMMENT, "Why?")


def _criterion(number: int, name: str, one: Criterion) -> Question:
    # Criteria may differ only in case, and tools keep names in lower case.
    asked = f"{CRITERION}{number}_{name.lower()}"
    options = tuple(Option(str(level), words) for level, words in enumerate(one.levels, 1))
    return Question(asked, one.question, options, criterion=name, description=name)


def read_reply(form: Form, reply: FormReply, shown: str | None, source: str) -> ReviewAnswer:
    """Read a reply; `shown` is the text that people could correct.

    Raises:
        ValueError: A value is not an option of its question; the message is for the user.
    """
    said: dict[str, str] = {}
    criteria: dict[str, str] = {}
    for name, value in reply.values.items():
        question = form.question(name)
        if question is None or not value.strip():
            continue
        if question.criterion is not None:
            criteria[question.criterion] = _option(question, value).text
        else:
            said[name] = (
                _option(question, value).value if question.options else without_surrogates(value)
            )
    correction = said.get(CORRECTION)
    if correction is not None and shown is not None and _same(correction, shown):
        correction = None
    return ReviewAnswer(
        key=reply.key,
        annotator=without_surrogates(reply.annotator),
        status="discarded" if reply.is_discarded else "submitted",
        verdict=said.get(VERDICT),
        criteria=criteria,
        correction=correction,
        comment=said.get(COMMENT, "").strip() or None,
        when=reply.when,
        source=source,
    )


def _option(question: Question, value: str) -> Option:
    """Find an option by its value or its words."""
    wanted = value.strip()
    for option in question.options:
        if wanted in (option.value, option.text):
            return option
    known = ", ".join(option.value for option in question.options)
    name = question.criterion or question.name
    raise ValueError(f"{name} should be one of {known}, not {wanted!r}")


def _same(one: str, other: str) -> bool:
    """Tell whether texts are the same apart from line endings and outer white space."""
    return _even(one) == _even(other)


def _even(text: str) -> str:
    return printable(text).replace("\r\n", "\n").strip()


def printable(text: str) -> str:
    """Replace control characters, which pages and databases refuse, by their Unicode pictures."""
    return _CONTROL.sub(lambda found: chr(_PICTURES + ord(found[0])), without_surrogates(text))


def without_surrogates(text: str) -> str:
    """Replace half characters (lone surrogates), which no file can hold."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
