"""Turn a pipeline into a plan: every name found, every column accounted for, nothing run."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import ModelRecord, PartRecord
from soupstock.artifacts.terms import terms_of
from soupstock.errors import MistakeError, Place, UnknownNameError, quoted
from soupstock.inference.call import Form
from soupstock.inference.chat_template import FRAMINGS
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.model import Model, resolve
from soupstock.inference.servers.vllm import Launch, crowding
from soupstock.project.project import Project, name_of
from soupstock.review.apply import Reviewing
from soupstock.rows import schema_types, sources
from soupstock.rows.documents import read_documents
from soupstock.rows.filters import bind
from soupstock.rows.rows import AFTER, BEFORE, Columns
from soupstock.rows.splits import Splits
from soupstock.spec.loader import load
from soupstock.steps.columns import check_new, check_variables, type_at
from soupstock.steps.compare import Comparing
from soupstock.steps.converse import CONVERSATION, SAID, Conversing, Speaker
from soupstock.steps.decontaminate import VERDICT, Decontamination, bind_decontaminate
from soupstock.steps.dedup import Deduplication, bind_dedup
from soupstock.steps.distilabel import bind_task
from soupstock.steps.filter import Filtering
from soupstock.steps.generate import Generation
from soupstock.steps.judge import Judges, Judging
from soupstock.steps.mask import Masking, bind_mask
from soupstock.steps.publish import CONFIG, Publication, Shape
from soupstock.steps.review import Reviews
from soupstock.steps.select import Selection, bind_select
from soupstock.steps.step import At, Places, Within, located, sampling
from soupstock.steps.task import Tasking
from soupstock.steps.verify import Verification, bind_verify
from soupstock.text.measures import requires

Bound = (
    Generation
    | Tasking
    | Conversing
    | Verification
    | Judging
    | Comparing
    | Filtering
    | Masking
    | Deduplication
    | Decontamination
    | Selection
    | Reviewing
    | Publication
)


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
    members: tuple[tuple[str, Model], ...] = ()
    """The roles and models of a judge step, which may be several; `role` names all of them."""
    parts: tuple[tuple[str, PartRecord], ...] = ()
    """The files it is made from, each with its kind: prompt, rubric, schema, filter."""
    calls: int = 0
    """Calls for each row that reaches it, when no answer must be asked for again."""

    @property
    def models(self) -> tuple[tuple[str, Model], ...]:
        """The models that it asks, with their roles."""
        if self.members:
            return self.members
        return ((self.role, self.model),) if self.role and self.model else ()

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The servers that a run starts for it, each once."""
        found = (model.launch for _, model in self.models if model.launch)
        return tuple(dict.fromkeys(found))


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

    def crowding(self) -> str | None:
        """Say so where models that a run serves want more of the same GPUs than there is."""
        return crowding([launch for step in self.steps for launch in step.launches])

    def model_records(self) -> tuple[ModelRecord, ...]:
        """Return the models as the manifest names them; they hold no secrets."""
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
    """Plan a pipeline by its name; `models` and `rows` stand in for what its file says."""
    models = models or {}
    loaded = load(project.pipeline(name), spec.Pipeline)
    pipeline = changed(loaded.value, models, rows)

    def places(*keys: str | int) -> Place | None:
        is_flag = keys[0] == "models" and keys[1] in models
        return None if is_flag else loaded.place(*keys)

    return plan(pipeline, project, name=name_of(name), places=places)


