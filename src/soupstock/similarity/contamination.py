"""Find texts that are, hold or rephrase an item of an evaluation set.

Each text is compared by itself, with what the items alone say of how rare a word or an n-gram is;
so neither other texts nor their order make a difference. Knows no rows and no files.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from soupstock.similarity.cosine import Vectors
from soupstock.similarity.minhash import Shingles, digest, folded, ngrams, word_hashes
from soupstock.similarity.tfidf import (
    FeatureCounts,
    Weights,
    character_ngrams,
    count_features,
    hashed_vectors,
)

STAGES = ("exact", "13-gram", "8-gram", "rephrased")
"""What tells that a text is contaminated, the surest first."""

MAX_ITEMS_PER_NGRAM = 10
"""An n-gram that more items have than this is no sign of one of them (GPT-3, Brown et al. 2020)."""

_WIDTH = 512
_ROUND = 4000.0
_SLACK = 0.15
"""How far the cosine of two sketches is off, at the most: three times its deviation."""


class Contamination(NamedTuple):
    """What a text has of the items: each stage that tells so, and the item that the first names."""

    stages: tuple[str, ...] = ()
    item: int = -1
    similarity: float = 0.0


def surest(found: Sequence[Contamination]) -> int:
    """Say in which of several texts an item is found most surely; in the first of equals."""

    def rank(place: int) -> tuple[int, float]:
        stages, _, similarity = found[place]
        return (STAGES.index(stages[0]) if stages else len(STAGES), -similarity)

    return min(range(len(found)), key=rank)


class _NgramIndex:
    """Which items have an n-gram."""

    def __init__(self, items: Shingles, size: int) -> None:
        bags = count_features(ngrams(items, size))
        self.size = size
        self.sizes = np.diff(bags.starts)
        order = np.lexsort((bags.texts, bags.flat))
        self._items = bags.texts[order]
        self._keys, self._starts, often = np.unique(
            bags.flat[order], return_index=True, return_counts=True
        )
        self._often = np.where(often <= MAX_ITEMS_PER_NGRAM, often, 0)

    def shares(self, texts: Shingles) -> Iterator[tuple[int, int, float]]:
        """Yield for texts and items the share of the item's n-grams that the text has."""
        bags = count_features(ngrams(texts, self.size))
        if not (self._keys.size and bags.flat.size):
            return
        place = np.minimum(np.searchsorted(self._keys, bags.flat), len(self._keys) - 1)
        often = np.where(self._keys[place] == bags.flat, self._often[place], 0)
        owner = np.repeat(bags.texts, often)
        first = np.repeat(self._starts[place] - np.cumsum(often) + often, often)
        item = self._items[first + np.arange(len(first))]
        pairs, count = np.unique(owner * len(self.sizes) + item, return_counts=True)
        for pair, held in zip(pairs.tolist(), count.tolist(), strict=True):
            text, which = divmod(pair, len(self.sizes))
            yield text, which, held / int(self.sizes[which])


class _WeightedTexts(NamedTuple):
    """Texts as bags of weighed features."""

    bags: FeatureCounts
    weights: Weights
    lengths: Weights

    @classmethod
    def of(
        cls, texts: Sequence[str], weigh: Callable[[FeatureCounts], Weights]
    ) -> "_WeightedTexts":
        bags = count_features(character_ngrams(texts))
        weights = weigh(bags)
        return cls(bags, weights, _lengths(bags, weights))


