"""The one module that knows distilabel: its tasks, bound so that this engine carries them out.

A task's own `process` runs, with `format_input` and `format_output` within it, against a model that
has the answers so far and stops it at the first question that has none. So a task of several rounds
is the same to the engine as one of a single question, and what comes of the same answers is what
distilabel makes of them.
"""

import copy
import inspect
import logging
import random
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
import polars as pl
from pydantic import ValidationError

from soupstock import spec
from soupstock.errors import MistakeError, Place, UnknownNameError, quoted, shown
from soupstock.inference.call import Failure
from soupstock.inference.chat_template import FRAMINGS
from soupstock.rows.rows import Columns
from soupstock.steps.columns import check_new, type_at
from soupstock.steps.task import Course, Done, Question

NEEDED = "a task step needs distilabel: pip install 'soupstock[distilabel]'"

MOST_ROUNDS = 200
"""How many rounds of questions a task may have for one row."""

_PLUMBING = frozenset(
    {"llm", "name", "resources", "pipeline", "input_mappings", "output_mappings", "use_cache"}
    | {"input_batch_size", "batch_size", "exclude_from_signature", "add_raw_output"}
    | {"add_raw_input", "group_generations", "num_rows", "num_instructions"}
)
"""Parameters that are the engine's business, or its pipeline's."""

_OWN_NUMBER = frozenset({"SelfInstruct"})
"""Tasks whose `num_instructions` is what they ask for, and not how many rows they make."""

_UNFIT: Mapping[str, str] = {
    "ArgillaLabeller": "it needs Argilla's records",
    "TextGenerationWithImage": "it needs images",
}

_REWRITTEN: Mapping[str, tuple[str, ...]] = {"MathShepherdCompleter": ("solutions",)}
"""Tasks that change an input, and do not say that it is what they make."""

_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "PrometheusEval": {"mode": "absolute", "rubric": "factual-validity"},
    "Magpie": {"magpie_pre_query_template": "chatml"},
    "MagpieGenerator": {"magpie_pre_query_template": "chatml"},
}

_TEMPLATE = "magpie_pre_query_template"
"""Magpie's parameter that is the model's and not the task's: whose chat template it is asked by."""

_TEXTS, _NUMBERS = pl.List(pl.String), pl.List(pl.Int64)
_TYPES: Mapping[str, pl.DataType] = {
    "ratings": _NUMBERS,
    "types": _NUMBERS,
    "rationales": _TEXTS,
    "rationales-for-ratings": _TEXTS,
    "scores": pl.List(pl.Float64),
    "score": pl.Int64(),
    "instructions": _TEXTS,
    "generations": _TEXTS,
    "responses": _TEXTS,
    "evolved_instructions": _TEXTS,
    "evolved_responses": _TEXTS,
    "golden_solution": _TEXTS,
    "solutions": pl.List(_TEXTS),
    "keep_row_after_semantic_check": pl.Boolean(),
    "conversation": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
}
"""What the outputs are that are no text; what there is no type for is written as JSON."""

_TYPES_OF: Mapping[tuple[str, str], pl.DataType] = {
    ("EvolInstruct", "answers"): _TEXTS,
    ("EvolComplexity", "answers"): _TEXTS,
    ("MonolingualTripletGenerator", "score"): pl.String(),
}

_LISTS = ("generations", "responses", "instructions", "solutions", "golden_solution")
"""The inputs that are lists."""


class Entry(NamedTuple):
    """A task as the list of tasks shows it."""

    name: str
    inputs: Mapping[str, bool]
    """Its inputs, and whether it needs them."""
    outputs: tuple[str, ...]
    paper: tuple[str, str] | None
    """Title and address of what it comes from."""


