"""Find the rows whose embeddings have nearly the same direction as an earlier one.

Vectors are centred, then compared by cosine. Candidate pairs are found with vectors rounded to
small integers: their products are exact in float32, in whatever order a BLAS adds up, so the result
depends neither on the machine nor on threads. Knows no texts and no models.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.similarity.buckets import NearDuplicates, Similarities
from soupstock.similarity.minhash import Hashes, Integers, mix_bits

Vectors = npt.NDArray[np.float32]
Mean = npt.NDArray[np.float64]

EXHAUSTIVE = 1 << 15
"""Up to this many rows, every pair is compared; of more rows, those in neighbouring cells."""

PROBES = 16
"""How many cells around a row are searched."""

# Integers below 2**24 are exact in float32; the product of two vectors of this length is one.
_LENGTH = 4000.0
UNIT = _LENGTH**2
"""The product of a rounded direction with itself."""

_BLOCK = 1 << 12
_TILE = 1 << 12
_PAIRS = 1 << 14


@dataclass(frozen=True)
class Embedder:
    """Turns texts into vectors, by a static model or by asking a server."""

    embed: Callable[[Sequence[str]], Vectors]
    """Returns an array of texts by dimensions."""

    mean: Mean | None = None
    """The mean of all texts' vectors, if it is known."""


class _Cells(NamedTuple):
    """The rows grouped by their nearest pivot."""

    order: Integers
    """The rows by cell, and in order within a cell."""

    starts: Integers
    """The start of each cell in `order`, and the end of the last one."""

    probes: Integers
    """For each row the cells to search: rows by probes."""


def cosine_duplicates(
    vectors: Vectors,
    threshold: float,
    settled: int = 0,
    mean: Mean | None = None,
    *,
    is_settled_only: bool = False,
) -> NearDuplicates:
    """Process rows in order, and find each one's twin among the kept rows before it.

    `vectors` is rows by dimensions, `threshold` a cosine. The first `settled` rows are kept
    whatever they resemble. `mean` is subtracted from all vectors. Default: their own mean. A twin
    is the most similar kept row, or the earliest of several; equal vectors share their twin. A row
    of zeros has no twin and is none. With `is_settled_only`, rows are compared with the settled
    rows only, so that no other twin hides one of those.

    Up to `EXHAUSTIVE` rows, every pair is compared. Of more rows, each is compared with those in
    the cells around it (one cell for each of 2√n pivots, which are rows themselves); about one in a
    hundred pairs is missed. Every pair is then checked in float64.

    Raises:
        ValueError: A vector contains NaN or infinity.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("an embedding contains a number that is not finite")
    vectors = np.asarray(vectors, np.float32) + np.float32(0)  # This turns -0.0 into 0.0.
    identity = _identity(vectors)
    first, is_nonzero = _firsts(identity), vectors.any(axis=1)
    first = np.where(is_nonzero, first, np.arange(len(first)))
    rows = np.flatnonzero(is_nonzero & (first == np.arange(len(first))))
    centred = _CentredVectors.around(vectors, rows, _mean(vectors) if mean is None else mean)
    cells = _cells(centred.rounded, identity[rows])
    known = int(np.searchsorted(rows, settled))
    among = _Search(centred, cells, known, threshold, is_settled_only=is_settled_only).run()
    return among.with_copies(rows, first, settled)


def directions(vectors: Vectors) -> Vectors:
    """Return each vector's direction from the mean of all, as integers; zeros stay zeros.

    The product of two directions is exact; divided by `UNIT` it is their cosine, within 0.01.
    """
    vectors = np.asarray(vectors, np.float32) + np.float32(0)
    rounded = _CentredVectors.around(vectors, np.arange(len(vectors)), _mean(vectors)).rounded
    rounded[~vectors.any(axis=1)] = 0
    return rounded


def _identity(vectors: Vectors) -> Hashes:
    """Hash each vector's bits."""
    weights = mix_bits(np.arange(1, vectors.shape[1] + 1, dtype=np.uint64)) | np.uint64(1)
    identity = np.empty(len(vectors), np.uint64)
    for start, end in _blocks(len(vectors)):
        bits = vectors[start:end].view(np.uint32) * weights
        identity[start:end] = bits.sum(axis=1, dtype=np.uint64)
    return mix_bits(identity)


