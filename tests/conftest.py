"""A project on disk and a model server on loopback: what most tests start from."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from soupstock.engine.plan import Plan, plan_file
from soupstock.project.project import Project
from soupstock.runs import run as runs
from soupstock.runs.run import Run
from soupstock.testing import Request, Server, imitation

# How long an example takes says how busy a machine is. What is landed is tested with the same
# examples each time; a person's machine looks for new ones.
settings.register_profile("patient", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "patient")

CHAT = """\
models: {writer: test, judge: test}
source:
  rows: 20
  sample:
    topic: [cooking, travel, health, money]
    style: [short, long]
steps:
  - generate: question
    model: writer
    prompt: ask
  - generate: answer
    model: writer
    prompt: reply
  - judge: quality
    model: judge
    rubric: plain
    canaries: false
  - filter:
      - score: {column: quality, min: 0.5}
  - dataset: me/mine
"""

RUBRIC = """\
columns: [question, answer]
criteria:
  right: {question: Is it right?, levels: [wrong, half, right]}
  kind: {question: Is it kind?, levels: [rude, kind], weight: 3}
"""


@dataclass
class Folder:
    """A user's project, written file by file."""

    root: Path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def point_at(self, base_url: str | list[str], **settings: Any) -> None:
        """Declare the model `test` at a server, which needs no probe unless settings say so."""
        settings = {"structured_output": "json_schema"} | settings
        lines = [f"{name} = {value!r}" for name, value in settings.items() if value is not None]
        entry = ["[tool.soupstock.models.test]", f"base_url = {base_url!r}", 'model = "tester"']
        self.write("pyproject.toml", "\n".join([*entry, *lines]).replace("'", '"') + "\n")

    def dedup_questions(self) -> None:
        """Drop the questions that repeat an earlier one, before they are answered."""
        step = "  - generate: answer"
        self.replace("pipelines/mine.yaml", step, f"  - dedup: question\n{step}")

    def publish_conversations(self) -> None:
        """Publish rows by the schema Conversation, from columns of the names that it reads."""
        self.replace("pipelines/mine.yaml", "me/mine", "me/mine\n    schema: Conversation")
        self.replace("pipelines/mine.yaml", "generate: question", "generate: instruction")
        self.replace("pipelines/mine.yaml", "generate: answer", "generate: response")
        self.replace("prompts/reply.md", "question", "instruction")
        self.replace("prompts/rubrics/plain.yaml", "[question, answer]", "[instruction, response]")

    def plan(self, name: str = "mine", **changes: Any) -> Plan:
        return plan_file(name, Project(self.root), **changes)

    def run(self, name: str = "mine", **options: Any) -> Run:
        return runs.run(self.plan(name), **options)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Make a project with one pipeline, `mine`."""
    folder = Folder(tmp_path / "project")
    folder.write("pipelines/mine.yaml", CHAT)
    folder.write("prompts/ask.md", "Ask about {{ topic }}, {{ style }}.")
    folder.write("prompts/reply.md", "---\nsystem: Answer well.\n---\n{{ question }}")
    folder.write("prompts/rubrics/plain.yaml", RUBRIC)
    return folder


@pytest.fixture
def server(folder: Folder) -> Iterator[Server]:
    """Start a model server that the project's model `test` points at."""
    with Server() as server:
        folder.point_at(server.base_url)
        yield server


def repetitive(request: Request) -> str:
    """Answer as a model that asks the same about each topic."""
    if request.prompt.startswith("Ask"):
        return f"What should a person know about {request.prompt.split()[2]} before the winter?"
    return imitation.write(request.body, 0)


@contextmanager
def running(folder: Folder, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the pipeline `mine` as a process of its own, which does not outlive the test."""
    code = "from soupstock.cli.main import main; main()"
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", code, "run", "mine", *arguments],
        cwd=folder.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Wait for a condition that a running process brings about."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
