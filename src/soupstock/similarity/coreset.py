"""Select vectors that differ from each other, and cluster similar ones.

Vectors are directions as integers (`cosine.directions`), whose products are exact. So the selection
depends only on the vectors and their order, not on how a machine adds up.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.similarity.buckets import Similarities
from soupstock.similarity.cosine import UNIT, Vectors
from soupstock.similarity.minhash import Integers
from soupstock.stats.apportionment import even_shares

Flags = npt.NDArray[np.bool_]

ROUNDS = 12
"""The maximum number of rounds of k-means."""

_BLOCK = 512
_SAMPLE = 20_000


class Coreset(NamedTuple):
    """The selected rows; and for each other row the selected one that it is similar to."""

    is_taken: Flags
    twin: Integers
    """-1 if there is none."""
    similarity: Similarities

    @classmethod
    def of(cls, is_taken: Flags) -> "Coreset":
        """Return a selection without twins."""
        height = len(is_taken)
        return cls(is_taken, np.full(height, -1, np.int64), np.zeros(height))


def select_diverse(
    near: Vectors, threshold: float, groups: Integers, caps: Integers, wanted: int
) -> Coreset:
    """Process rows in order, and select each one that is not similar to a selected one.

    Each group gets its share of `wanted`, and at most its cap. If a group cannot fill its share,
    because its rows are similar to selected ones, the other groups get the rest in another round.
    """
    found = Coreset.of(np.zeros(len(near), bool))
    room = caps.copy()
    while True:
        taken = np.bincount(groups[found.is_taken], minlength=len(caps))
        short = wanted - int(taken.sum())
        is_open = ~found.is_taken & (found.twin < 0)
        room = np.minimum(caps - taken, np.bincount(groups[is_open], minlength=len(caps)))
        quotas = even_shares(short, room)
        if not quotas.any():
            return found
        _take_round(near, threshold, groups, quotas, found)


def _take_round(
    near: Vectors, threshold: float, groups: Integers, quotas: Integers, found: Coreset
) -> None:
    left = quotas.copy()
    least = np.float32(threshold * UNIT)
    for start in range(0, len(near), _BLOCK):
        if not left.any():
            return
        rows = np.arange(start, min(start + _BLOCK, len(near)))
        rows = rows[~found.is_taken[rows] & (found.twin[rows] < 0) & (left[groups[rows]] > 0)]
        before = np.flatnonzero(found.is_taken)
        best, twin = _nearest(near[rows], near[before])
        alike = best >= least
        _note(found, rows[alike], before[twin[alike]], best[alike])
        rows = rows[~alike]
        among = near[rows] @ near[rows].T
        for place, row in enumerate(rows.tolist()):
            if found.twin[row] >= 0 or not left[groups[row]]:
                continue
            found.is_taken[row] = True
            left[groups[row]] -= 1
            later = np.flatnonzero(among[place, place + 1 :] >= least) + place + 1
            later = later[found.twin[rows[later]] < 0]
            _note(found, rows[later], np.full(len(later), row), among[place, later])


def _nearest(rows: Vectors, others: Vectors) -> tuple[Vectors, Integers]:
    """Return for each row the product with the nearest of the others, and the index of that one."""
    best = np.full(len(rows), -np.inf, np.float32)
    twin = np.zeros(len(rows), np.int64)
    for start in range(0, len(others), _BLOCK * 8):
        products = rows @ others[start : start + _BLOCK * 8].T
        place = products.argmax(axis=1)
        own = products[np.arange(len(rows)), place]
        better = own > best
        best[better], twin[better] = own[better], place[better] + start
    return best, twin


def _note(found: Coreset, rows: Integers, twins: Integers, products: Vectors) -> None:
    found.twin[rows] = twins
    found.similarity[rows] = np.minimum(products / UNIT, 1.0)


def farthest_first(near: Vectors, groups: Integers, quotas: Integers) -> Coreset:
    """Select the first row, and then always the row farthest from the selected ones.

    Ties go to the first row. Rows of zeros, which have no direction, come last.
    """
    is_taken = np.zeros(len(near), bool)
    left = quotas.copy()
    # The product of each row with the nearest selected one.
    nearest = np.where(near.any(axis=1), -np.inf, 2 * UNIT).astype(np.float32)
    for _ in range(int(quotas.sum())):
        open_ = ~is_taken & (left[groups] > 0)
        row = int(np.where(open_, nearest, np.inf).argmin())
        is_taken[row] = True
        left[groups[row]] -= 1
        np.maximum(nearest, near @ near[row], out=nearest)
    return Coreset.of(is_taken)


def k_means(near: Vectors, number: int) -> Integers:
    """Cluster rows by spherical k-means; return the cluster of each row.

    The first centres are rows that are far from each other, among the first 20,000.
    """
    some = near[:_SAMPLE]
    quotas = np.array([min(number, len(some))], np.int64)
    centres = some[farthest_first(some, np.zeros(len(some), np.int64), quotas).is_taken]
    names = np.zeros(len(near), np.int64)
    for _ in range(ROUNDS):
        before, names = names, _assigned(near, centres)
        if not len(centres) or (before == names).all():
            break
        centres = _centres(near, names, centres)
    return names


def _assigned(near: Vectors, centres: Vectors) -> Integers:
    blocks = range(0, len(near), _BLOCK)
    found = [(near[start : start + _BLOCK] @ centres.T).argmax(axis=1) for start in blocks]
    return np.concatenate([*found, np.empty(0, np.int64)])


def _centres(near: Vectors, names: Integers, before: Vectors) -> Vectors:
    """Return the rounded mean direction of each cluster; an empty cluster keeps its centre."""
    order = np.argsort(names, kind="stable")
    bounds = np.searchsorted(names[order], np.arange(len(before) + 1))
    # Sums of integers are exact, in whatever order they are added up.
    sums = np.stack(
        [
            near[order[start:end]].sum(axis=0, dtype=np.float64)
            for start, end in pairwise(bounds.tolist())
        ]
    )
    lengths = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    centres = np.rint(sums / np.where(lengths > 0, lengths, 1) * np.sqrt(UNIT))
    return np.where(lengths > 0, centres, before).astype(np.float32)
