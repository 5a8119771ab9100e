"""Calibrate a judge: how far it agrees with people's labels, and what its scores are worth.

A calibration is kept beside a pipeline's runs and records the judge's model, rubric, prompt and
settings. When any of them changes it is void, and every place that shows it says so.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import TypeAdapter, ValidationError

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.files import sha256, written_whole
from soupstock.artifacts.judges import (
    CalibrationRecord,
)
from soupstock.artifacts.manifest import Manifest
from soupstock.errors import MistakeError, Place, UnknownNameError
from soupstock.judging.calibration import LabelledVerdicts
from soupstock.judging.labels import Labels, read_labels
from soupstock.judging.rubric import Rubric
from soupstock.project import recorded
from soupstock.project.project import Project, name_of
from soupstock.review.answers import read_answers, review_folder
from soupstock.review.apply import passing
from soupstock.review.labels import is_chance_sample, labels_of

CALIBRATION = "calibration.json"
BAD = 0.05
"""The default share of bad rows that a promise allows."""

_RECORDS = TypeAdapter(dict[str, CalibrationRecord])


def path_of(root: Path, name: str) -> Path:
    """Return where a pipeline's calibrations are kept."""
    return run_folder.runs_folder(root) / spec.slug(name) / CALIBRATION


def read(root: Path, name: str) -> dict[str, CalibrationRecord]:
    """Read a pipeline's calibrations by the judge's column; raises MistakeError."""
    path = path_of(root, name)
    try:
        return _RECORDS.validate_json(path.read_bytes()) if path.is_file() else {}
    except ValidationError as error:
        problem = "this version of soupstock cannot read the calibration; calibrate again"
        raise MistakeError(problem, Place(path)) from error