def _firsts(identity: Hashes) -> Integers:
    """Return for each row the first row that equals it."""
    _, first, same = np.unique(identity, return_index=True, return_inverse=True)
    return first[same].astype(np.int64)


def _mean(vectors: Vectors) -> Mean:
    """Return the mean of the vectors and a vector of zeros.

    Without the zeros, two similar vectors minus their mean would be opposites. The sum is of
    integers, so that the order makes no difference.
    """
    scale = 2.0 ** (30 - np.ceil(np.log2(max(float(np.abs(vectors).max(initial=0)), 2.0**-100))))
    total = np.zeros(vectors.shape[1], np.int64)
    for start, end in _blocks(len(vectors)):
        total += np.rint(vectors[start:end] * scale).astype(np.int64).sum(axis=0)
    mean: Mean = total / (scale * (len(vectors) + 1))
    return mean


def _blocks(height: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _BLOCK, height)) for start in range(0, height, _BLOCK))


@dataclass(frozen=True)
class _CentredVectors:
    """Vectors relative to their mean."""

    vectors: Vectors
    rows: Integers
    mean: Mean
    lengths: Mean
    rounded: Vectors
    """The directions, as integers: rows by dimensions."""

    @classmethod
    def around(cls, vectors: Vectors, rows: Integers, mean: Mean) -> "_CentredVectors":
        """Return the vectors of `rows` relative to `mean`."""
        lengths = np.empty(len(rows))
        rounded = np.empty((len(rows), vectors.shape[1]), np.float32)
        for start, end in _blocks(len(rows)):
            centred = vectors[rows[start:end]] - mean
            lengths[start:end] = np.sqrt(np.square(centred).sum(axis=1))
            size = np.maximum(lengths[start:end], np.finfo(np.float64).tiny)[:, None]
            rounded[start:end] = np.rint(centred / size * _LENGTH)
        return cls(vectors, rows, mean, lengths, rounded)

    def cosine(self, one: Integers, other: Integers) -> Similarities:
        """Return the cosines of pairs in float64."""
        cosine = np.zeros(len(one))
        for start in range(0, len(one), _PAIRS):
            pair = slice(start, start + _PAIRS)
            a = self.vectors[self.rows[one[pair]]] - self.mean
            b = self.vectors[self.rows[other[pair]]] - self.mean
            lengths = self.lengths[one[pair]] * self.lengths[other[pair]]
            np.divide((a * b).sum(axis=1), lengths, out=cosine[pair], where=lengths > 0)
        return np.minimum(cosine, 1.0)

    def least(self, threshold: float) -> float:
        """Return the least product of rounded directions for a cosine of at least `threshold`."""
        off = np.sqrt(self.rounded.shape[1]) / 2 / _LENGTH
        return float((threshold - 2 * off - off**2) * _LENGTH**2)


def _cells(rounded: Vectors, identity: Hashes) -> _Cells:
    height = len(rounded)
    if height <= EXHAUSTIVE:
        everything = np.zeros((height, 1), np.int64)
        return _Cells(np.arange(height), np.array([0, height]), everything)
    number = 2 * int(np.sqrt(height))
    # By content, so that the order of the rows makes no difference.
    pivots = rounded[np.argsort(identity)[:number]].T
    probes = np.empty((height, min(PROBES, number)), np.int64)
    for start, end in _blocks(height):
        # Products are integers; of equal ones, the first pivot counts as nearer.
        near = (rounded[start:end] @ pivots).astype(np.int64) * number - np.arange(number)
        probes[start:end] = np.argpartition(-near, range(probes.shape[1]))[:, : probes.shape[1]]
    order = np.argsort(probes[:, 0], kind="stable")
    starts = np.searchsorted(probes[order, 0], np.arange(number + 1))
    return _Cells(order, starts, probes)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit BLAS to one thread, if threadpoolctl is installed.

    For many small products, its threads would wait for each other most of the time.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield


