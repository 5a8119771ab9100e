"""Prune a dataset from anywhere by a pipeline's steps that ask no model, without a run.

Rows go from file to file in batches. For a set-wise step the columns that it compares are in
memory, and all others wait on disk beside the output.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import polars as pl

from soupstock import __version__, spec
from soupstock.artifacts.files import sha256, written_whole
from soupstock.artifacts.manifest import PruningRecord, StepRecord
from soupstock.engine.frames import prune_frame
from soupstock.engine.set_wise import run_set_wise
from soupstock.engine.tally import Tally
from soupstock.errors import MistakeError, Place, hint, quoted, shown
from soupstock.project.project import Project, name_of
from soupstock.rows.row import FIRST_COLUMNS, KEPT, LAST_COLUMNS, Columns
from soupstock.rows.sources import scan_file
from soupstock.rows.table import PART_ROWS, Table, save
from soupstock.runs.decontamination_records import decontamination_records
from soupstock.runs.prune_plan import plan_prune
from soupstock.runs.step_record import step_record
from soupstock.spec.fields import RESERVED
from soupstock.spec.loader import load
from soupstock.steps.step import SetWise, Step

_MARKS = {name: LAST_COLUMNS[name] for name in ("twin", "similarity", "dropped_by")}


@dataclass(frozen=True)
class PruneResult:
    """The files that were written, and the record of it."""

    kept: Path
    dropped: Path
    account: PruningRecord


@dataclass(frozen=True)
class Pruning:
    """What to prune, and the names of its columns."""

    file: Path
    """A .parquet, .jsonl or .csv file, or a folder of .parquet files."""
    output: Path
    """The .parquet file to write the kept rows into."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's names of columns, by the pipeline's names, where they differ."""
    without: frozenset[str] = frozenset()
    """Columns to do without: steps and filters that need one are left out."""


def prune(pruning: Pruning, project: Project, pipeline: str) -> PruneResult:
    """Apply a pipeline's steps to the rows of a file; raises MistakeError."""
    began = time.monotonic()
    file, output, columns = pruning.file, pruning.output, pruning.columns
    _check_output(output, file)
    rows = _Rows.of(file, columns)
    loaded = load(project.pipeline(pipeline), spec.Pipeline)
    name = name_of(pipeline)
    steps = plan_prune(loaded, project, name, rows.columns, pruning.without)
    tallies = [Tally(step.title) for step in steps]
    with _work_folder(output) as place:
        table = _run_steps(rows, steps, tallies, Path(place))
        dropped = output.with_suffix(".dropped.parquet")
        made = {column: dtype for step in steps for column, dtype in step.adds.items()}
        kept = _write(table, rows, made, output, dropped)
    account = PruningRecord(
        soupstock=__version__,
        pipeline=name,
        file=file.name,
        sha256=tuple(map(sha256, rows.files)),
        columns=dict(columns),
        rows=rows.count,
        kept=kept,
        steps=_step_records(steps, tallies),
        decontamination=tuple(decontamination_records(steps)),
        seconds=round(time.monotonic() - began, 3),
    )
    text = account.model_dump_json(indent=2)
    with written_whole(output.with_suffix(".json")) as file:
        file.write_text(f"{text}\n", encoding="utf-8")
    return PruneResult(output, dropped, account)


def _step_records(steps: Sequence[Step], tallies: Sequence[Tally]) -> tuple[StepRecord, ...]:
    pairs = enumerate(zip(tallies, steps, strict=True), 1)
    return tuple(step_record(number, tally, step) for number, (tally, step) in pairs)


def _work_folder(output: Path) -> "tempfile.TemporaryDirectory[str]":
    """Make a temporary folder beside the output; raises MistakeError."""
    try:
        return tempfile.TemporaryDirectory(prefix=".soupstock-", dir=output.parent)
    except OSError as error:
        problem = f"cannot write into {shown(output.parent)}: {error.strerror}"
        raise MistakeError(problem) from error


def _check_output(output: Path, file: Path) -> None:
    if output.suffix.lower() != ".parquet":
        raise MistakeError(f"the output must be a .parquet file, not {quoted(output.name)}")
    if not output.parent.is_dir():
        raise MistakeError(f"the folder {shown(output.parent)} does not exist")
    if output.exists() and file.exists() and output.samefile(file):
        raise MistakeError("the output would overwrite the file that is read; choose another name")


