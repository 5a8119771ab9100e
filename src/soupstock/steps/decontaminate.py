"""Drop the rows that resemble an item of an evaluation set, and measure how well that works."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, PartRecord, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.call import Ask, Failure, Form
from soupstock.judging.same_question import COMPARED, SameQuestion, Verdict, schema
from soupstock.project.project import Project
from soupstock.rows.references import Reference
from soupstock.rows.rows import Columns, Row, dropped, failed, frame
from soupstock.similarity.contamination import STAGES, Contamination, Detector, surest
from soupstock.similarity.edits import planted
from soupstock.stats.intervals import Interval
from soupstock.stats.proportions import proportion
from soupstock.steps.chapter import Chapter, RowStep, likeness
from soupstock.steps.columns import check_new, check_texts, check_variables, reference_to
from soupstock.steps.step import (
    Account,
    At,
    Context,
    Pruned,
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

UNCLEAR = "decontaminate: rephrased (no verdict)"
"""Why a row is dropped that a model was to tell of, and did not."""

VERDICT = pl.Struct(
    {"verdict": pl.String, "item": pl.String, "similarity": pl.Float64, "reason": pl.String}
)
"""What the column holds of a row: what was said, of which item, how similar it is, and why."""


SAME = "same question"
"""What the model says is told under this name."""


_ASKING = ("ask_from", "prompt", "into", "canaries", "temperature", "max_tokens", "retries")


@dataclass(frozen=True)
class Recall:
    """How many canaries of one kind were found."""

    kind: str
    planted: int
    found: int

    @property
    def interval(self) -> Interval:
        """The share that is found, with its interval (Jeffreys')."""
        return proportion(self.found, self.planted)


class Candidate(NamedTuple):
    """A text that a model is to tell of, and what it resembles."""

    text: str
    found: Contamination


@dataclass(frozen=True)
class Decontamination(RowWise):
    """A decontaminate step: the column that is compared, and the evaluation sets."""

    column: str
    against: tuple[Reference, ...]
    overlap: float = 0.5
    threshold: float = 0.6
    question: SameQuestion | None = None
    """How a model is asked about texts that only resemble an item; None where none is."""
    is_unasked: bool = False
    """Whether a run asks a model, and here nobody is asked."""

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
            step=self.told if self.question else None,
            check=lambda rows: decontaminate(self, rows, step.columns),
        )

    def prune(self, rows: pl.DataFrame, account: Account) -> Pruned:  # noqa: ARG002 - as above
        """Say which rows of a frame resemble an item, and which."""
        found = [one for part in rows.iter_slices(_SLICE) for one in find_items(self, part)]
        twins = {
            place: (self.name_item(one.item), one.similarity)
            for place, one in enumerate(found)
            if one.stages
        }
        return Pruned(reasons=[reasons_of(one) for one in found], twins=twins)

    @cached_property
    def _items(self) -> list[pl.DataFrame]:
        return [reference.texts() for reference in self.against]

    @cached_property
    def items(self) -> list[str]:
        """The sets' items, one set after the other."""
        return [text for part in self._items for text in part["text"]]

    @cached_property
    def detector(self) -> Detector:
        """What compares texts with the sets' items; it is made when it is first asked for."""
        least = self.question.ask_from if self.question else self.threshold
        return Detector(self.items, self.overlap, least)

    @cached_property
    def recall(self) -> tuple[Recall, ...]:
        """How many canaries of each kind are found, where no model is asked."""
        return tuple(
            Recall(kind, len(edited), sum(bool(one.stages) for one in self.detector.find(edited)))
            for kind, edited in planted(self.items).items()
        )

    def name_item(self, place: int) -> str:
        """Name an item: `gsm8k.jsonl row 17`."""
        ends = list(accumulate(part.height for part in self._items))
        which = next(n for n, end in enumerate(ends) if place < end)
        part = self._items[which]
        number = part["number"][place - (ends[which] - part.height)]
        return self.against[which].name_row(number)

    def decided(self, row: Row, text: str | None, found: Contamination) -> Row:
        """Drop a row for what its text has of the items, or leave it for the model to tell of."""
        if self.question is not None:
            if text is not None and found.stages == ("rephrased",):
                return row | {self.question.into: Candidate(text, found)}
            # That it is rephrased is for the model to say, which is not asked of what is sure.
            sure = tuple(stage for stage in found.stages if stage != "rephrased")
            row = row | {self.question.into: self._cell("not asked", found)}
            found = found._replace(stages=sure)
        return self._dropped(row, found, *reasons_of(found)) if found.stages else row

    async def told(self, row: Row, ask: Ask) -> Row:
        """Ask about a row that was left for the model; keep it if that says it is not the same."""
        question = self.question
        if question is None or not isinstance(row[question.into], Candidate):
            return row
        text, found = row[question.into]
        purpose = f"{row['id']}/{question.into}"
        said = await question.put(self.items[found.item], text, purpose, ask)
        if isinstance(said, Failure):
            row = failed(row, self.label, *said)
            row = row | {question.into: self._cell("unclear", found, said.message)}
            return self._dropped(row, found, UNCLEAR)
        verdict: Verdict = "yes" if said.is_same else "no"
        row = row | {question.into: self._cell(verdict, found, said.reason)}
        return self._dropped(row, found, *reasons_of(found)) if said.is_same else row

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
        reference_to(there, step.decontaminate, context.project, at("against", number))
        for number, there in enumerate(step.against)
    )
    bound = Decontamination(step.decontaminate, against, step.overlap, step.threshold)
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
        # What is said of a row is about an evaluation set, and no part of the dataset.
        withholds=(question.into,),
    )


