"""Drop the rows that resemble an item of an evaluation set, and measure the recall."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, PartRecord, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.call import Ask, CallForm, Failure
from soupstock.judging.same_question import COMPARED, SameQuestion, Verdict, schema
from soupstock.project.project import Project
from soupstock.rows.references import ReferenceTexts, locate
from soupstock.rows.row import Columns, Row, dropped, failed, frame
from soupstock.similarity.contamination import STAGES, Contamination, Detector, best_match
from soupstock.similarity.edits import planted
from soupstock.stats.intervals import Interval
from soupstock.stats.proportions import proportion
from soupstock.steps.chapter import Chapter, RowStep, likeness
from soupstock.steps.columns import check_new, check_texts, check_variables, reference_to
from soupstock.steps.step import (
    Account,
    At,
    Context,
    PrunedRows,
    RowWise,
    Stage,
    Step,
    column_of,
    typed,
)
from soupstock.steps.verb import Made, Verb
from soupstock.steps.wording import LONGEST, model_named, references
from soupstock.text.markdown import code
from soupstock.text.measures import read_texts, read_turns

_DIGITS = 4
_SLICE = 512

NO_VERDICT = "decontaminate: rephrased (no verdict)"
"""Why a row is dropped that a model was asked about and gave no verdict on."""

VERDICT = pl.Struct(
    {"verdict": pl.String, "item": pl.String, "similarity": pl.Float64, "reason": pl.String}
)
"""The type of the column: the model's verdict, the item, their similarity, and the reason."""


SAME = "same question"
"""The label of the model's verdict."""

_ASKING = ("ask_from", "prompt", "into", "canaries", "temperature", "max_tokens", "retries")


@dataclass(frozen=True)
class Recall:
    """How many canaries of one kind the step finds."""

    kind: str
    planted: int
    found: int

    @property
    def interval(self) -> Interval:
        """The share that is found, with its interval (Jeffreys')."""
        return proportion(self.found, self.planted)


class UnsureMatch(NamedTuple):
    """A text that a model is asked about, and what it resembles."""

    text: str
    found: Contamination