@dataclass
class _Rows:
    """The rows of a file, with the pipeline's names for their columns."""

    files: Sequence[Path]
    frame: pl.LazyFrame
    names: Mapping[str, str]
    """The file's names of the columns by the pipeline's names, in the file's order."""
    columns: Columns
    count: int = field(default=0)
    """How many rows were read so far."""

    @classmethod
    def of(cls, file: Path, columns: Mapping[str, str]) -> "_Rows":
        files = sorted(file.rglob("*.parquet")) if file.is_dir() else [file]
        if not files or not files[0].is_file():
            raise MistakeError(
                f"{shown(file)} does not exist, or is a folder without .parquet files"
            )
        try:
            if len(files) == 1:
                frame = scan_file(files[0], None)
            else:
                frame = pl.scan_parquet(files, glob=False)
            schema = dict(frame.collect_schema())
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            reason = shown(str(error).split("\n", 1)[0])
            raise MistakeError(f"it cannot be read: {reason}", Place(files[0])) from error
        names = _names(list(schema), columns, Place(file))
        return cls(files, frame, names, {own: schema[theirs] for own, theirs in names.items()})

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows, each with its number as id, and no reasons yet."""
        try:
            for batch in self.frame.collect_batches(chunk_size=PART_ROWS, maintain_order=True):
                batch.columns = list(self.names)
                for part in batch.iter_slices(PART_ROWS):
                    yield self._numbered(part)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            reason = shown(str(error).split("\n", 1)[0])
            raise MistakeError(f"it cannot be read: {reason}", Place(self.files[0])) from error

    def _numbered(self, part: pl.DataFrame) -> pl.DataFrame:
        numbers = pl.int_range(self.count + 1, self.count + part.height + 1, eager=True)
        self.count += part.height
        marks = [
            pl.Series(name, [[] if name in ("failures", "dropped_by") else None], dtype=dtype)
            for name, dtype in LAST_COLUMNS.items()
        ]
        return pl.DataFrame(
            [
                numbers.cast(pl.String).alias("id"),
                *part.get_columns(),
                *(mark.new_from_index(0, part.height) for mark in marks),
            ]
        )


def _names(found: Sequence[str], columns: Mapping[str, str], place: Place) -> dict[str, str]:
    """Return the file's columns by the pipeline's names; those that would clash get a space."""
    for own, theirs in columns.items():
        if theirs not in found:
            problem = f"--column {shown(own)}={shown(theirs)}: no column is called {quoted(theirs)}"
            raise MistakeError(problem + hint(theirs, found), place)
    called = {theirs: own for own, theirs in columns.items()}
    names: dict[str, str] = {}
    for theirs in found:
        own = called.get(theirs, theirs)
        while own in names or (theirs not in called and own in {*columns, *RESERVED}):
            own = f"{own} "
        names[own] = theirs
    return names


def _run_steps(rows: _Rows, steps: Sequence[Step], tallies: Sequence[Tally], work: Path) -> Table:
    """Take the rows through all steps: row-wise steps by the batch, set-wise ones as a whole."""
    made = {column: dtype for step in steps for column, dtype in step.adds.items()}
    table = Table(work / "0", {**FIRST_COLUMNS, **rows.columns, **made, **LAST_COLUMNS})
    pairs = list(zip(steps, tallies, strict=True))
    groups = [
        (is_whole, list(some))
        for is_whole, some in groupby(pairs, lambda pair: isinstance(pair[0].bound, SetWise))
    ]
    first = [] if groups[0][0] else groups.pop(0)[1]
    for number, frame in enumerate(rows.frames()):
        table.write(number, _filled(prune_frame(first, frame), table.columns))
    for number, (is_whole, some) in enumerate(groups, 1):
        if is_whole:
            for place, (step, tally) in enumerate(some):
                if isinstance(step.bound, SetWise):
                    table = run_set_wise(step.bound, table, work / f"{number}-{place}", tally)
        else:
            table = table.map(work / f"{number}", (prune_frame(some, f) for f in table.frames()))
    return table


def _filled(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """Add the columns that later steps make, empty for now."""
    absent = [pl.lit(None, dtype=t).alias(n) for n, t in columns.items() if n not in frame.columns]
    return _select(frame.with_columns(absent), columns)


def _select(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Select columns by name, even one that polars would read as a pattern."""
    return pl.DataFrame([frame.get_column(name) for name in names])


def _write(table: Table, rows: _Rows, made: Columns, output: Path, dropped: Path) -> int:
    """Write kept and dropped rows with the file's own names. Returns how many are kept."""
    kept = 0
    theirs = {name: rows.columns[own] for own, name in rows.names.items()}
    columns = {**theirs, **{n: t for n, t in made.items() if n not in theirs}}
    own_names = {name: own for own, name in rows.names.items()}

    def named(frame: pl.DataFrame, wanted: Columns) -> pl.DataFrame:
        return pl.DataFrame(
            [frame.get_column(own_names.get(name, name)).alias(name) for name in wanted]
        )

    def good() -> Iterator[pl.DataFrame]:
        nonlocal kept
        for frame in table.frames():
            part = frame.filter(KEPT)
            kept += part.height
            yield named(part, columns)

    save(output, columns, good())
    plain = {name: dtype for name, dtype in columns.items() if name not in _MARKS}
    bad = (frame.filter(~KEPT) for frame in table.frames())
    marked = {**plain, **_MARKS}
    save(
        dropped,
        marked,
        (named(part, plain).with_columns(part.select(*_MARKS)) for part in bad),
    )
    return kept
