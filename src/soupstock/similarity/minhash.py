"""Hash texts for comparison: shingles, and the MinHash bands that similar texts share.

Nothing here depends on the machine, the process or the hash functions of a library: the same texts
give the same numbers everywhere. Knows no rows.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]

GRAM = 3
"""The number of words in a shingle."""

PERMUTATIONS = 125
RECALL = 0.985
"""The share of pairs exactly at the threshold that must share a band; above it, more do."""

_MOST_ROWS_PER_BAND = 5
_BASE = 0x5851F42D4C957F2D
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_TEXT_BITS = np.uint64(16)
_HASH_BITS = np.uint64(48)
_HASH = np.uint64((1 << 48) - 1)

# Pieces of this many numbers fit in the processor's cache.
_PIECE = 1 << 15

# The kind of a code point: not yet known, between words, part of a word, a word of its own.
_UNSEEN, _BETWEEN, _PART, _WHOLE = range(4)
# Thai and Lao, Myanmar, Khmer, kana, CJK: written without spaces.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)


class Shingles(NamedTuple):
    """Each text's shingles, hashed: `flat[starts[i]:starts[i + 1]]`."""

    flat: Hashes
    starts: Integers

    @property
    def sizes(self) -> Integers:
        """The number of shingles of each text."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Bands:
    """How a signature is divided: into `number` bands of `rows` minima each."""

    number: int
    rows: int

    @classmethod
    def finding(cls, threshold: float) -> "Bands":
        """Return as many rows per band as still find the pairs at the threshold: 5 at 0.7."""
        for rows in range(_MOST_ROWS_PER_BAND, 1, -1):
            number = PERMUTATIONS // rows
            if 1 - (1 - threshold**rows) ** number >= RECALL:
                return cls(number, rows)
        return cls(PERMUTATIONS, 1)


def normalized(text: str) -> str:
    """Normalise a text for comparison: compatibility forms and case."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def digest(text: str, size: int = 16) -> bytes:
    """Hash a text with normalised spaces, to `size` bytes."""
    return blake2b(" ".join(text.split()).encode(), digest_size=size).digest()


def mix_bits(x: Hashes) -> Hashes:
    """Spread every bit over the whole 64 bits, by xorshift and multiplication."""
    for _ in range(2):
        x = (x ^ (x >> _HALF)) * _MIX
    return x ^ (x >> _HALF)


@cache
def _odd(purpose: int, number: int) -> Hashes:
    """Return pseudo-random odd factors, different ones for each purpose."""
    seeds = np.arange(1, number + 1, dtype=np.uint64) + np.uint64(purpose << 32)
    return mix_bits(seeds) | np.uint64(1)


