"""One row's life: where it came from, what models were asked and said, what dropped it and why.

Told from the run's folder alone: prompts and rubrics are those of the run, kept in its manifest,
whatever became of the files since. A task's words are told by its catalogue, if it is there.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import polars as pl
from pydantic import ValidationError

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import Manifest, ModelRecord, StepRecord
from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.project.project import Project, name_of
from soupstock.reports.columns import made_by
from soupstock.reports.filter_figures import look
from soupstock.reports.questions import Asked, Messages, Round
from soupstock.reports.task_questions import retold
from soupstock.review.apply import original
from soupstock.rows.filters import Bound, called
from soupstock.rows.references import is_reference
from soupstock.rows.rows import Row

SAME = "same question"
"""What a decontaminate step's model says is told under this name."""


@dataclass(frozen=True)
class Chapter:
    """What one step meant for a row."""

    title: str
    """The step: `generate: response`."""
    model: str | None = None
    """Who was asked: name and revision."""
    rounds: Sequence[Round] = ()
    """What was asked, in order, with the answers that are not the value itself."""
    value: Any = None
    """What came of it: an answer, a verdict, a filter's figures."""
    failures: Sequence[str] = ()
    reasons: Sequence[str] = ()
    """Why the row was dropped here."""

    @property
    def messages(self) -> Messages:
        """What was asked first."""
        return self.rounds[0].messages if self.rounds else ()


@dataclass(frozen=True)
class Life:
    """A row's life, chapter by chapter; it ends with the step that dropped it."""

    row: Row
    source: Mapping[str, Any]
    chapters: Sequence[Chapter]
    twin: Row | None = None
    """The row that it repeats."""


def find_row(path: Path, row_id: str) -> pl.DataFrame:
    """Find a row of a rows.parquet by its id or the id's beginning; raises MistakeError."""
    rows = pl.scan_parquet(path, glob=False)
    ids = rows.select("id").with_row_index("index")
    try:
        found = ids.filter(pl.col("id").str.starts_with(row_id)).head(3).collect()
        if found.height == 1:
            return rows.slice(found["index"][0], 1).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = shown(str(error).split("\n", 1)[0])
        raise MistakeError(f"the run's rows cannot be read: {reason}", Place(path)) from error
    if found.is_empty():
        raise MistakeError(f"no row's id begins with {quoted(row_id)}")
    few = ", ".join(map(shown, found["id"]))
    raise MistakeError(f"several rows' ids begin with {quoted(row_id)}: {few}, …")


def explain(project: Project, name: str, row_id: str) -> Life:
    """Tell the life of a row of a pipeline's last run; raises MistakeError."""
    place = _last_run(project, name)
    try:
        said = manifest.read(place)
        pipeline = spec.Pipeline.model_validate(said.pipeline)
    except (OSError, ValidationError) as error:
        problem = "it was not made by this version of soupstock; run the pipeline again"
        raise MistakeError(problem, Place(place / manifest.MANIFEST)) from error
    frame = find_row(place / run_folder.ROWS, row_id)
    row: Row = frame.row(0, named=True)
    chapters = list(_Teller(project, said, pipeline, frame).chapters())
    twin = None
    if row["twin"] and not is_reference(row["twin"]):
        twin = find_row(place / run_folder.ROWS, row["twin"]).row(0, named=True)
    return Life(row, _source(row, pipeline), chapters, twin)


def _last_run(project: Project, name: str) -> Path:
    try:
        return run_folder.latest(project.root, name_of(name))
    except MistakeError:
        # That there is no such pipeline says more than that it has not been run.
        project.pipeline(name)
        raise


def _source(row: Row, pipeline: spec.Pipeline) -> Mapping[str, Any]:
    made = {name for step in pipeline.steps for name in made_by(step)}
    if any(isinstance(step, spec.Review) for step in pipeline.steps):
        made |= {"review", *map(original, row)}
    return {
        name: value for name, value in row.items() if name not in made and name not in spec.RESERVED
    }


