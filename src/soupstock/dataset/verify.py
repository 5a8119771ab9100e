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

from soupstock.artifacts import manifest, mix
from soupstock.artifacts.manifest import Manifest
from soupstock.artifacts.mix import MixRecord
from soupstock.comparing import compared, same
from soupstock.dataset.remix import Remix
from soupstock.dataset.versions import find_folder
from soupstock.errors import MistakeError, SoupstockError
from soupstock.project.project import Project
from soupstock.project.recorded import tampered_parts
from soupstock.runs.replay import RESULT, Replay
from soupstock.runs.results import package_versions

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
    return Verified(run, files, said.rows, tuple(problems), tuple(_notes(said)))


def _verify_mix(project: Project, place: Path) -> Verified:
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
    return Verified(place, files, record.dataset.rows, tuple(problems), tuple(notes))


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
