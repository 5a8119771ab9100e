"""What a task asked of models about a row: carried out once more, on the answers of the store.

A task's words are its catalogue's, and no part of a run's manifest. So they are told where the
catalogue and the answers are still there.
"""

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import orjson

from soupstock import spec
from soupstock.artifacts import run_folder
from soupstock.errors import SoupstockError
from soupstock.inference import store
from soupstock.inference.call import Call, Failure, Reply, decode, look_up
from soupstock.project.project import Project
from soupstock.reports.questions import Round
from soupstock.rows.rows import Columns, Row
from soupstock.steps.step import At, Context, models_of
from soupstock.steps.task import Tasking, bind, perform


def retold(
    project: Project, pipeline: spec.Pipeline, step: spec.Task, row: Row, columns: Columns
) -> Sequence[Round]:
    """Return a task's questions about a row and the answers, in order, as far as both are there."""
    place = run_folder.runs_folder(project.root) / run_folder.STORE
    if not place.is_file():
        return ()
    before = {name: kind for name, kind in columns.items() if name not in step.outputs.values()}
    listener = _Listener(partial(store.read, place))
    try:
        context = Context(project, pipeline, "", models_of(pipeline, project))
        bound = bind(step, before, At(lambda *_: None, 0), context).bound
        if isinstance(bound, Tasking):
            _ended(perform(bound, row, listener))
    except SoupstockError:
        return ()
    return listener.rounds()


def _ended(work: Coroutine[Any, Any, Row]) -> None:
    """Run what waits for nobody to its end."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a step asks, and awaits nothing else")


class _Listener:
    """Answers from the store, and keeps what was asked."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._heard: list[tuple[Call, Reply]] = []

    async def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        found = {key: decode(one.answer) for key, one in look_up(self._read, calls).items()}
        lacking = Failure("Unasked", "the store has no answer")
        replies: list[Reply] = [found.get(call.key, lacking) for call in calls]
        self._heard += zip(calls, replies, strict=True)
        return replies

    def rounds(self) -> Sequence[Round]:
        """Tell what was asked and answered; what was not answered is not known to be asked."""
        told = [(call, reply) for call, reply in self._heard if not isinstance(reply, Failure)]
        return [
            Round(_messages(call), reply.text, f"question {number}" if len(told) > 1 else "")
            for number, (call, reply) in enumerate(told, 1)
        ]


def _messages(call: Call) -> Sequence[dict[str, str]]:
    body = orjson.loads(call.body)
    if "messages" not in body:
        return [{"role": "text to complete", "content": body["prompt"]}]
    return [{"role": one["role"], "content": one["content"]} for one in body["messages"]]
