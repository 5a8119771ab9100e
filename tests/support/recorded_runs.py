"""The recorded runs of tests/old_runs: their names, how they are unpacked, and what is compared."""

import contextlib
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from soupstock.cli.main import main

FOLDER = Path(__file__).resolve().parents[1] / "old_runs"
PACKED = FOLDER / "project.tar.xz"
EXPECTED = FOLDER / "expected.json"

RUNS = (
    "qa",
    "jury",
    "rules",
    "ruled",
    "talk",
    "maths",
    "calls",
    "docs",
    "vectors",
    "tasks",
    "magpie",
    "batched",
    "filed",
    "failing",
)
"""Pipelines in the order in which they run: later ones read the rows of earlier ones."""

WITH_FAILURES = frozenset({"failing"})
"""Runs with calls that failed. Running one again asks for those again."""

NEEDED = {
    "calls": "jsonschema",
    "maths": "math_verify",
    "tasks": "distilabel",
    "vectors": "model2vec",
}
"""The optional package that a run needs, by the run's name."""

MIX = "soup"
MIXED = (
    *("mix", "talk:0.6", "docs:0.4", "-n", "15"),
    *("--split", "test=0.2", "--to", "me/soup", "-o", MIX),
)
CALIBRATED = {
    "qa": ("calibrate", "qa", "--labels", "labels.jsonl", "--bad", "0.2"),
    "docs": ("calibrate", "docs"),
}
"""The command that calibrates the judges of a run, by the run's name."""


def unpack(place: Path) -> Path:
    """Unpack the recorded project into a folder; return the project's folder."""
    with tarfile.open(PACKED) as packed:
        packed.extractall(place, filter="data")
    return place / "project"


def soupstock(project: Path, *arguments: str) -> Result:
    """Run a command in a project, without a review tool."""
    environment = {"ARGILLA_API_URL": "", "ARGILLA_API_KEY": "", "ARGILLA_WORKSPACE": ""}
    with contextlib.chdir(project):
        return CliRunner().invoke(main, arguments, env=environment)


def latest(project: Path, name: str) -> Path:
    """Return the folder of a run, or of the mix."""
    return project / "runs" / name / "latest"


def record(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run, or the record of the mix."""
    name = "mix.json" if (folder / "mix.json").is_file() else "manifest.json"
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """Hash the rows and the dataset's files, by path. The card is prose, and left out."""
    paths = [*folder.glob("*.parquet"), *(folder / "dataset").rglob("*")]
    return {
        path.relative_to(folder).as_posix(): hash_of(path)
        for path in sorted(paths)
        if path.is_file() and path.name != "README.md"
    }