@dataclass(frozen=True)
class BoundDecontaminate(RowWise):
    """A decontaminate step, bound."""

    column: str
    """The column of texts to compare."""
    against: tuple[ReferenceTexts, ...]
    """The evaluation sets."""
    overlap: float = 0.5
    """The share of an item's runs of 8 words from which a text contains it."""
    threshold: float = 0.6
    """The cosine from which a text resembles an item."""
    question: SameQuestion | None = None
    """How a model is asked about texts that only resemble an item; None asks no model."""
    is_unasked: bool = False
    """Whether a run would ask a model, but this application to a file does not."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"decontaminate: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield the hashes of the evaluation sets, and how a model is asked."""
        yield from (reference.content.encode() for reference in self.against)
        if self.question is not None:
            yield self.question.form.identity()

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Drop the rows that resemble an item, or ask a model about them."""
        return Stage(
            step.title,
            step=self.ask_model if self.question else None,
            check=lambda rows: decontaminate(self, rows, step.columns),
        )

    def prune(self, rows: pl.DataFrame, account: Account) -> PrunedRows:  # noqa: ARG002 - as above
        """Return which rows of a frame resemble an item, and which item."""
        found = [one for part in rows.iter_slices(_SLICE) for one in find_items(self, part)]
        twins = {
            place: (self.name_item(one.item), one.similarity)
            for place, one in enumerate(found)
            if one.stages
        }
        return PrunedRows(reasons=[reasons_of(one) for one in found], twins=twins)

    @cached_property
    def _items(self) -> list[pl.DataFrame]:
        return [reference.texts() for reference in self.against]

    @cached_property
    def items(self) -> list[str]:
        """The items of all sets, one set after the other."""
        return [text for part in self._items for text in part["text"]]

    @cached_property
    def detector(self) -> Detector:
        """What compares texts with the items; made on first use."""
        least = self.question.ask_from if self.question else self.threshold
        return Detector(self.items, self.overlap, least)

    @cached_property
    def recall(self) -> tuple[Recall, ...]:
        """How many canaries of each kind are found without a model."""
        return tuple(
            Recall(kind, len(edited), sum(bool(one.stages) for one in self.detector.find(edited)))
            for kind, edited in planted(self.items).items()
        )

    def name_item(self, index: int) -> str:
        """Name an item: `gsm8k.jsonl row 17`."""
        which, number = locate(index, self._items)
        return self.against[which].name_row(number)

    def decide(self, row: Row, text: str | None, found: Contamination) -> Row:
        """Drop a row whose text contains an item, or leave it for the model to decide."""
        if self.question is not None:
            if text is not None and found.stages == ("rephrased",):
                return row | {self.question.into: UnsureMatch(text, found)}
            # Only the model says that a text is rephrased, and it is not asked about sure matches.
            sure = tuple(stage for stage in found.stages if stage != "rephrased")
            row = row | {self.question.into: self._cell("not asked", found)}
            found = found._replace(stages=sure)
        return self._dropped(row, found, *reasons_of(found)) if found.stages else row

    async def ask_model(self, row: Row, ask: Ask) -> Row:
        """Ask about a row that is left for the model; drop it if the question is the same."""
        question = self.question
        if question is None or not isinstance(row[question.into], UnsureMatch):
            return row
        text, found = row[question.into]
        purpose = f"{row['id']}/{question.into}"
        answer = await question.put(self.items[found.item], text, purpose, ask)
        if isinstance(answer, Failure):
            row = failed(row, self.label, *answer)
            row = row | {question.into: self._cell("unclear", found, answer.message)}
            return self._dropped(row, found, NO_VERDICT)
        verdict: Verdict = "yes" if answer.is_same else "no"
        row = row | {question.into: self._cell(verdict, found, answer.reason)}
        return self._dropped(row, found, *reasons_of(found)) if answer.is_same else row

    def _cell(
        self, verdict: Verdict, found: Contamination, reason: str | None = None
    ) -> dict[str, Any]:
        item = self.name_item(found.item) if found.stages else None
        similarity = round(found.similarity, _DIGITS) if found.stages else None
        return {"verdict": verdict, "item": item, "similarity": similarity, "reason": reason}

    def _dropped(self, row: Row, found: Contamination, *reasons: str) -> Row:
        twin = {"twin": self.name_item(found.item), "similarity": found.similarity}
        return dropped(row | twin, *reasons)


def bind(step: spec.Decontaminate, columns: Columns, at: At, context: Context) -> Step:
    """Check a step's column, and find its evaluation sets and its prompt; raises MistakeError."""
    check_texts(step.decontaminate, columns, at("decontaminate"))
    against = tuple(
        reference_to(one, step.decontaminate, context.project, at("against", number))
        for number, one in enumerate(step.against)
    )
    bound = BoundDecontaminate(step.decontaminate, against, step.overlap, step.threshold)
    if step.model is None:
        _check_unasked(step, at)
    found = Step(
        step,
        replace(bound, is_unasked=step.model is not None and not context.asks),
        title=bound.label,
        reads=(step.decontaminate,),
        columns=typed([column_of(step.decontaminate)], columns),
        texts=(step.decontaminate,),
    )
    if step.model is None or not context.asks:
        return found
    question, prompt = _same_question(step, step.model, columns, at, context)
    return replace(
        found,
        bound=replace(bound, question=question),
        adds={question.into: VERDICT},
        models=((question.role, question.form.model),),
        parts=(("prompt", prompt),),
        calls=1,
        # The model's words quote an evaluation set, which must stay out of the dataset.
        withholds=(question.into,),
    )


def _check_unasked(step: spec.Decontaminate, at: At) -> None:
    """Check that a step without a model has no key for asking one; raises MistakeError."""
    fields = spec.Decontaminate.model_fields
    for key in _ASKING:
        if getattr(step, key) != fields[key].default:
            problem = f"`{key}` needs a model: set `model:`"
            raise MistakeError(problem, at(key))


