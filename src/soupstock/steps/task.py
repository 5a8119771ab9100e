"""Carry out a task of a catalogue on each row. Knows no catalogue: only data and one function.

A task is a course: shown a row and the answers so far, it either has further questions or is done.
It is taken through its course from the beginning each time, which costs little beside an answer,
so nothing of it is held while its questions are out.
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
from soupstock.inference import store
from soupstock.inference.call import Answer, Ask, Call, Failure, Form, seed_of
from soupstock.rows.rows import Columns, Row, dropped, failed, flatten
from soupstock.steps.chapter import Chapter, Round, RowStep
from soupstock.steps.distilabel.binding import bind_task
from soupstock.steps.distilabel.course import Course, Done, Question
from soupstock.steps.distilabel.listener import Listener, ended
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, sampling
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST, argument, model_named, settings
from soupstock.text.markdown import code, joined


@dataclass(frozen=True)
class Tasking(RowWise):
    """A task step, bound."""

    task: str
    form: Form
    inputs: Mapping[str, str]
    """The task's inputs, each with the column that it is read from."""
    outputs: Mapping[str, str]
    """The task's outputs that are kept, each with its column."""
    dtypes: Mapping[str, pl.DataType]
    """The columns' types."""
    course: Course
    catalogue: bytes
    """What the task is, beside the words of the pipeline: its catalogue's version."""
    retries: int = 2
    """How often a task that could read nothing is begun again, with other seeds."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons: `task: EvolInstruct(harder)`."""
        return f"task: {self.task}({next(iter(self.dtypes))})"

    def identity(self) -> Iterable[bytes]:
        """Yield how the model is asked, and the catalogue's version."""
        yield self.form.identity() + self.catalogue

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Carry the task out on each row."""
        return Stage(step.title, step=lambda row, ask: perform(self, row, ask))


def bind(step: spec.Task, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's model and its task, and check its columns; raises MistakeError."""
    # The catalogue imports this module for what a task is made of.

    model = context.model(step.model, at("model"))
    task = bind_task(step, columns, context.seed, at)
    bound = Tasking(
        step.task,
        Form(model, sampling(step), task.schema, step.task, seed=context.seed),
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
        models=((step.model, model),),
        calls=task.calls,
        texts=tuple(task.dtypes),
    )


async def perform(step: Tasking, row: Row, ask: Ask) -> Row:
    """Add the columns that the task makes. A row for which it makes nothing is dropped."""
    values = flatten(row, list(dict.fromkeys(step.inputs.values())))
    inputs = {name: values[path] for name, path in step.inputs.items()}
    ended: Mapping[str, Any] | Failure = Failure("Unreadable", "nothing was asked")
    for attempt in range(step.retries + 1):
        ended = await _taken(step, inputs, row["id"], attempt, ask)
        if not isinstance(ended, Failure) or ended.cause != "Unreadable":
            break
    if isinstance(ended, Failure):
        return dropped(failed(row, step.label, *ended), f"{step.label} failed")
    return {**row, **ended}


async def _taken(
    step: Tasking, inputs: Mapping[str, Any], row_id: str, attempt: int, ask: Ask
) -> dict[str, Any] | Failure:
    """Take a task through its course once."""
    purpose = f"{row_id}/{step.label}"
    answers: list[Sequence[str]] = []
    while True:
        now = step.course(inputs, answers, seed_of(step.form.seed, purpose))
        if isinstance(now, Failure):
            return now
        if isinstance(now, Done):
            return _columns(step, now.outputs)
        asked = [
            _calls(step.form, question, f"{purpose}/{place}", attempt)
            for place, question in enumerate(now, len(answers))
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


def _calls(form: Form, question: Question, purpose: str, attempt: int) -> list[Call]:
    if question.schema is not None:
        form = replace(form, schema=question.schema)
    return [
        form.call(question.messages, purpose, sample, attempt)
        if question.prompt is None
        else form.completion(question.prompt, purpose, sample, attempt, question.stop)
        for sample in range(question.n)
    ]


def _columns(step: Tasking, outputs: Mapping[str, Any]) -> dict[str, Any] | Failure:
    kept = {column: outputs.get(name) for name, column in step.outputs.items()}
    if not any(_says(value) for value in kept.values()):
        return Failure("Unreadable", "the task could read nothing in the answer")
    return {column: _fitting(value, step.dtypes[column]) for column, value in kept.items()}


def _says(value: object) -> bool:
    """Tell whether there is anything in a value."""
    match value:
        case None | "":
            return False
        case list() | tuple():
            return any(_says(item) for item in value)
        case dict():
            return any(_says(item) for item in value.values())
        case _:
            return True


def _fitting(value: Any, dtype: pl.DataType) -> Any:
    """Make a value one that its column holds: what is no text there is written as JSON."""
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
    """Say who wrote what, asked as which task asks."""
    made = joined([code(column) for column in step.outputs.values()])
    given = ", ".join(f"{name}: {argument(value)}" for name, value in step.parameters.items())
    parameters = f" with {code(given, LONGEST)}" if given else ""
    return (
        f"{model_named(step.model, manifest)} wrote {made}, asked as distilabel's task"
        f" {code(step.task)} asks{parameters}{settings(step)}."
    )


def chapter(step: spec.Task, row_step: RowStep) -> Chapter:
    """Tell what was asked, as far as the catalogue and the answers still exist, and what came."""
    values = row_step.cells(makes(step).main)
    return Chapter(rounds=_rounds(step, row_step), value=values, passages=values)


def _rounds(step: spec.Task, row_step: RowStep) -> Sequence[Round]:
    """Carry a task out once more on the cache's answers; its words are in no manifest."""
    if row_step.context is None:
        return ()
    place = run_folder.runs_folder(row_step.context.project.root) / run_folder.STORE
    if not place.is_file():
        return ()
    before = {name: kind for name, kind in row_step.columns.items() if name not in makes(step).main}
    listener = Listener(partial(store.read, place))
    try:
        bound = bind(step, before, At(lambda *_: None, 0), row_step.context).bound
        if isinstance(bound, Tasking):
            ended(perform(bound, row_step.row, listener))
    except SoupstockError:
        return ()
    return listener.rounds()


VERB = Verb(spec.Task, bind, makes, not_for_files, describe, chapter)
