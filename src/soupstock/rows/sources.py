"""Sources of the first rows: drawn values, a file, a dataset; read in blocks, in order."""

import glob
import itertools
import json
import logging
import os
import socket
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import polars as pl
from polars.datatypes import DataTypeClass

from soupstock.artifacts.files import folder_hash, sha256
from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.rows.line_checks import check_csv, check_jsonl
from soupstock.rows.row import Columns
from soupstock.spec.fields import RESERVED, Scalar
from soupstock.spec.source import DatasetSource, FileSource, SampleSource

BLOCK = 512
"""The number of rows in a block."""

_UNSUPPORTED = {pl.Int128(), pl.UInt128(), pl.Object(), pl.Unknown()}

Block = list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """Rows to read: their columns, their number (None: unlimited), and their identity."""

    kind: Literal["sample", "file", "dataset", "documents"]
    columns: Columns
    rows: int | None
    content: str
    """The rows' identity, for the plan's fingerprint."""
    reader: Any
    """An iterable of blocks; each iteration starts from the first."""
    sha256: str | None = None

    def without_rows(self) -> "Source":
        """Return the source without its rows."""
        return replace(self, reader=())

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Yield the first `most` rows (None: all) in blocks."""
        left = most
        for block in self.reader:
            if left is not None and len(block) >= left:
                yield block[:left]
                return
            yield block
            left = None if left is None else left - len(block)


@dataclass(frozen=True)
class _Sampled:
    """Random values that depend only on the seed, the column and the row's number."""

    seed: int
    values: Mapping[str, Sequence[Scalar]]
    weights: Mapping[str, Sequence[float]]
    """Cumulative weights that end in 1."""

    def __iter__(self) -> Iterator[Block]:
        for start in itertools.count(0, BLOCK):
            numbers = range(start, start + BLOCK)
            drawn = [self._draws(column, numbers) for column in self.values]
            yield [dict(zip(self.values, row, strict=True)) for row in zip(*drawn, strict=True)]

    def _draws(self, column: str, numbers: Iterable[int]) -> list[Scalar]:
        values, weights = self.values[column], self.weights[column][:-1]
        names = [f"{self.seed}\0{column}\0{number}".encode() for number in numbers]
        chances = [int.from_bytes(blake2b(n, digest_size=8).digest()) / 2**64 for n in names]
        # Above all weights the last value is drawn, however the sum of the weights is rounded.
        return [values[bisect(weights, chance)] for chance in chances]


def sample_rows(source: SampleSource, seed: int) -> Source:
    """Draw each column's values independently, with their weights."""
    values: dict[str, list[Scalar]] = {}
    weights: dict[str, list[float]] = {}
    for column, choices in source.sample.items():
        values[column] = _cast(list(choices))
        given = list(choices.values()) if isinstance(choices, Mapping) else [1.0] * len(choices)
        total = sum(given)
        weights[column] = [part / total for part in itertools.accumulate(given)]
    columns = {column: _type(choices) for column, choices in values.items()}
    content = json.dumps([seed, source.sample])
    return Source("sample", columns, source.rows, content, _Sampled(seed, values, weights))


def _type(values: Sequence[Scalar]) -> pl.DataType:
    kinds = {type(value) for value in values}
    for kind, dtype in ((bool, pl.Boolean()), (int, pl.Int64()), (float, pl.Float64())):
        if kinds == {kind}:
            return dtype
    return pl.Float64() if kinds == {int, float} else pl.String()


def _cast(values: Sequence[Scalar]) -> list[Scalar]:
    """Convert values to one type, so that a streamed row equals its row in the table."""
    match _type(values):
        case pl.Float64():
            return [float(value) for value in values]
        case pl.String():
            return [value if isinstance(value, str) else json.dumps(value) for value in values]
        case _:
            return list(values)


@dataclass(frozen=True)
class _Scanned:
    frame: pl.LazyFrame

    def __iter__(self) -> Iterator[Block]:
        for part in self.frame.collect_batches(chunk_size=8192, maintain_order=True):
            for some in part.iter_slices(BLOCK):
                yield some.to_dicts()


def read_file(source: FileSource, root: Path, place: Place | None) -> Source:
    """Read a .jsonl, .csv or .parquet file; a mistake in it names its line."""
    path = find_path(source.file, root)
    if path is None or not path.is_file():
        raise MistakeError(f"there is no file {quoted(source.file)} in {shown(root)}", place)
    try:
        frame = scan_file(path, place)
        columns = dict(frame.collect_schema())
        _check_columns(columns, Place(path))
        # Counting the values reads them all, so that errors are found now.
        counts = frame.select(pl.len().alias(""), pl.all().count())
        rows = counts.collect(engine="streaming").item(0, 0)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = shown(str(error).split("\n", 1)[0])
        raise MistakeError(f"it cannot be read: {reason}", Place(path)) from error
    if not rows:
        raise MistakeError("it has no rows", Place(path))
    digest = sha256(path)
    rows = min(rows, source.rows or rows)
    return Source("file", columns, rows, digest, _Scanned(frame), digest)