Span = tuple[int, int]
"""A range of rows: the first, and one past the last."""


class _Search:
    """Processes rows in blocks, and searches the cells around each row for kept ones."""

    def __init__(
        self,
        centred: _CentredVectors,
        cells: _Cells,
        settled: int,
        threshold: float,
        *,
        is_settled_only: bool,
    ) -> None:
        self._last = settled if is_settled_only else len(centred.rows)
        self._centred, self._cells = centred, cells
        self._settled, self._threshold = settled, threshold
        self._least = centred.least(threshold)
        self._found = NearDuplicates.nothing(len(centred.rows))
        # The rows of each cell are contiguous.
        self._by_cell = centred.rounded[cells.order]

    def run(self) -> NearDuplicates:
        """Find each row's twin."""
        whole = len(self._centred.rows) <= EXHAUSTIVE
        with nullcontext() if whole else _one_thread():
            for start, end in _blocks(len(self._centred.rows)):
                self._take(*self._candidates((start, end), (0, start)))
                # Most near-duplicates are dropped by now, and need not be compared with each other.
                self._settle(*self._candidates((start, end), (start, end)))
        return self._found

    def _candidates(self, block: Span, among: Span) -> tuple[Integers, Integers]:
        """Return candidate pairs: rows of a block, and close earlier ones that may be kept."""
        probes = self._cells.probes[slice(*block)]
        order = np.argsort(probes, axis=None, kind="stable")
        cells = np.arange(len(self._cells.starts))
        bounds = np.searchsorted(probes.ravel()[order], cells)
        asking = block[0] + order // probes.shape[1]
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for cell in np.flatnonzero(np.diff(bounds)).tolist():
            found += self._in_cell(cell, among, asking[bounds[cell] : bounds[cell + 1]])
        return np.concatenate([pair[0] for pair in found]), np.concatenate([p[1] for p in found])

    def _in_cell(
        self, cell: int, among: Span, rows: Integers
    ) -> Iterator[tuple[Integers, Integers]]:
        """Yield candidate pairs: rows, and earlier ones in a cell."""
        order, starts = self._cells.order, self._cells.starts
        own = order[starts[cell] : starts[cell + 1]]
        first, last = starts[cell] + np.searchsorted(own, among)
        rounded = self._centred.rounded[rows]
        # No row comes before a settled one.
        before = np.where(rows < self._settled, 0, np.minimum(rows, self._last))[:, None]
        for tile in range(first, last, _TILE):
            others = order[tile : min(tile + _TILE, last)]
            near = rounded @ self._by_cell[tile : tile + len(others)].T >= self._least
            near &= (others < before) & (self._found.twin[others] < 0)
            later, earlier = np.divmod(np.flatnonzero(near), len(others))
            yield others[earlier], rows[later]

    def _settle(self, earlier: Integers, later: Integers) -> None:
        """Decide on the rows of a block in order: a kept row drops the similar ones."""
        order = np.lexsort((later, earlier))
        earlier, later = earlier[order], later[order]
        starts = np.flatnonzero(np.diff(earlier, prepend=-1)).tolist()
        for start, end in pairwise([*starts, len(earlier)]):
            if self._found.twin[earlier[start]] < 0:
                self._take(earlier[start:end], later[start:end])

    def _take(self, twins: Integers, rows: Integers) -> None:
        cosine = self._centred.cosine(twins, rows)
        alike = cosine >= self._threshold
        self._found.note(twins[alike], rows[alike], cosine[alike])
