"""Turn a pipeline into a plan: every name found, every column accounted for, nothing run."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

from soupstock import spec
from soupstock.artifacts.manifest import ModelRecord, PartRecord
from soupstock.artifacts.terms import terms_of
from soupstock.errors import MistakeError, Place, UnknownNameError, quoted
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.vllm import memory_conflict
from soupstock.project.project import Project, name_of
from soupstock.rows import sources
from soupstock.rows.documents import read_documents
from soupstock.rows.row import FIRST_COLUMNS, LAST_COLUMNS, Columns
from soupstock.spec.loader import load
from soupstock.steps import VERBS
from soupstock.steps.step import At, Context, Places, Step, models_of


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    name: str
    pipeline: spec.Pipeline
    project: Project
    source: sources.Source
    rows: int | None
    """How many source rows there are; None for no limit."""
    steps: tuple[Step, ...]
    models: Mapping[str, Model]
    columns: Columns
    """All columns that the table will have, in order."""
    fingerprint: str = field(compare=False)
    """The hash of everything that shapes the result: 64 hexadecimal digits."""

    def parts(self, kind: str) -> tuple[PartRecord, ...]:
        """Return the files of one kind that the plan uses, each once."""
        found = {
            part.file: part for step in self.steps for which, part in step.parts if which == kind
        }
        return tuple(found[file] for file in sorted(found))

    def memory_conflict(self) -> str | None:
        """Return a warning if the models that a run serves need more GPU memory than there is."""
        return memory_conflict([launch for step in self.steps for launch in step.launches])

    def model_records(self) -> tuple[ModelRecord, ...]:
        """Return the models as the manifest names them, without secrets."""
        return tuple(
            ModelRecord(
                role=role,
                reference=model.reference,
                model=model.name,
                revision=model.revision,
                license=model.license,
                terms=terms_of(model.license, model.base_url),
            )
            for role, model in self.models.items()
        )


def plan_file(
    name: str, project: Project, *, models: Mapping[str, str] | None = None, rows: int | None = None
) -> Plan:
    """Plan a pipeline by its name; `models` and `rows` override what its file says."""
    models = models or {}
    loaded = load(project.pipeline(name), spec.Pipeline)
    pipeline = override(loaded.value, models, rows)

    def places(*keys: str | int) -> Place | None:
        is_flag = keys[0] == "models" and keys[1] in models
        return None if is_flag else loaded.place(*keys)

    return plan(pipeline, project, name=name_of(name), places=places)


def override(pipeline: spec.Pipeline, models: Mapping[str, str], rows: int | None) -> spec.Pipeline:
    """Override a pipeline's models (by role) and its number of rows; raises MistakeError."""
    for role in models:
        if role not in pipeline.models:
            raise UnknownNameError("role", role, pipeline.models)
    if rows is not None and not 0 < rows <= spec.MAX_ROWS:
        raise MistakeError(f"rows should be from 1 to {spec.MAX_ROWS:,}, not {rows}")
    changes: dict[str, Any] = {"models": {**pipeline.models, **models}}
    if rows is not None:
        changes["source"] = pipeline.source.model_copy(update={"rows": rows})
    return pipeline.model_copy(update=changes)


def plan(
    pipeline: spec.Pipeline,
    project: Project,
    *,
    name: str,
    places: Places = lambda *_: None,
    source: sources.Source | None = None,
) -> Plan:
    """Plan a pipeline: find its names, check its columns. Raises MistakeError.

    Its source is read, unless it is given.
    """
    models = models_of(pipeline, project, places)
    source = source or _source(pipeline, project, places)
    # Each sampled row is a source row of its own.
    is_drawn = isinstance(pipeline.source, spec.SampleSource)
    shared = () if is_drawn else tuple(source.columns)
    context = Context(project, pipeline, name, models, shared)
    steps = _bound(context, source.columns, places)
    columns = dict(source.columns)
    for step in steps:
        columns |= step.adds
    return Plan(
        name=name,
        pipeline=pipeline,
        project=project,
        source=source,
        rows=source.rows,
        steps=steps,
        models=models,
        columns={**FIRST_COLUMNS, **columns, **LAST_COLUMNS},
        fingerprint=_fingerprint(pipeline, source, steps),
    )


def plan_pruning(
    pipeline: spec.Pipeline, project: Project, columns: Columns, *, name: str, places: Places
) -> tuple[Step, ...]:
    """Plan the steps of a pipeline that ask no model, for rows with these columns.

    Each step's `places` index is its place among those steps. Raises MistakeError.
    """
    for index, step in enumerate(pipeline.steps):
        role = getattr(step, "embedder", None)
        if role in pipeline.models:
            problem = f"{quoted(role)} is a model server, and only a run asks models"
            raise MistakeError(problem, places("steps", index, "embedder"))
    context = Context(project, pipeline, name, models={}, asks=False)
    return _bound(context, columns, places)


def _bound(context: Context, columns: Columns, places: Places) -> tuple[Step, ...]:
    """Bind a pipeline's steps one after the other, each to the columns that exist by then."""
    columns = dict(columns)
    steps: tuple[Step, ...] = ()
    for index, step in enumerate(context.pipeline.steps):
        bind = VERBS[type(step)].bind
        bound = bind(step, columns, At(places, index), replace(context, before=steps))
        columns |= bound.adds
        steps += (bound,)
    return steps


def _source(pipeline: spec.Pipeline, project: Project, places: Places) -> sources.Source:
    """Read a pipeline's source."""
    source = pipeline.source
    match source:
        case spec.SampleSource():
            if source.rows is None and pipeline.target is None:
                problem = "a sample source needs `rows`, or the pipeline a `target`"
                raise MistakeError(problem, places("source"))
            return sources.sample_rows(source, pipeline.seed)
        case spec.FileSource():
            root = _root_of(source.file, project)
            return sources.read_file(source, root, places("source", "file"))
        case spec.DocumentSource():
            roots = (project.root, project.standard)
            return read_documents(source, roots, places("source", "documents"))
        case spec.DatasetSource():
            return sources.read_dataset(source, project.root, places("source", "dataset"))
        case _:
            assert_never(source)


def _root_of(path: str, project: Project) -> Path:
    """Return the folder that a relative path starts in: standard pipelines bring their files."""
    is_standard = (
        sources.find_path(path, project.root) is None
        and sources.find_path(path, project.standard) is not None
    )
    return project.standard if is_standard else project.root


def _fingerprint(pipeline: spec.Pipeline, source: sources.Source, steps: Iterable[Step]) -> str:
    """Hash everything that shapes the result; not a server's address or concurrency."""
    digest = hashlib.sha256()
    for part in _shaping(pipeline, source, steps):
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def _shaping(
    pipeline: spec.Pipeline, source: sources.Source, steps: Iterable[Step]
) -> Iterator[bytes]:
    yield json.dumps(pipeline.model_dump(), sort_keys=True).encode()
    yield source.content.encode()
    for step in steps:
        # A filter counts by what it computes: an edited comment changes nothing.
        yield from (part.text.encode() for kind, part in step.parts if kind != "filter")
        yield from step.bound.identity()
