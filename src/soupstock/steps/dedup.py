"""Find the rows that repeat an earlier one, and name the twin that stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock.errors import MistakeError
from soupstock.minhash import Bands, Counts, Sets, Words, band_keys, digest, folded, mixed, shingles

BUCKET = 128
"""How many kept rows of one band are compared: a band that more share is boilerplate."""

_CHUNK_CHARACTERS = 1 << 18
_CHUNK_ROWS = 1 << 14


@dataclass(frozen=True)
class Deduplication:
    """A dedup step: the column whose texts are compared, and from when on two are twins."""

    column: str
    method: Literal["exact", "minhash"] = "minhash"
    threshold: float = 0.7


class Duplicates(NamedTuple):
    """For each row its twin that stays; both null where the row itself stays."""

    twin: pl.Series
    """The index of the row that it repeats, always an earlier one that stays (UInt32)."""

    similarity: pl.Series
    """How similar the two are: Jaccard, 0 to 1 (Float64)."""


def duplicates(step: Deduplication, texts: pl.Series) -> Duplicates:
    """Go through texts in order, and drop each that is a twin of an earlier one that stayed.

    Whether a row stays depends only on the rows before it, so that rows can be added at the end;
    the first of a kind always stays. A twin is the most similar of the rows that stayed, the
    earliest where several are. Null is nobody's twin.

    `exact` compares texts after NFKC, case folding and evening out of spaces. `minhash` compares
    the sets of their word 3-grams (of words, where there are fewer than three; of the whole text
    where there are none; in scripts without spaces a letter is a word). Which pairs are compared
    is found by MinHash bands (Broder 1997; 25 bands of 5 at the default threshold), and each is
    then compared exactly: no text is dropped below `threshold`, and of those at the threshold
    about one in a hundred is missed, of more similar ones hardly any.

    Raises:
        MistakeError: The column does not hold texts.
    """
    if isinstance(texts.dtype, (pl.Categorical, pl.Enum)):
        texts = texts.cast(pl.String)
    if texts.dtype not in (pl.String, pl.Null):
        raise MistakeError(f"dedup compares texts, and {step.column} is {texts.dtype}")
    there = texts.is_not_null().arg_true().to_numpy().astype(np.int64)
    present = texts.drop_nulls().cast(pl.String)
    match step.method:
        case "exact":
            found = _exact(present)
        case "minhash":
            found = _near(present, step.threshold)
        case _:
            assert_never(step.method)
    return _named(found, there, len(texts))


class _Found(NamedTuple):
    """For each text the index of its twin, -1 where it stays, and their similarity."""

    twin: Counts
    similarity: npt.NDArray[np.float64]


def _named(found: _Found, there: Counts, height: int) -> Duplicates:
    twin = np.full(height, -1, np.int64)
    similarity = np.zeros(height)
    dropped = found.twin >= 0
    twin[there[dropped]] = there[found.twin[dropped]]
    similarity[there] = found.similarity
    table = pl.DataFrame({"twin": twin, "similarity": similarity})
    table = table.select(pl.when(pl.col("twin") >= 0).then(pl.all()))
    return Duplicates(table["twin"].cast(pl.UInt32), table["similarity"])


def _chunks(texts: pl.Series) -> Iterator[list[str]]:
    """Cut texts into lists of bounded size, so that memory does not grow with what is compared."""
    ends = texts.str.len_chars().cast(pl.Int64).cum_sum().to_numpy()
    start = 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, before + _CHUNK_CHARACTERS, side="right"))
        end = min(max(end, start + 1), start + _CHUNK_ROWS)
        yield [folded(text) for text in texts[start:end].to_list()]
        start = end


def _exact(texts: pl.Series) -> _Found:
    first: dict[bytes, int] = {}
    digests = (digest(text) for chunk in _chunks(texts) for text in chunk)
    stays = [first.setdefault(own, row) for row, own in enumerate(digests)]
    twin = np.array(stays, np.int64)
    twin[twin == np.arange(len(twin))] = -1
    return _Found(twin, (twin >= 0).astype(np.float64))


def _near(texts: pl.Series, threshold: float) -> _Found:
    if texts.is_empty():
        return _Found(np.empty(0, np.int64), np.empty(0))
    parts, keys = [], []
    bands = Bands.finding(threshold)
    for chunk in _chunks(texts):
        sets = shingles(chunk)
        parts.append(sets)
        keys.append(band_keys(sets, bands))
    flat = np.concatenate([part.flat for part in parts])
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    sets = Sets(flat, np.concatenate(([0], np.cumsum(sizes))))
    return _greedy(sets, _buckets(np.concatenate(keys, axis=1)), threshold)


def _buckets(keys: Words) -> npt.NDArray[np.int32]:
    """Number the bands that several texts share: texts by bands, -1 where a text is alone."""
    buckets = np.full(keys.shape[::-1], -1, np.int32)
    used = 0
    for band, own in enumerate(keys):
        _, inverse, counts = np.unique(own, return_inverse=True, return_counts=True)
        shared = counts > 1
        numbers = np.where(shared, used + np.cumsum(shared) - 1, -1)
        buckets[:, band] = numbers[inverse]
        used += int(shared.sum())
    return buckets


def _greedy(sets: Sets, buckets: npt.NDArray[np.int32], threshold: float) -> _Found:
    height = len(sets.starts) - 1
    found = _Found(np.full(height, -1, np.int64), np.zeros(height))
    identity = np.add.reduceat(mixed(sets.flat), sets.starts[:-1])
    stayed: dict[int, list[int]] = {}
    same: dict[int, int] = {}
    for row in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        mine = [bucket for bucket in buckets[row].tolist() if bucket >= 0]
        itself = int(identity[row])
        # Identical sets, however many, are found without a comparison.
        if itself in same:
            found.twin[row], found.similarity[row] = same[itself], 1.0
            continue
        others = sorted({other for bucket in mine for other in stayed.get(bucket, ())})
        twin, similarity = _closest(sets, row, others)
        if similarity >= threshold:
            found.twin[row], found.similarity[row] = twin, similarity
            continue
        same[itself] = row
        for bucket in mine:
            rows = stayed.setdefault(bucket, [])
            if len(rows) < BUCKET:
                rows.append(row)
    return found


def _closest(sets: Sets, row: int, others: Sequence[int]) -> tuple[int, float]:
    """Find which of the other rows is most similar, the first of them where several are."""
    if not others:
        return -1, 0.0
    starts = sets.starts
    own = sets.flat[starts[row] : starts[row + 1]]
    theirs = [sets.flat[starts[other] : starts[other + 1]] for other in others]
    sizes = np.array([len(their) for their in theirs])
    joined = np.concatenate(theirs)
    at = np.minimum(np.searchsorted(own, joined), len(own) - 1)
    shared = np.add.reduceat((own[at] == joined).astype(np.int64), np.cumsum(sizes) - sizes)
    similarities = shared / (len(own) + sizes - shared)
    best = int(similarities.argmax())
    return others[best], float(similarities[best])