def _same_question(
    step: spec.Decontaminate, role: str, columns: Columns, at: At, context: Context
) -> tuple[SameQuestion, PartRecord]:
    model = context.model(role, at("model"))
    check_new(step.into, columns, at("into") or at("decontaminate"))
    prompt = context.project.prompt(step.prompt, at("prompt"))
    check_variables(prompt, COMPARED, at("prompt") or at("model"))
    form = CallForm(
        model,
        {"temperature": step.temperature, "max_tokens": step.max_tokens},
        schema(),
        "same_question",
        seed=context.seed,
    )
    question = SameQuestion(role, form, prompt.value, step.into, step.ask_from, step.retries)
    return question, prompt.record


def find_items(step: BoundDecontaminate, rows: pl.DataFrame) -> Iterator[Contamination]:
    """Yield for each row of a frame what it contains of the items; for null, nothing."""
    return (found for _, found in _compared(step, rows))


def _compared(
    step: BoundDecontaminate, rows: pl.DataFrame
) -> Iterator[tuple[str | None, Contamination]]:
    """Yield for each row the text with the surest match, and what it contains of the item.

    A conversation is compared turn by turn, for one turn has little weight among the others, and
    as one text, for an item may extend over several turns.
    """
    texts, turns = read_texts(rows, step.column), read_turns(rows, step.column)
    parts = [_parts(*both) for both in zip(texts, turns.to_list(), strict=True)]
    found = iter(step.detector.find([text for several in parts for text in several]))
    for several in parts:
        own = [next(found) for _ in several]
        if several:
            place = best_match(own)
            stages = {stage for one in own for stage in one.stages}
            every = tuple(stage for stage in STAGES if stage in stages)
            yield several[place], own[place]._replace(stages=every)
        else:
            yield None, Contamination()


def _parts(text: str | None, turns: Sequence[str] | None) -> list[str]:
    if text is None:
        return []
    return [text, *turns] if turns and len(turns) > 1 else [text]


def reasons_of(found: Contamination) -> list[str]:
    """Return the reasons: one for each stage that found an item."""
    return [f"decontaminate: {stage}" for stage in found.stages]


def decontaminate(step: BoundDecontaminate, rows: Sequence[Row], columns: Columns) -> list[Row]:
    """Drop rows; `columns` are the ones that the step reads, with their types.

    If a model is asked, `ask_model` decides the rows that are left for it.
    """
    compared = zip(rows, _compared(step, frame(rows, columns)), strict=True)
    return [step.decide(row, text, found) for row, (text, found) in compared]


def makes(step: spec.Decontaminate) -> Made:
    """Name the column of the model's verdicts."""
    return Made(beside=(step.into,) if step.model else ())


def needs(step: spec.Decontaminate, project: Project) -> Iterator[frozenset[str]]:  # noqa: ARG001
    """Name the column that is compared."""
    yield frozenset({column_of(step.decontaminate)})


def describe(step: spec.Decontaminate, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe the evaluation sets, and how rows were compared with them."""
    like = f"or a cosine of at least {step.threshold:g} between their character n-grams"
    if step.model is not None:
        like = (
            f"or the same question, as {model_named(step.model, manifest)} decided with the prompt"
            f" {code(step.prompt, LONGEST)} for a cosine of at least {step.ask_from:g} between"
            " their character n-grams"
        )
    return (
        f"rows were dropped if their {code(step.decontaminate, LONGEST)} resembles an item of"
        f" {references(step.against)}: the same text, a run of 13 words, {step.overlap:.0%} of the"
        f" item's runs of 8 words, {like}."
    )


def chapter(step: spec.Decontaminate, row_step: RowStep) -> Chapter:
    """Tell which item the row resembles, and the model's verdict."""
    if step.model is None:
        return Chapter(value=likeness(row_step))
    cell = row_step.row[step.into]
    if cell is None or cell["item"] is None:
        return Chapter(is_asked=False)
    match = {"resembles": cell["item"], "similarity": cell["similarity"]}
    if cell["verdict"] == "not asked":
        return Chapter(is_asked=False, value=match)
    verdict = {SAME: cell["verdict"], "reason": cell["reason"]}
    return Chapter(value=match | verdict, passages=row_step.cells([step.into]))


VERB = Verb(spec.Decontaminate, bind, makes, needs, describe, chapter)
