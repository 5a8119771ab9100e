"""One row's life: where it came from, what models were asked and said, what dropped it and why.

Told from the run's folder alone: prompts and rubrics are those of the run, kept in its manifest,
whatever became of the files since.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import polars as pl

from soupstock import folder, manifest, spec
from soupstock.errors import MistakeError, quoted
from soupstock.loader import parse_yaml, validate
from soupstock.manifest import Manifest, ModelRecord, PartRecord
from soupstock.measures import derive
from soupstock.project import Project
from soupstock.prompts import Prompt, parse_prompt
from soupstock.records import Row, flatten
from soupstock.rubrics import Rubric
from soupstock.steps.filter import bind


@dataclass(frozen=True)
class Chapter:
    """What one step meant for a row."""

    title: str
    """The step: `generate: response`."""
    model: str | None = None
    """Who was asked: name and revision."""
    messages: Sequence[Mapping[str, str]] = ()
    """What was asked."""
    value: Any = None
    """What came of it: an answer, a verdict, a filter's figures."""
    failures: Sequence[str] = ()
    reasons: Sequence[str] = ()
    """Why the row was dropped here."""


@dataclass(frozen=True)
class Life:
    """A row's life, chapter by chapter; it ends with the step that dropped it."""

    row: Row
    source: Mapping[str, Any]
    chapters: Sequence[Chapter]
    twin: Row | None = None
    """The row that it repeats."""


def find_row(path: Path, row_id: str) -> Row:
    """Find a row of a rows.parquet by its id or the id's beginning; raises MistakeError."""
    rows = pl.scan_parquet(path)
    ids = rows.select("id").with_row_index("index")
    found = ids.filter(pl.col("id").str.starts_with(row_id)).head(3).collect()
    if found.is_empty():
        raise MistakeError(f"no row's id begins with {quoted(row_id)}")
    if found.height > 1:
        few = ", ".join(found["id"].to_list())
        raise MistakeError(f"several rows' ids begin with {quoted(row_id)}: {few}, …")
    row: Row = rows.slice(found["index"][0], 1).collect().to_dicts()[0]
    return row


def explain(project: Project, name: str, row_id: str) -> Life:
    """Tell the life of a row of a pipeline's last run; raises MistakeError."""
    place = folder.latest(project.root, name)
    row = find_row(place / folder.ROWS, row_id)
    said = manifest.read(place)
    pipeline = spec.Pipeline.model_validate(said.pipeline)
    teller = _Teller(project, said, row)
    chapters = list(teller.chapters(pipeline.steps))
    twin = find_row(place / folder.ROWS, row["twin"]) if row["twin"] else None
    return Life(row, _source(row, pipeline), chapters, twin)


def _source(row: Row, pipeline: spec.Pipeline) -> Mapping[str, Any]:
    made = {getattr(step, "generate", getattr(step, "judge", None)) for step in pipeline.steps}
    return {
        name: value for name, value in row.items() if name not in made and name not in spec.RESERVED
    }


class _Teller:
    """Tells each step's chapter from the row and the manifest."""

    def __init__(self, project: Project, said: Manifest, row: Row) -> None:
        self._project = project
        self._said = said
        self._row = row
        self._reasons = list(row["dropped_by"])

    def chapters(self, steps: Sequence[spec.Step]) -> Iterator[Chapter]:
        for step, record in zip(steps, self._said.steps, strict=False):
            reasons = [reason for reason in self._reasons if reason in record.flagged]
            failures = [
                f"{failure['cause']}: {failure['message']}"
                for failure in self._row["failures"]
                if failure["step"] == record.label
            ]
            yield self._chapter(step, record.label, failures, reasons)
            if reasons:
                return
        yield from self._rest(len(steps))

    def _rest(self, told: int) -> Iterator[Chapter]:
        """Tell what was done to the row after the pipeline's own steps."""
        for record in self._said.steps[told:]:
            reasons = [reason for reason in self._reasons if reason in record.flagged]
            yield Chapter(record.label, reasons=reasons)

    def _chapter(
        self, step: spec.Step, title: str, failures: list[str], reasons: list[str]
    ) -> Chapter:
        told: dict[str, Any] = {}
        match step:
            case spec.Generate():
                prompt = self._prompt(step.prompt)
                told = {"messages": prompt.messages(self._row), "value": self._row[step.generate]}
            case spec.Judge():
                told = {"messages": self._asked(step.rubric), "value": self._row[step.judge]}
            case spec.Filter():
                told = {"value": dict(self._figures(step))}
            case spec.Dedup():
                similarity = self._row["similarity"]
                told = {"value": {"similarity": similarity} if reasons else None}
            case spec.Publish():
                pass
            case _:
                assert_never(step)
        model = self._model(getattr(step, "model", None))
        return Chapter(title, model=model, failures=failures, reasons=reasons, **told)

    def _model(self, role: str | None) -> str | None:
        record: ModelRecord | None = next(
            (model for model in self._said.models if model.role == role), None
        )
        if record is None:
            return None
        return f"{record.model} ({record.revision})" if record.revision else record.model

    def _prompt(self, name: str) -> Prompt:
        part = _part(self._said.prompts, name)
        return parse_prompt(name, part.text, Path(part.file))

    def _asked(self, name: str) -> list[dict[str, str]]:
        part = _part(self._said.rubrics, name)
        rubric = validate(parse_yaml(part.text, Path(part.file)), Rubric).value
        shown = flatten(self._row, rubric.columns)
        return self._prompt(rubric.prompt).messages({"rubric": rubric, "shown": shown})

    def _figures(self, step: spec.Filter) -> Iterator[tuple[str, str]]:
        """Say for each filter what it looked at, where it is still the filter of the run."""
        frame = pl.DataFrame([self._row], infer_schema_length=None)
        for use in step.filter:
            found = self._project.filter(use.name)
            kept_hashes = {part.sha256 for part in self._said.filters}
            if found.record.sha256 not in kept_hashes:
                yield use.name, "(this filter has changed since the run)"
                continue
            bound = bind(use.name, found.value, use.arguments, frame.schema)
            answer, figures = evaluated(bound.expression, frame)
            arguments = ", ".join(f"{k}={v}" for k, v in use.arguments.items() if k != "column")
            seen = f" of {figures}" if figures else ""
            yield (
                bound.label,
                f"{'keeps' if answer else 'drops'}{seen} ({arguments or 'no limits'})",
            )


def _part(parts: Sequence[PartRecord], name: str) -> PartRecord:
    return next(part for part in parts if part.name == name)


def evaluated(keep: pl.Expr, frame: pl.DataFrame) -> tuple[bool | None, str]:
    """Evaluate a filter on one row: its answer, and the figures that it compares with limits."""
    answer = derive(frame, [keep]).select(keep.alias("answer"))["answer"][0]
    figures = [_brief(value) for value in _operands(keep, frame)]
    return answer, ", ".join(dict.fromkeys(figures))


def _operands(expression: pl.Expr, frame: pl.DataFrame) -> Iterator[Any]:
    """Yield the values at the leaves of a condition: what is no condition itself, nor a limit."""
    for inner in expression.meta.pop():
        if not inner.meta.root_names():
            continue
        value = derive(frame, [inner]).select(inner.alias("value"))["value"]
        if value.dtype == pl.Boolean:
            yield from _operands(inner, frame)
        elif value.dtype.is_numeric() or inner.meta.is_column():
            yield value[0]


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return quoted(value, 40) if isinstance(value, str) else str(value)