@dataclass(frozen=True)
class BoundTask:
    """A task with its parameters, mapped to columns."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    dtypes: Mapping[str, pl.DataType]
    course: Course
    schema: Mapping[str, Any] | None
    identity: bytes
    calls: int


def bind_task(step: spec.Task, columns: Columns, seed: int, at: Any) -> BoundTask:
    """Find a task, check its parameters, and map its inputs and outputs; raises MistakeError."""
    kind = _kind(step.task, at("task"))
    task = _made(kind, step.parameters, at)
    with _told(at("task")):
        needs, gives = dict(task.get_inputs()), _outputs(kind, task)
    inputs = _inputs(step, needs, columns, at)
    outputs = _kept(step, gives, columns, at)
    is_list = int(getattr(task, "num_generations", 1) or 1) > 1
    dtypes = {}
    for name, column in outputs.items():
        dtype = _type(kind.__name__, name, task)
        dtypes[column] = pl.List(dtype) if is_list and _is_grouped(kind) else dtype
    start = int(getattr(task, "seed", None) or 0) if "seed" in step.parameters else seed
    return BoundTask(
        inputs=inputs,
        outputs=outputs,
        dtypes=dtypes,
        course=_Course(task, start),
        schema=_schema(task),
        identity=f"distilabel {_version()} {step.task}".encode(),
        calls=_rounds(task),
    )


def entries() -> Iterator[Entry]:
    """Yield the tasks that can be carried out, by name; raises MistakeError without distilabel."""
    for name, kind in sorted(_catalogue().items()):
        task = _example(kind)
        inputs, outputs = dict(task.get_inputs()), _outputs(kind, task)
        yield Entry(name, inputs, tuple(outputs), _paper(kind))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what distilabel does to the process out of it: its warnings, its way of tracebacks."""
    before = sys.excepthook
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.excepthook = before


@cache
def _library() -> Any:
    """Import distilabel, which takes seconds; raises MistakeError where it is not there."""
    # What it logs concerns its own pipelines.
    logging.getLogger("distilabel").setLevel(logging.CRITICAL)
    try:
        with _quiet():
            import distilabel.models.llms.base
            import distilabel.models.mixins.magpie
            import distilabel.steps.tasks
    except ImportError as error:
        raise MistakeError(f"{NEEDED} ({shown(error)})") from error
    return distilabel


def _version() -> str:
    return str(_library().__version__)


@cache
def _catalogue() -> dict[str, Any]:
    """Return all tasks that ask a model with messages, by name."""
    tasks = _library().steps.tasks
    found = {name: getattr(tasks, name) for name in tasks.__all__}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type)
        and issubclass(kind, tasks.Task | tasks.GeneratorTask)
        and not inspect.isabstract(kind)
        and name not in _UNFIT
    }


def _kind(name: str, place: Place | None) -> Any:
    try:
        known = _catalogue()
    except MistakeError as error:
        raise MistakeError(error.message, place) from error
    if name in _UNFIT:
        raise MistakeError(f"the task {name} cannot be carried out here: {_UNFIT[name]}", place)
    if name not in known:
        raise UnknownNameError("task", name, known, place)
    return known[name]


@dataclass
class _Script:
    """The answers so far, in the order of the questions."""

    answers: Sequence[Sequence[str]] = ()
    place: int = 0
    asked: list[Question] = field(default_factory=list)


class _Pending(BaseException):
    """Raised through a task at the first question without an answer."""


@cache
def _model_class() -> Any:
    """Make distilabel's kind of model, of which a task believes that it answers."""
    library = _library()
    llm: Any = library.models.llms.base.LLM
    mixin: Any = library.models.mixins.magpie.MagpieChatTemplateMixin
    members = {
        "__module__": __name__,
        "__annotations__": {"structured_output": Any, "script": Any, "framing": Any},
        "structured_output": None,
        "script": None,
        "framing": None,
        "model_name": property(lambda _: "model"),
        "generate": _generate,
    }
    with _quiet():
        return type(llm)("Scripted", (llm, mixin), members)


def _generate(
    self: Any, inputs: Sequence[Any], num_generations: int = 1, **_: Any
) -> list[dict[str, Any]]:
    return _answered(self, inputs, num_generations)


def _answered(model: Any, inputs: Sequence[Any], n: int) -> list[dict[str, Any]]:
    script: _Script = model.script
    found: list[Sequence[str]] = []
    asked: list[Question] = []
    for one in inputs:
        if script.place < len(script.answers):
            found.append(script.answers[script.place])
            script.place += 1
        else:
            asked.append(_question(model, one, n))
    if asked:
        script.asked = asked
        raise _Pending
    counts = {"input_tokens": [0], "output_tokens": [0] * n}
    return [{"generations": list(texts), "statistics": counts} for texts in found]