def size_ranges(sizes: Integers, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of items whose sizes add up to at most `most`; a larger item is alone."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, end
        start = end


def shingles(texts: Sequence[str]) -> Shingles:
    """Hash each folded text's shingles, in order and as often as they occur.

    They are its word 3-grams; its words, if there are fewer than three; the whole text, if it has
    none. In scripts without spaces, each letter is a word.
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    return concatenated(
        [_shingles(texts[start:end]) for start, end in size_ranges(lengths, _PIECE)]
    )


def word_hashes(texts: Sequence[str]) -> Shingles:
    """Hash each folded text's words, in order; a text may have none."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    parts = [_hashed_words(texts[start:end]) for start, end in size_ranges(lengths, _PIECE)]
    return concatenated([Shingles(found, np.concatenate(([0], ends))) for found, ends in parts])


def concatenated(parts: Sequence[Shingles]) -> Shingles:
    """Concatenate the shingles of several lists of texts."""
    starts = np.concatenate(([0], *(part.sizes for part in parts))).cumsum()
    return Shingles(
        np.concatenate([np.empty(0, np.uint64), *(part.flat for part in parts)]), starts
    )


def code_points(text: str) -> Codes:
    """Return a text's code points."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _hashed_words(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """Hash the words of texts; return also the end of each text's words."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    hashes, first = _words(code_points("\n".join([*texts, ""])))
    return hashes, np.searchsorted(first, np.cumsum(lengths))


def _shingles(texts: Sequence[str]) -> Shingles:
    hashes, counts = _grams(*_hashed_words(texts))
    starts = np.concatenate(([0], np.cumsum(counts)))
    bare = np.flatnonzero(counts == 0)
    if bare.size:
        whole = [int.from_bytes(digest(texts[i], 8), "little") for i in bare.tolist()]
        hashes = np.insert(hashes, starts[bare], np.array(whole, np.uint64))
        starts[1:] += np.cumsum(counts == 0)
    return Shingles(hashes, starts)


def ngrams(sets: Shingles, size: int) -> Shingles:
    """Hash every run of `size` words within a text."""
    factors, number = _odd(4, size), max(0, len(sets.flat) - size + 1)
    hashes = np.zeros(number, np.uint64)
    for k in range(size):
        hashes += sets.flat[k : number + k] * factors[k]
    text = np.repeat(np.arange(len(sets.sizes)), sets.sizes)
    inside = text[:number] == text[size - 1 :][:number]
    counts = np.maximum(sets.sizes - size + 1, 0)
    return Shingles(mix_bits(hashes[inside]), np.concatenate(([0], np.cumsum(counts))))


def _grams(words: Hashes, ends: Integers) -> tuple[Hashes, Integers]:
    """Hash every run of words within a text (`ends`: one past each text's last word)."""
    counts = np.diff(ends, prepend=0)
    number = max(0, len(words) - GRAM + 1)
    factors = _odd(1, GRAM)
    hashes = words * factors[0]
    for k in range(1, GRAM):
        hashes[:number] += words[k : number + k] * factors[k]
    inside = np.ones(len(words), bool)
    for k in range(1, GRAM):
        inside[ends[counts >= GRAM] - k] = False
        few = ends[(counts < GRAM) & (counts >= k)] - k
        hashes[few] = words[few] * factors[0]
    hashes = hashes[inside]
    hashes ^= hashes >> _HALF
    hashes *= _MIX
    hashes ^= hashes >> _HALF
    return hashes, np.where(counts < GRAM, counts, counts - GRAM + 1)


def _words(codes: Codes) -> tuple[Hashes, Integers]:
    """Hash every word, by a polynomial over its letters; return also where it begins."""
    first, last = _spans(codes)
    powers, inverses = _powers(1 << max(10, len(codes).bit_length()))
    # Cumulative sums over the letters give the sums of all words at once.
    terms = codes.astype(np.uint64)
    terms *= powers[: len(codes)]
    sums = np.empty(len(codes) + 1, np.uint64)
    sums[0] = 0
    np.cumsum(terms, out=sums[1:])
    return (sums.take(last) - sums.take(first)) * inverses.take(first), first


def _spans(codes: Codes) -> tuple[Integers, Integers]:
    """Return where words begin, and one past their ends. The last code is between words."""
    kinds = _kinds(codes)
    if kinds.max() < _WHOLE:
        inside = kinds == _PART
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        if inside[0]:
            edges = np.concatenate(([0], edges))
        return edges[::2], edges[1::2]
    whole = kinds == _WHOLE
    part = kinds == _PART
    first = whole | (part & ~np.concatenate(([False], part[:-1])))
    last = whole | (part & ~np.concatenate((part[1:], [False])))
    return np.flatnonzero(first), np.flatnonzero(last) + 1


@lru_cache(maxsize=4)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    bases = (_BASE, pow(_BASE, -1, 1 << 64))
    up, down = (np.cumprod(np.full(size, base, np.uint64), dtype=np.uint64) for base in bases)
    return up, down


@cache
def _seen() -> npt.NDArray[np.uint8]:
    return np.zeros(0x110000, np.uint8)


def _kinds(codes: Codes) -> npt.NDArray[np.uint8]:
    """Return the kind of each code point; each is looked up once in a process."""
    table = _seen()
    kinds = table.take(codes, mode="clip")
    unseen = kinds == _UNSEEN
    if unseen.any():
        for code in np.unique(codes[unseen]).tolist():
            table[code] = _kind(code)
        kinds = table.take(codes, mode="clip")
    return kinds


def _kind(code: int) -> int:
    if unicodedata.category(chr(code))[0] not in "LMN":
        return _BETWEEN
    return _WHOLE if any(low <= code <= high for low, high in _UNSPACED) else _PART


def band_keys(sets: Shingles, bands: Bands) -> Hashes:
    """Hash each text's MinHash bands (Broder 1997): an array of bands by texts."""
    factors = _odd(2, bands.number * bands.rows).astype(np.uint32).reshape(bands.number, -1)
    weights = _odd(3, bands.rows)
    # Multiplying odd numbers by an odd factor permutes them.
    short = (sets.flat >> _HALF).astype(np.uint32) | np.uint32(1)
    permuted = np.empty_like(short)
    keys = np.zeros((bands.number, len(sets.starts) - 1), np.uint64)
    for band in range(bands.number):
        for row in range(bands.rows):
            np.multiply(short, factors[band, row], out=permuted)
            keys[band] += np.minimum.reduceat(permuted, sets.starts[:-1]) * weights[row]
    return mix_bits(keys)


def set_hashes(sets: Shingles) -> Hashes:
    """Hash each text's set of shingles: texts with the same shingles have the same hash."""
    return np.add.reduceat(sets.flat, sets.starts[:-1])


def sorted_sets(sets: Shingles) -> Shingles:
    """Reduce shingles to 48 bits; sort those of each text, without repetition."""
    flat = sets.flat >> _TEXT_BITS
    for start, end in pairwise(sets.starts.tolist()):
        flat[start:end].sort()
    first = np.concatenate(([True], flat[1:] != flat[:-1]))
    first[sets.starts[:-1]] = True
    starts = np.concatenate(([0], np.cumsum(first)))[sets.starts]
    return Shingles(flat[first], starts)


def jaccard(sets: Shingles, one: Integers, other: Integers) -> npt.NDArray[np.float64]:
    """Return the Jaccard similarity of pairs of texts, from their distinct shingles."""
    sizes = sets.sizes
    shared = np.empty(len(one), np.int64)
    both = sizes[one] + sizes[other]
    for start, end in size_ranges(both, _PIECE):
        shared[start:end] = _shared(sets, one[start:end], other[start:end])
    return shared / (both - shared)


def _shared(sets: Shingles, one: Integers, other: Integers) -> Integers:
    """Count the shingles that the two texts of each pair share."""
    texts = np.stack((one, other), axis=1).ravel()
    starts = sets.starts[texts]
    sizes = sets.starts[texts + 1] - starts
    places = np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    owners = np.repeat(np.arange(len(texts), dtype=np.uint64) >> np.uint64(1), sizes)
    keys = sets.flat.take(places) | (owners << _HASH_BITS)
    # Each pair has two ascending runs, which a stable sort merges.
    keys.sort(kind="stable")
    twice = keys[1:][keys[1:] == keys[:-1]]
    return np.bincount((twice >> _HASH_BITS).astype(np.int64), minlength=len(one))