def identity(run: Manifest, step: spec.Judge) -> dict[str, str]:
    """Return a hash for each part of a judge: model, rubric, prompt, settings."""
    roles = {model.role: (model.model, model.revision) for model in run.models}
    part = next((part for part in run.rubrics if part.name == step.rubric), None)
    rubric = recorded.rubric(run, step.rubric)
    prompt = rubric.prompt if rubric else ""
    prompts = [part.sha256 for part in run.prompts if part.name == prompt]
    settings = {"temperature", "max_tokens", "aggregate", "logprobs"}
    return {
        "model": _hash([roles.get(role) for role in step.roles]),
        "rubric": part.sha256 if part else "",
        "prompt": prompts[0] if prompts and step.roles else "",
        "settings": _hash(step.model_dump(mode="json", include=settings)) if step.roles else "",
    }


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def calibration_of(
    found: Mapping[str, CalibrationRecord], run: Manifest, step: spec.Judge
) -> CalibrationRecord | None:
    """Return a judge's calibration, void where the judge has changed since."""
    record = found.get(step.judge)
    if record is None:
        return None
    now = identity(run, step)
    void = tuple(part for part in now if now[part] != record.identity.get(part))
    return record.model_copy(update={"void": void})


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration."""

    record: CalibrationRecord
    path: Path
    ignored: Sequence[str]
    """Fields of the label file that were ignored."""


def calibrate(  # noqa: PLR0913 - each argument is one option
    project: Project,
    name: str,
    labels: Path | None = None,
    *,
    column: str | None = None,
    bad: float = BAD,
    threshold: float | None = None,
    are_chosen: bool = False,
) -> Calibrated:
    """Compare a judge's scores in a pipeline's last run with labels, and keep the result.

    Labels come from a file, or from the pipeline's review if no file is given.

    Raises:
        MistakeError: There is no such run or judge, or the labels cannot be used.
    """
    folder = run_folder.latest(project.root, name_of(name))
    run = manifest.read(folder)
    step = _judge(run, column)
    rubric = _rubric(run, step)
    levels = {n: one.levels for n, one in rubric.judged.items()}
    if labels is None:
        given = _reviewed(project.root, run, folder, step.judge, levels)
    else:
        given = _from_file(labels, levels, are_chosen=are_chosen)
    least = passing(run.spec.steps, step.judge) if threshold is None else threshold
    rows = _judged(folder / run_folder.ROWS, step.judge)
    case = LabelledVerdicts(rubric, given.labels, rows, least)
    record = _record(run, step, given, case, bad)
    path = path_of(project.root, name_of(name))
    _write(path, read(project.root, name_of(name)) | {step.judge: record})
    return Calibrated(record, path, given.labels.ignored)


class _Given(NamedTuple):
    """Labels, and where they are from."""

    labels: Labels
    place: Place
    sha256: str
    are_chosen: bool
    """Whether people chose the rows, so that they are no random sample."""


def _record(
    run: Manifest, step: spec.Judge, given: _Given, case: LabelledVerdicts, bad: float
) -> CalibrationRecord:
    """Compare labels and scores; raises MistakeError if they have no row in common."""
    if not case.labelled:
        problem = f"the judge of {step.judge} scored none of these ids in the last run"
        raise MistakeError(problem, given.place)
    return CalibrationRecord(
        column=step.judge,
        identity=identity(run, step),
        run=run.fingerprint,
        labels_sha256=given.sha256,
        labels=len(case.labelled),
        unscored=len(given.labels.rows) - len(case.labelled),
        annotators=len(given.labels.annotators),
        are_chosen=given.are_chosen,
        threshold=case.threshold,
        **case.figures(bad, are_chosen=given.are_chosen),
    )


def _from_file(path: Path, levels: Mapping[str, Sequence[str]], *, are_chosen: bool) -> _Given:
    """Read labels from a file; raises MistakeError."""
    labels = read_labels(path, levels)
    return _Given(labels, Place(path), sha256(path), are_chosen)


def _reviewed(
    root: Path, run: Manifest, folder: Path, column: str, levels: Mapping[str, Sequence[str]]
) -> _Given:
    """Read people's labels from the review; raises MistakeError if there are none."""
    steps = run.spec.steps
    strategy = next((step.strategy for step in steps if isinstance(step, spec.Review)), None)
    answers = read_answers(root, run.name)
    if strategy is None or not answers.given:
        problem = (
            f"there are no labels: give a file with --labels, or run `soupstock review {run.name}`"
        )
        raise MistakeError(problem)
    rows = pl.read_parquet(
        folder / run_folder.ROWS, columns=["id", "review", "dropped_by", column], glob=False
    )
    is_random = is_chance_sample(strategy, rows, pl.col(column).is_not_null())
    labels, place = labels_of(answers, rows, levels), Place(review_folder(root, run.name))
    return _Given(labels, place, answers.content, not is_random)


def _rubric(run: Manifest, step: spec.Judge) -> Rubric:
    rubric = recorded.rubric(run, step.rubric)
    if rubric is None:
        raise UnknownNameError("rubric", step.rubric, [part.name for part in run.rubrics])
    return rubric


def _judge(run: Manifest, column: str | None) -> spec.Judge:
    pipeline = run.spec
    judges = (step for step in pipeline.steps if isinstance(step, spec.Judge))
    steps = {step.judge: step for step in judges if step.compare is None}
    if not steps:
        raise MistakeError(f"no step of {run.name} scores rows")
    if column is None and len(steps) > 1:
        raise MistakeError(f"{run.name} has several judges; name one: --column {min(steps)}")
    if column is not None and column not in steps:
        raise UnknownNameError("judge's column", column, steps)
    return steps[column or min(steps)]


def _judged(path: Path, column: str) -> dict[str, Any]:
    """Return the verdicts, by id, of the rows that reached the judge; None where it failed."""
    label = f"judge: {column}"
    has_failed = pl.col("failures").list.eval(pl.element().struct.field("step") == label).list.any()
    rows = pl.scan_parquet(path, glob=False).filter(pl.col(column).is_not_null() | has_failed)
    return dict(rows.select("id", column).collect().iter_rows())


def _write(path: Path, records: Mapping[str, CalibrationRecord]) -> None:
    """Write calibrations whole or not at all."""
    with written_whole(path) as file:
        file.write_bytes(_RECORDS.dump_json(dict(sorted(records.items())), indent=2) + b"\n")
