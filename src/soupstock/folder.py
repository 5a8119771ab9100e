"""The folder of a run: named by what the run is, worked in by one process at a time."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from soupstock.errors import MistakeError
from soupstock.manifest import MANIFEST
from soupstock.spec import slug

ROWS = "rows.parquet"
REPORT = "report.html"
DATASET = "dataset"
LATEST = "latest"
STORE = "calls.sqlite"


def runs_folder(root: Path) -> Path:
    """Return the folder of all runs of a project, and of their store."""
    return root / "runs"


def run_folder(root: Path, name: str, fingerprint: str) -> Path:
    """Return where the run of a plan lives: the same plan, the same folder."""
    return runs_folder(root) / slug(name) / fingerprint[:12]


def latest(root: Path, name: str) -> Path:
    """Return the folder of a pipeline's last run; raises MistakeError where there is none."""
    folder = runs_folder(root) / slug(name) / LATEST
    if not (folder / MANIFEST).is_file():
        raise MistakeError(f"{name} has not been run yet: soupstock run {name}")
    return folder.resolve()


@contextmanager
def worked_in(folder: Path, notify: Callable[[str], None]) -> Iterator[Path]:
    """Make a folder for a run and keep others out; yield a folder within it for work in progress.

    A second run of the same plan waits for the first, and then finds its answers in the store.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MistakeError(f"the folder {folder} cannot be made: {error.strerror}") from error
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notify(f"another run is at work in {folder}; waiting for it")
        lock.acquire()
    work = folder / ".work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def point_latest(folder: Path) -> None:
    """Let `latest` link to a run's folder, from one moment to the next."""
    link = folder.parent / f".{LATEST}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name, target_is_directory=True)
    link.replace(folder.parent / LATEST)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a run, by its path in the folder; not the manifest's."""
    files = [folder / ROWS, folder / REPORT, *sorted((folder / DATASET).rglob("*"))]
    found = {}
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found
