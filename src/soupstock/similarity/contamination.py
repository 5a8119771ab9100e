"""Find texts that equal, quote or rephrase an item of an evaluation set.

Each text is compared independently; only the items determine how rare a word or an n-gram is. So
neither other texts nor their order make a difference. Knows no rows and no files.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from soupstock.similarity.cosine import Vectors
from soupstock.similarity.minhash import Shingles, digest, ngrams, normalized, word_hashes
from soupstock.similarity.tfidf import (
    FeatureCounts,
    Weights,
    character_ngrams,
    count_features,
    hashed_vectors,
)

STAGES = ("exact", "13-gram", "8-gram", "rephrased")
"""The tests for contamination, the most certain one first."""

MAX_ITEMS_PER_NGRAM = 10
"""An n-gram in more items than this is not evidence for any of them (Brown et al. 2020, GPT-3)."""

_WIDTH = 512
_ROUND = 4000.0
_SLACK = 0.15
"""The largest error of the cosine of two hashed vectors: three standard deviations."""


class Contamination(NamedTuple):
    """The stages that found an item in a text, and the item that the first of them found."""

    stages: tuple[str, ...] = ()
    item: int = -1
    similarity: float = 0.0


def best_match(found: Sequence[Contamination]) -> int:
    """Return in which of several texts an item is found most certainly; the first of equals."""

    def rank(place: int) -> tuple[int, float]:
        stages, _, similarity = found[place]
        return (STAGES.index(stages[0]) if stages else len(STAGES), -similarity)

    return min(range(len(found)), key=rank)


class _NgramIndex:
    """The items that have each n-gram."""

    def __init__(self, items: Shingles, size: int) -> None:
        features = count_features(ngrams(items, size))
        self.size = size
        self.sizes = np.diff(features.starts)
        order = np.lexsort((features.texts, features.flat))
        self._items = features.texts[order]
        self._keys, self._starts, often = np.unique(
            features.flat[order], return_index=True, return_counts=True
        )
        self._often = np.where(often <= MAX_ITEMS_PER_NGRAM, often, 0)

    def shares(self, texts: Shingles) -> Iterator[tuple[int, int, float]]:
        """Yield a text, an item, and the share of the item's n-grams that the text has."""
        features = count_features(ngrams(texts, self.size))
        if not (self._keys.size and features.flat.size):
            return
        place = np.minimum(np.searchsorted(self._keys, features.flat), len(self._keys) - 1)
        often = np.where(self._keys[place] == features.flat, self._often[place], 0)
        owner = np.repeat(features.texts, often)
        first = np.repeat(self._starts[place] - np.cumsum(often) + often, often)
        item = self._items[first + np.arange(len(first))]
        pairs, count = np.unique(owner * len(self.sizes) + item, return_counts=True)
        for pair, held in zip(pairs.tolist(), count.tolist(), strict=True):
            text, which = divmod(pair, len(self.sizes))
            yield text, which, held / int(self.sizes[which])


class _WeightedTexts(NamedTuple):
    """The weighted features of some texts."""

    features: FeatureCounts
    weights: Weights
    lengths: Weights

    @classmethod
    def of(
        cls, texts: Sequence[str], weigh: Callable[[FeatureCounts], Weights]
    ) -> "_WeightedTexts":
        features = count_features(character_ngrams(texts))
        weights = weigh(features)
        return cls(features, weights, _lengths(features, weights))


