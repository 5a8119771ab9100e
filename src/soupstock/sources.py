"""Where the first rows come from: drawn values, a file, a dataset. Reads in blocks, in order."""

import hashlib
import itertools
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.records import Columns
from soupstock.spec import RESERVED, DatasetSource, FileSource, SampleSource, Scalar

BLOCK = 512
"""How many rows a block holds."""

Block = list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """Rows to read: their columns, how many there are (None: without end), and what they are."""

    kind: Literal["sample", "file", "dataset"]
    columns: Columns
    rows: int | None
    content: str
    """What the rows are, for the plan's fingerprint."""
    reader: Any
    """An iterable of blocks; each iteration begins anew."""
    sha256: str | None = None

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Yield the first `most` rows (all, where it is None), in blocks."""
        left = most
        for block in self.reader:
            if left is not None and len(block) >= left:
                yield block[:left]
                return
            yield block
            left = None if left is None else left - len(block)


@dataclass(frozen=True)
class _Sampled:
    """Draws that depend on the seed, the column and the row's number, and on nothing else."""

    seed: int
    values: Mapping[str, Sequence[Scalar]]
    weights: Mapping[str, Sequence[float]]
    """Cumulative weights that end in 1."""

    def __iter__(self) -> Iterator[Block]:
        for start in itertools.count(0, BLOCK):
            yield [self._row(number) for number in range(start, start + BLOCK)]

    def _row(self, number: int) -> dict[str, Any]:
        return {column: self._draw(column, number) for column in self.values}

    def _draw(self, column: str, number: int) -> Scalar:
        name = f"{self.seed}\0{column}\0{number}".encode()
        chance = int.from_bytes(blake2b(name, digest_size=8).digest()) / 2**64
        values = self.values[column]
        return values[min(bisect(self.weights[column], chance), len(values) - 1)]


def sampled(source: SampleSource, seed: int) -> Source:
    """Draw each column's values independently, with their weights."""
    values: dict[str, list[Scalar]] = {}
    weights: dict[str, list[float]] = {}
    for column, choices in source.sample.items():
        values[column] = list(choices)
        given = list(choices.values()) if isinstance(choices, Mapping) else [1.0] * len(choices)
        total = sum(given)
        weights[column] = [part / total for part in itertools.accumulate(given)]
    columns = {column: _type(choices) for column, choices in values.items()}
    content = orjson.dumps([seed, source.sample]).decode()
    return Source("sample", columns, source.rows, content, _Sampled(seed, values, weights))


def _type(values: Sequence[Scalar]) -> pl.DataType:
    kinds = {type(value) for value in values}
    for kind, dtype in ((bool, pl.Boolean()), (int, pl.Int64()), (float, pl.Float64())):
        if kinds == {kind}:
            return dtype
    return pl.Float64() if kinds == {int, float} else pl.String()


@dataclass(frozen=True)
class _Scanned:
    frame: pl.LazyFrame

    def __iter__(self) -> Iterator[Block]:
        for part in self.frame.collect_batches(chunk_size=8192, maintain_order=True):
            for some in part.iter_slices(BLOCK):
                yield some.to_dicts()


def read_file(source: FileSource, root: Path, place: Place | None) -> Source:
    """Read a .jsonl, .csv or .parquet file. Mistakes in it name its line."""
    path = (root / Path(source.file).expanduser()).resolve()
    scans = {
        ".jsonl": lambda: pl.scan_ndjson(path, infer_schema_length=None),
        ".ndjson": lambda: pl.scan_ndjson(path, infer_schema_length=None),
        ".csv": lambda: pl.scan_csv(path, infer_schema_length=None),
        ".parquet": lambda: pl.scan_parquet(path),
    }
    if not path.is_file():
        raise MistakeError(f"there is no file {quoted(source.file)} (looked at {path})", place)
    if path.suffix not in scans:
        kinds = ", ".join(scans)
        raise MistakeError(f"{quoted(source.file)} is of no kind that is read: {kinds}", place)
    try:
        frame = scans[path.suffix]()
        columns = dict(frame.collect_schema())
        rows = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        _find_bad_line(path)
        reason = str(error).splitlines()[0]
        raise MistakeError(f"cannot be read: {shown(reason)}", Place(path)) from error
    _check_columns(columns, Place(path))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    rows = min(rows, source.rows or rows)
    return Source("file", columns, rows, sha256, _Scanned(frame), sha256)


def _find_bad_line(path: Path) -> None:
    if path.suffix not in {".jsonl", ".ndjson"}:
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = orjson.loads(line) if line.strip() else {}
            except orjson.JSONDecodeError as error:
                raise MistakeError(f"this is not JSON: {error.msg}", Place(path, number)) from error
            if not isinstance(row, dict):
                raise MistakeError("a line must be a JSON object", Place(path, number))


@dataclass(frozen=True)
class _Loaded:
    data: Any

    def __iter__(self) -> Iterator[Block]:
        for table in self.data.with_format("arrow").iter(batch_size=BLOCK):
            yield pl.DataFrame(table).to_dicts()


def read_dataset(source: DatasetSource, root: Path, place: Place | None) -> Source:
    """Read a split with the `datasets` library: an id on the Hub, or a folder."""
    from datasets import disable_progress_bars, load_dataset

    is_folder = source.dataset.startswith((".", "/", "~"))
    name = (
        str((root / Path(source.dataset).expanduser()).resolve()) if is_folder else source.dataset
    )
    if is_folder and not Path(name).is_dir():
        raise MistakeError(f"there is no folder {quoted(source.dataset)} (looked at {name})", place)
    disable_progress_bars()
    try:
        data = load_dataset(name, source.config, split=source.split, revision=source.revision)
    # Whatever is wrong there, datasets raises dozens of kinds of errors for it.
    except Exception as error:
        reason = shown(" ".join(str(error).split())[:300])
        raise MistakeError(
            f"the dataset {quoted(source.dataset)} cannot be loaded: {reason}", place
        ) from error
    head = pl.DataFrame(data.with_format("arrow")[:0])
    columns = dict(head.schema)
    _check_columns(columns, place)
    rows = min(len(data), source.rows or len(data))
    content = f"{source.dataset} {source.config} {source.split} {data._fingerprint}"  # noqa: SLF001
    return Source("dataset", columns, rows, content, _Loaded(data))


def _check_columns(columns: Columns, place: Place | None) -> None:
    if taken := sorted(set(columns) & RESERVED):
        names = ", ".join(taken)
        raise MistakeError(
            f"it has columns that soupstock itself keeps: {names}; rename them", place
        )