def _question(model: Any, one: Any, n: int) -> Question:
    messages, wanted = one if isinstance(one, tuple) else (one, None)
    schema = None
    if model.framing is not None and not (messages and messages[-1]["role"] == "user"):
        prompt, end = model.framing.opened(messages), model.framing.end.strip()
        return Question((), n, None, prompt, end)
    if isinstance(wanted, Mapping) and isinstance(wanted.get("schema"), Mapping):
        schema = wanted["schema"]
    return Question(copy.deepcopy(messages), n, schema)


@dataclass(frozen=True)
class _Course:
    """Takes a task through what is known so far."""

    task: Any
    seed: int

    def __call__(
        self, inputs: Mapping[str, Any], answers: Sequence[Sequence[str]], seed: int
    ) -> Sequence[Question] | Done | Failure:
        if len(answers) > MOST_ROUNDS:
            return Failure("TaskError", f"it has asked {len(answers)} questions, and goes on")
        script = self.task.llm.script = _Script(answers)
        # Tasks draw from the generators of the whole process, and some begin them anew themselves.
        own = (self.seed ^ seed) & 0x7FFFFFFF
        if "seed" in type(self.task).model_fields:
            self.task.seed = own
        try:
            with _seeded(own):
                return Done(self._first(copy.deepcopy(dict(inputs))))
        except _Pending:
            return script.asked
        # A task that cannot read an answer may raise anything.
        except Exception as error:  # noqa: BLE001 - it is told, in the row
            cause = "Unreadable" if answers else "TaskError"
            return Failure(cause, f"{type(error).__name__}: {shown(error)}"[:500])

    def _first(self, inputs: dict[str, Any]) -> Mapping[str, Any]:
        """Run the task on one row, and take the first row that it makes."""
        if self.task.is_generator:
            rows, _ = next(iter(self.task.process(offset=0)))
        else:
            rows = next(iter(self.task.process([inputs])))
        return dict(rows[0])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Begin the process's generators at a seed, and leave them as they were."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - tasks draw from it
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - likewise
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002 - likewise


def _made(kind: Any, parameters: Mapping[str, Any], at: Any) -> Any:
    """Make a task with a pipeline's parameters; raises MistakeError."""
    known = _parameters(kind)
    for name in parameters:
        if name not in known:
            what = f"parameter of {kind.__name__}"
            raise UnknownNameError(what, name, known, at("with", name) or at("with"))
    if _TEMPLATE in known and parameters.get(_TEMPLATE) not in FRAMINGS:
        given = str(parameters.get(_TEMPLATE, ""))
        place = at("with", _TEMPLATE) or at("with") or at("task")
        raise UnknownNameError(_TEMPLATE, given, FRAMINGS, place)
    try:
        return _loaded(kind, parameters)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        loc = [str(part) for part in first["loc"]]
        place = (at("with", loc[0]) if loc else None) or at("with") or at("task")
        where = f"{'.'.join(loc)}: " if loc else ""
        problem = "it is missing" if first["type"] == "missing" else first["msg"]
        problem = problem.replace("Field required", "it is missing")
        raise MistakeError(f"{kind.__name__}: {where}{shown(problem)}", place) from error
    except Exception as error:
        said = shown(" ".join(str(error).split())[:300])
        raise MistakeError(f"{kind.__name__}: {said}", at("with") or at("task")) from error


@contextmanager
def _told(place: Place | None) -> Iterator[None]:
    """Tell a task's own error in one line."""
    try:
        yield
    except Exception as error:
        raise MistakeError(shown(" ".join(str(error).split())[:300]), place) from error


