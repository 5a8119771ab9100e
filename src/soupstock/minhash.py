"""Hash texts for comparison: shingles, and the MinHash bands that similar texts share.

Nothing here depends on the machine, the process, or a library's own hashing: the same texts give
the same numbers everywhere. Knows no rows, and not what is done with similar texts.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

GRAM = 3
"""How many words make a shingle."""

PERMUTATIONS = 125
RECALL = 0.985
"""Share of the pairs at the very threshold that must share a band; above it more do."""

_MOST_ROWS_PER_BAND = 5
_PRIME = 0x9E3779B97F4A7C15
_BASE = 0x5851F42D4C957F2D
_TEXT_BITS = 16
_HASH_BITS = 64 - _TEXT_BITS

# How a code point reads: not looked at yet, between words, part of a word, a word of its own.
_UNSEEN, _BETWEEN, _PART, _WHOLE = range(4)
# Thai and Lao, Myanmar, Khmer, kana, CJK: written without spaces.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)


class Sets(NamedTuple):
    """Each text's shingles, hashed: `flat[starts[i]:starts[i + 1]]`, ascending, each once."""

    flat: Words
    starts: Counts


@dataclass(frozen=True)
class Bands:
    """How a signature is cut: `number` bands of `rows` minima each."""

    number: int
    rows: int

    @classmethod
    def finding(cls, threshold: float) -> "Bands":
        """Take as many rows per band as still find the pairs at the threshold: 5 at 0.7."""
        for rows in range(_MOST_ROWS_PER_BAND, 1, -1):
            number = PERMUTATIONS // rows
            if 1 - (1 - threshold**rows) ** number >= RECALL:
                return cls(number, rows)
        return cls(PERMUTATIONS, 1)


def folded(text: str) -> str:
    """Even out what is no difference between two texts: compatibility forms and case."""
    return unicodedata.normalize("NFKC", text).casefold()


def digest(text: str, size: int = 16) -> bytes:
    """Hash a text after evening out its spaces, to `size` bytes."""
    return blake2b(" ".join(text.split()).encode(), digest_size=size).digest()


def mixed(x: Words) -> Words:
    """Spread every bit over the whole word, by xorshift and multiplication."""
    for _ in range(2):
        x = (x ^ (x >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return x ^ (x >> np.uint64(32))


def shingles(texts: Sequence[str]) -> Sets:
    """Hash each folded text's shingles to 48 bits; at most 65,536 texts at once.

    They are its word 3-grams; its words, where there are fewer than three; the whole text, where
    there is none. In scripts without spaces a letter is a word.
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    codes = np.frombuffer(("\n".join(texts) + "\n").encode("utf-32-le"), np.uint32)
    words, of = _words(codes, np.cumsum(lengths))
    count = np.bincount(of, minlength=len(texts))
    grams, inside = _grams(words, of)
    few = count[of] < GRAM
    bare = np.flatnonzero(count == 0)
    bare_hashes = [int.from_bytes(digest(texts[i], 8), "little") for i in bare.tolist()]
    hashes = np.concatenate((grams, words[few], np.array(bare_hashes, np.uint64)))
    owners = np.concatenate((inside, of[few], bare)).astype(np.uint64)
    # The text in the upper bits: one sort of plain words sorts each text's shingles.
    keys = np.sort((owners << np.uint64(_HASH_BITS)) | (hashes >> np.uint64(_TEXT_BITS)))
    keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
    sizes = np.bincount((keys >> np.uint64(_HASH_BITS)).astype(np.int64))
    flat = keys & np.uint64((1 << _HASH_BITS) - 1)
    return Sets(flat, np.concatenate(([0], np.cumsum(sizes))))


def _grams(words: Words, of: Counts) -> tuple[Words, Counts]:
    """Hash every run of words that lies inside one text, and say in which."""
    number = max(0, len(words) - GRAM + 1)
    inside = of[GRAM - 1 :] == of[:number]
    grams = np.zeros(number, np.uint64)
    for k in range(GRAM):
        grams = mixed(grams * np.uint64(_PRIME) + words[k : number + k])
    return grams[inside], of[:number][inside]


def _words(codes: npt.NDArray[np.uint32], ends: Counts) -> tuple[Words, Counts]:
    """Hash every word, and say in which text it is (`ends`: one past each text's last code)."""
    kinds = _kinds(codes)
    part, whole = kinds == _PART, kinds == _WHOLE
    first = np.flatnonzero(whole | (part & ~np.concatenate(([False], part[:-1]))))
    last = np.flatnonzero(whole | (part & ~np.concatenate((part[1:], [False]))))
    powers, inverses = _powers(1 << max(10, len(codes).bit_length()))
    # A polynomial over the letters: sums up to each letter give every word's at once.
    letters = mixed((codes.astype(np.uint64) + np.uint64(1)) * np.uint64(_PRIME))
    terms = letters * powers[: len(codes)]
    sums = np.cumsum(terms, dtype=np.uint64)
    values: Words = (sums[last] - sums[first] + terms[first]) * inverses[first]
    return mixed(values), np.searchsorted(ends, first, side="right").astype(np.int64)


@lru_cache(maxsize=4)
def _powers(size: int) -> tuple[Words, Words]:
    bases = (_BASE, pow(_BASE, -1, 1 << 64))
    up, down = (np.cumprod(np.full(size, base, np.uint64), dtype=np.uint64) for base in bases)
    return up, down


@cache
def _seen() -> npt.NDArray[np.uint8]:
    return np.zeros(0x110000, np.uint8)


def _kinds(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Say how each code point reads, looking each up but once in a process."""
    table = _seen()
    kinds = table[codes]
    unseen = kinds == _UNSEEN
    if unseen.any():
        for code in np.unique(codes[unseen]).tolist():
            table[code] = _kind(code)
        kinds = table[codes]
    return kinds


def _kind(code: int) -> int:
    if unicodedata.category(chr(code))[0] not in "LMN":
        return _BETWEEN
    return _WHOLE if any(low <= code <= high for low, high in _UNSPACED) else _PART


def band_keys(sets: Sets, bands: Bands) -> Words:
    """Hash each text's MinHash bands (Broder 1997): an array of bands by texts."""
    seeds = mixed(np.arange(1, 2 * bands.number * bands.rows + 1, dtype=np.uint64))
    factors = seeds.astype(np.uint32).reshape(2, bands.number, bands.rows)
    short = (sets.flat >> np.uint64(_HASH_BITS - 32)).astype(np.uint32)
    keys = np.empty((bands.number, len(sets.starts) - 1), np.uint64)
    for band in range(bands.number):
        key = np.full(keys.shape[1], band + 1, np.uint64)
        for row in range(bands.rows):
            permuted = short * (factors[0, band, row] | np.uint32(1)) + factors[1, band, row]
            minima = np.minimum.reduceat(permuted, sets.starts[:-1])
            key = mixed(key * np.uint64(_PRIME) + minima)
        keys[band] = key
    return keys
