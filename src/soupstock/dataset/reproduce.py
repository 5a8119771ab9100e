"""Reproduce the dataset of a run or a mix: make it again, and compare the two byte for byte.

It is made again in a process of its own, in a temporary folder, with another hash seed and another
concurrency than a run has. No model is asked.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from soupstock.artifacts import manifest, mix, run_folder
from soupstock.artifacts.files import sha256
from soupstock.artifacts.manifest import Manifest
from soupstock.artifacts.mix import MixRecord
from soupstock.dataset.remix import Remix
from soupstock.dataset.versions import find_folder
from soupstock.errors import MistakeError, SoupstockError
from soupstock.project.project import Project
from soupstock.project.recorded import tampered_parts
from soupstock.runs.manifest import package_versions
from soupstock.runs.replay import RESULT, Replay

_LISTED = 5


@dataclass(frozen=True)
class Reproduced:
    """How a dataset that was made again compares with the one that it should be."""

    folder: Path
    files: int
    """How many files are the same, byte for byte."""
    rows: int
    problems: tuple[str, ...]
    """What differs from the manifest; none if all is well."""
    notes: tuple[str, ...] = ()


def reproduce(project: Project, name: str) -> Reproduced:
    """Make the dataset of a run or a mix again; raises MistakeError if there is none."""
    place = find_folder(project, name)
    if (place / mix.MIX).is_file():
        return _reproduce_mix(project, place)
    if not (place / manifest.MANIFEST).is_file():
        raise MistakeError(f"{name} has no manifest; only a run or a mix can be reproduced")
    return _reproduce_run(project, place, manifest.read(place))


def _reproduce_run(project: Project, place: Path, record: Manifest) -> Reproduced:
    """Make a run again from its manifest and the cache."""
    problems = [f"{part}: its text in the manifest was changed" for part in tampered_parts(record)]
    with _temporary_folder() as into:
        if record.outcome == "complete":
            problems += _run_problems(project, place, record, into)
        else:
            problems += _compared(place, record.files, None)
        files = _same(place, record.files, into)
    return Reproduced(place, files, record.rows, tuple(problems), tuple(_notes(record)))


def _reproduce_mix(project: Project, place: Path) -> Reproduced:
    """Make a mix again from the runs that it was made of, if they are unchanged."""
    record = mix.read(place)
    with _temporary_folder() as into:
        again = Remix.model_validate_json(_made("soupstock.dataset.remix", project, place, into))
        is_made = not again.problems
        problems = [*again.problems, *_compared(place, record.files, into if is_made else None)]
        if is_made:
            problems += _record_problems(record, mix.read(into))
        files = _same(place, record.files, into)
    notes = _versions(record.versions)
    return Reproduced(place, files, record.dataset.rows, tuple(problems), tuple(notes))


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="soupstock-reproduce-") as place:
        yield Path(place)


def _record_problems(record: MixRecord, again: MixRecord) -> Iterator[str]:
    """Name the fields of a mix's record that differ; `_compared` is about its files."""
    for name in sorted(MixRecord.model_fields.keys() - {"files"}):
        if getattr(record, name) != getattr(again, name):
            yield f"{mix.MIX} has another value of {name} than when made again"


def _notes(record: Manifest) -> Iterator[str]:
    if record.outcome != "complete":
        yield (
            "the run is partial: where it stopped depends on time, so its files were only compared"
            " with their hashes"
        )
    yield from _versions(record.versions)


def _versions(versions: Mapping[str, str]) -> Iterator[str]:
    now = package_versions()
    changed = [
        f"{name} {then} (now {now.get(name, 'not installed')})"
        for name, then in versions.items()
        if now.get(name) != then
    ]
    if changed:
        yield f"made with other versions: {', '.join(changed)}"


def _run_problems(project: Project, place: Path, record: Manifest, into: Path) -> list[str]:
    """Say how a run differs from its replay, or why it cannot be replayed."""
    replay = Replay.model_validate_json(_made("soupstock.runs.replay", project, place, into))
    if obstacles := list(_obstacles(record, replay)):
        return [*obstacles, *_compared(place, record.files, None)]
    return [*_compared(place, record.files, into), *_step_problems(record, replay)]