class Detector:
    """Compares texts with the items of evaluation sets."""

    def __init__(self, items: Sequence[str], overlap: float, threshold: float) -> None:
        """Index the items; `overlap` and `threshold` are those of a decontaminate step."""
        self._overlap, self._threshold = overlap, threshold
        self._exact: dict[bytes, int] = {}
        self._firsts = [
            self._exact.setdefault(digest(normalized(item)), place)
            for place, item in enumerate(items)
        ]
        hashed = word_hashes([normalized(item) for item in items])
        self._eight, self._thirteen = _NgramIndex(hashed, 8), _NgramIndex(hashed, 13)
        self._features = count_features(character_ngrams(items))
        self._known, self._seen = np.unique(self._features.flat, return_counts=True)
        self._weights = self._weigh(self._features)
        self._lengths = _lengths(self._features, self._weights)
        self._vectors = self._rounded(self._features, self._weights)

    def find(self, texts: Sequence[str]) -> list[Contamination]:
        """Return for each text the item found in it, if any."""
        found: list[dict[str, tuple[float, int]]] = [{} for _ in texts]
        for text, content in enumerate(texts):
            if (item := self._exact.get(digest(normalized(content)))) is not None:
                found[text]["exact"] = (1.0, item)
        for text, item, stage, share in self._quoted(texts):
            _note(found[text], stage, share, item)
        for text, item, cosine in self._rephrased(texts):
            _note(found[text], "rephrased", cosine, item)
        return [_contamination(stages) for stages in found]

    def neighbours(self, items: Sequence[str]) -> list[tuple[str, Contamination]]:
        """Pair each item with the most similar other one, as if rephrased; each pair occurs once.

        Items are not paired if they are equal, or if a more certain stage would find the other.
        """
        if not items:
            return []
        own = [self._exact[digest(normalized(item))] for item in items]
        texts = _WeightedTexts.of(items, self._weigh)
        products = self._rounded(texts.features, texts.weights) @ self._vectors.T
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
        """Yield texts and items that share runs of words, with the stage that found them."""
        hashed = word_hashes([normalized(text) for text in texts])
        for grams_, least in ((self._thirteen, 0.0), (self._eight, self._overlap)):
            for text, item, share in grams_.shares(hashed):
                if share >= least:
                    yield text, item, f"{grams_.size}-gram", share

    def _rephrased(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        weighed = _WeightedTexts.of(texts, self._weigh)
        products = self._rounded(weighed.features, weighed.weights) @ self._vectors.T
        near = np.argwhere(products >= (self._threshold - _SLACK) * _ROUND**2)
        for text, item in near.tolist():
            cosine = self._cosine(weighed, text, item)
            if cosine >= self._threshold:
                yield text, item, cosine

    def _cosine(self, texts: "_WeightedTexts", text: int, item: int) -> float:
        own = slice(texts.features.starts[text], texts.features.starts[text + 1])
        other = slice(self._features.starts[item], self._features.starts[item + 1])
        _, one, two = np.intersect1d(
            texts.features.flat[own],
            self._features.flat[other],
            assume_unique=True,
            return_indices=True,
        )
        product = (texts.weights[own][one] * self._weights[other][two]).sum()
        return min(float(product / max(texts.lengths[text] * self._lengths[item], 1e-300)), 1.0)

    def _weigh(self, features: FeatureCounts) -> Weights:
        """Weight features by TF-IDF: by frequency in the text, and rarity among the items."""
        seen = np.zeros(len(features.flat), np.int64)
        if self._known.size:
            place = np.minimum(np.searchsorted(self._known, features.flat), len(self._known) - 1)
            seen = np.where(self._known[place] == features.flat, self._seen[place], 0)
        items = len(self._features.starts) - 1
        weights: Weights = (1 + np.log(features.counts)) * (np.log((1 + items) / (1 + seen)) + 1)
        return weights

    def _rounded(self, features: FeatureCounts, weights: Weights) -> Vectors:
        # Products of integers are exact, in whatever order a machine adds them up.
        rounded: Vectors = np.rint(hashed_vectors(features, weights, _WIDTH) * _ROUND)
        return rounded


def _lengths(features: FeatureCounts, weights: Weights) -> Weights:
    return np.sqrt(np.bincount(features.texts, np.square(weights), len(features.starts) - 1))


def _note(stages: dict[str, tuple[float, int]], stage: str, similarity: float, item: int) -> None:
    """Keep the most similar item, or the first of equally similar ones."""
    known = stages.get(stage)
    if known is None or (-similarity, item) < (-known[0], known[1]):
        stages[stage] = (similarity, item)


def _contamination(found: dict[str, tuple[float, int]]) -> Contamination:
    stages = tuple(stage for stage in STAGES if stage in found)
    if not stages:
        return Contamination()
    similarity, item = found[stages[0]]
    return Contamination(stages, item, similarity)
