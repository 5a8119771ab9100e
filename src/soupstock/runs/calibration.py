"""A judge beside people: how far it agrees with their labels, and what its scores are worth.

A calibration lies beside a pipeline's runs and names what the judge was. When the model, the
rubric, the prompt or the settings are others, it is void, and every place that shows it says so.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.judges import CalibrationRecord, CriterionRecord, PromiseRecord, RateRecord
from soupstock.artifacts.manifest import Manifest
from soupstock.errors import MistakeError, Place, UnknownNameError
from soupstock.judging.labels import Labels, read_labels
from soupstock.judging.rubric import Criterion, Rubric
from soupstock.project.project import Project, name_of
from soupstock.review.answers import read_answers, review_folder
from soupstock.review.binding import passing
from soupstock.review.labels import is_chance_sample, labels_of
from soupstock.runs.judge_records import DIGITS, interval
from soupstock.spec.loader import parse_yaml, validate
from soupstock.stats.agreement import accuracy, alpha, kappa
from soupstock.stats.proportions import PassRate, errors, prediction_powered, rogan_gladen
from soupstock.stats.roc import auc
from soupstock.stats.thresholds import Promise, promise

CALIBRATION = "calibration.json"
BAD = 0.05
"""The share of bad rows that a promise allows where nothing else is said."""

_RECORDS = TypeAdapter(dict[str, CalibrationRecord])

Scores = list[float | None]


def path_of(root: Path, name: str) -> Path:
    """Return where a pipeline's calibrations are kept."""
    return run_folder.runs_folder(root) / spec.slug(name) / CALIBRATION


def read(root: Path, name: str) -> dict[str, CalibrationRecord]:
    """Read a pipeline's calibrations by the judge's column; raises MistakeError."""
    path = path_of(root, name)
    try:
        return _RECORDS.validate_json(path.read_bytes()) if path.is_file() else {}
    except ValidationError as error:
        problem = "it is no calibration of this version of soupstock; calibrate again"
        raise MistakeError(problem, Place(path)) from error


def identity(said: Manifest, step: spec.Judge) -> dict[str, str]:
    """Hash what a judge is, part by part."""
    roles = {model.role: (model.model, model.revision) for model in said.models}
    rubric = next((part for part in said.rubrics if part.name == step.rubric), None)
    prompt = _rubric(said, step).prompt if rubric else ""
    prompts = [part.sha256 for part in said.prompts if part.name == prompt]
    settings = {"temperature", "max_tokens", "aggregate", "logprobs"}
    return {
        "model": _hash([roles.get(role) for role in step.roles]),
        "rubric": rubric.sha256 if rubric else "",
        "prompt": prompts[0] if prompts and step.roles else "",
        "settings": _hash(step.model_dump(mode="json", include=settings)) if step.roles else "",
    }


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _rubric(said: Manifest, step: spec.Judge) -> Rubric:
    part = next(part for part in said.rubrics if part.name == step.rubric)
    return validate(parse_yaml(part.text, Path(part.file)), Rubric).value


def standing(
    found: Mapping[str, CalibrationRecord], said: Manifest, step: spec.Judge
) -> CalibrationRecord | None:
    """Return a judge's calibration, void where the judge is not what it was then."""
    record = found.get(step.judge)
    if record is None:
        return None
    now = identity(said, step)
    void = tuple(part for part in now if now[part] != record.identity.get(part))
    return record.model_copy(update={"void": void})


@dataclass(frozen=True)
class Calibrated:
    """What came of the labels."""

    record: CalibrationRecord
    path: Path
    ignored: Sequence[str]
    """Fields of the file that are no labels."""


