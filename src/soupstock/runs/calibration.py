"""Calibrate a judge: how far it agrees with people's labels, and what its scores are worth.

A calibration is kept beside a pipeline's runs and records the judge's model, rubric, prompt and
settings. When any of them changes it is void, and every place that shows it says so.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def identity(said: Manifest, step: spec.Judge) -> dict[str, str]:
    """Return a hash for each part of a judge: model, rubric, prompt, settings."""
    roles = {model.role: (model.model, model.revision) for model in said.models}
    part = next((part for part in said.rubrics if part.name == step.rubric), None)
    rubric = recorded.rubric(said, step.rubric)
    prompt = rubric.prompt if rubric else ""
    prompts = [part.sha256 for part in said.prompts if part.name == prompt]
    settings = {"temperature", "max_tokens", "aggregate", "logprobs"}
    return {
        "model": _hash([roles.get(role) for role in step.roles]),
        "rubric": part.sha256 if part else "",
        "prompt": prompts[0] if prompts and step.roles else "",
        "settings": _hash(step.model_dump(mode="json", include=settings)) if step.roles else "",
    }


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def standing(
    found: Mapping[str, CalibrationRecord], said: Manifest, step: spec.Judge
) -> CalibrationRecord | None:
    """Return a judge's calibration, void where the judge has changed since."""
    record = found.get(step.judge)
    if record is None:
        return None
    now = identity(said, step)
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
    place = run_folder.latest(project.root, name_of(name))
    said = manifest.read(place)
    step = _judge(said, column)
    rubric = recorded.rubric(said, step.rubric)
    if rubric is None:
        raise UnknownNameError("rubric", step.rubric, [part.name for part in said.rubrics])
    levels = {n: one.levels for n, one in rubric.judged.items()}
    if labels is None:
        source, given, is_drawn = _reviewed(project.root, said, place, step.judge, levels)
        digest, are_chosen = read_answers(project.root, said.name).content, not is_drawn
    else:
        source, given = Place(labels), read_labels(labels, levels)
        digest = sha256(labels)
    rows = _judged(place / run_folder.ROWS, step.judge)
    least = passing(said.spec.steps, step.judge) if threshold is None else threshold
    case = LabelledVerdicts(rubric, given, rows, least)
    if not case.labelled:
        problem = f"the judge of {step.judge} scored none of these ids in the last run"
        raise MistakeError(problem, source)
    record = CalibrationRecord(
        column=step.judge,
        identity=identity(said, step),
        run=said.fingerprint,
        labels_sha256=digest,
        labels=len(case.labelled),
        unscored=len(given.rows) - len(case.labelled),
        annotators=len(given.annotators),
        are_chosen=are_chosen,
        threshold=least,
        **case.figures(bad, are_chosen=are_chosen),
    )
    path = path_of(project.root, name_of(name))
    _write(path, read(project.root, name_of(name)) | {step.judge: record})
    return Calibrated(record, path, given.ignored)


def _reviewed(
    root: Path, said: Manifest, place: Path, column: str, levels: Mapping[str, Sequence[str]]
) -> tuple[Place, Labels, bool]:
    """Return people's labels from the review, and whether the rows were drawn at random."""
    pipeline = said.spec
    strategy = next((s.strategy for s in pipeline.steps if isinstance(s, spec.Review)), None)
    answers = read_answers(root, said.name)
    if strategy is None or not answers.given:
        problem = (
            f"there are no labels: give a file with --labels, or run `soupstock review {said.name}`"
        )
        raise MistakeError(problem)
    rows = pl.read_parquet(
        place / run_folder.ROWS, columns=["id", "review", "dropped_by", column], glob=False
    )
    is_drawn = is_chance_sample(strategy, rows, pl.col(column).is_not_null())
    return Place(review_folder(root, said.name)), labels_of(answers, rows, levels), is_drawn


def _judge(said: Manifest, column: str | None) -> spec.Judge:
    pipeline = said.spec
    judges = (step for step in pipeline.steps if isinstance(step, spec.Judge))
    steps = {step.judge: step for step in judges if step.compare is None}
    if not steps:
        raise MistakeError(f"no step of {said.name} scores rows")
    if column is None and len(steps) > 1:
        raise MistakeError(f"{said.name} has several judges; name one: --column {min(steps)}")
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
