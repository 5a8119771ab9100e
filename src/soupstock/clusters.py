"""Put texts that are nearly the same into clusters: whoever is like somebody is with them.

Unlike dedup, which names for each text one twin that stays, every pair counts here: two texts that
are at least so similar are in one cluster, and so are all that a chain of such pairs connects.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock.buckets import Members, shared_buckets
from soupstock.minhash import (
    Bands,
    Counts,
    Shingles,
    Words,
    band_keys,
    cut,
    distinct,
    folded,
    identities,
    jaccard,
    joined,
    shingles,
)

SIMILAR = 0.7
"""From which Jaccard similarity of their word 3-grams on two texts are nearly the same."""

BANDS = Bands(31, 4)
"""Of the pairs at SIMILAR one in five thousand shares no band; of more similar ones none does."""

CROWD = 128
"""A bucket that more texts share is one cluster without further looking: the safe side."""

_CHUNK_CHARACTERS = 1 << 19


def clusters(texts: pl.Series) -> Counts:
    """Return for each text the index of the first one of its cluster; null is by itself."""
    there = texts.is_not_null().arg_true().to_numpy().astype(np.int64)
    found = np.arange(len(texts))
    if there.size:
        found[there] = there[_clusters(texts.gather(there))]
    return found


def connected(height: int, one: Counts, other: Counts) -> Counts:
    """Return for each of `height` things the least one that pairs connect it with."""
    root = np.arange(height)
    while True:
        low = np.minimum(root[one], root[other])
        linked = root.copy()
        np.minimum.at(linked, root[one], low)
        np.minimum.at(linked, root[other], low)
        while not np.array_equal(linked, jumped := linked[linked]):
            linked = jumped
        if np.array_equal(linked, root):
            return root
        root = linked


def _clusters(texts: pl.Series) -> Counts:
    keys, identity = _hashed(texts)
    _, first, copies = np.unique(identity, return_index=True, return_inverse=True)
    originals = np.sort(first)
    place = np.searchsorted(originals, first)
    members = shared_buckets(keys, originals)
    shares = np.zeros(len(originals), bool)
    shares[members.rows] = True
    candidates = np.flatnonzero(shares)
    among = Members(members.buckets, (np.cumsum(shares) - 1)[members.rows])
    sets = joined(_chunks(texts.gather(originals[candidates]), are_distinct=True))
    root = np.arange(len(originals))
    root[candidates] = candidates[_joined_up(among, sets)]
    return originals[root[place[copies]]]


def _joined_up(members: Members, sets: Shingles) -> Counts:
    """Compare the texts of each bucket, pair by pair; those that are together already need none."""
    height, buckets, rows = len(sets.sizes), members.buckets, members.rows
    is_crowded = np.bincount(buckets)[buckets] > CROWD if buckets.size else np.empty(0, bool)
    crowd = np.flatnonzero(is_crowded[1:] & (buckets[1:] == buckets[:-1]))
    root = connected(height, rows[crowd], rows[crowd + 1])
    buckets, rows = buckets[~is_crowded], rows[~is_crowded]
    for apart in range(1, CROWD):
        near = np.flatnonzero(buckets[apart:] == buckets[:-apart])
        if not near.size:
            break
        one, other = rows[near], rows[near + apart]
        open_ = root[one] != root[other]
        pairs = np.unique(np.stack((one[open_], other[open_]), axis=1), axis=0)
        alike = _are_alike(sets, pairs[:, 0], pairs[:, 1])
        one, other = pairs[alike, 0], pairs[alike, 1]
        everybody = np.arange(height)
        root = connected(height, np.concatenate((everybody, one)), np.concatenate((root, other)))
    return root


def _are_alike(sets: Shingles, one: Counts, other: Counts) -> npt.NDArray[np.bool_]:
    sizes = sets.sizes
    small, large = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
    near = np.flatnonzero(small >= SIMILAR * large)
    alike = np.zeros(len(one), bool)
    alike[near] = jaccard(sets, one[near], other[near]) >= SIMILAR
    return alike


def _hashed(texts: pl.Series) -> tuple[Words, Words]:
    parts = _chunks(texts)
    keys = [band_keys(part, BANDS) for part in parts]
    return np.concatenate(keys, axis=1), np.concatenate([identities(part) for part in parts])


def _chunks(texts: pl.Series, *, are_distinct: bool = False) -> list[Shingles]:
    sizes = texts.str.len_chars().to_numpy().astype(np.int64) + 1
    parts = [
        shingles([folded(text) for text in texts[start:end].to_list()])
        for start, end in cut(sizes, _CHUNK_CHARACTERS)
    ]
    return [distinct(part) for part in parts] if are_distinct else parts