def calibrate(  # noqa: PLR0913 - each is a choice of the person who asks
    project: Project,
    name: str,
    labels: Path | None = None,
    *,
    column: str | None = None,
    bad: float = BAD,
    threshold: float | None = None,
    are_chosen: bool = False,
) -> Calibrated:
    """Compare a judge's scores in a pipeline's last run with labels, and keep what comes of it.

    Labels are a file, or what people said in the pipeline's review where there is none.

    Raises:
        MistakeError: There is no such run or judge, or the labels cannot be used.
    """
    place = run_folder.latest(project.root, name_of(name))
    said = manifest.read(place)
    step = _judge(said, column)
    rubric = _rubric(said, step)
    levels = {n: one.levels for n, one in rubric.judged.items()}
    if labels is None:
        source, given, is_drawn = _reviewed(project.root, said, place, step.judge, levels)
        digest, are_chosen = read_answers(project.root, said.name).content, not is_drawn
    else:
        source, given = Place(labels), read_labels(labels, levels)
        digest = hashlib.sha256(labels.read_bytes()).hexdigest()
    rows = _judged(place / run_folder.ROWS, step.judge)
    least = (
        passing(spec.Pipeline.model_validate(said.pipeline).steps, step.judge)
        if threshold is None
        else threshold
    )
    case = _Case(rubric, given, rows, least)
    if not case.labelled:
        problem = f"none of its ids is a row that the judge of {step.judge} scored in the last run"
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
        **case.told(bad, are_chosen=are_chosen),
    )
    path = path_of(project.root, name_of(name))
    _write(path, read(project.root, name_of(name)) | {step.judge: record})
    return Calibrated(record, path, given.ignored)


def _reviewed(
    root: Path, said: Manifest, place: Path, column: str, levels: Mapping[str, Sequence[str]]
) -> tuple[Place, Labels, bool]:
    """Return people's labels from the review, and whether they are those of a chance sample."""
    pipeline = spec.Pipeline.model_validate(said.pipeline)
    strategy = next((s.strategy for s in pipeline.steps if isinstance(s, spec.Review)), None)
    answers = read_answers(root, said.name)
    if strategy is None or not answers.given:
        problem = f"there are no labels: give a file by --labels, or soupstock review {said.name}"
        raise MistakeError(problem)
    rows = pl.read_parquet(
        place / run_folder.ROWS, columns=["id", "review", "dropped_by", column], glob=False
    )
    is_drawn = is_chance_sample(strategy, rows, pl.col(column).is_not_null())
    return Place(review_folder(root, said.name)), labels_of(answers, rows, levels), is_drawn


def _judge(said: Manifest, column: str | None) -> spec.Judge:
    pipeline = spec.Pipeline.model_validate(said.pipeline)
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
    """Return by id the verdicts of the rows that reached the judge; None where there is none."""
    label = f"judge: {column}"
    has_failed = pl.col("failures").list.eval(pl.element().struct.field("step") == label).list.any()
    rows = pl.scan_parquet(path, glob=False).filter(pl.col(column).is_not_null() | has_failed)
    return dict(rows.select("id", column).collect().iter_rows())


