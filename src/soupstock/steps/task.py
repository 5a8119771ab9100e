"""Carry out a distilabel task on each row.

A task is one function here: from a row's inputs and the answers so far it returns further questions
or its outputs. It runs from its beginning each time, which costs little beside an answer, so it
holds no state while its questions are out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import polars as pl

from soupstock import spec
from soupstock.artifacts import run_folder
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import SoupstockError
from soupstock.inference import cache
from soupstock.inference.call import Answer, Ask, Call, CallForm, Failure, derive_seed
from soupstock.rows.row import Columns, Row, dropped, failed, flatten
from soupstock.steps.chapter import Chapter, Round, RowStep
from soupstock.steps.distilabel.binding import bind_task
from soupstock.steps.distilabel.recording_ask import RecordingAsk, run_to_end
from soupstock.steps.distilabel.resumable_task import Done, Resume, TaskQuestion
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, sampling
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST, argument, model_named, settings
from soupstock.text.markdown import code, joined


@dataclass(frozen=True)
class BoundTask(RowWise):
    """A task step, bound."""

    task: str
    form: CallForm
    inputs: Mapping[str, str]
    """The task's inputs, and the column that each is read from."""
    outputs: Mapping[str, str]
    """The task's outputs that are kept, and the column of each."""
    dtypes: Mapping[str, pl.DataType]
    """The columns' types."""
    resume: Resume
    catalogue: bytes
    """The version of distilabel, which decides what the task does."""
    retries: int = 2
    """How often to start again, with other seeds, if a task can read nothing. Default: 2."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons: `task: EvolInstruct(harder)`."""
        return f"task: {self.task}({next(iter(self.dtypes))})"

    def identity(self) -> Iterable[bytes]:
        """Yield how the model is asked, and distilabel's version."""
        yield self.form.identity() + self.catalogue

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Carry the task out on each row."""
        return Stage(step.title, step=lambda row, ask: perform(self, row, ask))


def bind(step: spec.Task, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's model and its task, and check its columns; raises MistakeError."""
    model = context.model(step.model, at("model"))
    task = bind_task(step, columns, context.seed, at)
    bound = BoundTask(
        step.task,
        CallForm(model, sampling(step), task.schema, step.task, seed=context.seed),
        task.inputs,
        task.outputs,
        task.dtypes,
        task.resume,
        task.identity,
        step.retries,
    )
    return Step(
        step,
        bound,
        title=bound.label,
        reads=tuple(dict.fromkeys(task.inputs.values())),
        adds=task.dtypes,
        models=((step.model, model),),
        calls=task.calls,
        texts=tuple(task.dtypes),
    )


async def perform(step: BoundTask, row: Row, ask: Ask) -> Row:
    """Add the columns that the task makes. Drop a row for which it makes nothing."""
    values = flatten(row, list(dict.fromkeys(step.inputs.values())))
    inputs = {name: values[path] for name, path in step.inputs.items()}
    found: Mapping[str, Any] | Failure = Failure("Unreadable", "nothing was asked")
    for attempt in range(step.retries + 1):
        found = await _perform_once(step, inputs, row["id"], attempt, ask)
        if not isinstance(found, Failure) or found.cause != "Unreadable":
            break
    if isinstance(found, Failure):
        return dropped(failed(row, step.label, *found), f"{step.label} failed")
    return {**row, **found}


async def _perform_once(
    step: BoundTask, inputs: Mapping[str, Any], row_id: str, attempt: int, ask: Ask
) -> dict[str, Any] | Failure:
    """Ask a task's questions until it has its outputs."""
    purpose = f"{row_id}/{step.label}"
    answers: list[Sequence[str]] = []
    while True:
        state = step.resume(inputs, answers, derive_seed(step.form.seed, purpose))
        if isinstance(state, Failure):
            return state
        if isinstance(state, Done):
            return _columns(step, state.outputs)
        asked = [
            _calls(step.form, question, f"{purpose}/{place}", attempt)
            for place, question in enumerate(state, len(answers))
        ]
        replies = iter(await ask([call for calls in asked for call in calls]))
        for calls in asked:
            some = [next(replies) for _ in calls]
            texts = [reply.text for reply in some if isinstance(reply, Answer)]
            if failure := next((reply for reply in some if isinstance(reply, Failure)), None):
                return failure
            if not any(text.strip() for text in texts):
                return Failure("Unreadable", "the answer is empty")
            answers.append(texts)


