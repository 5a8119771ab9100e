"""Releases, and the commands that push them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
from hub_imitation import Hub, Repository

from conftest import Folder
from soupstock.dataset.release import Release, read_release
from soupstock.project.project import Project

CHAT = """\
source:
  file: seeds.parquet
steps:
  - filter: [length: {column: response, min: 1}]
  - dataset: me/pushed
    schema: Conversation
    license: mit
    splits: {test: 0.3}
"""


def seeds(folder: Folder, answer: Callable[[int], str] = "Answer number {}.".format) -> None:
    folder.root.mkdir(exist_ok=True)
    rows = [
        {"instruction": f"Question {n} {n * 7919}?", "response": f"{answer(n)} {n * n}"}
        for n in range(40)
    ]
    pl.DataFrame(rows).write_parquet(folder.root / "seeds.parquet")
    folder.write("pipelines/pushed.yaml", CHAT)


def released(folder: Folder) -> Release:
    return read_release(Project(folder.root), "pushed")


def there(hub: Hub) -> Repository:
    return hub.repositories["me/pushed"]


def command(
    made: Folder, hub: Hub, *arguments: str, name: str = "pushed", **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run `soupstock publish` as a process of its own, on a terminal that nobody sits at."""
    home = {"HF_HOME": str(made.root / "home"), "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.url}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(  # noqa: S603 - our own command
        [str(Path(sys.executable).parent / "soupstock"), "publish", name, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=made.root,
        env=kept | home | environment,
        stdin=subprocess.DEVNULL,
    )
