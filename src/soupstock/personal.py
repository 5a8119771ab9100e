"""Look through a dataset's files for what names a person or opens a door, and count it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from soupstock.identifiers import IDENTIFIERS
from soupstock.spec import KINDS, Kind

NAMES: dict[Kind, str] = {
    "secrets": "secrets",
    "emails": "e-mail addresses",
    "ibans": "bank accounts",
    "cards": "payment cards",
    "phones": "phone numbers",
    "ips": "IP addresses",
}

_BATCH = 4096


def counted(file: Path, kinds: Sequence[Kind] = KINDS) -> dict[Kind, int]:
    """Count the identifiers of each kind in all texts of a Parquet file."""
    found: Counter[Kind] = Counter()
    for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH):
        texts = pl.Series(
            [text for row in batch.to_pylist() for text in _leaves(row)], dtype=pl.String
        )
        for kind in kinds:
            found[kind] += int(IDENTIFIERS[kind].count(texts).sum() or 0)
    return {kind: found[kind] for kind in kinds}


def scanned(place: Path, files: Sequence[str]) -> dict[str, int]:
    """Count the identifiers of each kind in a dataset's files."""
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for file in files:
        found.update(counted(place / file))
    return dict(found)


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _leaves(inner)
        case list():
            for inner in value:
                yield from _leaves(inner)
        case _:
            pass