@dataclass(frozen=True)
class _Case:
    """A judge's verdicts and people's labels."""

    rubric: Rubric
    given: Labels
    verdicts: Mapping[str, Any]
    threshold: float

    @property
    def labelled(self) -> list[str]:
        """The labelled rows that have a verdict."""
        return [row for row in self.given.rows if self.verdicts.get(row) is not None]

    def told(self, bad: float, *, are_chosen: bool) -> dict[str, Any]:
        """Compute all figures."""
        criteria = tuple(self._criteria())
        found: dict[str, Any] = {"criteria": criteria}
        keeps = self.given.keeps()
        if any(keep is not None for keep in keeps.values()):
            found |= self._overall(keeps, bad, are_chosen=are_chosen)
        weak = [one.name for one in criteria if not one.is_beyond_chance]
        sentences = list(found.get("sentences", ()))
        if weak:
            sentences.append(f"Not provably better than chance: {', '.join(weak)}.")
        return found | {"sentences": tuple(sentences)}

    def _overall(
        self, keeps: Mapping[str, float | None], bad: float, *, are_chosen: bool
    ) -> dict[str, Any]:
        people = [keeps[row] for row in self.labelled]
        scores = [float(self.verdicts[row]["score"]) for row in self.labelled]
        passes: Scores = [float(score >= self.threshold) for score in scores]
        agreed, right = kappa(people, passes, levels=(0, 1)), accuracy(people, passes)
        apart = auc(people, scores)
        rate = self._rate(keeps, are_chosen=are_chosen)
        held = None if are_chosen else promise(people, scores, bad=bad)
        among = alpha(self.given.by_annotator(), metric="nominal") if self._is_shared else None
        told = [agreed, right, apart, errors(people, passes), held, rate]
        people_told = [f"People among themselves: {among.sentence()}"] if among is not None else []
        return {
            "kappa": interval(agreed.interval),
            "accuracy": interval(right.right),
            "base_rate": None if math.isnan(right.base_rate) else round(right.base_rate, DIGITS),
            "auc": interval(apart.auc),
            "people": interval(among.interval) if among is not None else None,
            "promise": _promise(held) if held is not None else None,
            "rate": _rate_record(rate),
            "sentences": tuple([one.sentence() for one in told if one is not None] + people_told),
        }

    @property
    def _is_shared(self) -> bool:
        """Whether several people looked."""
        return len(self.given.annotators) > 1

    def _rate(self, keeps: Mapping[str, float | None], *, are_chosen: bool) -> PassRate:
        passes: dict[str, float | None] = {
            row: None if verdict is None else float(verdict["score"] >= self.threshold)
            for row, verdict in self.verdicts.items()
        }
        if not are_chosen:
            return prediction_powered([keeps.get(row) for row in passes], list(passes.values()))
        people = [keeps[row] for row in self.labelled]
        others = [value for row, value in passes.items() if row not in keeps]
        return rogan_gladen(people, [passes[row] for row in self.labelled], others)

    def _criteria(self) -> Iterator[CriterionRecord]:
        keeps = self.given.keeps()
        for name, one in self.rubric.criteria.items():
            levels = self.given.levels(name)
            if isinstance(one, Criterion) and any(found is not None for found in levels.values()):
                yield self._by_levels(name, len(one.levels), levels)
            elif any(keep is not None for keep in keeps.values()):
                yield self._by_keeping(name, keeps)

    def _by_levels(
        self, name: str, most: int, levels: Mapping[str, float | None]
    ) -> CriterionRecord:
        people = [levels[row] for row in self.labelled]
        said = [_level(self.verdicts[row]["criteria"][name], most) for row in self.labelled]
        found = kappa(people, said, levels=range(1, most + 1), weights="quadratic")
        right = accuracy(people, said)
        return CriterionRecord(
            name=name,
            rows=found.rows,
            statistic="kappa",
            value=interval(found.interval),
            is_beyond_chance=found.is_beyond_chance,
            sentence=f"{found.sentence()} {right.sentence()}",
        )

    def _by_keeping(self, name: str, keeps: Mapping[str, float | None]) -> CriterionRecord:
        scores = [self.verdicts[row]["criteria"][name]["score"] for row in self.labelled]
        found = auc([keeps[row] for row in self.labelled], scores)
        return CriterionRecord(
            name=name,
            rows=found.good + found.bad,
            statistic="AUC",
            value=interval(found.auc),
            is_beyond_chance=found.is_beyond_chance,
            sentence=found.sentence(),
        )


def _level(found: Mapping[str, Any], most: int) -> float:
    """Return the level; of several judges the one that is nearest to their score."""
    level = found["level"]
    return float(round(found["score"] * (most - 1)) + 1 if level is None else level)


def _promise(found: Promise) -> PromiseRecord:
    return PromiseRecord(
        bad=found.bad,
        confidence=found.confidence,
        threshold=found.threshold,
        kept=interval(found.kept),
        needed=found.needed,
        sentence=found.sentence(),
    )


def _rate_record(found: PassRate) -> RateRecord:
    return RateRecord(
        method=found.method,
        rate=interval(found.rate),
        by_judge=None if math.isnan(found.by_judge) else round(found.by_judge, DIGITS),
        by_people=interval(found.by_people),
        rows=found.rows,
        sentence=found.sentence(),
    )


def _write(path: Path, records: Mapping[str, CalibrationRecord]) -> None:
    """Write calibrations whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(_RECORDS.dump_json(dict(sorted(records.items())), indent=2) + b"\n")
    partial.replace(path)
