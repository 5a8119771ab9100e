"""How different the words of two sets of texts are.

Words are counted in hashed buckets, so memory does not grow with the texts; two words that share
one can only make sets look a little more alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock.similarity.minhash import Counts, cut, folded, mix_bits, word_hashes

_BITS = 20
"""In how many buckets (as a power of two) words are counted."""

_CHUNK_CHARACTERS = 1 << 19


class Vocabulary(NamedTuple):
    """How often words occur in one half of the texts and in the other: halves by buckets."""

    halves: Counts

    @property
    def whole(self) -> Counts:
        """How often they occur in all texts."""
        total: Counts = self.halves.sum(axis=0)
        return total

    @property
    def within(self) -> float | None:
        """Say how different the two halves are: what chance alone comes to, with half the texts."""
        return divergence(*self.halves)


def vocabulary(texts: pl.Series, is_second: npt.NDArray[np.bool_]) -> Vocabulary:
    """Count the words of texts, none of them null; `is_second` says which half each is in."""
    halves = np.zeros((2, 1 << _BITS), np.int64)
    sizes = texts.str.len_chars().to_numpy().astype(np.int64) + 1
    for start, end in cut(sizes, _CHUNK_CHARACTERS):
        _count(halves, texts[start:end].to_list(), is_second[start:end])
    return Vocabulary(halves)


def _count(halves: Counts, texts: Sequence[str], is_second: npt.NDArray[np.bool_]) -> None:
    found = word_hashes([folded(text) for text in texts])
    buckets = (mix_bits(found.flat) >> np.uint64(64 - _BITS)).astype(np.int64)
    half = np.repeat(is_second, found.sizes)
    for number in (0, 1):
        halves[number] += np.bincount(buckets[half == bool(number)], minlength=1 << _BITS)


def divergence(one: Counts, other: Counts) -> float | None:
    """Compare two distributions of words by Jensen and Shannon's divergence, in bits (Lin 1991).

    0 where every word is as frequent in both, 1 where they have no word in common; None where one
    has no words.
    """
    if not (one.any() and other.any()):
        return None
    p, q = one / one.sum(), other / other.sum()
    apart = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return min(1.0, max(0.0, apart))


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    there = shares[shares > 0]
    return float(-(there * np.log2(there)).sum())
