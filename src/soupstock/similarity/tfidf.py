"""Texts as counts of n-grams, weighted by TF-IDF, to compare them without a model.

Everything is hashed, and sums are over integers, or in an order that depends on the text alone: the
same texts give the same numbers everywhere. Knows no rows and no thresholds.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.similarity.cosine import Vectors
from soupstock.similarity.minhash import (
    Hashes,
    Integers,
    Shingles,
    code_points,
    concatenated,
    mix_bits,
    ngrams,
    normalized,
    size_ranges,
    word_hashes,
)

Weights = npt.NDArray[np.float64]

LETTERS = (3, 4, 5)
"""The lengths of n-grams of characters."""

WIDTH = 256
"""The number of dimensions of a hashed vector of words."""

_CHUNK = 1 << 18
_BUCKETS = 18
"""The number of buckets (as a power of two) in which words are counted."""


class FeatureCounts(NamedTuple):
    """Each text's features, sorted and without repetition: `flat[starts[i]:starts[i + 1]]`."""

    flat: Hashes
    counts: Integers
    """How often each occurs in its text."""
    starts: Integers

    @property
    def texts(self) -> Integers:
        """The text of each feature."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def count_features(features: Shingles) -> FeatureCounts:
    """Count each text's features."""
    flat, sizes = features.flat.copy(), features.sizes
    # Each text separately: sorting many short runs is faster than sorting one by two keys.
    for start, end in pairwise(features.starts.tolist()):
        flat[start:end].sort()
    first = np.ones(len(flat), bool)
    first[1:] = flat[1:] != flat[:-1]
    first[features.starts[:-1][sizes > 0]] = True
    places = np.flatnonzero(first)
    starts = np.searchsorted(places, features.starts)
    return FeatureCounts(flat[places], np.diff(places, append=len(flat)), starts)


def character_ngrams(texts: Sequence[str]) -> Shingles:
    """Hash each text's runs of 3 to 5 characters, with normalised case and spaces."""
    even = [f" {' '.join(normalized(text).split())} " for text in texts]
    lengths = np.fromiter(map(len, even), np.int64, len(even))
    return concatenated([_letters(even[start:end]) for start, end in size_ranges(lengths, _CHUNK)])


def _letters(texts: Sequence[str]) -> Shingles:
    codes = code_points("".join(texts)).astype(np.uint64)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    sets = Shingles(mix_bits(codes + np.uint64(1)), np.concatenate(([0], np.cumsum(lengths))))
    return _together([ngrams(sets, size) for size in LETTERS])


def _together(parts: Sequence[Shingles]) -> Shingles:
    """Combine several kinds of features of the same texts."""
    starts = np.sum([part.starts for part in parts], axis=0)
    flat = np.empty(int(starts[-1]), np.uint64)
    begins = starts[:-1].copy()
    for part in parts:
        places = np.arange(len(part.flat)) + np.repeat(begins - part.starts[:-1], part.sizes)
        flat[places] = part.flat
        begins += part.sizes
    return Shingles(flat, starts)


def tfidf_vectors(texts: Sequence[str], width: int = WIDTH) -> Vectors:
    """Turn texts into vectors of their words and pairs of words, by TF-IDF (texts by `width`).

    Features share dimensions, each with its own sign (Weinberger et al. 2009), so cosines are
    accurate to about 1/√width. A text without words is a vector of zeros.
    """
    chunks = list(size_ranges(np.fromiter(map(len, texts), np.int64, len(texts)) + 1, _CHUNK))
    seen = np.zeros(1 << _BUCKETS, np.int64)
    for start, end in chunks:
        seen += np.bincount(_bucket(_word_features(texts[start:end]).flat), minlength=len(seen))
    rarity = np.log((1 + len(texts)) / (1 + seen)) + 1
    vectors = np.zeros((len(texts), width), np.float32)
    for start, end in chunks:
        features = _word_features(texts[start:end])
        weights = (1 + np.log(features.counts)) * rarity[_bucket(features.flat)]
        vectors[start:end] = hashed_vectors(features, weights, width)
    return vectors


def _word_features(texts: Sequence[str]) -> FeatureCounts:
    found = word_hashes([normalized(text) for text in texts])
    return count_features(_together([found, ngrams(found, 2)]))


def _bucket(features: Hashes) -> Integers:
    return (mix_bits(features) >> np.uint64(64 - _BUCKETS)).astype(np.int64)


def hashed_vectors(features: FeatureCounts, weights: Weights, width: int) -> Vectors:
    """Add up features in `width` dimensions (feature hashing), and normalise each vector."""
    hashes = mix_bits(features.flat)
    place = features.texts * width + (hashes % np.uint64(width)).astype(np.int64)
    signs = np.where(hashes >> np.uint64(63), weights, -weights)
    height = len(features.starts) - 1
    vectors = np.bincount(place, signs, height * width).reshape(height, width)
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
