"""Measure how different texts are from each other, by figures known from the literature.

These are pure functions of texts: they know no rows, no models and no files. For few texts they say
little, and most of them depend on the number of texts: compare equally many.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from soupstock.similarity.cosine import UNIT, Vectors, directions
from soupstock.similarity.minhash import ngrams, normalized, word_hashes
from soupstock.similarity.tfidf import tfidf_vectors

OPENING = 3
"""The number of words in an opening."""

PHRASE = 6
"""The number of words in a phrase."""

MIN_TEXTS = 30
"""With fewer texts, there are no alarms."""

# Prose by people, and by models that are asked different things, stays below these; see
# docs/pruning.md.
_OPENING_SHARE, _PHRASE_SHARE, _REPEAT_SHARE = 0.25, 0.25, 0.1
_COMPRESSION, _DIFFERENT = 5.0, 0.05


class CommonPhrase(NamedTuple):
    """Words that many texts have in common, and the share of these texts."""

    words: str
    share: float


class Diversity(NamedTuple):
    """The diversity of some texts."""

    texts: int
    distinct: tuple[float, float, float]
    """Distinct words, pairs and triples of words, each as a share of all (Li et al. 2016)."""
    compression: float
    """The compression ratio of zlib: it is high for similar texts (Shaib et al. 2024)."""
    vendi: float
    """How many texts without anything in common are as diverse (Friedman and Dieng 2023)."""
    opening: CommonPhrase
    """The most common first words."""
    phrase: CommonPhrase
    """The most common run of words, anywhere."""
    repeats: float
    """The share of texts that are near-duplicates of another one."""

    def alarms(self) -> list[str]:
        """Describe signs that a model always answers in the same way."""
        if self.texts < MIN_TEXTS:
            return []
        found = []
        if self.opening.share >= _OPENING_SHARE:
            found.append(f"{self.opening.share:.0%} of the texts begin with “{self.opening.words}”")
        is_new = not normalized(self.phrase.words).startswith(self.opening.words)
        if self.phrase.share >= _PHRASE_SHARE and is_new:
            found.append(f"{self.phrase.share:.0%} of the texts contain “{self.phrase.words}”")
        if self.repeats >= _REPEAT_SHARE:
            found.append(f"{self.repeats:.0%} of the texts are near-duplicates of another one")
        if self.compression >= _COMPRESSION:
            found.append(
                f"zlib makes the texts {self.compression:.1f} times smaller, and prose about two"
                " and a half times"
            )
        if self.vendi < _least_vendi(self.texts):
            found.append(
                f"{self.texts:,} texts are as diverse as {self.vendi:.1f} that have nothing in"
                " common"
            )
        return found


def _least_vendi(texts: int) -> float:
    return max(2.0, _DIFFERENT * min(texts, 256))


def diversity(
    texts: Sequence[str], repeats: float = 0.0, vectors: Vectors | None = None
) -> Diversity:
    """Measure texts; `vectors` are their embeddings. Default: vectors of their words.

    `repeats` is the share of near-duplicates, if it is known.
    """
    ordered = sorted(texts, key=_draw)
    return Diversity(
        texts=len(texts),
        distinct=(distinct(texts, 1), distinct(texts, 2), distinct(texts, 3)),
        compression=compression(ordered),
        vendi=vendi(tfidf_vectors(texts) if vectors is None else vectors),
        opening=commonest(map(_opening, texts), len(texts)),
        phrase=_commonest_phrase(ordered),
        repeats=repeats,
    )


def _draw(text: str) -> bytes:
    """Return a sort key that shuffles texts by content, independent of their order."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()


def distinct(texts: Sequence[str], size: int) -> float:
    """Return the number of distinct runs of `size` words as a share of all; 1 if there are none."""
    runs = ngrams(word_hashes([normalized(text) for text in texts]), size).flat
    return len(np.unique(runs)) / len(runs) if len(runs) else 1.0


def compression(texts: Iterable[str]) -> float:
    """Return the compression ratio of zlib for the joined texts; 1 if there are none."""
    packer, before, after = zlib.compressobj(6), 0, 0
    for text in texts:
        data = f"{text}\n".encode(errors="surrogatepass")
        before += len(data)
        after += len(packer.compress(data))
    return before / (after + len(packer.flush())) if before else 1.0


def vendi(vectors: Vectors) -> float:
    """Return the exponential of the entropy of the similarities' eigenvalues; 0 without vectors.

    It goes from 1, if all vectors are equal, to the number of vectors or dimensions. Their mean is
    subtracted first, as for semantic dedup.
    """
    near = directions(vectors).astype(np.float64)
    near = near[near.any(axis=1)]
    if not len(near):
        return 0.0
    near /= np.sqrt(np.square(near).sum(axis=1, keepdims=True))
    # Both products have the same eigenvalues apart from zeros; take the smaller one.
    product = near.T @ near if len(near) > near.shape[1] else near @ near.T
    values = np.linalg.eigvalsh(product / len(near))
    values = values[values > UNIT**-1]
    return float(np.exp(-(values * np.log(values)).sum()))


def effective_number(counts: Iterable[int]) -> float:
    """Return the number of equally frequent values that are as diverse (Hill 1973, order 1)."""
    present = [count for count in counts if count]
    total = sum(present)
    return (
        math.exp(-math.fsum(n / total * math.log(n / total) for n in present)) if present else 0.0
    )


def commonest(phrases: Iterable[str], of: int) -> CommonPhrase:
    """Return the most common phrase (of several, the first in the alphabet) with its share."""
    counts = Counter(phrase for phrase in phrases if phrase)
    if not counts:
        return CommonPhrase("", 0.0)
    phrase, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return CommonPhrase(phrase, count / of)


def _split(text: str) -> list[str]:
    return normalized(text).split()


def _opening(text: str) -> str:
    own = _split(text)
    return " ".join(own[:OPENING]) if len(own) > OPENING else ""


def _commonest_phrase(texts: Sequence[str]) -> CommonPhrase:
    """Return the run of words that most texts have; each text counts once."""
    hashed = ngrams(word_hashes([normalized(text) for text in texts]), PHRASE)
    owner = np.repeat(np.arange(len(texts)), hashed.sizes)
    order = np.lexsort((owner, hashed.flat))
    runs, owners = hashed.flat[order], owner[order]
    first = np.ones(len(runs), bool)
    first[1:] = (runs[1:] != runs[:-1]) | (owners[1:] != owners[:-1])
    values, places, counts = np.unique(runs[first], return_index=True, return_counts=True)
    if not len(values) or counts.max() < 2:  # noqa: PLR2004 - a phrase needs two texts
        return CommonPhrase("", 0.0)
    best = int(np.flatnonzero(counts == counts.max())[0])
    text = int(owners[first][places[best]])
    place = int(np.flatnonzero(hashed.flat[hashed.starts[text] :] == values[best])[0])
    return CommonPhrase(_words_at(texts[text], place), float(counts[best]) / len(texts))


def _words_at(text: str, place: int) -> str:
    """Return the words of a run, as far as spaces separate words."""
    ends = np.cumsum(word_hashes([normalized(part) for part in text.split()]).sizes)
    parts = text.split()
    first = int(np.searchsorted(ends, place, side="right"))
    last = int(np.searchsorted(ends, place + PHRASE - 1, side="right"))
    return " ".join(parts[first : last + 1])