def changed(pipeline: spec.Pipeline, models: Mapping[str, str], rows: int | None) -> spec.Pipeline:
    """Put other models (by role) and another number of rows into a pipeline."""
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

    Its source is read, unless what it is is known.
    """
    planner = _Planner(pipeline, project, name, places)
    source = source or planner.source()
    planner.know_source(source)
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


def plan_pruning(
    pipeline: spec.Pipeline, project: Project, columns: Columns, *, name: str, places: Places
) -> tuple[Step, ...]:
    """Plan the steps of a pipeline that ask no model, for rows with these columns.

    Each step's `places` index is its place among those steps. Raises MistakeError.
    """
    for index, step in enumerate(pipeline.steps):
        role = getattr(step, "embedder", None)
        if role in pipeline.models:
            problem = f"{quoted(role)} is a model server, which only a run asks"
            raise MistakeError(problem, places("steps", index, "embedder"))
    unasked = pipeline.model_copy(update={"models": {}})
    planner = _Planner(unasked, project, name, places, asks=False)
    columns = dict(columns)
    steps = []
    for index, step in enumerate(pipeline.steps):
        planned = planner.step(index, step, columns)
        columns |= planned.adds
        steps.append(planned)
    return tuple(steps)


def plan_task(
    pipeline: spec.Pipeline, project: Project, step: spec.Task, columns: Columns
) -> Tasking:
    """Bind a task step by itself, to the columns that it finds; raises MistakeError."""
    planner = _Planner(pipeline, project, "", lambda *_: None)
    bound = planner.step(0, step, columns).bound
    if not isinstance(bound, Tasking):
        raise TypeError("a task step is bound to a task")
    return bound


class _Planner:
    """Binds steps one after the other, to the columns that are there by then."""

    def __init__(
        self,
        pipeline: spec.Pipeline,
        project: Project,
        name: str,
        places: Places,
        *,
        asks: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._asks = asks
        self._name = name
        self._project = project
        self._place = places
        self._sourced: tuple[str, ...] = ()
        self._withheld: set[str] = set()
        """Columns that are not published: what people said in a review, and what they replaced."""
        endpoints = project.endpoints()
        self.models = {
            role: resolve(reference, endpoints, places("models", role), project.root)
            for role, reference in pipeline.models.items()
        }

    def source(self) -> sources.Source:
        source, place = self._pipeline.source, self._place
        match source:
            case spec.SampleSource():
                if source.rows is None and self._pipeline.target is None:
                    problem = "a sample source needs `rows`, or the pipeline a `target`"
                    raise MistakeError(problem, place("source"))
                return sources.sampled(source, self._pipeline.seed)
            case spec.FileSource():
                return sources.read_file(source, self._root(source.file), place("source", "file"))
            case spec.DocumentSource():
                roots = (self._project.root, self._project.standard)
                return read_documents(source, roots, place("source", "documents"))
            case spec.DatasetSource():
                return sources.read_dataset(source, self._project.root, place("source", "dataset"))
            case _:
                assert_never(source)

    def _root(self, path: str) -> Path:
        """Say where a relative path starts: a standard pipeline's own files come with it."""
        own, standard = self._project.root, self._project.standard
        is_there = sources.resolved(path, own) is None and sources.resolved(path, standard)
        return standard if is_there else own

    def know_source(self, source: sources.Source) -> None:
        """Remember the source's columns: those that rows from one source row share."""
        self._sourced = tuple(source.columns)

    def step(  # noqa: C901 - a case for each verb
        self, index: int, step: spec.Step, columns: Columns
    ) -> Step:
        at = At(self._place, index)
        is_last = index == len(self._pipeline.steps) - 1
        if isinstance(step, spec.Publish) and not is_last:
            raise MistakeError("publish must be the last step", at("publish"))
        match step:
            case spec.Generate():
                return self._generate(step, columns, at)
            case spec.Task():
                return self._task(step, columns, at)
            case spec.Converse():
                return self._converse(step, columns, at)
            case spec.Verify():
                verification = bind_verify(step, columns, at)
                adds = {step.verify: verification.dtype}
                title, reads = verification.label, verification.reads
                return Step(step, verification, title=title, reads=reads, adds=adds)
            case spec.Judge():
                return self._judge(step, columns, at)
            case spec.Filter():
                return self._filter(step, columns, at)
            case spec.Mask() | spec.Dedup() | spec.Select():
                return self._prune(step, columns, at)
            case spec.Decontaminate():
                return self._decontaminate(step, columns, at)
            case spec.Review():
                return self._review(step, index, columns, at)
            case spec.Publish():
                return self._publish(step, columns, at)
            case _:
                assert_never(step)

    def _generate(self, step: spec.Generate, columns: Columns, at: "At") -> Step:
        check_new(step.generate, columns, at("generate"))
        model = self._model(step.model, at("model"))
        prompt = self._project.prompt(step.prompt, at("prompt"))
        check_variables(prompt, columns, at("prompt"))
        parts = [("prompt", prompt.record)]
        model_schema, json_schema, dtype = None, None, pl.String()
        if step.output_schema:
            found = self._project.schema(step.output_schema, at("schema"))
            model_schema = found.value
            json_schema = located(at("schema"), schema_types.json_schema_of, found.value)
            dtype = located(at("schema"), schema_types.struct_of, found.value)
            parts.append(("schema", found.record))
        form = Form(
            model,
            sampling(step),
            json_schema,
            step.output_schema or "answer",
            seed=self._pipeline.seed,
        )
        bound = Generation(
            step.generate,
            form,
            prompt.value,
            step.n,
            step.retries,
            model_schema,
            step.reasoning,
            step.tokens,
            FRAMINGS[step.pre_query] if step.pre_query else None,
        )
        if step.pre_query and step.output_schema:
            raise MistakeError("what a user would say (`pre_query`) has no schema", at("schema"))
        adds: Columns = {step.generate: dtype}
        for key, kind in (("reasoning", pl.String()), ("tokens", pl.Int64())):
            if (name := getattr(step, key)) is not None:
                check_new(name, {**columns, **adds}, at(key))
                adds = {**adds, name: kind}
        return Step(
            step,
            bound,
            title=f"generate: {step.generate}",
            reads=tuple(sorted(prompt.value.variables)),
            adds={name: pl.List(kind) if step.n > 1 else kind for name, kind in adds.items()},
            role=step.model,
            model=model,
            parts=tuple(parts),
            calls=step.n,
        )

    def _task(self, step: spec.Task, columns: Columns, at: "At") -> Step:
        model = self._model(step.model, at("model"))
        task = bind_task(step, columns, self._pipeline.seed, at)
        form = Form(model, sampling(step), task.schema, step.task, seed=self._pipeline.seed)
        bound = Tasking(
            step.task,
            form,
            task.inputs,
            task.outputs,
            task.dtypes,
            task.course,
            task.identity,
            step.retries,
        )
        return Step(
            step,
            bound,
            title=bound.label,
            reads=tuple(dict.fromkeys(task.inputs.values())),
            adds=task.dtypes,
            role=step.model,
            model=model,
            calls=task.calls,
        )

    def _converse(self, step: spec.Converse, columns: Columns, at: "At") -> Step:
        check_new(step.converse, columns, at("converse"))
        speakers, parts, reads = [], [], set[str]()
        for name, side in (("user", step.user), ("assistant", step.assistant)):
            model = self._model(side.model, at(name, "model"))
            prompt = self._project.prompt(side.prompt, at(name, "prompt"))
            check_variables(prompt, [*columns, *SAID], at(name, "prompt"))
            form = Form(model, sampling(side), seed=self._pipeline.seed)
            speakers.append(Speaker(name, form, prompt.value))
            parts.append(("prompt", prompt.record))
            reads |= prompt.value.variables.keys() - {*SAID}
        bound = Conversing(step.converse, tuple(speakers), step.turns, step.retries)
        members = tuple(
            (role, self.models[role])
            for role in dict.fromkeys((step.user.model, step.assistant.model))
        )
        return Step(
            step,
            bound,
            title=bound.label,
            reads=tuple(sorted(reads)),
            adds={step.converse: CONVERSATION},
            role=", ".join(role for role, _ in members),
            model=members[0][1],
            members=members,
            parts=tuple(parts),
            calls=2 * step.turns,
        )

    def _judge(self, step: spec.Judge, columns: Columns, at: "At") -> Step:
        judges = Judges(self._project, self.models, self._pipeline)
        planned = judges.plan(step, columns, at)
        return Step(
            step,
            planned.bound,
            title=f"judge: {step.judge}",
            reads=planned.reads,
            adds=planned.adds,
            role=", ".join(step.roles) or None,
            model=planned.members[0][1] if planned.members else None,
            members=planned.members,
            parts=planned.parts,
            calls=planned.calls,
        )

    def _filter(self, step: spec.Filter, columns: Columns, at: "At") -> Step:
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

    def _prune(
        self, step: spec.Mask | spec.Dedup | spec.Select, columns: Columns, at: "At"
    ) -> Step:
        bound: Masking | Deduplication | Selection
        adds: Columns = {}
        reads: tuple[str, ...]
        match step:
            case spec.Mask():
                bound = bind_mask(step, columns, at)
                title, reads = f"mask: {step.mask}", (step.mask,)
                adds = {bound.into: bound.dtype}
            case spec.Dedup():
                bound = bind_dedup(step, columns, self._within, at)
                title = f"dedup: {step.dedup}"
                reads = tuple(filter(None, (step.dedup, bound.best)))
            case spec.Select():
                bound = bind_select(step, columns, self._within, at)
                target = self._pipeline.target
                if target is not None and bound.rows is not None and bound.rows < target:
                    problem = f"select keeps {bound.rows:,} rows, and the target is {target:,}"
                    raise MistakeError(problem, at("select"))
                title, reads = f"select: {step.select}", tuple(bound.reads)
        form = getattr(bound, "embedder", None)
        if not isinstance(form, EmbeddingForm):
            return Step(step, bound, title=title, reads=reads, adds=adds)
        role = next(role for role, model in self.models.items() if model is form.model)
        return Step(step, bound, title, reads, adds, role=role, model=form.model, calls=1)

    def _decontaminate(self, step: spec.Decontaminate, columns: Columns, at: "At") -> Step:
        bound, parts = bind_decontaminate(step, columns, self._within, at)
        reads = (step.decontaminate,)
        if bound.question is None:
            return Step(step, bound, title=bound.label, reads=reads, adds={})
        # What is said of a row is about an evaluation set, and no part of the dataset.
        self._withheld.add(bound.question.into)
        return Step(
            step,
            bound,
            title=bound.label,
            reads=reads,
            adds={bound.question.into: VERDICT},
            role=bound.question.role,
            model=bound.question.form.model,
            parts=tuple(("prompt", part) for part in parts),
            calls=1,
        )

    @property
    def _within(self) -> Within:
        return Within(self._project, self._name, self.models, self._pipeline.seed, self._asks)

    def _review(self, step: spec.Review, index: int, columns: Columns, at: "At") -> Step:
        planned = Reviews(self._project, self._pipeline, self._name).plan(step, index, columns, at)
        self._withheld |= set(planned.adds)
        return Step(
            step,
            planned.bound,
            title=planned.bound.label,
            reads=planned.reads,
            adds=planned.adds,
            parts=planned.parts,
        )

    def _publish(self, step: spec.Publish, columns: Columns, at: "At") -> Step:
        # What was masked is published as the column that was made of it.
        masked = {
            s.mask.partition("::")[0] for s in self._pipeline.steps if isinstance(s, spec.Mask)
        }
        withheld = masked | self._withheld
        published = {n: t for n, t in columns.items() if n not in withheld}
        if step.configs and step.output_schema:
            raise MistakeError("with configs, each has its own schema", at("schema"))
        if step.stratify is not None:
            type_at(step.stratify, columns, at("stratify"))
            if not step.splits:
                raise MistakeError("to stratify takes splits", at("stratify"))
        configs = step.configs or {CONFIG: spec.Config(output_schema=step.output_schema)}
        splits = Splits(step.splits, step.stratify, self._source_columns)
        parts: dict[str, PartRecord] = {}
        bounds = []
        for name, output in configs.items():
            shape = Shape(name, {**BEFORE, **published} if step.configs else published)
            if output.output_schema:
                place = at("configs", name, "schema") if step.configs else at("schema")
                found = self._project.schema(output.output_schema, place)
                parts[found.record.file] = found.record
                shape = Shape(
                    name, located(place, schema_types.columns_of, found.value), found.value
                )
            bounds.append(shape)
        bound = Publication(
            step.publish,
            bounds[0].columns,
            bounds[0].schema,
            tuple(bounds) if step.configs else (),
            splits,
        )
        title = f"publish: {step.publish}"
        told = tuple(("schema", part) for part in parts.values())
        return Step(step, bound, title=title, reads=(), adds={}, parts=told)

    @property
    def _source_columns(self) -> tuple[str, ...]:
        """Name what two rows from one source row share; of draws each is a source row."""
        return () if isinstance(self._pipeline.source, spec.SampleSource) else self._sourced

    def _model(self, role: str, place: Place | None) -> Model:
        if role not in self.models:
            raise UnknownNameError("model", role, self.models, place)
        return self.models[role]


