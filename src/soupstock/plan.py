"""Turn a pipeline into a plan: every name found, every column accounted for, nothing run."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

import orjson
import polars as pl

from soupstock import shapes, sources, spec
from soupstock.calls import Form
from soupstock.errors import MistakeError, Place, UnknownNameError, hint, quoted
from soupstock.loader import load
from soupstock.manifest import ModelRecord, PartRecord
from soupstock.measures import requires
from soupstock.project import Project
from soupstock.records import AFTER, BEFORE, Columns
from soupstock.rubrics import Rubric, verdict_schema
from soupstock.servers import Model, resolve
from soupstock.steps.dedup import Deduplication
from soupstock.steps.filter import Filtering, bind
from soupstock.steps.generate import Generation
from soupstock.steps.judge import Judging
from soupstock.steps.publish import Publication

Bound = Generation | Judging | Filtering | Deduplication | Publication
Places = Callable[..., Place | None]
"""Finds the line of a key: `places("steps", 0, "prompt")`."""


@dataclass(frozen=True)
class Step:
    """A step with everything it needs."""

    spec: spec.Step
    bound: Bound
    title: str
    """The step in few words: `generate: response`."""
    reads: tuple[str, ...]
    """The columns it needs, or fields of them."""
    adds: Columns
    """The columns it makes."""
    role: str | None = None
    model: Model | None = None
    parts: tuple[tuple[str, PartRecord], ...] = ()
    """The files it is made from, each with its kind: prompt, rubric, schema, filter."""
    calls: int = 0
    """Calls for each row that reaches it, when no answer must be asked for again."""


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    name: str
    pipeline: spec.Pipeline
    project: Project
    source: sources.Source
    rows: int | None
    """How many source rows there are to take; None is without end."""
    steps: tuple[Step, ...]
    models: Mapping[str, Model]
    columns: Columns
    """All columns that the table will have, in order."""
    fingerprint: str = field(compare=False)
    """The hash of everything that shapes the result, in hexadecimal."""

    def parts(self, kind: str) -> tuple[PartRecord, ...]:
        """Return the files of one kind that the plan is made from, each once."""
        found = {
            part.file: part for step in self.steps for which, part in step.parts if which == kind
        }
        return tuple(found[file] for file in sorted(found))

    def model_records(self) -> tuple[ModelRecord, ...]:
        """Return the models as the manifest names them; they hold no secrets."""
        return tuple(
            ModelRecord(
                role=role,
                reference=model.reference,
                model=model.name,
                revision=model.revision,
                license=model.license,
            )
            for role, model in self.models.items()
        )


def plan_file(
    name: str, project: Project, *, models: Mapping[str, str] | None = None, rows: int | None = None
) -> Plan:
    """Plan a pipeline by its name; `models` and `rows` stand in for what its file says."""
    path = project.pipeline(name)
    loaded = load(path, spec.Pipeline)
    pipeline = _changed(loaded.value, models or {}, rows)
    return plan(pipeline, project, name=_name_of(name, path), places=loaded.place)


def _name_of(name: str, path: Path) -> str:
    return path.stem if name.endswith((".yaml", ".yml")) else name


def _changed(pipeline: spec.Pipeline, models: Mapping[str, str], rows: int | None) -> spec.Pipeline:
    for role in models:
        if role not in pipeline.models:
            raise UnknownNameError("role", role, pipeline.models)
    changes: dict[str, Any] = {"models": {**pipeline.models, **models}}
    if rows is not None:
        changes["source"] = pipeline.source.model_copy(update={"rows": rows})
    return pipeline.model_copy(update=changes)


def plan(
    pipeline: spec.Pipeline, project: Project, *, name: str, places: Places = lambda *_: None
) -> Plan:
    """Plan a pipeline: find its names, check its columns. Raises MistakeError."""
    planner = _Planner(pipeline, project, places)
    source = planner.source()
    columns = dict(source.columns)
    steps = []
    for index, step in enumerate(pipeline.steps):
        planned = planner.step(index, step, columns)
        columns |= planned.adds
        steps.append(planned)
    return Plan(
        name=name,
        pipeline=pipeline,
        project=project,
        source=source,
        rows=source.rows,
        steps=tuple(steps),
        models=planner.models,
        columns={**BEFORE, **columns, **AFTER},
        fingerprint=_fingerprint(pipeline, source, steps),
    )


class _Planner:
    """Binds steps one after the other, to the columns that are there by then."""

    def __init__(self, pipeline: spec.Pipeline, project: Project, places: Places) -> None:
        self._pipeline = pipeline
        self._project = project
        self._place = places
        endpoints = project.endpoints()
        self.models = {
            role: resolve(reference, endpoints, places("models", role))
            for role, reference in pipeline.models.items()
        }

    def source(self) -> sources.Source:
        source, place = self._pipeline.source, self._place
        match source:
            case spec.SampleSource():
                return sources.sampled(source, self._pipeline.seed)
            case spec.FileSource():
                return sources.read_file(source, self._project.root, place("source", "file"))
            case spec.DatasetSource():
                return sources.read_dataset(source, self._project.root, place("source", "dataset"))
            case _:
                assert_never(source)

    def step(self, index: int, step: spec.Step, columns: Columns) -> Step:
        at = _At(self._place, index)
        is_last = index == len(self._pipeline.steps) - 1
        if isinstance(step, spec.Publish) and not is_last:
            raise MistakeError("publish must be the last step", at("publish"))
        match step:
            case spec.Generate():
                return self._generate(step, columns, at)
            case spec.Judge():
                return self._judge(step, columns, at)
            case spec.Filter():
                return self._filter(step, columns, at)
            case spec.Dedup():
                return _dedup(step, columns, at)
            case spec.Publish():
                return self._publish(step, columns, at)
            case _:
                assert_never(step)

    def _generate(self, step: spec.Generate, columns: Columns, at: "_At") -> Step:
        _check_new(step.generate, columns, at("generate"))
        model = self._model(step.model, at("model"))
        prompt = self._project.prompt(step.prompt, at("prompt"))
        reads = tuple(sorted(prompt.value.variables))
        _check_variables(reads, columns, prompt.record, at("prompt"))
        parts = [("prompt", prompt.record)]
        schema, dtype = None, pl.String()
        if step.output_schema:
            found = self._project.schema(step.output_schema, at("schema"))
            schema, dtype = found.value, _located(at("schema"), shapes.struct_of, found.value)
            parts.append(("schema", found.record))
        form = Form(
            model,
            _sampling(step),
            schema.model_json_schema() if schema else None,
            step.output_schema or "answer",
            self._pipeline.seed,
        )
        bound = Generation(step.generate, form, prompt.value, step.n, step.retries, schema)
        return Step(
            step,
            bound,
            title=f"generate: {step.generate}",
            reads=reads,
            adds={step.generate: pl.List(dtype) if step.n > 1 else dtype},
            role=step.model,
            model=model,
            parts=tuple(parts),
            calls=step.n,
        )

    def _judge(self, step: spec.Judge, columns: Columns, at: "_At") -> Step:
        _check_new(step.judge, columns, at("judge"))
        model = self._model(step.model, at("model"))
        rubric = self._project.rubric(step.rubric, at("rubric"))
        for path in rubric.value.columns:
            _check_path(path, columns, at("rubric"), f" (the rubric {step.rubric} shows it)")
        prompt = self._project.prompt(rubric.value.prompt, at("rubric"))
        _check_variables(
            sorted(prompt.value.variables), {"rubric": 0, "shown": 0}, prompt.record, at("rubric")
        )
        form = Form(
            model,
            {"temperature": step.temperature, "max_tokens": step.max_tokens},
            verdict_schema(rubric.value),
            "verdict",
            self._pipeline.seed,
        )
        bound = Judging(step.judge, form, prompt.value, rubric.value, step.retries)
        return Step(
            step,
            bound,
            title=f"judge: {step.judge}",
            reads=rubric.value.columns,
            adds={step.judge: _verdict_type(rubric.value)},
            role=step.model,
            model=model,
            parts=(("rubric", rubric.record), ("prompt", prompt.record)),
            calls=1,
        )

    def _filter(self, step: spec.Filter, columns: Columns, at: "_At") -> Step:
        bounds, parts = [], []
        for number, use in enumerate(step.filter):
            place = at("filter", number)
            found = self._project.filter(use.name, place)
            bounds.append(bind(use.name, found.value, use.arguments, columns, place))
            parts.append(("filter", found.record))
        filtering = Filtering.of(bounds)
        return Step(
            step,
            filtering,
            title=f"filter: {', '.join(label for label, _ in filtering.keeps)}",
            reads=tuple(sorted(requires(keep for _, keep in filtering.keeps))),
            adds={},
            parts=tuple(parts),
        )

    def _publish(self, step: spec.Publish, columns: Columns, at: "_At") -> Step:
        published, schema = columns, None
        parts: tuple[tuple[str, PartRecord], ...] = ()
        if step.output_schema:
            found = self._project.schema(step.output_schema, at("schema"))
            schema = found.value
            published = _located(at("schema"), shapes.columns_of, schema)
            parts = (("schema", found.record),)
        bound = Publication(step.publish, published, schema)
        title = f"publish: {step.publish}"
        return Step(step, bound, title=title, reads=(), adds={}, parts=parts)

    def _model(self, role: str, place: Place | None) -> Model:
        if role not in self.models:
            raise UnknownNameError("model", role, self.models, place)
        return self.models[role]


@dataclass(frozen=True)
class _At:
    """Finds lines within one step."""

    places: Places
    index: int

    def __call__(self, *keys: str | int) -> Place | None:
        return self.places("steps", self.index, *keys)


def _dedup(step: spec.Dedup, columns: Columns, at: _At) -> Step:
    dtype = _check_path(step.dedup, columns, at("dedup"))
    if dtype != pl.String():
        raise MistakeError(f"the column {quoted(step.dedup)} is no text, but {dtype}", at("dedup"))
    bound = Deduplication(step.dedup, step.method, step.threshold)
    return Step(step, bound, title=f"dedup: {step.dedup}", reads=(step.dedup,), adds={})


def _sampling(step: spec.Sampling) -> dict[str, Any]:
    names = spec.Sampling.model_fields
    given = {name: getattr(step, name) for name in names}
    return {name: value for name, value in given.items() if value is not None and value != ()}


def _verdict_type(rubric: Rubric) -> pl.Struct:
    criterion = pl.Struct({"level": pl.Int64, "score": pl.Float64, "reason": pl.String})
    criteria = pl.Struct(dict.fromkeys(rubric.criteria, criterion))
    return pl.Struct({"score": pl.Float64, "criteria": criteria})


def _check_new(column: str, columns: Columns, place: Place | None) -> None:
    if column in columns:
        raise MistakeError(f"there is a column {quoted(column)} already; choose another", place)


def _check_variables(
    variables: Iterable[str], known: Iterable[str], prompt: PartRecord, place: Place | None
) -> None:
    known = list(known)
    for variable in variables:
        if variable not in known:
            message = (
                f"the prompt {prompt.file} uses {quoted(variable)}, and no column is called so"
            )
            raise MistakeError(message + hint(variable, known), place)


def _check_path(path: str, columns: Columns, place: Place | None, why: str = "") -> pl.DataType:
    """Find the type of a column or of a field in it."""
    name, *fields = path.split(".")
    if name not in columns:
        raise MistakeError(f"no column is called {quoted(name)}{why}{hint(name, columns)}", place)
    dtype = columns[name]
    for field_name in fields:
        inner: dict[str, Any] = dict(dtype.to_schema()) if isinstance(dtype, pl.Struct) else {}
        if field_name not in inner:
            message = f"no field {quoted(field_name)} in {quoted(path)}{why}"
            raise MistakeError(message + hint(field_name, inner), place)
        dtype = inner[field_name]
    return dtype


def _located(place: Place | None, make: Callable[[Any], Any], value: Any) -> Any:
    """Give an error that knows no place the place."""
    try:
        return make(value)
    except MistakeError as error:
        raise MistakeError(error.message, error.place or place) from error


def _fingerprint(pipeline: spec.Pipeline, source: sources.Source, steps: Iterable[Step]) -> str:
    """Hash everything that shapes the result; not where a server is, nor how fast it is asked."""
    digest = hashlib.sha256(orjson.dumps(pipeline.model_dump(), option=orjson.OPT_SORT_KEYS))
    digest.update(source.content.encode())
    for step in steps:
        for kind, part in step.parts:
            # A filter is what it computes: an edited comment changes nothing.
            digest.update(b"" if kind == "filter" else part.text.encode())
        match step.bound:
            case Generation(form=form) | Judging(form=form):
                digest.update(form.identity())
            case Filtering(keeps=keeps):
                for name, keep in keeps:
                    digest.update(name.encode() + keep.meta.serialize())
            case _:
                pass
    return digest.hexdigest()


def resized(plan: Plan, rows: int | None) -> Plan:
    """Return the same plan over another number of source rows."""
    return replace(plan, rows=rows)
