"""Runs that are killed at a moment chosen by lot, and run again: what was paid for twice?"""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loopback import Folder, Remote, Told, serving

IN_FLIGHT = 32
ROWS = 150


@dataclass(frozen=True)
class Killed:
    """What came of one run that was killed, and of the run after it."""

    asked: int
    """How many calls had been asked when it was killed."""
    repeated: int
    """How many of them were asked again."""
    is_same: bool
    """Whether rows and dataset are those of a run that nobody killed, byte for byte."""


def killed_runs(count: int) -> list[Killed]:
    """Kill so many runs, each in a fresh project, and run each again to its end."""
    draw = random.Random(0)  # noqa: S311 - seeded, to be repeatable
    with tempfile.TemporaryDirectory() as place, serving(Told(0.02, 0.01)) as server:
        folder = _folder(Path(place) / "whole", server)
        assert _start(folder).wait() == 0
        whole = digest(folder.root)
    return [_killed(draw, whole) for _ in range(count)]


def _killed(draw: random.Random, whole: str) -> Killed:
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Told(0.02, 0.01, counts_questions=True)) as server,
    ):
        folder = _folder(Path(place) / "project", server)
        process = _start(folder)
        moment = draw.randrange(1, 2 * ROWS + 1)
        while server.seen().requests < moment and process.poll() is None:
            time.sleep(0.001)
        # The last calls are followed by the writing of rows and dataset: kill in there too.
        time.sleep(draw.random() * (0.5 if moment > 2 * ROWS - IN_FLIGHT else 0.01))
        process.kill()
        process.wait()
        asked = server.seen().requests
        assert _start(folder).wait() == 0
        return Killed(asked, server.seen().repeated, digest(folder.root) == whole)


def _folder(root: Path, server: Remote) -> Folder:
    # Settled, for each run else asks first how the server takes a schema: one call more.
    settings = {"concurrency": IN_FLIGHT, "structured_output": "json_schema"}
    folder = Folder(root, ROWS, server.base_url, settings=settings)
    folder.plan()
    return folder


def _start(folder: Folder) -> "subprocess.Popen[bytes]":
    soupstock = Path(sys.executable).with_name("soupstock")
    return subprocess.Popen(  # noqa: S603 - our own command
        [soupstock, "run", "bench"],
        cwd=folder.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def digest(root: Path) -> str:
    """Hash the rows and the dataset of a project's last run."""
    latest = root / "runs" / "bench" / "latest"
    found = hashlib.sha256()
    for path in [latest / "rows.parquet", *sorted((latest / "dataset").rglob("*"))]:
        if path.is_file():
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()
