"""Find near-duplicates across several sets of texts.

Unlike dedup, which finds one kept twin, each text is compared with every set that it is not in,
whatever its near-duplicates in its own set.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock.similarity.buckets import BucketMembers, Similarities, shared_buckets
from soupstock.similarity.clusters import shingle_sets
from soupstock.similarity.cosine import Vectors, cosine_duplicates
from soupstock.similarity.minhash import (
    Bands,
    Hashes,
    Integers,
    Shingles,
    band_keys,
    jaccard,
    normalized,
    shingles,
    size_ranges,
)

Flags = npt.NDArray[np.bool_]

CROWD = 8
"""How many texts of a set that share a band are compared; a band that more share is boilerplate,
and near-duplicates share other bands too."""

_CHUNK_CHARACTERS = 1 << 19
_PAIRS = 1 << 18


class CrossMatches(NamedTuple):
    """For each text and set the index of a near-duplicate in that set, -1 if there is none."""

    twin: Integers
    similarity: Similarities

    @classmethod
    def nothing(cls, shape: tuple[int, int]) -> "CrossMatches":
        """Return the result for this many texts and sets without any matches."""
        return cls(np.full(shape, -1, np.int64), np.zeros(shape))

    def note(self, which: int, texts: Integers, twins: Integers, similarity: Similarities) -> None:
        """Set the matches of some texts in one set."""
        self.twin[texts, which], self.similarity[texts, which] = twins, similarity


def minhash_matches(texts: pl.Series, member: Flags, threshold: float) -> CrossMatches:
    """Find for each text a near-duplicate in each set, by Jaccard similarity of word 3-grams.

    `texts` are distinct and not null. `member` (texts by sets) says which sets a text is in; it is
    not compared with those. Candidate pairs come from MinHash bands (Broder 1997) and are then
    compared exactly, so none is below `threshold`. About one in a hundred pairs at the threshold is
    missed, and hardly any more similar one. Of the texts of a set that share a band, the first
    `CROWD` are compared.
    """
    found = CrossMatches.nothing(member.shape)
    if len(texts):
        members = _across(shared_buckets(_keys(texts, threshold), np.arange(len(texts))), member)
        candidates = np.unique(members.rows)
        sets = shingle_sets(texts.gather(candidates))
        members = BucketMembers(members.buckets, np.searchsorted(candidates, members.rows))
        for which in range(member.shape[1]):
            near = _near(members, sets, member[candidates, which], threshold)
            matched = np.flatnonzero(near.twin[:, 0] >= 0)
            twins = candidates[near.twin[matched, 0]]
            found.note(which, candidates[matched], twins, near.similarity[matched, 0])
    return found


def _keys(texts: pl.Series, threshold: float) -> Hashes:
    bands = Bands.finding(threshold)
    keys = np.empty((bands.number, len(texts)), np.uint64)
    sizes = texts.str.len_chars().to_numpy().astype(np.int64) + 1
    for start, end in size_ranges(sizes, _CHUNK_CHARACTERS):
        some = [normalized(text) for text in texts[start:end].to_list()]
        keys[:, start:end] = band_keys(shingles(some), bands)
    return keys


def _across(members: BucketMembers, member: Flags) -> BucketMembers:
    """Remove the buckets whose texts are all in the same sets, and so have no matches."""
    buckets, rows = members
    if not buckets.size:
        return members
    is_first = np.diff(buckets, prepend=-1) != 0
    begins = np.flatnonzero(is_first)
    some = np.logical_or.reduceat(member[rows], begins)
    every = np.logical_and.reduceat(member[rows], begins)
    differs: Flags = np.any(some & ~every, axis=1)
    wanted = differs[np.cumsum(is_first) - 1]
    return BucketMembers(buckets[wanted], rows[wanted])


def _near(members: BucketMembers, sets: Shingles, is_in: Flags, threshold: float) -> CrossMatches:
    """Compare texts outside a set with the texts of the set that share a bucket with them."""
    found = CrossMatches.nothing((len(is_in), 1))
    is_member = is_in[members.rows]
    inside = BucketMembers(members.buckets[is_member], members.rows[is_member])
    buckets, rows = members.buckets[~is_member], members.rows[~is_member]
    first = np.searchsorted(inside.buckets, buckets)
    number = np.searchsorted(inside.buckets, buckets, side="right") - first
    for nth in range(min(CROWD, int(number.max(initial=0)))):
        left = (number > nth) & (found.twin[rows, 0] < 0)
        pairs = np.unique(np.stack((rows[left], inside.rows[first[left] + nth]), axis=1), axis=0)
        for start in range(0, len(pairs), _PAIRS):
            _compare(pairs[start : start + _PAIRS], sets, threshold, found)
    return found


def _compare(pairs: Integers, sets: Shingles, threshold: float, found: CrossMatches) -> None:
    sizes = sets.sizes
    texts, twins = pairs[:, 0], pairs[:, 1]
    small = np.minimum(sizes[texts], sizes[twins])
    # Otherwise the smaller set has too few elements to be similar.
    near = np.flatnonzero(small >= threshold * np.maximum(sizes[texts], sizes[twins]))
    similarity = jaccard(sets, texts[near], twins[near])
    alike = similarity >= threshold
    found.note(0, texts[near[alike]], twins[near[alike]], similarity[alike])


def cosine_matches(vectors: Vectors, member: Flags, threshold: float) -> CrossMatches:
    """Find for each text a text in each set whose embedding has nearly the same direction.

    This is as in `cosine.similar`, whatever the text's near-duplicates in its own set.
    """
    found = CrossMatches.nothing(member.shape)
    for which in range(member.shape[1]):
        own, others = np.flatnonzero(member[:, which]), np.flatnonzero(~member[:, which])
        order = np.concatenate((own, others))
        near = cosine_duplicates(vectors[order], threshold, len(own), is_settled_only=True)
        twins = near.twin[len(own) :]
        # A twin outside the set is an equal vector, which has no match in the set either.
        matched = np.flatnonzero((twins >= 0) & (twins < len(own)))
        found.note(
            which, others[matched], own[twins[matched]], near.similarity[len(own) :][matched]
        )
    return found