def _check_unasked(step: spec.Decontaminate, at: At) -> None:
    """Check that nothing is said of how a model is asked, where none is."""
    fields = spec.Decontaminate.model_fields
    for key in _ASKING:
        if getattr(step, key) != fields[key].default:
            problem = f"`{key}` says how a model is asked: name one with `model:`"
            raise MistakeError(problem, at(key))


def _same_question(
    step: spec.Decontaminate, role: str, columns: Columns, at: At, context: Context
) -> tuple[SameQuestion, PartRecord]:
    model = context.model(role, at("model"))
    check_new(step.into, columns, at("into") or at("decontaminate"))
    prompt = context.project.prompt(step.prompt, at("prompt"))
    check_variables(prompt, COMPARED, at("prompt") or at("model"))
    form = Form(
        model,
        {"temperature": step.temperature, "max_tokens": step.max_tokens},
        schema(),
        "same_question",
        seed=context.seed,
    )
    question = SameQuestion(role, form, prompt.value, step.into, step.ask_from, step.retries)
    return question, prompt.record


def find_items(step: Decontamination, rows: pl.DataFrame) -> Iterator[Contamination]:
    """Say of each row of a frame what it has of the items; of null, nothing."""
    return (found for _, found in _compared(step, rows))


def _compared(
    step: Decontamination, rows: pl.DataFrame
) -> Iterator[tuple[str | None, Contamination]]:
    """Yield for each row the text that an item is found in most surely, and what it has of it.

    Of several turns each is compared by itself, for among the others one would go under, and all
    of them as one text, for an item may stand in several.
    """
    texts, turns = read_texts(rows, step.column), read_turns(rows, step.column)
    parts = [_parts(*both) for both in zip(texts, turns.to_list(), strict=True)]
    found = iter(step.detector.find([text for several in parts for text in several]))
    for several in parts:
        own = [next(found) for _ in several]
        if several:
            place = surest(own)
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
    """Name each stage that tells so."""
    return [f"decontaminate: {stage}" for stage in found.stages]


def decontaminate(step: Decontamination, rows: Sequence[Row], columns: Columns) -> list[Row]:
    """Drop rows; `columns` are those that the step reads, with their types.

    Where a model is asked, `Decontamination.told` goes on with those that it is to tell of.
    """
    compared = zip(rows, _compared(step, frame(rows, columns)), strict=True)
    return [step.decided(row, text, found) for row, (text, found) in compared]


def makes(step: spec.Decontaminate) -> Made:
    """Name the column of what a model says."""
    return Made(beside=(step.into,) if step.model else ())


def needs(step: spec.Decontaminate, project: Project) -> Iterator[frozenset[str]]:  # noqa: ARG001
    """Name the column that is compared."""
    yield frozenset({column_of(step.decontaminate)})


def describe(step: spec.Decontaminate, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Say what rows were compared with, and how."""
    like = f"or a cosine of at least {step.threshold:g} of their character n-grams"
    if step.model is not None:
        like = (
            f"or the same question, as {model_named(step.model, manifest)} says of those that have"
            f" a cosine of at least {step.ask_from:g} of their character n-grams, asked by the"
            f" prompt {code(step.prompt, LONGEST)}"
        )
    return (
        f"rows were dropped whose {code(step.decontaminate, LONGEST)} resembles an item of"
        f" {references(step.against)}: the same text, a run of 13 words, {step.overlap:.0%} of its"
        f" runs of 8 words, {like}."
    )


def chapter(step: spec.Decontaminate, row_step: RowStep) -> Chapter:
    """Tell which item the row resembles, and what a model said of that."""
    if step.model is None:
        return Chapter(value=likeness(row_step))
    cell = row_step.row[step.into]
    if cell is None or cell["item"] is None:
        return Chapter(is_asked=False)
    like = {"resembles": cell["item"], "similarity": cell["similarity"]}
    if cell["verdict"] == "not asked":
        return Chapter(is_asked=False, value=like)
    said = {SAME: cell["verdict"], "reason": cell["reason"]}
    return Chapter(value=like | said, passages=row_step.cells([step.into]))


VERB = Verb(spec.Decontaminate, bind, makes, needs, describe, chapter)
