"""distilabel's tasks by name: which are supported, and how they are made with parameters."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import ValidationError

from soupstock.errors import MistakeError, Place, UnknownNameError, shown
from soupstock.inference.chat_template import CHAT_TEMPLATES
from soupstock.steps.distilabel.library import load_library, quiet
from soupstock.steps.distilabel.resumable_task import model_class

_ENGINE_PARAMETERS = frozenset(
    {"llm", "name", "resources", "pipeline", "input_mappings", "output_mappings", "use_cache"}
    | {"input_batch_size", "batch_size", "exclude_from_signature", "add_raw_output"}
    | {"add_raw_input", "group_generations", "num_rows", "num_instructions"}
)
"""Parameters that the engine or the pipeline sets."""


_ASKS_FOR_SEVERAL = frozenset({"SelfInstruct"})
"""Tasks that ask for `num_instructions` in one question; other tasks make as many rows."""


_UNSUPPORTED: Mapping[str, str] = {
    "ArgillaLabeller": "it needs Argilla's records",
    "TextGenerationWithImage": "it needs images",
}


_REWRITTEN: Mapping[str, tuple[str, ...]] = {"MathShepherdCompleter": ("solutions",)}
"""Tasks that change an input, and do not list it among their outputs."""


_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "PrometheusEval": {"mode": "absolute", "rubric": "factual-validity"},
    "Magpie": {"magpie_pre_query_template": "chatml"},
    "MagpieGenerator": {"magpie_pre_query_template": "chatml"},
}


_TEMPLATE = "magpie_pre_query_template"
"""The parameter of Magpie's tasks that distilabel has in the model: its chat template."""


class TaskEntry(NamedTuple):
    """A task in the list of tasks."""

    name: str
    inputs: Mapping[str, bool]
    """Its inputs, and whether each is needed."""
    outputs: tuple[str, ...]
    paper: tuple[str, str] | None
    """The title and URL of its paper."""


def entries() -> Iterator[TaskEntry]:
    """Yield the supported tasks, by name; raises MistakeError without distilabel."""
    for name, kind in sorted(catalogue().items()):
        task = _example(kind)
        inputs, outputs = dict(task.get_inputs()), outputs_of(kind, task)
        yield TaskEntry(name, inputs, tuple(outputs), _paper(kind))


@cache
def catalogue() -> dict[str, Any]:
    """Return all tasks that ask a model with messages, by name."""
    tasks = load_library().steps.tasks
    found = {name: getattr(tasks, name) for name in tasks.__all__}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type)
        and issubclass(kind, tasks.Task | tasks.GeneratorTask)
        and not inspect.isabstract(kind)
        and name not in _UNSUPPORTED
    }


def find_task(name: str, place: Place | None) -> Any:
    """Find a task by its name; raises MistakeError."""
    try:
        known = catalogue()
    except MistakeError as error:
        raise MistakeError(error.message, place) from error
    if name in _UNSUPPORTED:
        raise MistakeError(f"the task {name} is not supported: {_UNSUPPORTED[name]}", place)
    if name not in known:
        raise UnknownNameError("task", name, known, place)
    return known[name]


def make_task(kind: Any, parameters: Mapping[str, Any], at: Any) -> Any:
    """Make a task with a pipeline's parameters; raises MistakeError."""
    known = _parameters(kind)
    for name in parameters:
        if name not in known:
            what = f"parameter of {kind.__name__}"
            raise UnknownNameError(what, name, known, at("with", name) or at("with"))
    if _TEMPLATE in known and parameters.get(_TEMPLATE) not in CHAT_TEMPLATES:
        given = str(parameters.get(_TEMPLATE, ""))
        place = at("with", _TEMPLATE) or at("with") or at("task")
        raise UnknownNameError(_TEMPLATE, given, CHAT_TEMPLATES, place)
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
        reason = shown(" ".join(str(error).split())[:300])
        raise MistakeError(f"{kind.__name__}: {reason}", at("with") or at("task")) from error


def _loaded(kind: Any, parameters: Mapping[str, Any]) -> Any:
    parameters, framing = dict(parameters), None
    if (family := parameters.pop(_TEMPLATE, None)) is not None:
        framing = CHAT_TEMPLATES[family]
    # The template itself may be any text: the text to complete is made from `framing`.
    model = model_class()(magpie_pre_query_template=family, framing=framing)
    fixed: dict[str, Any] = {"llm": model, "add_raw_output": False, "add_raw_input": False}
    fixed |= {name: 1 for name in ("num_rows",) if name in kind.model_fields}
    if "num_instructions" in kind.model_fields and kind.__name__ not in _ASKS_FOR_SEVERAL:
        fixed["num_instructions"] = 1
    if int(parameters.get("num_generations") or 1) > 1 and is_grouped(kind):
        fixed["group_generations"] = True
    with quiet():
        task = kind(**fixed, **parameters)
        if task.use_default_structured_output:
            # Set before loading, or the task requires packages that would enforce the format.
            model.structured_output = {"format": "json", "schema": task.get_structured_output()}
        task.load()
    return task


def _parameters(kind: Any) -> list[str]:
    hidden = _ENGINE_PARAMETERS - (
        {"num_instructions"} if kind.__name__ in _ASKS_FOR_SEVERAL else set()
    )
    own = [name for name in kind.model_fields if name not in hidden]
    return [*own, _TEMPLATE] if kind.__name__.startswith("Magpie") else own


def is_grouped(kind: Any) -> bool:
    """Tell whether a task returns several answers to one question as lists."""
    return bool(kind.process is load_library().steps.tasks.Task.process)


def schema_of(task: Any) -> Mapping[str, Any] | None:
    """Return the JSON Schema that a task asks for, if it asks for one."""
    output = task.llm.structured_output
    return output["schema"] if output else None


def outputs_of(kind: Any, task: Any) -> list[str]:
    """Name the outputs of a task."""
    outputs = [*task.get_outputs(), *_REWRITTEN.get(kind.__name__, ())]
    return [name for name in outputs if name != "model_name"]


def _example(kind: Any) -> Any:
    """Make a task with example parameters, to see its inputs and outputs."""
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
    _, found, text = (inspect.getdoc(kind) or "").partition("References:")
    links = _LINK.findall(text) if found else []
    papers = [link for link in links if "arxiv.org" in link[1]] or links
    return papers[0] if papers else None
