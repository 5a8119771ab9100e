"""Kill runs at random moments, and run them again: which calls were paid for twice?"""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loopback import Behaviour, Folder, Remote, serving

IN_FLIGHT = 32
ROWS = 150


@dataclass(frozen=True)
class Killed:
    """The result of a killed run, and of the run after it."""

    asked: int
    """How many calls had been made when it was killed."""
    repeated: int
    """How many of them were made again."""
    is_same: bool
    """Whether rows and dataset equal those of an uninterrupted run, byte for byte."""


def killed_runs(count: int) -> list[Killed]:
    """Kill `count` runs, each in a new project, and run each again to its end."""
    draw = random.Random(0)  # noqa: S311 - seeded, to be repeatable
    with tempfile.TemporaryDirectory() as place, serving(Behaviour(0.02, 0.01)) as server:
        folder = _folder(Path(place) / "whole", server)
        assert _start(folder).wait() == 0
        whole = digest(folder.root)
    return [_killed(draw, whole) for _ in range(count)]


def _killed(draw: random.Random, whole: str) -> Killed:
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Behaviour(0.02, 0.01, counts_questions=True)) as server,
    ):
        folder = _folder(Path(place) / "project", server)
        process = _start(folder)
        moment = draw.randrange(1, 2 * ROWS + 1)
        while server.received().requests < moment and process.poll() is None:
            time.sleep(0.001)
        # After the last call, rows and dataset are written: kill at that time, too.
        time.sleep(draw.random() * (0.5 if moment > 2 * ROWS - IN_FLIGHT else 0.01))
        process.kill()
        process.wait()
        asked = server.received().requests
        assert _start(folder).wait() == 0
        return Killed(asked, server.received().repeated, digest(folder.root) == whole)


def _folder(root: Path, server: Remote) -> Folder:
    # Set here, because each run would first ask how the server takes a schema: one more call.
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
