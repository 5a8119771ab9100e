"""Count personal data and secrets in the files of a dataset."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from soupstock.spec.pruning import KINDS, IdentifierKind
from soupstock.text.pii import IDENTIFIERS

KIND_NAMES: dict[IdentifierKind, str] = {
    "secrets": "secrets",
    "emails": "e-mail addresses",
    "ibans": "bank accounts",
    "cards": "payment cards",
    "phones": "phone numbers",
    "ips": "IP addresses",
}

_BATCH = 4096


def count_identifiers(
    file: Path, kinds: Sequence[IdentifierKind] = KINDS
) -> dict[IdentifierKind, int]:
    """Count the identifiers of each kind in all texts of a Parquet file."""
    found: Counter[IdentifierKind] = Counter()
    with ThreadPoolExecutor() as pool:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH):
            texts = [some for array in batch.columns for some in _texts(array)]
            asked = [(kind, some) for some in texts for kind in kinds]
            for (kind, _), number in zip(asked, pool.map(_number, asked), strict=True):
                found[kind] += number
    return {kind: found[kind] for kind in kinds}


def _number(asked: tuple[IdentifierKind, pl.Series]) -> int:
    kind, texts = asked
    return int(IDENTIFIERS[kind].count(texts).sum() or 0)


def count_in_files(place: Path, files: Sequence[str]) -> dict[str, int]:
    """Count the identifiers of each kind in a dataset's files."""
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for file in files:
        found.update(count_identifiers(place / file))
    return dict(found)


def _texts(array: pa.Array) -> Iterator[pl.Series]:
    """Yield all texts in a column, however deeply nested."""
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        yield pl.Series(array.drop_null(), dtype=pl.String)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _texts(array.flatten())
    elif pa.types.is_struct(array.type):
        for field in array.flatten():
            yield from _texts(field)
