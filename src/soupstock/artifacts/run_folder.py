"""The folder of a run: named by the plan's fingerprint, used by one process at a time."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from soupstock.artifacts.files import sha256
from soupstock.artifacts.manifest import MANIFEST
from soupstock.errors import MistakeError, SoupstockError
from soupstock.spec.pipeline import slug, unslugged

ROWS = "rows.parquet"
REPORT = "report.html"
DATASET = "dataset"
LATEST = "latest"
CACHE = "calls.sqlite"

_ASIDE = f".{DATASET}.old"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def runs_folder(root: Path) -> Path:
    """Return the folder of a project's runs and their cache."""
    return root / "runs"


def run_folder(root: Path, name: str, fingerprint: str) -> Path:
    """Return the folder of a plan's run: the same plan has the same folder."""
    return runs_folder(root) / slug(name) / fingerprint[:12]


def known_runs(root: Path) -> list[str]:
    """Return the names of all pipelines with a run."""
    links = sorted(runs_folder(root).glob(f"*/{LATEST}"))
    return [unslugged(link.parent.name) for link in links]


def run_name(folder: Path) -> str:
    """Return a run's name from its folder: `specialists/extract/3f2a1b0c9d8e`."""
    return f"{unslugged(folder.parent.name)}/{folder.name}"


def latest(root: Path, name: str) -> Path:
    """Return the folder of a pipeline's last run; raises MistakeError if there is none."""
    folder = runs_folder(root) / slug(name) / LATEST
    if not (folder / MANIFEST).is_file():
        raise MistakeError(f"{name} has not been run yet: soupstock run {name}")
    return folder.resolve()


@contextmanager
def locked_folder(folder: Path, notify: Callable[[str], None]) -> Iterator[Path]:
    """Make and lock a run's folder; yield a folder in it for work in progress.

    A second run of the same plan waits for the first, and then finds its answers in the cache.
    Raises SoupstockError if the disk is full; the files of an earlier run stay as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MistakeError(f"the folder {folder} cannot be made: {error.strerror}") from error
    work = folder / ".work"
    with _locked(folder, notify):
        _recover(folder)
        shutil.rmtree(work, ignore_errors=True)
        try:
            yield work
        except Exception as error:
            if not _is_full(error):
                raise
            raise SoupstockError(
                f"the disk is full; {folder} is unchanged, and every answer is kept: "
                "free some space and run again"
            ) from error
        finally:
            _recover(folder)
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(folder: Path, notify: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notify(f"another run is using {folder}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_full(error: Exception) -> bool:
    """Tell whether the disk is full; polars says so only in its message."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return any(f"(os error {number})" in str(error) for number in _NO_ROOM)


def replace_files(folder: Path, fresh: Path) -> None:
    """Replace the files of an earlier run in `folder` by those in `fresh`.

    At every moment each file, and the dataset as a whole, is either the old or the new one. Only a
    process that is killed between two renames leaves no dataset; the next run restores it. The
    manifest is replaced last.
    """
    (fresh / ROWS).replace(folder / ROWS)
    if (folder / DATASET).exists():
        (folder / DATASET).replace(folder / _ASIDE)
    if (fresh / DATASET).exists():
        (fresh / DATASET).replace(folder / DATASET)
    (fresh / REPORT).replace(folder / REPORT)
    (fresh / MANIFEST).replace(folder / MANIFEST)
    if (folder / _ASIDE).exists():
        (folder / _ASIDE).replace(fresh / _ASIDE)


def _recover(folder: Path) -> None:
    """Restore a dataset that an interrupted run renamed and did not replace."""
    aside, place = folder / _ASIDE, folder / DATASET
    if aside.exists() and not place.exists():
        aside.replace(place)
    shutil.rmtree(aside, ignore_errors=True)


def point_latest(folder: Path) -> None:
    """Atomically link `latest` to a run's folder."""
    link = folder.parent / f".{LATEST}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name, target_is_directory=True)
    link.replace(folder.parent / LATEST)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a run except the manifest, by its path in the folder."""
    files = [folder / ROWS, folder / REPORT, *sorted((folder / DATASET).rglob("*"))]
    found = {}
    for path in files:
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = sha256(path)
    return found
