"""A task that runs from its beginning each time, up to the first question without an answer."""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from soupstock.errors import shown
from soupstock.inference.call import Failure
from soupstock.steps.distilabel.library import load_library, quiet


class TaskQuestion(NamedTuple):
    """What a task asks: messages or a text to complete, and how many answers it wants."""

    messages: Sequence[Mapping[str, Any]]
    n: int = 1
    schema: Mapping[str, Any] | None = None
    """The JSON Schema of an answer; None takes that of the step."""
    prompt: str | None = None
    """The text to complete, in place of messages."""
    stop: str | None = None
    """The text that ends a completion."""


class Done(NamedTuple):
    """The outputs of a task that has all of its answers."""

    outputs: Mapping[str, Any]


Resume = Callable[
    [Mapping[str, Any], Sequence[Sequence[str]], int], Sequence[TaskQuestion] | Done | Failure
]
"""Runs a task, given its inputs, the answers so far (a list for each question) and a seed."""


MOST_ROUNDS = 200
"""How many rounds of questions a task may ask for one row."""


@dataclass
class Script:
    """The answers so far, in the order of the questions."""

    answers: Sequence[Sequence[str]] = ()
    place: int = 0
    asked: list[TaskQuestion] = field(default_factory=list)
    """The questions without answers."""


class _Pending(BaseException):
    """Stops a task at its first question without an answer."""


@cache
def model_class() -> Any:
    """Make a class of distilabel models that return the answers so far."""
    library = load_library()
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
    with quiet():
        return type(llm)("Scripted", (llm, mixin), members)


def _generate(
    self: Any, inputs: Sequence[Any], num_generations: int = 1, **_: Any
) -> list[dict[str, Any]]:
    return _answered(self, inputs, num_generations)


def _answered(model: Any, inputs: Sequence[Any], n: int) -> list[dict[str, Any]]:
    script: Script = model.script
    found: list[Sequence[str]] = []
    asked: list[TaskQuestion] = []
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


def _question(model: Any, one: Any, n: int) -> TaskQuestion:
    messages, wanted = one if isinstance(one, tuple) else (one, None)
    schema = None
    if model.framing is not None and not (messages and messages[-1]["role"] == "user"):
        prompt, end = model.framing.opened(messages), model.framing.end.strip()
        return TaskQuestion((), n, None, prompt, end)
    if isinstance(wanted, Mapping) and isinstance(wanted.get("schema"), Mapping):
        schema = wanted["schema"]
    return TaskQuestion(copy.deepcopy(messages), n, schema)


@dataclass(frozen=True)
class ResumableTask:
    """Runs a task as far as the answers go."""

    task: Any
    seed: int

    def __call__(
        self, inputs: Mapping[str, Any], answers: Sequence[Sequence[str]], seed: int
    ) -> Sequence[TaskQuestion] | Done | Failure:
        """Return the next questions, or the outputs."""
        if len(answers) > MOST_ROUNDS:
            return Failure("TaskError", f"it has asked {len(answers)} questions, and goes on")
        script = self.task.llm.script = Script(answers)
        # Tasks use the random generators of the whole process, and some seed them themselves.
        own = (self.seed ^ seed) & 0x7FFFFFFF
        if "seed" in type(self.task).model_fields:
            self.task.seed = own
        try:
            with _seeded(own):
                return Done(self._first(copy.deepcopy(dict(inputs))))
        except _Pending:
            return script.asked
        # A task may raise any error for an answer that it cannot read.
        except Exception as error:  # noqa: BLE001 - the row's failures hold it
            cause = "Unreadable" if answers else "TaskError"
            return Failure(cause, f"{type(error).__name__}: {shown(error)}"[:500])

    def _first(self, inputs: dict[str, Any]) -> Mapping[str, Any]:
        """Run the task on one row, and return the first row that it makes."""
        if self.task.is_generator:
            rows, _ = next(iter(self.task.process(offset=0)))
        else:
            rows = next(iter(self.task.process([inputs])))
        return dict(rows[0])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the process's random generators, and restore them afterwards."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - tasks draw from it
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - likewise
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002 - likewise
