"""A task bound to a step: its parameters checked, its inputs and outputs mapped to columns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.errors import MistakeError, Place, UnknownNameError, quoted, shown
from soupstock.rows.row import Columns
from soupstock.steps.columns import check_new, type_at
from soupstock.steps.distilabel.catalogue import (
    find_task,
    is_grouped,
    make_task,
    outputs_of,
    schema_of,
)
from soupstock.steps.distilabel.library import version
from soupstock.steps.distilabel.resumable_task import ResumableTask, Resume

TEXTS, _NUMBERS = pl.List(pl.String), pl.List(pl.Int64)
_TYPES: Mapping[str, pl.DataType] = {
    "ratings": _NUMBERS,
    "types": _NUMBERS,
    "rationales": TEXTS,
    "rationales-for-ratings": TEXTS,
    "scores": pl.List(pl.Float64),
    "score": pl.Int64(),
    "instructions": TEXTS,
    "generations": TEXTS,
    "responses": TEXTS,
    "evolved_instructions": TEXTS,
    "evolved_responses": TEXTS,
    "golden_solution": TEXTS,
    "solutions": pl.List(TEXTS),
    "keep_row_after_semantic_check": pl.Boolean(),
    "conversation": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
}
"""The types of outputs that are not texts. A value that does not fit is written as JSON."""

_TYPES_OF: Mapping[tuple[str, str], pl.DataType] = {
    ("EvolInstruct", "answers"): TEXTS,
    ("EvolComplexity", "answers"): TEXTS,
    ("MonolingualTripletGenerator", "score"): pl.String(),
}

_LISTS = ("generations", "responses", "instructions", "solutions", "golden_solution")
"""The inputs that are lists."""


@dataclass(frozen=True)
class TaskBinding:
    """A task with its parameters, mapped to columns."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    dtypes: Mapping[str, pl.DataType]
    resume: Resume
    schema: Mapping[str, Any] | None
    identity: bytes
    calls: int


def bind_task(step: spec.Task, columns: Columns, seed: int, at: Any) -> TaskBinding:
    """Find a task, check its parameters, and map its inputs and outputs; raises MistakeError."""
    kind = find_task(step.task, at("task"))
    task = make_task(kind, step.parameters, at)
    with in_one_line(at("task")):
        needs, gives = dict(task.get_inputs()), outputs_of(kind, task)
    inputs = _inputs(step, needs, columns, at)
    outputs = _kept_outputs(step, gives, columns, at)
    is_list = int(getattr(task, "num_generations", 1) or 1) > 1
    dtypes = {}
    for name, column in outputs.items():
        dtype = _type(kind.__name__, name, task)
        dtypes[column] = pl.List(dtype) if is_list and is_grouped(kind) else dtype
    start = int(getattr(task, "seed", None) or 0) if "seed" in step.parameters else seed
    return TaskBinding(
        inputs=inputs,
        outputs=outputs,
        dtypes=dtypes,
        resume=ResumableTask(task, start),
        schema=schema_of(task),
        identity=f"distilabel {version()} {step.task}".encode(),
        calls=_rounds(task),
    )


@contextmanager
def in_one_line(place: Place | None) -> Iterator[None]:
    """Report a task's own error in one line."""
    try:
        yield
    except Exception as error:
        raise MistakeError(shown(" ".join(str(error).split())[:300]), place) from error


def _type(task: str, name: str, made: Any) -> pl.DataType:
    if task == "PrometheusEval" and name == "result":
        return pl.Int64() if made.mode == "absolute" else pl.String()
    if task == "TextClassification" and name == "labels":
        return TEXTS if made.n > 1 else pl.String()
    return _TYPES_OF.get((task, name)) or _TYPES.get(name) or pl.String()


def _inputs(
    step: spec.Task, needs: Mapping[str, bool], columns: Columns, at: Any
) -> dict[str, str]:
    """Find the column of each input; raises MistakeError."""
    for name in step.inputs:
        if name not in needs:
            place = at("inputs", name) or at("inputs")
            raise UnknownNameError(f"input of {step.task}", name, needs, place)
    found: dict[str, str] = {}
    for name, is_needed in needs.items():
        column = step.inputs.get(name)
        place = at("inputs", name) or at("inputs") or at("task")
        if column is None and name not in columns:
            if is_needed:
                problem = f"{step.task} needs {quoted(name)}, and no column has that name"
                raise MistakeError(
                    f"{problem}: name its column with `inputs: {{{name}: COLUMN}}`", place
                )
            continue
        dtype = type_at(column or name, columns, place)
        if name in _LISTS and not isinstance(dtype, pl.List):
            problem = f"{step.task} needs a list as {quoted(name)}, and {quoted(column or name)}"
            raise MistakeError(f"{problem} is {dtype}", place)
        found[name] = column or name
    return found


def _kept_outputs(
    step: spec.Task, gives: Sequence[str], columns: Columns, at: Any
) -> dict[str, str]:
    """Name the column of each output that is kept; raises MistakeError."""
    for name in step.outputs:
        if name not in gives:
            place = at("outputs", name) or at("outputs")
            raise UnknownNameError(f"output of {step.task}", name, gives, place)
    kept = dict(step.outputs)
    known = dict(columns)
    for name, column in kept.items():
        place = at("outputs", name) or at("outputs") or at("task")
        check_new(column, known, place)
        known[column] = pl.String()
    return kept


def _rounds(task: Any) -> int:
    """Estimate from the parameters how many calls a row takes at least."""
    rounds = int(getattr(task, "num_evolutions", 1) or 1)
    if getattr(task, "generate_answers", False):
        rounds += rounds if getattr(task, "store_evolutions", False) else 1
    return rounds * int(getattr(task, "num_generations", 1) or 1)
