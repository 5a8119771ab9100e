"""A project on disk and a model server on loopback: what most tests start from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from soupstock import run as runs
from soupstock.plan import Plan, plan_file
from soupstock.project import Project
from soupstock.run import Run
from soupstock.testing import Server

# What is landed is tested with the same examples each time; a person's machine looks for new ones.
settings.register_profile("repeatable", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("repeatable")

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
  - filter:
      - score: {column: quality, min: 0.5}
  - publish: me/mine
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

    def point_at(self, base_url: str, **settings: Any) -> None:
        """Declare the model `test` at a server."""
        lines = [f"{name} = {value!r}" for name, value in settings.items()]
        entry = ["[tool.soupstock.models.test]", f'base_url = "{base_url}"', 'model = "tester"']
        self.write("pyproject.toml", "\n".join([*entry, *lines]).replace("'", '"') + "\n")

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
