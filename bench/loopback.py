"""A model server in a process of its own, told and asked over a pipe; and projects that use it."""

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
# Peers ask for no log-probabilities either: with them each verdict is many times as long.
JUDGED = """\
  - judge: quality
    model: judge
    rubric: plain
    canaries: false
    logprobs: false
"""
PUBLISHED = """\
  - publish: me/bench
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
    """Where the writer's model answers."""
    judge: str | None = None
    """Where the judge's does; None lets the writer's judge too."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings of the models."""

    def plan(self, *, is_judged: bool = True) -> Plan:
        """Write the project and plan it; with its first step alone, if so wanted."""
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
class Told:
    """How a server behaves."""

    delay: float = 0.0
    """Seconds that an answer takes."""
    jitter: float = 0.0
    """By how much that varies."""
    capacity: int | None = None
    errors: float = 0.0
    """The share of requests, chosen by lot, that get a 500."""
    lost: float = 0.0
    """The share of rows whose first question always gets a 500."""
    counts_questions: bool = False
    """Whether it remembers how often each question came."""


@dataclass(frozen=True)
class Seen:
    """What a server saw so far."""

    requests: int
    refusals: int
    in_flight: int
    lost: int
    """How many questions never got an answer, as told."""
    repeated: int
    """How many requests asked what had been asked before."""


@dataclass(frozen=True)
class Remote:
    """A server in another process."""

    base_url: str
    pipe: Connection

    def hold(self, capacity: int) -> None:
        """Set how many requests it holds at once."""
        self.pipe.send(capacity)
        self.pipe.recv()

    def seen(self) -> Seen:
        """Ask what it saw."""
        self.pipe.send(None)
        seen: Seen = self.pipe.recv()
        return seen


@contextmanager
def serving(told: Told) -> Iterator[Remote]:
    """Run a server for the time of a `with` statement."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(told, theirs))
    process.start()
    theirs.close()
    try:
        yield Remote(ours.recv(), ours)
    finally:
        ours.close()
        process.join()


def _serve(told: Told, pipe: Connection) -> None:
    shortest, longest = max(0.0, told.delay - told.jitter), told.delay + told.jitter
    delay = between(shortest, longest) if told.jitter else told.delay
    asked: Counter[str] = Counter()
    lost: set[str] = set()
    with Server(delay=delay, capacity=told.capacity, record=False) as server:
        server.fail(_faults(told, asked, lost))
        pipe.send(server.base_url)
        while True:
            try:
                capacity = pipe.recv()
            except EOFError:
                return
            if capacity is not None:
                server.capacity = capacity
            repeated = asked.total() - len(asked)
            pipe.send(Seen(server.count, server.refusals, server.in_flight, len(lost), repeated))


def _faults(told: Told, asked: Counter[str], lost: set[str]) -> Any:
    fails, broken = share(told.lost, error(500, "this row is lost")), error(500)
    draw = random.Random(0)  # noqa: S311 - seeded, to be repeatable

    def fault(request: Request) -> Reply | None:
        if told.counts_questions:
            asked[request.key] += 1
        if told.lost and request.prompt.startswith("Write") and (reply := fails(request)):
            lost.add(request.key)
            return reply
        return broken if told.errors and draw.random() < told.errors else None

    return fault
