"""Compare files with their hashes, and with what comes out when they are made again."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from soupstock.artifacts import run_folder
from soupstock.dataset.release import sha256

_MOST = 5


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
        for row in differ[: _MOST - told]:
            which = f"row {one['id'][row]}" if "id" in one.columns else f"row {row + 1}"
            yield f"{name}: {which} has another {column} than comes out"
            told += 1
    if not told and one.height == other.height:
        yield f"{name} comes out in other bytes, though its rows are the same"