def _loaded(kind: Any, parameters: Mapping[str, Any]) -> Any:
    parameters, framing = dict(parameters), None
    if (family := parameters.pop(_TEMPLATE, None)) is not None:
        framing = FRAMINGS[family]
    # Any text will do for the template itself: what is completed is put together here.
    model = _model_class()(magpie_pre_query_template=family, framing=framing)
    fixed: dict[str, Any] = {"llm": model, "add_raw_output": False, "add_raw_input": False}
    fixed |= {name: 1 for name in ("num_rows",) if name in kind.model_fields}
    if "num_instructions" in kind.model_fields and kind.__name__ not in _OWN_NUMBER:
        fixed["num_instructions"] = 1
    if int(parameters.get("num_generations") or 1) > 1 and _is_grouped(kind):
        fixed["group_generations"] = True
    with _quiet():
        task = kind(**fixed, **parameters)
        if task.use_default_structured_output:
            # Told before it is loaded, else the task asks for packages that would enforce it.
            model.structured_output = {"format": "json", "schema": task.get_structured_output()}
        task.load()
    return task


def _parameters(kind: Any) -> list[str]:
    hidden = _PLUMBING - ({"num_instructions"} if kind.__name__ in _OWN_NUMBER else set())
    own = [name for name in kind.model_fields if name not in hidden]
    return [*own, _TEMPLATE] if kind.__name__.startswith("Magpie") else own


def _is_grouped(kind: Any) -> bool:
    """Tell whether a task has several answers of one question as lists."""
    return bool(kind.process is _library().steps.tasks.Task.process)


def _schema(task: Any) -> Mapping[str, Any] | None:
    told = task.llm.structured_output
    return told["schema"] if told else None


def _outputs(kind: Any, task: Any) -> list[str]:
    given = [*task.get_outputs(), *_REWRITTEN.get(kind.__name__, ())]
    return [name for name in given if name != "model_name"]


def _type(task: str, name: str, made: Any) -> pl.DataType:
    if task == "PrometheusEval" and name == "result":
        return pl.Int64() if made.mode == "absolute" else pl.String()
    if task == "TextClassification" and name == "labels":
        return _TEXTS if made.n > 1 else pl.String()
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
                raise MistakeError(f"{problem}: `inputs: {{{name}: COLUMN}}` names it", place)
            continue
        dtype = type_at(column or name, columns, place)
        if name in _LISTS and not isinstance(dtype, pl.List):
            problem = f"{step.task} needs a list as {quoted(name)}, and {quoted(column or name)}"
            raise MistakeError(f"{problem} is {dtype}", place)
        found[name] = column or name
    return found


def _kept(step: spec.Task, gives: Sequence[str], columns: Columns, at: Any) -> dict[str, str]:
    """Name the column of each output that is kept; raises MistakeError."""
    for name in step.outputs:
        if name not in gives:
            place = at("outputs", name) or at("outputs")
            raise UnknownNameError(f"output of {step.task}", name, gives, place)
    kept = dict(step.outputs)
    there = dict(columns)
    for name, column in kept.items():
        place = at("outputs", name) or at("outputs") or at("task")
        check_new(column, there, place)
        there[column] = pl.String()
    return kept


def _rounds(task: Any) -> int:
    """Say how many calls a row costs at least, as far as the parameters tell."""
    rounds = int(getattr(task, "num_evolutions", 1) or 1)
    if getattr(task, "generate_answers", False):
        rounds += rounds if getattr(task, "store_evolutions", False) else 1
    return rounds * int(getattr(task, "num_generations", 1) or 1)


def _example(kind: Any) -> Any:
    """Make a task with whatever it takes, to see what it needs and makes."""
    given = dict(_EXAMPLES.get(kind.__name__, {}))
    for name in _parameters(kind):
        needed = kind.model_fields.get(name)
        if needed is not None and needed.is_required() and name not in given:
            given[name] = _some(needed.annotation)
    return _loaded(kind, given)


def _some(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    return 1 if annotation is int else "English"


_LINK = re.compile(r"\[`?([^\]`]+)`?\]\((https?://[^)\s]+)\)")


def _paper(kind: Any) -> tuple[str, str] | None:
    _, found, told = (inspect.getdoc(kind) or "").partition("References:")
    links = _LINK.findall(told) if found else []
    papers = [link for link in links if "arxiv.org" in link[1]] or links
    return papers[0] if papers else None