def _calls(form: CallForm, question: TaskQuestion, purpose: str, attempt: int) -> list[Call]:
    if question.schema is not None:
        form = replace(form, schema=question.schema)
    return [
        form.call(question.messages, purpose, sample, attempt)
        if question.prompt is None
        else form.completion(question.prompt, purpose, sample, attempt, question.stop)
        for sample in range(question.n)
    ]


def _columns(step: BoundTask, outputs: Mapping[str, Any]) -> dict[str, Any] | Failure:
    kept = {column: outputs.get(name) for name, column in step.outputs.items()}
    if not any(_has_content(value) for value in kept.values()):
        return Failure("Unreadable", "the task could read nothing in the answer")
    return {column: _fitting(value, step.dtypes[column]) for column, value in kept.items()}


def _has_content(value: object) -> bool:
    """Tell whether a value holds anything."""
    match value:
        case None | "":
            return False
        case list() | tuple():
            return any(_has_content(item) for item in value)
        case dict():
            return any(_has_content(item) for item in value.values())
        case _:
            return True


def _fitting(value: Any, dtype: pl.DataType) -> Any:
    """Convert a value to its column's type: what is not a text is written as JSON."""
    if value is None:
        return None
    match dtype:
        case pl.List(inner=pl.DataType() as inner) if isinstance(value, list | tuple):
            return [_fitting(item, inner) for item in value]
        case pl.String() if not isinstance(value, str):
            return orjson.dumps(value, default=str).decode()
        case pl.Int64() | pl.Float64() if isinstance(value, str):
            return _number(value)
        case pl.Int64() if isinstance(value, float):
            return int(value) if value.is_integer() else None
        case _:
            return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def makes(step: spec.Task) -> Made:
    """Name the columns of the outputs that are kept."""
    return Made(tuple(step.outputs.values()), is_written=True)


def describe(step: spec.Task, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe which model wrote what, for which task."""
    made = joined([code(column) for column in step.outputs.values()])
    given = ", ".join(f"{name}: {argument(value)}" for name, value in step.parameters.items())
    parameters = f" with {code(given, LONGEST)}" if given else ""
    return (
        f"{model_named(step.model, manifest)} wrote {made} for distilabel's task"
        f" {code(step.task)}{parameters}{settings(step)}."
    )


def chapter(step: spec.Task, row_step: RowStep) -> Chapter:
    """Tell what the model was asked, if the cache still has the answers, and the outputs."""
    values = row_step.cells(makes(step).main)
    return Chapter(rounds=_rounds(step, row_step), value=values, passages=values)


def _rounds(step: spec.Task, row_step: RowStep) -> Sequence[Round]:
    """Carry the task out again on the cached answers: the manifest does not hold its prompts."""
    if row_step.context is None:
        return ()
    place = run_folder.runs_folder(row_step.context.project.root) / run_folder.CACHE
    if not place.is_file():
        return ()
    before = {name: kind for name, kind in row_step.columns.items() if name not in makes(step).main}
    recording = RecordingAsk(partial(cache.read, place))
    try:
        bound = bind(step, before, At(lambda *_: None, 0), row_step.context).bound
        if isinstance(bound, BoundTask):
            run_to_end(perform(bound, row_step.row, recording))
    except SoupstockError:
        return ()
    return recording.rounds()


VERB = Verb(spec.Task, bind, makes, not_for_files, describe, chapter)
