"""One row's history: its source, what each step asked and added, and what dropped it and why.

It is read from the run's folder alone: prompts and rubrics are those in the manifest, even if their
files have changed since. A task's prompts come from its catalogue, if that is installed.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import Manifest, ModelRecord, StepRecord
from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.project.project import Project, name_of
from soupstock.reports.filter_figures import figures_of
from soupstock.review.apply import original
from soupstock.rows.filters import BoundFilter, call_filter
from soupstock.rows.references import is_reference
from soupstock.rows.row import Row
from soupstock.steps import VERBS, made_by
from soupstock.steps.chapter import Chapter, Recorded, RowStep
from soupstock.steps.step import Context, models_of


@dataclass(frozen=True)
class Life:
    """A row's history in chapters, one a step; the step that dropped it is the last."""

    row: Row
    source: Mapping[str, Any]
    chapters: Sequence[Chapter]
    twin: Row | None = None
    """The row that it repeats."""


def find_row(path: Path, row_id: str) -> pl.DataFrame:
    """Find a row of a rows.parquet by its id or the beginning of its id; raises MistakeError."""
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
        raise MistakeError(f"no row has an id that begins with {quoted(row_id)}")
    few = ", ".join(map(shown, found["id"]))
    raise MistakeError(f"several rows have an id that begins with {quoted(row_id)}: {few}, …")


def explain(project: Project, name: str, row_id: str) -> Life:
    """Return the history of a row of a pipeline's last run; raises MistakeError."""
    place = _last_run(project, name)
    run = manifest.read(place)
    pipeline = run.spec
    frame = find_row(place / run_folder.ROWS, row_id)
    row: Row = frame.row(0, named=True)
    figures = _figures(project, run, frame, last_step(row, run))
    row_step = RowStep(
        row,
        Recorded(run),
        columns=frame.schema,
        context=_context(project, pipeline),
        has_questions=True,
    )
    twin = None
    if row["twin"] and not is_reference(row["twin"]):
        twin = find_row(place / run_folder.ROWS, row["twin"]).row(0, named=True)
    return Life(row, _source(row, pipeline), list(chapters(row_step, figures)), twin)


def _last_run(project: Project, name: str) -> Path:
    try:
        return run_folder.latest(project.root, name_of(name))
    except MistakeError:
        # If the pipeline does not exist, its error says more than that it has not been run.
        project.pipeline(name)
        raise


def _context(project: Project, pipeline: spec.Pipeline) -> Context | None:
    """Return the context to bind tasks in again; None without tasks, or if a model is gone."""
    if not any(isinstance(step, spec.Task) for step in pipeline.steps):
        return None
    try:
        return Context(project, pipeline, "", models_of(pipeline, project))
    except MistakeError:
        return None


def _source(row: Row, pipeline: spec.Pipeline) -> Mapping[str, Any]:
    """Return the source's columns of a row."""
    made = {*spec.RESERVED, *(name for step in pipeline.steps for name in made_by(step).every)}
    if any(isinstance(step, spec.Review) for step in pipeline.steps):
        made |= set(map(original, row))
    return {name: value for name, value in row.items() if name not in made}


def chapters(
    row_step: RowStep, figures: Mapping[int, Mapping[str, str]] | None = None
) -> Iterator[Chapter]:
    """Yield a chapter for each step, up to the one that dropped the row.

    `row_step` has what is the same for all steps; `figures` has what filters compared, by label,
    for each filter step by its place.
    """
    run, row = row_step.recorded.manifest, row_step.row
    steps, last = run.spec.steps, last_step(row, run)
    for place, record in enumerate(run.steps[: last + 1]):
        reasons = row["dropped_by"] if place == last else []
        found = Chapter()
        if place < len(steps):
            at = replace(row_step, reasons=reasons, figures=(figures or {}).get(place, {}))
            found = VERBS[type(steps[place])].chapter(steps[place], at)
        yield replace(
            found,
            title=record.label,
            model=_models(run, record) if found.is_asked else None,
            role=record.model if found.is_asked else None,
            failures=_failures(row, record),
            reasons=reasons,
        )


def last_step(row: Row, run: Manifest) -> int:
    """Find the place of the step that dropped a row; the last step if none did.

    Several steps may give the same reason. Then it is the first one after the steps that filled a
    column of the row.
    """
    reasons = set(row["dropped_by"])
    if not reasons:
        return len(run.steps) - 1
    made = [made_by(step).every[:1] for step in run.spec.steps]
    left = [n for n, names in enumerate(made) if any(row[name] is not None for name in names)]
    after = max(left, default=-1) + 1
    found = [n for n, record in enumerate(run.steps) if reasons & record.flagged.keys()]
    return next((n for n in found if n >= after), found[-1] if found else len(run.steps) - 1)


def _failures(row: Row, record: StepRecord) -> Sequence[tuple[str, str]]:
    return [
        (failure["cause"], failure["message"])
        for failure in row["failures"]
        if failure["step"] == record.label
    ]


def _models(run: Manifest, record: StepRecord) -> str | None:
    """Name the models that a step asked, each with its revision."""
    known = {model.role: model for model in run.models}
    roles = [role for role in record.models if role in known]
    return ", ".join(dict.fromkeys(_named(known[role]) for role in roles)) or None


def _named(record: ModelRecord) -> str:
    return f"{record.model} ({record.revision})" if record.revision else record.model


def _figures(
    project: Project, run: Manifest, frame: pl.DataFrame, last: int
) -> Mapping[int, Mapping[str, str]]:
    """Return what each filter up to the last step compared, all in one query."""
    steps = {
        place: step
        for place, step in enumerate(run.spec.steps[: last + 1])
        if isinstance(step, spec.Filter)
    }
    uses = [use for step in steps.values() for use in step.filter]
    found = _filters(project, run, uses)
    compared = iter(
        figures_of([one.expression for one in found if isinstance(one, BoundFilter)], frame)
    )
    figures = iter(
        (one.label, next(compared).summary(one.arguments))
        if isinstance(one, BoundFilter)
        else (use.name, one)
        for use, one in zip(uses, found, strict=True)
    )
    return {
        place: dict(itertools.islice(figures, len(step.filter))) for place, step in steps.items()
    }


def _filters(
    project: Project, run: Manifest, uses: Sequence[spec.FilterEntry]
) -> list[BoundFilter | str]:
    """Call the filters that have not changed since the run; for the others, say why not."""
    if not uses:
        return []
    found: Mapping[str, Callable[..., pl.Expr]] = {}
    lacking = "(its file has changed since the run)"
    try:
        found = project.filters_of(run.filters)
    except MistakeError as error:
        lacking = f"(it can no longer be applied: {error})"
    return [
        call_filter(use.name, found[use.name], use.arguments) if use.name in found else lacking
        for use in uses
    ]
