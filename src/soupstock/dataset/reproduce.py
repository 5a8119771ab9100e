"""Verify that a run's or a mix's dataset is what it says of itself, by making it again.

The replay is a process of its own, in a temporary folder, with another hash seed and another
concurrency than a run; it asks nobody. Its files must be the run's, byte for byte.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from soupstock.artifacts import manifest, mix, run_folder
from soupstock.artifacts.manifest import Manifest
from soupstock.artifacts.mix import MixRecord
from soupstock.dataset.release import sha256
from soupstock.dataset.remix import Remix
from soupstock.dataset.versions import find_folder
from soupstock.errors import MistakeError, SoupstockError
from soupstock.project.project import Project
from soupstock.project.recorded import tampered_parts
from soupstock.runs.manifest import package_versions
from soupstock.runs.replay import RESULT, Replay

_MOST = 5


@dataclass(frozen=True)
class Reproduced:
    """What came of it."""

    folder: Path
    files: int
    """How many files came out the same, byte for byte."""
    rows: int
    problems: tuple[str, ...]
    """What is not as the manifest says; none where all is well."""
    notes: tuple[str, ...] = ()


def reproduce(project: Project, name: str) -> Reproduced:
    """Verify a run or a mix; raises MistakeError where there is none."""
    run = find_folder(project, name)
    if (run / mix.MIX).is_file():
        return _verify_mix(project, run)
    if not (run / manifest.MANIFEST).is_file():
        raise MistakeError(f"{name} has no manifest; only a run or a mix can be verified")
    said = manifest.read(run)
    problems = [f"{part}: its text in the manifest was changed" for part in tampered_parts(said)]
    with tempfile.TemporaryDirectory(prefix="soupstock-verify-") as place:
        into = Path(place)
        problems += _there(run, said, into if _replayable(said) else None, project)
        files = same(run, said.files, into)
    return Reproduced(run, files, said.rows, tuple(problems), tuple(_notes(said)))


def _verify_mix(project: Project, place: Path) -> Reproduced:
    """Verify a mix: from the runs that it was made of, if these are what they were."""
    record = mix.read(place)
    with tempfile.TemporaryDirectory(prefix="soupstock-verify-") as fresh:
        into = Path(fresh)
        again = Remix.model_validate_json(_made("soupstock.dataset.remix", project, place, into))
        is_made = not again.problems
        problems = [*again.problems, *compared(place, record.files, into if is_made else None)]
        if is_made:
            problems += _told(record, mix.read(into))
        files = same(place, record.files, into)
    notes = _versions(record.versions)
    return Reproduced(place, files, record.dataset.rows, tuple(problems), tuple(notes))


def _told(record: MixRecord, again: MixRecord) -> Iterator[str]:
    """Name what a mix's record says otherwise than comes out; of files `compared` tells."""
    for name in sorted(MixRecord.model_fields.keys() - {"files"}):
        if getattr(record, name) != getattr(again, name):
            yield f"{mix.MIX} says of {name} what does not come out"


def _replayable(said: Manifest) -> bool:
    return said.outcome == "complete"


def _notes(said: Manifest) -> Iterator[str]:
    if not _replayable(said):
        yield (
            "the run is partial: where it stopped depends on time, so its files were compared with"
            " their hashes, and not made again"
        )
    yield from _versions(said.versions)


def _versions(versions: Mapping[str, str]) -> Iterator[str]:
    now = package_versions()
    changed = [
        f"{name} {then} (now {now.get(name, 'not there')})"
        for name, then in versions.items()
        if now.get(name) != then
    ]
    if changed:
        yield f"made with other versions: {', '.join(changed)}"


def _there(run: Path, said: Manifest, into: Path | None, project: Project) -> list[str]:
    """Compare the run's files with their hashes, and with those of a replay."""
    replay = None
    if into is not None:
        replay = Replay.model_validate_json(_made("soupstock.runs.replay", project, run, into))
    problems = list(_lacking(said, replay)) if replay else []
    is_comparable = replay is not None and not problems
    problems += compared(run, said.files, into if is_comparable else None)
    if replay is not None and is_comparable:
        problems += _accounts(said, replay)
    return problems


def _made(module: str, project: Project, run: Path, into: Path) -> bytes:
    """Make a run or a mix again in a process of its own; return what that says came of it."""
    seed = str(random.SystemRandom().randrange(1, 1 << 32))
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, str(project.root), str(run), str(into)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    result = into / RESULT
    if not result.is_file():
        last = (ended.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise SoupstockError(f"the replay of {run} failed: {last}")
    return result.read_bytes()


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


_MOST_DIFFERENCES = 5


def compared(place: Path, files: Mapping[str, str], again: Path | None) -> Iterator[str]:
    """Say of the files in a folder which are not as `files`, their hashes, tell.

    `again` is the folder in which they were made again; None where they could not be. The report is
    compared by its hash alone, for it tells the time.
    """
    for name, digest in files.items():
        path = place / name
        if not path.is_file():
            yield f"{name} is missing"
            continue
        is_tampered = sha256(path) != digest
        if is_tampered:
            yield f"{name} is not the file that the run wrote"
        if again is not None and name != run_folder.REPORT:
            yield from _differences(name, path, again / name, is_tampered=is_tampered)
    dataset = (place / run_folder.DATASET).rglob("*")
    there = {path.relative_to(place).as_posix() for path in dataset if path.is_file()}
    yield from (f"{name} is not of the run" for name in sorted(there - files.keys()))


def same(place: Path, files: Mapping[str, str], again: Path) -> int:
    """Count the files that came out the same, byte for byte."""
    both = [name for name in files if (place / name).is_file() and (again / name).is_file()]
    return sum(sha256(again / name) == files[name] for name in both)


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
        for row in differ[: _MOST_DIFFERENCES - told]:
            which = f"row {one['id'][row]}" if "id" in one.columns else f"row {row + 1}"
            yield f"{name}: {which} has another {column} than comes out"
            told += 1
    if not told and one.height == other.height:
        yield f"{name} comes out in other bytes, though its rows are the same"