def find_path(written: str, root: Path) -> Path | None:
    """Return the absolute path of an existing file or folder; None if there is none."""
    try:
        path = (root / Path(written).expanduser()).resolve()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def scan_file(path: Path, place: Place | None) -> pl.LazyFrame:
    """Scan a .jsonl, .csv or .parquet file; raises MistakeError for any other."""
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            check_jsonl(path)
            return pl.scan_ndjson(glob.escape(str(path)), infer_schema_length=None)
        case ".csv":
            check_csv(path)
            frame = pl.scan_csv(path, infer_schema_length=None, glob=False)
            # A blank line is not a row.
            return frame.filter(~pl.all_horizontal(pl.all().is_null()))
        case ".parquet":
            return pl.scan_parquet(path, glob=False)
        case _:
            kinds = ".jsonl, .csv, .parquet"
            raise MistakeError(f"{quoted(path.name)} should be one of these: {kinds}", place)


@dataclass(frozen=True)
class _Loaded:
    data: Any

    def __iter__(self) -> Iterator[Block]:
        for table in self.data.with_format("arrow").iter(batch_size=BLOCK):
            yield pl.DataFrame(table).to_dicts()


def read_dataset(source: DatasetSource, root: Path, place: Place | None) -> Source:
    """Read a split with the `datasets` library: an id on the Hub, or a folder."""
    name, folder = source.dataset, None
    if name.startswith((".", "/", "~")):
        folder = find_path(name, root)
        if folder is None or not folder.is_dir():
            raise MistakeError(f"there is no folder {quoted(name)} in {shown(root)}", place)
    data = load_split(source, str(folder or name), place)
    columns = dict(pl.DataFrame(data.with_format("arrow")[:0]).schema)
    _check_columns(columns, place)
    # The library's own fingerprint depends on where the folder is.
    content = folder_hash(folder) if folder else data._fingerprint  # noqa: SLF001
    what = json.dumps([None if folder else name, source.config, source.split, content])
    rows = min(len(data), source.rows or len(data))
    return Source("dataset", columns, rows, what, _Loaded(data))


def load_split(source: DatasetSource, name: str, place: Place | None) -> Any:
    """Load a split with the `datasets` library; raises MistakeError."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    # It logs a dozen lines about its retries, and repeats them in its error.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        with offline_if_unreachable():
            return load_dataset(name, source.config, split=source.split, revision=source.revision)
    # The library raises dozens of kinds of errors.
    except Exception as error:
        reason = shown(" ".join(str(error).split())[:300])
        raise MistakeError(
            f"the dataset {quoted(source.dataset)} cannot be loaded: {reason}", place
        ) from error


def _check_columns(columns: Columns, place: Place | None) -> None:
    if not columns:
        raise MistakeError("it has no columns", place)
    if reserved := sorted(set(columns) & RESERVED):
        names = ", ".join(reserved)
        raise MistakeError(
            f"it has columns that are reserved by soupstock: {names}; rename them", place
        )
    for name, dtype in columns.items():
        if not name or not name.isprintable():
            raise MistakeError(f"{quoted(name)} is not a valid column name", place)
        if not _is_supported(dtype):
            problem = f"the column {quoted(name)} has the type {dtype}, which is not supported"
            raise MistakeError(problem, place)


def _is_supported(dtype: pl.DataType | DataTypeClass) -> bool:
    """Tell whether rows can have a type: not 128-bit numbers, nor structs without fields."""
    match dtype:
        case pl.List(inner=inner) | pl.Array(inner=inner):
            return _is_supported(inner)
        case pl.Struct(fields=fields):
            return bool(fields) and all(_is_supported(field.dtype) for field in fields)
        case _:
            return dtype not in _UNSUPPORTED


_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Limit the `datasets` library to its cache if the Hub's address cannot be resolved."""
    from datasets import config
    from huggingface_hub import constants

    if any(map(os.environ.get, _PROXIES)) or _has_address(constants.ENDPOINT):
        yield
        return
    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def _has_address(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    try:
        return bool(socket.getaddrinfo(address.hostname, address.port or 443))
    except OSError:
        return False
