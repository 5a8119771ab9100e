"""Sample the rows that people review, and apply their answers. Sends and fetches nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import MistakeError, Place, quoted
from soupstock.judging.rubric import Rubric
from soupstock.review.answers import KEEP, read_answers
from soupstock.review.apply import COLUMN, REVIEW, Reviewing, original, passing, review
from soupstock.rows.row import Columns, Row
from soupstock.rows.table import Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import check_new, check_texts, type_at
from soupstock.steps.step import Account, At, Context, SetWise, SetWiseResult, Step
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.text.markdown import Markdown, code, joined


@dataclass(frozen=True)
class BoundReview(SetWise):
    """A review step, bound."""

    reviewing: Reviewing

    def identity(self) -> Iterable[bytes]:
        """Yield the hash of the answers."""
        yield self.reviewing.answers.content.encode()

    def whole(
        self,
        table: Table,
        folder: Path,
        account: Account,
        embedder: Embedder | None,  # noqa: ARG002 - it compares nothing
    ) -> SetWiseResult:
        """Draw the sample, and apply the answers."""
        found = review(self.reviewing, table, folder)
        account.review = found.record
        account.notes.extend(found.record.sentences())
        dropped = {f"{COLUMN}: {veto}": count for veto, count in found.record.vetoed.items()}
        return SetWiseResult(found.table, found.record.rows, dropped)


def bind(step: spec.Review, columns: Columns, at: At, context: Context) -> Step:
    """Check a step's columns, and read the answers; raises MistakeError."""
    before = context.pipeline.steps[: at.index]
    _check(step, before, columns, at)
    judges = [one for one in before if isinstance(one, spec.Judge)]
    judge = judges[-1].judge if judges else None
    if step.strategy == "uncertain" and judge is None:
        problem = "`strategy: uncertain` needs a judge step before it"
        raise MistakeError(problem, at("strategy"))
    chosen = step.rubric or (judges[-1].rubric if judges else None)
    found = context.project.rubric(chosen, at("rubric")) if chosen else None
    rubric = found.value if found else None
    shown = _shown(step, rubric, columns, at)
    own = rubric.subject if rubric and not step.columns else None
    subject = step.column or own or shown[-1]
    corrected = _corrected(step, subject, columns, at)
    reviewing = Reviewing(
        said=step,
        shown=shown,
        subject=subject,
        corrected=corrected,
        judge=judge,
        threshold=passing(before, judge),
        seed=context.seed,
        answers=read_answers(context.project.root, context.name),
    )
    kinds = (step.strategy.stratified,) if isinstance(step.strategy, spec.Stratified) else ()
    adds = _adds(corrected, columns, at)
    return Step(
        step,
        BoundReview(reviewing),
        title=reviewing.label,
        reads=tuple(dict.fromkeys((*shown, *filter(None, (judge,)), *kinds))),
        adds=adds,
        parts=(("rubric", found.record),) if found else (),
        withholds=tuple(adds),
    )


def _adds(corrected: str | None, columns: Columns, at: At) -> Columns:
    if corrected is None:
        return {COLUMN: REVIEW}
    check_new(original(corrected), columns, at("review"))
    return {COLUMN: REVIEW, original(corrected): pl.String()}


def _check(step: spec.Review, before: Sequence[spec.Step], columns: Columns, at: At) -> None:
    if any(isinstance(one, spec.Review) for one in before):
        raise MistakeError(
            "a pipeline can have only one review: put all questions into it", at("review")
        )
    check_new(COLUMN, columns, at("review"))
    if KEEP in step.vetoes:
        raise MistakeError(
            f"{quoted(KEEP)} cannot be a veto: it is the answer for good rows", at("vetoes")
        )
    if isinstance(step.strategy, spec.Stratified):
        path = step.strategy.stratified
        if step.strategy.by == "length":
            check_texts(path, columns, at("strategy"))
        else:
            _check_kinds(path, type_at(path, columns, at("strategy")), at("strategy"))


def _check_kinds(path: str, dtype: pl.DataType, place: Place | None) -> None:
    if isinstance(dtype, pl.Struct) and "score" in dict(dtype.to_schema()):
        return
    if dtype.is_nested():
        raise MistakeError(f"{quoted(path)} holds neither texts, numbers nor scores", place)


def _shown(step: spec.Review, rubric: Rubric | None, columns: Columns, at: At) -> tuple[str, ...]:
    """Find the columns that people read; raises MistakeError."""
    shown = step.columns or (rubric.shown if rubric else ())
    if not shown:
        raise MistakeError(
            "no columns are shown to people: name `columns` or a `rubric`", at("review")
        )
    named = "columns" if step.columns else "rubric"
    for path in shown:
        type_at(path, columns, at(named))
    if step.column is not None and step.column not in shown:
        raise MistakeError(
            f"{quoted(step.column)} is not among the columns that people read", at("column")
        )
    return shown


def _corrected(step: spec.Review, subject: str, columns: Columns, at: At) -> str | None:
    """Find the column that people can correct; raises MistakeError."""
    is_text = subject in columns and columns[subject] == pl.String()
    if step.column is not None and not is_text:
        raise MistakeError(f"{quoted(subject)} is not a column of texts", at("column"))
    return subject if is_text and "correction" in step.questions else None


def makes(step: spec.Review) -> Made:  # noqa: ARG001 - all review steps make the same
    """Name the column of the answers. Corrections keep the old texts in another column."""
    return Made(beside=(COLUMN,))


def describe(step: spec.Review, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe how rows were sampled, and what people answered."""
    found = manifest.review
    if found is None or not found.answered:
        return "no person has reviewed rows yet."
    how = {
        "random": "drawn at random",
        "uncertain": "drawn more often where the judge was less sure",
    }.get(str(step.strategy), "drawn in equal numbers from each kind")
    people = "one person" if found.annotators == 1 else f"{found.annotators:,} people"
    parts = [f"{people} reviewed {found.answered:,} of {found.sampled:,} rows, {how}"]
    if found.vetoed:
        vetoes = [
            Markdown(f"{count:,} as {code(veto, 40)}") for veto, count in found.vetoed.items()
        ]
        parts.append(f"they dropped {joined(vetoes)}")
    if found.corrected:
        parts.append(f"they corrected {found.corrected:,}")
    return f"{'; '.join(parts)}."


def chapter(step: spec.Review, row_step: RowStep) -> Chapter:  # noqa: ARG001 - the row has it
    """Tell what people answered, and the text before their correction."""
    answer = row_step.row[COLUMN] or {}
    passages = {COLUMN: {what: answer.get(what) for what in ("verdict", "comment")}}
    return Chapter(value=dict(_answers(row_step.row)), passages=passages)


def _answers(row: Row) -> Iterator[tuple[str, Any]]:
    answer = row[COLUMN]
    if answer is None:
        yield "sampled", "no"
        return
    yield "sampled", "no" if answer["chance"] is None else f"yes (chance {answer['chance']:.3g})"
    people = answer["people"]
    yield "answered", f"by {people}" if people else "not yet"
    yield from ((what, answer[what]) for what in ("verdict", "comment") if answer[what])
    for name in row:
        if (before := row.get(original(name))) is not None:
            yield f"{name} before", before


VERB = Verb(spec.Review, bind, makes, not_for_files, describe, chapter)
