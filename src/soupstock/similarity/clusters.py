"""Cluster near-duplicate texts.

Unlike dedup, which finds one kept twin for each text, every pair counts here: two texts that are at
least `SIMILAR` are in the same cluster, and so are all texts connected by a chain of such pairs.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock.similarity.buckets import BucketMembers
from soupstock.similarity.minhash import (
    Integers,
    Shingles,
    concatenated,
    jaccard,
    normalized,
    set_hashes,
    shingles,
    size_ranges,
    sorted_sets,
)

SIMILAR = 0.7
"""The least Jaccard similarity of the word 3-grams of two near-duplicates."""

CROWD = 256
"""If more texts share one of their rarest 3-grams, they are one cluster without comparison."""

_CHUNK_CHARACTERS = 1 << 19
_ROUNDING = 1e-9


def near_duplicate_clusters(texts: pl.Series) -> Integers:
    """Return for each text the index of the first one in its cluster; a null is alone."""
    present = texts.is_not_null().arg_true().to_numpy().astype(np.int64)
    found = np.arange(len(texts))
    if present.size:
        found[present] = present[_clusters(texts.gather(present))]
    return found


def connected_components(height: int, one: Integers, other: Integers) -> Integers:
    """Return for each of `height` nodes the least one that is connected with it by pairs."""
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


def _clusters(texts: pl.Series) -> Integers:
    sets = shingle_sets(texts)
    _, first, copies = np.unique(set_hashes(sets), return_index=True, return_inverse=True)
    originals = np.sort(first)
    place = np.searchsorted(originals, first)
    sets = _selected(sets, originals)
    root = _connected(_candidates(sets), sets)
    return originals[root[place[copies]]]


def _candidates(sets: Shingles) -> BucketMembers:
    """Find the texts that share one of their rarest shingles, as near-duplicates must.

    If the Jaccard similarity of two sets is at least t, each shares at least t·n of its n elements
    with the other; so they share one of the first n - ⌈t·n⌉ + 1 elements in any common order
    (Bayardo et al. 2007). With the rarest elements first, common ones create no candidates.
    """
    sizes = sets.sizes
    owners = np.repeat(np.arange(len(sizes)), sizes)
    _, names, counts = np.unique(sets.flat, return_inverse=True, return_counts=True)
    order = np.lexsort((names, counts[names], owners))
    ranks = np.arange(len(order)) - np.repeat(sets.starts[:-1], sizes)
    # A little less, so that rounding excludes no pair.
    prefix = sizes - np.ceil(SIMILAR * sizes - _ROUNDING).astype(np.int64) + 1
    names = names[order]
    wanted = (ranks < prefix[owners]) & (counts[names] > 1)
    names, owners = names[wanted], owners[wanted]
    by_name = np.lexsort((owners, names))
    return BucketMembers(names[by_name], owners[by_name])


def _selected(sets: Shingles, rows: Integers) -> Shingles:
    """Return the shingles of some of the texts."""
    sizes = sets.sizes[rows]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    places = np.arange(starts[-1]) + np.repeat(sets.starts[rows] - starts[:-1], sizes)
    return Shingles(sets.flat[places], starts)


def _connected(members: BucketMembers, sets: Shingles) -> Integers:
    """Compare the pairs of each bucket, except those that are already connected."""
    height, buckets, rows = len(sets.sizes), members.buckets, members.rows
    is_crowded = np.bincount(buckets)[buckets] > CROWD if buckets.size else np.empty(0, bool)
    crowd = np.flatnonzero(is_crowded[1:] & (buckets[1:] == buckets[:-1]))
    root = connected_components(height, rows[crowd], rows[crowd + 1])
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
        every = np.arange(height)
        root = connected_components(
            height, np.concatenate((every, one)), np.concatenate((root, other))
        )
    return root


def _are_alike(sets: Shingles, one: Integers, other: Integers) -> npt.NDArray[np.bool_]:
    sizes = sets.sizes
    small, large = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
    near = np.flatnonzero(small >= SIMILAR * large)
    alike = np.zeros(len(one), bool)
    alike[near] = jaccard(sets, one[near], other[near]) >= SIMILAR
    return alike


def shingle_sets(texts: pl.Series) -> Shingles:
    """Return the hashes of each text's shingles, sorted and without repetition."""
    sizes = texts.str.len_chars().to_numpy().astype(np.int64) + 1
    parts = [
        sorted_sets(shingles([normalized(text) for text in texts[start:end].to_list()]))
        for start, end in size_ranges(sizes, _CHUNK_CHARACTERS)
    ]
    return concatenated(parts)
