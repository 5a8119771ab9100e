"""Measure how much of a text repeats itself, as in Gopher's rules, for many texts at once.

Every word, line and paragraph of a block of texts is hashed in one pass over its letters, and then
the hashes are counted. Knows no columns and no limits.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

FREE = 2
"""How often an n-gram may occur before it counts as repeated: an answer may say a thing twice."""

LONGEST_TOP = 4
DUPLICATES = 5
"""The n of the n-grams whose repetitions are counted."""

NAMES = (
    *("lines", "line_characters", "paragraphs", "paragraph_characters"),
    *(f"top_{n}_gram" for n in range(2, LONGEST_TOP + 1)),
    f"duplicate_{DUPLICATES}_grams",
)
"""The names of the measures."""

# Blocks of this size fit in the processor's cache.
_BLOCK = 1 << 17
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_BASE = 0x5851F42D4C957F2D

# The kind of a code point: not yet known, white space, end of a line, another sign, part of a
# word, a word of its own.
_UNSEEN, _SPACE, _LINE_END, _SIGN, _PART, _WHOLE = range(6)
# Thai and Lao, Myanmar, Khmer, kana, CJK: written without spaces.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)


class _Spans(NamedTuple):
    """Pieces of texts: their hashes, their lengths, and the text that each is in, ascending."""

    hashes: Hashes
    sizes: Places
    of: Places


class _Repeats(NamedTuple):
    """How many spans repeat an earlier one of their text, and how many characters they have."""

    spans: Places
    characters: Places


def shares(texts: Sequence[str]) -> dict[str, Shares]:
    """Return the share of each text that is repeated, by the names in NAMES.

    `lines` and `paragraphs` are shares of their number, `line_characters` and
    `paragraph_characters` of the characters in them, the top n-grams of the characters in words
    (more than 1 if an n-gram overlaps itself), and `duplicate_5_grams` of the 5-grams. Case and
    white space around a line are ignored, and so are lines and paragraphs without letters or
    digits.
    """
    measured = [_measured(block) for block in _blocks([text.lower() for text in texts])]
    return {
        name: np.concatenate([np.zeros(0), *(block[name] for block in measured)]) for name in NAMES
    }


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for end, text in enumerate(texts):
        if size and size + len(text) > _BLOCK:
            yield texts[start:end]
            start, size = end, 0
        size += len(text) + 2
    if texts:
        yield texts[start:]


def _measured(texts: Sequence[str]) -> dict[str, Shares]:
    # A blank line between two texts, so that no word or paragraph is in both.
    codes = np.frombuffer("\n\n".join([*texts, ""]).encode("utf-32-le"), np.uint32)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 2)
    block = _Block(codes, ends)
    measured: dict[str, Shares] = {}
    for name, spans in (("line", block.lines()), ("paragraph", block.paragraphs())):
        again = _repeated(spans, len(texts))
        count, total = _sums(spans, len(texts))
        measured[f"{name}s"] = _share(again.spans, count)
        measured[f"{name}_characters"] = _share(again.characters, total)
    return measured | _grams(block.words(), len(texts))


class _Block:
    """The letters of a block of texts, with cumulative sums that give the hash of any span."""

    def __init__(self, codes: npt.NDArray[np.uint32], ends: Places) -> None:
        self._kinds = _kinds(codes)
        self._ends = ends
        self._line = np.cumsum(self._kinds == _LINE_END)
        powers, self._inverses = _powers(1 << max(10, len(codes).bit_length()))
        # A polynomial over the letters: its cumulative sums give the hash of every span.
        terms = _mixed((codes.astype(np.uint64) + np.uint64(1)) * _PRIME) * powers[: len(codes)]
        self._sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))

    def words(self) -> _Spans:
        whole, part = self._kinds == _WHOLE, self._kinds == _PART
        first = np.flatnonzero(whole | (part & ~np.concatenate(([False], part[:-1]))))
        last = np.flatnonzero(whole | (part & ~np.concatenate((part[1:], [False]))))
        return self._spans(first, last)

    def lines(self) -> _Spans:
        return self._parted(1)

    def paragraphs(self) -> _Spans:
        return self._parted(2)

    def _parted(self, step: int) -> _Spans:
        """Split the text where at least `step` line ends are between two visible characters."""
        written = np.flatnonzero(self._kinds > _LINE_END)
        parted = np.flatnonzero(np.diff(self._line[written]) >= step)
        if not written.size:
            return self._spans(written, written)
        starts = np.concatenate(([0], parted + 1))
        worded = np.maximum.reduceat(self._kinds[written], starts) >= _PART
        first = written[starts]
        last = written[np.concatenate((parted, [written.size - 1]))]
        return self._spans(first[worded], last[worded])

    def _spans(self, first: Places, last: Places) -> _Spans:
        values = _mixed((self._sums[last + 1] - self._sums[first]) * self._inverses[first])
        of = np.searchsorted(self._ends, first, side="right").astype(np.int64)
        return _Spans(values, last - first + 1, of)


def _grams(words: _Spans, texts: int) -> dict[str, Shares]:
    """Count n-grams; a longer one is counted only if the shorter one repeats."""
    number = np.bincount(words.of, minlength=texts)
    characters = _sums(words, texts)[1] + np.maximum(number - 1, 0)
    ends = np.cumsum(words.sizes + 1)
    begins = ends - words.sizes - 1
    places, hashes = np.arange(len(words.of)), words.hashes
    measured = {}
    for n in range(2, DUPLICATES + 1):
        inside = places + n <= len(words.of)
        inside[inside] = words.of[places[inside]] == words.of[places[inside] + n - 1]
        places = places[inside]
        hashes = _mixed(hashes[inside] * _PRIME + words.hashes[places + n - 1])
        sizes = ends[places + n - 1] - begins[places] - 1
        repeats, again = _counted(_Spans(hashes, sizes, words.of[places]))
        if n <= LONGEST_TOP:
            top = np.zeros(texts, np.int64)
            often = again > FREE
            np.maximum.at(top, words.of[places[often]], ((again - FREE) * sizes)[often])
            measured[f"top_{n}_gram"] = _share(top, characters)
        else:
            extra = np.bincount(words.of[places[repeats]], minlength=texts)
            grams = np.maximum(number - n + 1, 0)
            measured[f"duplicate_{n}_grams"] = _share(extra, grams)
        places, hashes = places[again > 1], hashes[again > 1]
    return measured


def _counted(spans: _Spans) -> tuple[npt.NDArray[np.bool_], Places]:
    """Return whether each span repeats an earlier one of its text, and how often it occurs."""
    keys = spans.hashes ^ _mixed(spans.of.astype(np.uint64) * _PRIME)
    _, first, inverse, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    repeats = np.ones(len(keys), np.bool_)
    repeats[first] = False
    return repeats, counts[inverse]


def _repeated(spans: _Spans, texts: int) -> _Repeats:
    repeats, _ = _counted(spans)
    of = spans.of[repeats]
    characters = np.bincount(of, spans.sizes[repeats], texts).astype(np.int64)
    return _Repeats(np.bincount(of, minlength=texts), characters)


def _sums(spans: _Spans, texts: int) -> tuple[Places, Places]:
    """Count each text's spans and their characters."""
    characters = np.bincount(spans.of, spans.sizes, texts).astype(np.int64)
    return np.bincount(spans.of, minlength=texts), characters


def _share(part: Places, whole: Places) -> Shares:
    return part / np.maximum(whole, 1)


def _mixed(x: Hashes) -> Hashes:
    """Spread every bit over the whole word, by xorshift and multiplication."""
    x = (x ^ (x >> np.uint64(32))) * _MIX
    return x ^ (x >> np.uint64(29))


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    bases = (_BASE, pow(_BASE, -1, 1 << 64))
    up, down = (np.cumprod(np.full(size, base, np.uint64), dtype=np.uint64) for base in bases)
    return up, down


@cache
def _seen() -> npt.NDArray[np.uint8]:
    return np.zeros(0x110000, np.uint8)


def _kinds(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Return the kind of each code point; each is looked up once in a process."""
    table = _seen()
    kinds = table[codes]
    if not kinds.all():
        for code in np.unique(codes[kinds == _UNSEEN]).tolist():
            table[code] = _kind(code)
        kinds = table[codes]
    return kinds


def _kind(code: int) -> int:
    letter = chr(code)
    if letter == "\n":
        return _LINE_END
    if letter.isspace():
        return _SPACE
    if unicodedata.category(letter)[0] not in "LMN":
        return _SIGN
    return _WHOLE if any(low <= code <= high for low, high in _UNSPACED) else _PART
