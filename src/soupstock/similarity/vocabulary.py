"""Measure how different the words of two sets of texts are.

Words are counted in hashed buckets, so memory does not grow with the texts. Two words in the same
bucket can only make the sets look a little more similar.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock.similarity.minhash import Integers, mix_bits, normalized, size_ranges, word_hashes

_BITS = 20
"""The number of buckets (as a power of two) in which words are counted."""

_CHUNK_CHARACTERS = 1 << 19


class Vocabulary(NamedTuple):
    """The counts of words in the two halves of the texts: halves by buckets."""

    halves: Integers

    @property
    def whole(self) -> Integers:
        """The counts in all texts."""
        total: Integers = self.halves.sum(axis=0)
        return total

    @property
    def within(self) -> float | None:
        """The divergence of the two halves: what chance alone causes, with half of the texts."""
        return divergence(*self.halves)


def vocabulary(texts: pl.Series, is_second: npt.NDArray[np.bool_]) -> Vocabulary:
    """Count the words of texts that are not null; `is_second` assigns each to a half."""
    halves = np.zeros((2, 1 << _BITS), np.int64)
    sizes = texts.str.len_chars().to_numpy().astype(np.int64) + 1
    for start, end in size_ranges(sizes, _CHUNK_CHARACTERS):
        _count(halves, texts[start:end].to_list(), is_second[start:end])
    return Vocabulary(halves)


def _count(halves: Integers, texts: Sequence[str], is_second: npt.NDArray[np.bool_]) -> None:
    found = word_hashes([normalized(text) for text in texts])
    buckets = (mix_bits(found.flat) >> np.uint64(64 - _BITS)).astype(np.int64)
    half = np.repeat(is_second, found.sizes)
    for number in (0, 1):
        halves[number] += np.bincount(buckets[half == bool(number)], minlength=1 << _BITS)


def divergence(one: Integers, other: Integers) -> float | None:
    """Return the Jensen-Shannon divergence of two distributions of words, in bits (Lin 1991).

    It is 0 if every word is equally frequent in both, 1 if they have no word in common, and None if
    one has no words.
    """
    if not (one.any() and other.any()):
        return None
    p, q = one / one.sum(), other / other.sum()
    apart = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return min(1.0, max(0.0, apart))


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())