def _fingerprint(pipeline: spec.Pipeline, source: sources.Source, steps: Iterable[Step]) -> str:
    """Hash everything that shapes the result; not where a server is, nor how fast it is asked."""
    digest = hashlib.sha256()
    for part in _shaping(pipeline, source, steps):
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def _shaping(  # noqa: C901 - a case for each verb
    pipeline: spec.Pipeline, source: sources.Source, steps: Iterable[Step]
) -> Iterator[bytes]:
    yield json.dumps(pipeline.model_dump(), sort_keys=True).encode()
    yield source.content.encode()
    for step in steps:
        # A filter is what it computes: an edited comment changes nothing.
        yield from (part.text.encode() for kind, part in step.parts if kind != "filter")
        match step.bound:
            case Generation(form=form):
                yield form.identity()
            case Conversing(speakers=speakers):
                yield from (speaker.form.identity() for speaker in speakers)
            case Tasking(form=form, identity=identity):
                yield form.identity() + identity
            case Verification(identity=identity):
                yield identity
            case Judging(members=members, rules=rules):
                yield from (member.form.identity() for member in members)
                yield from (rule.expression.meta.serialize() for rule in rules)
            case Comparing(members=judges):
                yield from (form.identity() for _, form in judges)
            case Filtering(keeps=keeps):
                yield from (name.encode() + keep.meta.serialize() for name, keep in keeps)
            case Deduplication() | Decontamination() | Selection():
                yield from contents(step.bound)
            case Reviewing(answers=answers):
                yield answers.content.encode()
            case _:
                pass


def contents(bound: Deduplication | Decontamination | Selection) -> Iterator[bytes]:
    """Yield the hashes of what a step compares with and by, for the plan's fingerprint."""
    if not isinstance(bound, Selection):
        yield from (reference.content.encode() for reference in bound.against)
    if isinstance(bound, Decontamination):
        if bound.question is not None:
            yield bound.question.form.identity()
    elif bound.embedder is not None:
        yield bound.embedder.identity()
