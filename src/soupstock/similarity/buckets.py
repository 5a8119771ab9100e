"""Find near-duplicates among rows that share buckets: keep the first ones, name the others' twin.

The result is as if the rows were processed in order, and each was compared with the kept rows
before it that share a bucket with it. Knows no texts: a function compares two rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.similarity.minhash import Hashes, Integers, size_ranges

Similarities = npt.NDArray[np.float64]
Compare = Callable[[Integers, Integers], Similarities]
"""Returns the similarity of each pair of rows; 0 if it is below the threshold."""

CROWD = 32
"""How many kept rows of a bucket are compared; a bucket with more of them is boilerplate."""

_PAIRS = 1 << 20
"""About how many pairs are compared together."""

_LEAST_SHARE = 1 / 64
"""If a round settles a smaller share of members, the rest is processed row by row instead."""


class BucketMembers(NamedTuple):
    """The rows in each bucket, ordered by bucket and then by row."""

    buckets: Integers
    rows: Integers


class NearDuplicates(NamedTuple):
    """For each row the index of its twin (-1 if the row is kept), and their similarity."""

    twin: Integers
    similarity: Similarities

    @classmethod
    def nothing(cls, height: int) -> "NearDuplicates":
        """Return the result for `height` rows that are all kept."""
        return cls(np.full(height, -1, np.int64), np.zeros(height))

    def note(self, twins: Integers, rows: Integers, similarity: Similarities) -> None:
        """Set the twins of rows if the new one is more similar, or earlier, than the known one."""
        best = np.lexsort((twins, -similarity, rows))
        best = best[_begins(rows[best])]
        twin, row, new = twins[best], rows[best], similarity[best]
        old = self.similarity[row]
        better = (self.twin[row] < 0) | (new > old) | ((new == old) & (twin < self.twin[row]))
        self.twin[row[better]] = twin[better]
        self.similarity[row[better]] = new[better]

    def with_copies(self, rows: Integers, original: Integers, settled: int) -> "NearDuplicates":
        """Extend the result for `rows`, which are distinct, to all rows.

        `original` is the first copy of each row: itself, or one of `rows`. If the original is kept,
        it is the twin of its copies; otherwise they share its twin. The first `settled` rows are
        always kept.
        """
        found = NearDuplicates.nothing(len(original))
        dropped = self.twin >= 0
        found.twin[rows[dropped]] = rows[self.twin[dropped]]
        found.similarity[rows] = self.similarity
        copies = np.flatnonzero(original != np.arange(len(original)))
        own = original[copies]
        is_kept = found.twin[own] < 0
        found.twin[copies] = np.where(is_kept, own, found.twin[own])
        found.similarity[copies] = np.where(is_kept, 1.0, found.similarity[own])
        found.twin[:settled] = -1
        return found


def shared_buckets(keys: Hashes, rows: Integers) -> BucketMembers:
    """Return the bands (`keys`: bands by rows) that several rows share, numbered as buckets."""
    bits = np.uint64(max(1, len(rows).bit_length()))
    own = np.arange(len(rows), dtype=np.uint64)
    parts, used = [], 0
    for band in keys:
        # With the row in the lower bits, one sort of integers groups equal keys.
        order = ((band[rows] >> bits) << bits) | own
        order.sort()
        same = (order[1:] >> bits) == (order[:-1] >> bits)
        begins = ~np.concatenate(([False], same))
        shared = np.flatnonzero(~begins | np.concatenate((same, [False])))
        buckets = np.cumsum(begins[shared]) + (used - 1)
        used += int(begins[shared].sum())
        parts.append((buckets, (order[shared] & ((np.uint64(1) << bits) - np.uint64(1)))))
    return BucketMembers(
        np.concatenate([buckets for buckets, _ in parts]).astype(np.int64),
        np.concatenate([members for _, members in parts]).astype(np.int64),
    )


def find_duplicates(
    members: BucketMembers, height: int, settled: int, compare: Compare
) -> NearDuplicates:
    """Find each row's twin among the rows before it: the most similar, then the earliest.

    The first `settled` rows are kept whatever they resemble. Of a bucket's kept rows, the first
    `CROWD` are compared with those after them.
    """
    search = _Search(members, height, settled, compare)
    while search.members.rows.size:
        before = search.members.rows.size
        search.run_round()
        if before - search.members.rows.size < before * _LEAST_SHARE:
            search.finish()
            break
    return search.found


@dataclass
class _Search:
    members: BucketMembers
    height: int
    settled: int
    compare: Compare
    found: NearDuplicates = field(init=False)
    stays: npt.NDArray[np.bool_] = field(init=False)
    crowd: Integers = field(init=False)
    """How many rows of each bucket were kept and compared with the others."""

    def __post_init__(self) -> None:
        self.found = NearDuplicates.nothing(self.height)
        self.stays = np.arange(self.height) < self.settled
        buckets = self.members.buckets
        self.crowd = np.zeros(int(buckets[-1]) + 1 if buckets.size else 0, np.int64)

    def run_round(self) -> None:
        """Compare each row that is next in its bucket and certain to be kept with the others.

        A row is certain to be kept if it is next in all of its buckets: no kept row before it is
        similar. The first of all rows always is, so every round makes progress.
        """
        buckets, rows = self.members
        alive = np.flatnonzero(self.found.twin[rows] < 0)
        next_ = alive[_begins(buckets[alive])]
        leaders = rows[next_]
        waits = np.bincount(rows[alive], minlength=self.height)
        waits -= np.bincount(leaders, minlength=self.height)
        self.stays[leaders[waits[leaders] == 0]] = True
        ready = next_[self.stays[leaders]]
        ends = np.searchsorted(buckets, buckets[ready], side="right")
        self._compare_after(ready, ends)
        self._forget(next_, ready)

    def _compare_after(self, places: Integers, ends: Integers) -> None:
        """Compare the rows at these positions with those after them, up to the ends."""
        rows = self.members.rows
        sizes = ends - places - 1
        for start, end in size_ranges(sizes, _PAIRS):
            size, first = sizes[start:end], places[start:end] + 1
            others = rows[np.arange(size.sum()) + np.repeat(first - np.cumsum(size) + size, size)]
            leaders = np.repeat(rows[places[start:end]], size)
            pairs = (leaders * self.height + others)[others >= self.settled]
            self._take(*np.divmod(np.unique(pairs), self.height))

    def _take(self, leaders: Integers, others: Integers) -> None:
        """Compare pairs, and set the twins of rows that are similar."""
        similarity = self.compare(leaders, others)
        alike = np.flatnonzero(similarity > 0)
        self.found.note(leaders[alike], others[alike], similarity[alike])

    def _forget(self, next_: Integers, ready: Integers) -> None:
        """Remove compared rows from their buckets, and finished buckets."""
        buckets, rows = self.members
        self.crowd[buckets[ready]] += 1
        start = next_ + self.stays[rows[next_]]
        end = np.searchsorted(buckets, buckets[next_], side="right")
        start = np.where(self.crowd[buckets[next_]] < CROWD, start, end)
        marks = np.zeros(len(rows) + 1, np.int8)
        np.add.at(marks, start, 1)
        np.subtract.at(marks, end, 1)
        left = np.cumsum(marks[:-1], dtype=np.int8) > 0
        self.members = BucketMembers(buckets[left], rows[left])

    def finish(self) -> None:
        """Process the remaining rows one by one."""
        compared: dict[int, list[int]] = {}
        for row, buckets in self._by_row():
            others = sorted({other for bucket in buckets for other in compared.get(bucket, ())})
            if others and row >= self.settled:
                self._take(np.array(others), np.full(len(others), row))
            if self.found.twin[row] >= 0:
                continue
            for bucket in buckets:
                if self.crowd[bucket] < CROWD:
                    self.crowd[bucket] += 1
                    compared.setdefault(bucket, []).append(row)

    def _by_row(self) -> Iterator[tuple[int, list[int]]]:
        order = np.argsort(self.members.rows, kind="stable")
        pairs = zip(
            self.members.rows[order].tolist(), self.members.buckets[order].tolist(), strict=True
        )
        for row, group in groupby(pairs, key=lambda pair: pair[0]):
            yield row, [bucket for _, bucket in group]


def _begins(ascending: Integers) -> npt.NDArray[np.bool_]:
    """Return where a number differs from the one before."""
    return np.concatenate(([True], ascending[1:] != ascending[:-1]))[: len(ascending)]