class _Teller:
    """Tells each step's chapter from the row and the manifest."""

    def __init__(
        self, project: Project, said: Manifest, pipeline: spec.Pipeline, frame: pl.DataFrame
    ) -> None:
        self._project = project
        self._said = said
        self._pipeline = pipeline
        self._asked = Asked(said)
        self._frame = frame
        self._row: Row = frame.row(0, named=True)
        self._reasons: list[str] = self._row["dropped_by"]
        self._figures: Iterator[tuple[str, str]] = iter(())

    def chapters(self) -> Iterator[Chapter]:
        """Tell each step up to the one that dropped the row."""
        told = list(self._passed())
        filters = (step for step, _, _ in told if isinstance(step, spec.Filter))
        self._figures = self._seen([use for step in filters for use in step.filter])
        for step, record, reasons in told:
            failures = [
                f"{failure['cause']}: {failure['message']}"
                for failure in self._row["failures"]
                if failure["step"] == record.label
            ]
            yield self._chapter(step, record, failures, reasons)
        if not any(reasons for _, _, reasons in told):
            yield from self._rest(len(self._pipeline.steps))

    def _passed(self) -> Iterator[tuple[spec.Step, StepRecord, list[str]]]:
        """Yield the steps that the row came through, each with its reasons to drop the row."""
        for step, record in zip(self._pipeline.steps, self._said.steps, strict=False):
            reasons = [reason for reason in self._reasons if reason in record.flagged]
            yield step, record, reasons
            if reasons:
                return

    def _rest(self, told: int) -> Iterator[Chapter]:
        """Tell what was done to the row after the pipeline's own steps."""
        for record in self._said.steps[told:]:
            reasons = [reason for reason in self._reasons if reason in record.flagged]
            yield Chapter(record.label, reasons=reasons)

    def _chapter(
        self, step: spec.Step, record: StepRecord, failures: list[str], reasons: list[str]
    ) -> Chapter:
        value = self._value(step, is_dropped=bool(reasons))
        is_asked = not isinstance(step, spec.Decontaminate) or SAME in (value or {})
        return Chapter(
            record.label,
            model=self._models(record.models) if is_asked else None,
            rounds=self._rounds(step),
            value=value,
            failures=failures,
            reasons=reasons,
        )

    def _rounds(self, step: spec.Step) -> Sequence[Round]:
        if isinstance(step, spec.Task):
            schema = self._frame.schema
            return retold(self._project, self._pipeline, step, self._row, schema)
        return self._asked.rounds(step, self._row)

    def _value(self, step: spec.Step, *, is_dropped: bool) -> Any:
        match step:
            case spec.Generate() | spec.Verify() | spec.Mask() | spec.Task():
                values = {name: self._row[name] for name in made_by(step)}
                is_one = isinstance(step, spec.Generate | spec.Verify) and len(values) == 1
                return next(iter(values.values())) if is_one else values
            case spec.Converse():
                # Its turns are told one by one.
                return None
            case spec.Judge():
                return self._row[step.judge]
            case spec.Filter():
                return dict(itertools.islice(self._figures, len(step.filter)))
            case spec.Decontaminate(model=str()):
                return self._compared(step.into)
            case spec.Dedup() | spec.Decontaminate() | spec.Select():
                return self._likeness(step) if is_dropped else None
            case spec.Review():
                return dict(self._said_by_people())
            case spec.Publish():
                return None
            case _:
                assert_never(step)

    def _likeness(self, step: spec.Dedup | spec.Decontaminate | spec.Select) -> Any:
        """Tell what a row is too much like; the twin of a dedup is told apart, and whole."""
        like = {name: self._row[name] for name in ("twin", "similarity")}
        if isinstance(step, spec.Dedup):
            there = {"there before": like["twin"]} if is_reference(like["twin"] or "") else {}
            return there | {"similarity": like["similarity"]}
        return like if like["twin"] else None

    def _models(self, roles: Sequence[str]) -> str | None:
        """Name the models that were asked, each with its revision."""
        known = {model.role: model for model in self._said.models}
        return ", ".join(dict.fromkeys(_named(known[r]) for r in roles if r in known)) or None

    def _compared(self, column: str) -> Mapping[str, Any] | None:
        """Tell which item the row resembles, and what a model said of that."""
        told = self._row[column]
        if told is None or told["item"] is None:
            return None
        like = {"resembles": told["item"], "similarity": told["similarity"]}
        if told["verdict"] == "not asked":
            return like
        return like | {SAME: told["verdict"], "reason": told["reason"]}

    def _said_by_people(self) -> Iterator[tuple[str, Any]]:
        """Say what people said of the row, and what they made of its text."""
        told = self._row["review"]
        if told is None:
            yield "sampled", "no"
            return
        yield "sampled", "no" if told["chance"] is None else f"yes (chance {told['chance']:.3g})"
        people = told["people"]
        yield "answered", f"by {people}" if people else "not yet"
        yield from ((what, told[what]) for what in ("verdict", "comment") if told[what])
        for name in self._row:
            if (before := self._row.get(original(name))) is not None:
                yield f"{name} before", before

    def _seen(self, uses: Sequence[spec.Use]) -> Iterator[tuple[str, str]]:
        """Say for each filter what it looked at, all in one query."""
        found = self._called(uses)
        asked = [one for one in found if isinstance(one, Bound)]
        looks = iter(look([bound.expression for bound in asked], self._frame))
        for use, one in zip(uses, found, strict=True):
            if isinstance(one, Bound):
                yield one.label, next(looks).said(one.arguments)
            else:
                yield use.name, one

    def _called(self, uses: Sequence[spec.Use]) -> list[Bound | str]:
        """Call the filters that are still those of the run; of the others say why not."""
        if not uses:
            return []
        found: Mapping[str, Callable[..., pl.Expr]] = {}
        lacking = "(its file has changed since the run)"
        try:
            found = self._project.filters_of(self._said.filters)
        except MistakeError as error:
            lacking = f"(it cannot be asked any more: {error})"
        return [
            called(use.name, found[use.name], use.arguments) if use.name in found else lacking
            for use in uses
        ]


def _named(record: ModelRecord) -> str:
    return f"{record.model} ({record.revision})" if record.revision else record.model