class Detector:
    """Compares texts with items."""

    def __init__(self, items: Sequence[str], overlap: float, threshold: float) -> None:
        """Take texts for the items; `overlap` and `threshold` are those of a decontaminate step."""
        self._overlap, self._threshold = overlap, threshold
        self._exact: dict[bytes, int] = {}
        self._firsts = [
            self._exact.setdefault(digest(folded(item)), place) for place, item in enumerate(items)
        ]
        hashed = word_hashes([folded(item) for item in items])
        self._eight, self._thirteen = _NgramIndex(hashed, 8), _NgramIndex(hashed, 13)
        self._bags = count_features(character_ngrams(items))
        self._known, self._seen = np.unique(self._bags.flat, return_counts=True)
        self._weights = self._weigh(self._bags)
        self._lengths = _lengths(self._bags, self._weights)
        self._sketches = self._rounded(self._bags, self._weights)

    def find(self, texts: Sequence[str]) -> list[Contamination]:
        """Say of each text what it has of the items."""
        found: list[dict[str, tuple[float, int]]] = [{} for _ in texts]
        for text, content in enumerate(texts):
            if (item := self._exact.get(digest(folded(content)))) is not None:
                found[text]["exact"] = (1.0, item)
        for text, item, stage, share in self._quoted(texts):
            _note(found[text], stage, share, item)
        for text, item, cosine in self._rephrased(texts):
            _note(found[text], "rephrased", cosine, item)
        return [_contamination(stages) for stages in found]

    def neighbours(self, items: Sequence[str]) -> list[tuple[str, Contamination]]:
        """Pair items with the other one that each is most like, as if rephrased; each pair once.

        None is paired with one that says the same, or that a surer stage would find in it.
        """
        if not items:
            return []
        own = [self._exact[digest(folded(item))] for item in items]
        texts = _WeightedTexts.of(items, self._weigh)
        products = self._rounded(texts.bags, texts.weights) @ self._sketches.T
        products[np.array(own)[:, None] == np.array(self._firsts)[None, :]] = -np.inf
        for text, item, _, _ in self._quoted(items):
            products[text, item] = -np.inf
        pairs: dict[frozenset[int], tuple[str, Contamination]] = {}
        for text, item in enumerate(products.argmax(axis=1).tolist()):
            if np.isfinite(products[text, item]):
                found = Contamination(("rephrased",), item, self._cosine(texts, text, item))
                pairs.setdefault(frozenset((own[text], self._firsts[item])), (items[text], found))
        return list(pairs.values())

    def _quoted(self, texts: Sequence[str]) -> Iterator[tuple[int, int, str, float]]:
        """Yield texts and items that share runs of words, with the stage that tells so."""
        hashed = word_hashes([folded(text) for text in texts])
        for grams_, least in ((self._thirteen, 0.0), (self._eight, self._overlap)):
            for text, item, share in grams_.shares(hashed):
                if share >= least:
                    yield text, item, f"{grams_.size}-gram", share

    def _rephrased(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        weighed = _WeightedTexts.of(texts, self._weigh)
        products = self._rounded(weighed.bags, weighed.weights) @ self._sketches.T
        near = np.argwhere(products >= (self._threshold - _SLACK) * _ROUND**2)
        for text, item in near.tolist():
            cosine = self._cosine(weighed, text, item)
            if cosine >= self._threshold:
                yield text, item, cosine

    def _cosine(self, texts: "_WeightedTexts", text: int, item: int) -> float:
        own = slice(texts.bags.starts[text], texts.bags.starts[text + 1])
        other = slice(self._bags.starts[item], self._bags.starts[item + 1])
        _, one, two = np.intersect1d(
            texts.bags.flat[own], self._bags.flat[other], assume_unique=True, return_indices=True
        )
        product = (texts.weights[own][one] * self._weights[other][two]).sum()
        return min(float(product / max(texts.lengths[text] * self._lengths[item], 1e-300)), 1.0)

    def _weigh(self, bags: FeatureCounts) -> Weights:
        """Weigh features: those count more that are frequent in the text and rare among items."""
        seen = np.zeros(len(bags.flat), np.int64)
        if self._known.size:
            place = np.minimum(np.searchsorted(self._known, bags.flat), len(self._known) - 1)
            seen = np.where(self._known[place] == bags.flat, self._seen[place], 0)
        items = len(self._bags.starts) - 1
        weights: Weights = (1 + np.log(bags.counts)) * (np.log((1 + items) / (1 + seen)) + 1)
        return weights

    def _rounded(self, bags: FeatureCounts, weights: Weights) -> Vectors:
        # Products of integers are exact, whatever the order in which a machine adds them up.
        rounded: Vectors = np.rint(hashed_vectors(bags, weights, _WIDTH) * _ROUND)
        return rounded


def _lengths(bags: FeatureCounts, weights: Weights) -> Weights:
    return np.sqrt(np.bincount(bags.texts, np.square(weights), len(bags.starts) - 1))


def _note(stages: dict[str, tuple[float, int]], stage: str, similarity: float, item: int) -> None:
    """Keep the most similar item, and of equally similar ones the first."""
    known = stages.get(stage)
    if known is None or (-similarity, item) < (-known[0], known[1]):
        stages[stage] = (similarity, item)


def _contamination(found: dict[str, tuple[float, int]]) -> Contamination:
    stages = tuple(stage for stage in STAGES if stage in found)
    if not stages:
        return Contamination()
    similarity, item = found[stages[0]]
    return Contamination(stages, item, similarity)
