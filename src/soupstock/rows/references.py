"""Existing rows that a pipeline's rows are compared with: files, datasets, runs.

In the column `twin` such a row is named by its place: `old.parquet row 17`, counted from 1.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import polars as pl

from soupstock import spec
from soupstock.artifacts import run_folder
from soupstock.artifacts.files import folder_hash, sha256
from soupstock.errors import MistakeError, Place, UnknownNameError, quoted, shown
from soupstock.rows.row import KEPT
from soupstock.rows.sources import find_path, load_split, scan_file
from soupstock.text.measures import read_texts

_NUMBER = "\0number"


@dataclass(frozen=True, eq=False)
class ReferenceTexts:
    """Texts to compare with, in order."""

    label: str
    """Their name: `old.parquet`, `chat/3f2a1b`."""
    column: str
    content: str
    """Their identity, for the plan's fingerprint: a SHA-256 if they are files."""
    rows: int
    frame: pl.LazyFrame

    def texts(self) -> pl.DataFrame:
        """Read the texts that are not null, `text`, each with its row's `number` from 1."""
        name = self.column.partition("::")[0].partition(".")[0]
        found = self.frame.select(_NUMBER, name).collect()
        texts = read_texts(found, self.column)
        return pl.DataFrame({"number": found[_NUMBER], "text": texts}).drop_nulls()

    def name_row(self, number: int) -> str:
        """Name a row by its number."""
        return f"{self.label} row {number}"


def locate(index: int, parts: Sequence[pl.DataFrame]) -> tuple[int, int]:
    """Find a text among those of several references: its reference's index, its row's number."""
    for which, texts in enumerate(parts):
        if index < texts.height:
            return which, texts["number"][index]
        index -= texts.height
    raise IndexError("no reference has that text")


def is_reference(twin: str) -> bool:
    """Tell whether a twin's name is that of an existing row, and not a row's id."""
    return " " in twin


def find_reference(
    there: spec.Reference, own: str, root: Path, place: Place | None, pipeline: str | None = None
) -> ReferenceTexts:
    """Find the rows that a step compares with; raises MistakeError.

    `own` is the step's own column, `pipeline` the name of the step's pipeline.
    """
    column = there.column or own
    try:
        match there:
            case spec.FileReference(file=file):
                label, content, frame = Path(file).name, *_file(file, root, place)
            case spec.DatasetReference(dataset=name):
                label, content, frame = name, *_dataset(there, root, place)
            case spec.RunReference(run=run):
                label, content, frame = _run(run, root, place, pipeline)
            case _:
                assert_never(there)
        # Rows are numbered before a run's dropped rows are removed.
        frame = frame.with_row_index(_NUMBER, offset=1)
        if isinstance(there, spec.RunReference):
            frame = frame.filter(KEPT)
        rows = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = shown(str(error).split("\n", 1)[0])
        raise MistakeError(f"{quoted(own)} has nothing to compare with: {reason}", place) from error
    if not rows:
        raise MistakeError(f"{quoted(label)} has no rows to compare with", place)
    return ReferenceTexts(label, column, content, rows, frame)


def _file(written: str, root: Path, place: Place | None) -> tuple[str, pl.LazyFrame]:
    path = find_path(written, root)
    if path is None or not path.is_file():
        raise MistakeError(f"there is no file {quoted(written)} in {shown(root)}", place)
    return sha256(path), scan_file(path, place)


def _dataset(
    there: spec.DatasetReference, root: Path, place: Place | None
) -> tuple[str, pl.LazyFrame]:
    name = there.dataset
    if not name.startswith((".", "/", "~")):
        source = spec.DatasetSource(**there.model_dump(exclude={"column"}))
        data = load_split(source, name, place)
        # The library's own fingerprint depends on where the data is.
        frame = pl.DataFrame(data.with_format("arrow")[:])
        return _content(frame), frame.lazy()
    path = find_path(name, root)
    if path is None or not path.is_dir():
        raise MistakeError(f"there is no folder {quoted(name)} in {shown(root)}", place)
    files = sorted(path.rglob(f"{there.split}-*.parquet"))
    if there.config or len({file.parent for file in files}) != 1:
        source = spec.DatasetSource(**there.model_dump(exclude={"column"}))
        data = load_split(source, str(path), place)
        return folder_hash(path), pl.DataFrame(data.with_format("arrow")[:]).lazy()
    digest = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    return digest, pl.scan_parquet(files, glob=False)


def _content(frame: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for row in frame.iter_rows():
        digest.update(json.dumps(row, default=str).encode())
    return digest.hexdigest()


def _run(
    written: str, root: Path, place: Place | None, pipeline: str | None
) -> tuple[str, str, pl.LazyFrame]:
    runs = run_folder.runs_folder(root)
    found = list(_run_folders(runs, written))
    if not found and written == pipeline:
        raise MistakeError(
            f"name the run of {shown(written)} itself by its folder, `{shown(written)}/3f2a1b`:"
            " its last run will be this one",
            place,
        )
    if not found:
        latest = runs / spec.slug(written) / run_folder.LATEST
        found = [latest.resolve()] if (latest / run_folder.ROWS).is_file() else []
    if not found:
        raise UnknownNameError("run", written, run_folder.known_runs(root), place)
    if len(found) > 1:
        raise MistakeError(f"several runs are called {quoted(written)}; write more digits", place)
    path = found[0] / run_folder.ROWS
    label = run_folder.run_name(found[0])
    return label, sha256(path), pl.scan_parquet(path, glob=False)


def _run_folders(runs: Path, written: str) -> Iterator[Path]:
    """Find the runs with this pipeline and this beginning of their folder's name."""
    name, _, run = written.rpartition("/")
    if name and run:
        for path in sorted((runs / spec.slug(name)).glob(f"{run}*")):
            if path.name != run_folder.LATEST and (path / run_folder.ROWS).is_file():
                yield path
