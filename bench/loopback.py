"""A model server in a process of its own, controlled over a pipe; and projects that use it."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson

from soupstock.engine.plan import Plan, plan_file
from soupstock.project.project import Project
from soupstock.testing import Reply, Request, Server, between, error, share

PIPELINE = """\
models: {{writer: writer, judge: {judge}}}
source:
  rows: {rows}
  sample:
    topic: [cooking, travel, health, money, home repair, study, work]
    style: [a hurried note, a careful paragraph, a question with a wrong premise]
steps:
  - generate: response
    model: writer
    prompt: ask
    temperature: 1.0
"""
# The peers ask for no log-probabilities either, which make a verdict many times longer.
JUDGED = """\
  - judge: quality
    model: judge
    rubric: plain
    canaries: false
    logprobs: false
"""
PUBLISHED = """\
  - dataset: me/bench
"""
RUBRIC = """\
columns: [topic, response]
criteria:
  right: {question: Is it right?, levels: [wrong, half right, right]}
  kind: {question: Is it kind?, levels: [rude, kind], weight: 3}
"""


@dataclass
class Folder:
    """A project on disk with one pipeline: an answer, then a verdict on it."""

    root: Path
    rows: int
    writer: str
    """The address of the writer's model."""
    judge: str | None = None
    """The address of the judge's model. Default: the writer's."""
    settings: dict[str, Any] = field(default_factory=dict)
    """More settings of the models."""

    def plan(self, *, is_judged: bool = True) -> Plan:
        """Write the project and plan it, on request with its first step alone."""
        judge = "judge" if self.judge else "writer"
        steps = JUDGED + PUBLISHED if is_judged else ""
        endpoints = {"writer": self.writer, "judge": self.judge or self.writer}
        files = {
            "pipelines/bench.yaml": PIPELINE.format(rows=self.rows, judge=judge) + steps,
            "prompts/ask.md": "Write about {{ topic }}, as {{ style }}.",
            "prompts/rubrics/plain.yaml": RUBRIC,
            "pyproject.toml": "\n".join(map(self._endpoint, endpoints, endpoints.values())),
        }
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return plan_file("bench", Project(self.root))

    def _endpoint(self, name: str, url: str) -> str:
        settings = {"base_url": url, "model": "tester", **self.settings}
        lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in settings.items()]
        return "\n".join([f"[tool.soupstock.models.{name}]", *lines, ""])


@dataclass(frozen=True)
class Behaviour:
    """How a server behaves."""

    delay: float = 0.0
    """The seconds of an answer."""
    jitter: float = 0.0
    """By how much the seconds vary."""
    capacity: int | None = None
    errors: float = 0.0
    """The share of requests, chosen at random, that get a 500."""
    lost: float = 0.0
    """The share of rows whose first question always gets a 500."""
    counts_questions: bool = False
    """Whether to count how often each question was asked."""


@dataclass(frozen=True)
class Received:
    """What a server has received so far."""

    requests: int
    refusals: int
    in_flight: int
    lost: int
    """How many questions never got an answer, as configured."""
    repeated: int
    """How many requests repeated an earlier one."""


@dataclass(frozen=True)
class Remote:
    """A server in another process."""

    base_url: str
    pipe: Connection

    def hold(self, capacity: int) -> None:
        """Set how many requests it holds at once."""
        self.pipe.send(capacity)
        self.pipe.recv()

    def received(self) -> Received:
        """Return what it has received."""
        self.pipe.send(None)
        received: Received = self.pipe.recv()
        return received


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Remote]:
    """Run a server during a `with` statement."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(behaviour, theirs))
    process.start()
    theirs.close()
    try:
        yield Remote(ours.recv(), ours)
    finally:
        ours.close()
        process.join()


def _serve(behaviour: Behaviour, pipe: Connection) -> None:
    shortest, longest = (
        max(0.0, behaviour.delay - behaviour.jitter),
        behaviour.delay + behaviour.jitter,
    )
    delay = between(shortest, longest) if behaviour.jitter else behaviour.delay
    asked: Counter[str] = Counter()
    lost: set[str] = set()
    with Server(delay=delay, capacity=behaviour.capacity, record=False) as server:
        server.fail(_faults(behaviour, asked, lost))
        pipe.send(server.base_url)
        while True:
            try:
                capacity = pipe.recv()
            except EOFError:
                return
            if capacity is not None:
                server.capacity = capacity
            repeated = asked.total() - len(asked)
            pipe.send(
                Received(server.count, server.refusals, server.in_flight, len(lost), repeated)
            )


def _faults(behaviour: Behaviour, asked: Counter[str], lost: set[str]) -> Any:
    fails, broken = share(behaviour.lost, error(500, "this row is lost")), error(500)
    draw = random.Random(0)  # noqa: S311 - seeded, to be repeatable

    def fault(request: Request) -> Reply | None:
        if behaviour.counts_questions:
            asked[request.key] += 1
        if behaviour.lost and request.prompt.startswith("Write") and (reply := fails(request)):
            lost.add(request.key)
            return reply
        return broken if behaviour.errors and draw.random() < behaviour.errors else None

    return fault
