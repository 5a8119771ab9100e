"""Verify that a run's dataset is what its manifest says: by hashes, and by making it again.

The replay is a process of its own, in a temporary folder, with another hash seed and another
concurrency than a run; it asks nobody. Its files must be the run's, byte for byte.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from soupstock import folder, manifest
from soupstock.errors import MistakeError, SoupstockError
from soupstock.manifest import Manifest
from soupstock.project import Project
from soupstock.recorded_project import tampered_parts
from soupstock.release import sha256
from soupstock.replay import RESULT, Replay
from soupstock.results import package_versions
from soupstock.versions import find_folder

_MOST = 5


@dataclass(frozen=True)
class Verified:
    """What came of it."""

    folder: Path
    files: int
    """How many files came out the same, byte for byte."""
    rows: int
    problems: tuple[str, ...]
    """What is not as the manifest says; none where all is well."""
    notes: tuple[str, ...] = ()


def verify(project: Project, name: str) -> Verified:
    """Verify a run; raises MistakeError where there is none, or it cannot be made again."""
    run = find_folder(project, name)
    if not (run / manifest.MANIFEST).is_file():
        raise MistakeError(f"{name} has no manifest; only a run can be verified")
    said = manifest.read(run)
    problems = [f"{part}: its text in the manifest was changed" for part in tampered_parts(said)]
    with tempfile.TemporaryDirectory(prefix="soupstock-verify-") as place:
        into = Path(place)
        problems += _there(run, said, into if _replayable(said) else None, project)
        same = 0
        for file in said.files:
            again = into / file
            same += again.is_file() and (run / file).is_file() and sha256(again) == said.files[file]
    return Verified(run, same, said.rows, tuple(problems), tuple(_notes(said)))


def _replayable(said: Manifest) -> bool:
    return said.outcome == "complete"


def _notes(said: Manifest) -> Iterator[str]:
    if not _replayable(said):
        yield (
            "the run is partial: where it stopped depends on time, so its files were compared with"
            " their hashes, and not made again"
        )
    now = package_versions()
    changed = [
        f"{name} {then} (now {now.get(name, 'not there')})"
        for name, then in said.versions.items()
        if now.get(name) != then
    ]
    if changed:
        yield f"made with other versions: {', '.join(changed)}"


def _there(run: Path, said: Manifest, into: Path | None, project: Project) -> list[str]:
    """Compare the run's files with their hashes, and with those of a replay."""
    replay = None if into is None else _replayed(project, run, into)
    problems = list(_lacking(said, replay)) if replay else []
    is_comparable = replay is not None and not problems
    expected = {name: run / name for name in said.files}
    for name, path in expected.items():
        if not path.is_file():
            problems.append(f"{name} is missing")
            continue
        is_tampered = sha256(path) != said.files[name]
        if is_tampered:
            problems.append(f"{name} is not the file that the run wrote")
        if into is not None and is_comparable and name != folder.REPORT:
            problems += _differences(name, path, into / name, is_tampered=is_tampered)
    there = {
        p.relative_to(run).as_posix() for p in (run / folder.DATASET).rglob("*") if p.is_file()
    }
    problems += [f"{name} is not of the run" for name in sorted(there - expected.keys())]
    if replay is not None and is_comparable:
        problems += _accounts(said, replay)
    return problems


def _replayed(project: Project, run: Path, into: Path) -> Replay:
    """Run the replay as a process of its own."""
    seed = str(random.SystemRandom().randrange(1, 1 << 32))
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "soupstock.replay", str(project.root), str(run), str(into)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    result = into / RESULT
    if not result.is_file():
        last = (ended.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise SoupstockError(f"the replay of {run} failed: {last}")
    return Replay.model_validate_json(result.read_bytes())


def _lacking(said: Manifest, replay: Replay) -> Iterator[str]:
    """Say why the run cannot be made again."""
    if replay.error is not None:
        yield f"it cannot be made again: {replay.error}"
    elif replay.fingerprint != said.fingerprint:
        if replay.source != said.source.sha256:
            yield "its source has changed since: the rows would be others"
        else:
            yield (
                "it cannot be made again: its pipeline in the manifest, a model's settings or what"
                " rows were compared with has changed since"
            )
    for one in replay.missing:
        names = ", ".join(one.ids[:_MOST]) + (", …" if one.rows > _MOST else "")
        yield f"the store has no answer of '{one.step}' for {one.rows:,} rows: {names}"


def _differences(name: str, path: Path, again: Path, *, is_tampered: bool) -> Iterator[str]:
    """Name the rows in which a file is another than its replay."""
    if again.is_file() and sha256(again) == sha256(path):
        return
    if not again.is_file():
        yield f"{name} does not come of the manifest and the store"
    elif path.suffix == ".parquet":
        yield from _rows(name, path, again)
    elif not is_tampered:
        yield f"{name} comes out otherwise"


def _rows(name: str, path: Path, again: Path) -> Iterator[str]:
    try:
        one, other = pl.read_parquet(path, glob=False), pl.read_parquet(again, glob=False)
    except (pl.exceptions.PolarsError, OSError):
        yield f"{name} cannot be read"
        return
    if one.schema != other.schema:
        yield f"{name} has other columns than come out: {', '.join(one.columns)}"
        return
    if one.height != other.height:
        yield f"{name} has {one.height:,} rows, and {other.height:,} come out"
    rows = min(one.height, other.height)
    one, other = one.head(rows), other.head(rows)
    told = 0
    for column in one.columns:
        differ = one[column].ne_missing(other[column]).arg_true().to_list()
        for row in differ[: _MOST - told]:
            which = f"row {one['id'][row]}" if "id" in one.columns else f"row {row + 1}"
            yield f"{name}: {which} has another {column} than comes out"
            told += 1
    if not told and one.height == other.height:
        yield f"{name} comes out in other bytes, though its rows are the same"


def _accounts(said: Manifest, replay: Replay) -> Iterator[str]:
    for record, (label, rows_in, kept, dropped) in zip(said.steps, replay.steps, strict=False):
        if (record.label, record.rows_in, record.rows_kept, record.dropped) != (
            label,
            rows_in,
            kept,
            dropped,
        ):
            yield (
                f"the manifest says of '{record.label}' {record.rows_in:,} rows in and"
                f" {record.rows_kept:,} kept; {rows_in:,} and {kept:,} come out"
            )