def _made(module: str, project: Project, place: Path, into: Path) -> bytes:
    """Make a run or a mix again in a process of its own; return its result, as JSON."""
    seed = str(random.SystemRandom().randrange(1, 1 << 32))
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, str(project.root), str(place), str(into)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    result = into / RESULT
    if not result.is_file():
        last = (ended.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        raise SoupstockError(f"{place} could not be made again: {last}")
    return result.read_bytes()


def _obstacles(record: Manifest, replay: Replay) -> Iterator[str]:
    """Say why a run cannot be reproduced."""
    if replay.error is not None:
        yield f"it cannot be reproduced: {replay.error}"
    elif replay.fingerprint != record.fingerprint:
        yield _changed_inputs(record, replay)
    for one in replay.missing:
        names = ", ".join(one.ids[:_LISTED]) + (", …" if one.rows > _LISTED else "")
        yield f"the cache has no answer of '{one.step}' for {one.rows:,} rows: {names}"


def _changed_inputs(record: Manifest, replay: Replay) -> str:
    if replay.source != record.source.sha256:
        return "its source has changed since: it would have other rows"
    return (
        "it cannot be reproduced: the pipeline, a model's settings or a reference dataset has"
        " changed since the run"
    )


def _step_problems(record: Manifest, replay: Replay) -> Iterator[str]:
    for step, (label, rows_in, kept, dropped) in zip(record.steps, replay.steps, strict=False):
        recorded = (step.label, step.rows_in, step.rows_kept, step.dropped)
        if recorded != (label, rows_in, kept, dropped):
            yield (
                f"'{step.label}' has {step.rows_in:,} rows in and {step.rows_kept:,} kept,"
                f" and {rows_in:,} and {kept:,} when made again"
            )


def _compared(place: Path, files: Mapping[str, str], again: Path | None) -> Iterator[str]:
    """Compare the files in a folder with `files`, their hashes, and with those in `again`.

    `again` is the folder in which they were made again; None if they could not be. The report is
    compared only with its hash, because it holds times.
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
    yield from (f"{name} is not a file of the run" for name in sorted(there - files.keys()))


def _same(place: Path, files: Mapping[str, str], again: Path) -> int:
    """Count the files that are the same as when made again, byte for byte."""
    both = [name for name in files if (place / name).is_file() and (again / name).is_file()]
    return sum(sha256(again / name) == files[name] for name in both)


def _differences(name: str, path: Path, again: Path, *, is_tampered: bool) -> Iterator[str]:
    """Say how a file differs from the same file made again; of rows, which."""
    if again.is_file() and sha256(again) == sha256(path):
        return
    if not again.is_file():
        yield f"{name} cannot be made from the manifest and the cache"
    elif path.suffix == ".parquet":
        yield from _parquet_differences(name, path, again)
    elif not is_tampered:
        yield f"{name} differs from the file that was made again"


def _parquet_differences(name: str, path: Path, again: Path) -> Iterator[str]:
    try:
        one, other = pl.read_parquet(path, glob=False), pl.read_parquet(again, glob=False)
    except (pl.exceptions.PolarsError, OSError):
        yield f"{name} cannot be read"
        return
    if one.schema != other.schema:
        yield f"{name} has other columns than when made again: {', '.join(one.columns)}"
        return
    if one.height != other.height:
        yield f"{name} has {one.height:,} rows, and {other.height:,} when made again"
    rows = min(one.height, other.height)
    cells = list(islice(_cells(one.head(rows), other.head(rows)), _LISTED))
    yield from (f"{name}: {cell} than when made again" for cell in cells)
    if not cells and one.height == other.height:
        yield f"{name} has other bytes than when made again, though its rows are the same"


def _cells(one: pl.DataFrame, other: pl.DataFrame) -> Iterator[str]:
    """Name the cells that differ."""
    for column in one.columns:
        for row in one[column].ne_missing(other[column]).arg_true().to_list():
            which = f"row {one['id'][row]}" if "id" in one.columns else f"row {row + 1}"
            yield f"{which} has another {column}"
