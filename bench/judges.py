"""Simulated judges, whose errors are known by construction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from soupstock.stats.agreement import Weights, alpha, kappa

Floats = npt.NDArray[np.float64]
Draw = np.random.Generator

CANARIES = ("empty", "gibberish", "another", "truncated", "echo")

_FINE = 20_000
_MANY = 400_000
_FAR = 40.0
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Judge:
    """A judge that passes or fails."""

    passes_good: float
    fails_bad: float

    def verdicts(self, draw: Draw, rows: int, rate: float) -> tuple[Floats, Floats]:
        """Draw people's labels of rows, and the judge's."""
        good = draw.random(rows) < rate
        chance = np.where(good, self.passes_good, 1 - self.fails_bad)
        return good.astype(np.float64), (draw.random(rows) < chance).astype(np.float64)


@dataclass(frozen=True)
class Curve:
    """The probability that a row is bad, by its score; scores are uniform from 0 to 1."""

    bad: Callable[[Floats], Floats]

    def labelled(self, draw: Draw, rows: int) -> tuple[Floats, Floats]:
        """Draw labels (1: good) and scores."""
        scores = draw.random(rows)
        return (draw.random(rows) >= self.bad(scores)).astype(np.float64), scores

    def bad_above(self, threshold: float) -> float:
        """Return the true share of bad rows among those above a threshold."""
        middles = (np.arange(_FINE) + 0.5) / _FINE
        return float(self.bad(threshold + (1 - threshold) * middles).mean())


CURVES: Mapping[str, Callable[[float], Curve]] = {
    "good": lambda _: Curve(lambda s: 1 / (1 + np.exp(12 * (s - 0.35)))),
    "fair": lambda _: Curve(lambda s: 0.02 + 0.6 / (1 + np.exp(8 * (s - 0.3)))),
    "guessing, just above the limit": lambda bad: Curve(lambda s: np.full_like(s, bad * 1.02)),
    "wrong about its best rows": lambda bad: Curve(
        lambda s: np.select([s > 0.8, s > 0.4], [bad * 1.5, bad * 0.3], 0.5)  # noqa: PLR2004
    ),
    "its best rows just above the limit": lambda bad: Curve(lambda s: bad * 1.02 + (1 - s) * 0.3),
}
"""The promised share of bad rows, and a judge; the last three are hard to keep a promise for."""


def levels_of(draw: Draw, rows: int, judges: int, levels: int, care: float) -> Floats:
    """Draw levels of unequal frequency: each judge sees the true one, or guesses a near one."""
    chances = np.arange(1, levels + 1) / np.arange(1, levels + 1).sum()
    truth = draw.choice(levels, rows, p=chances)
    guesses = draw.choice(levels, (judges, rows), p=chances)
    slips = np.clip(truth + draw.choice((-1, 1), (judges, rows)), 0, levels - 1)
    lapse = np.where(draw.random((judges, rows)) < care, slips, guesses)
    return np.where(draw.random((judges, rows)) < care, truth, lapse).astype(np.float64)


def true_kappa(levels: int, care: float, weights: Weights) -> float:
    """Return the kappa of very many rows."""
    people, judge = levels_of(np.random.default_rng(1), _MANY, 2, levels, care)
    return kappa(people, judge, levels=range(levels), weights=weights).interval.estimate


def true_alpha(judges: int, levels: int, care: float) -> float:
    """Return the alpha of very many rows."""
    return alpha(levels_of(np.random.default_rng(1), _MANY, judges, levels, care)).interval.estimate


def normal_scores(
    draw: Draw, rows: int, area: float, levels: int | None = None, tied: float = 0.0
) -> Floats:
    """Draw scores of good rows and then of as many bad ones, with about the given AUC.

    `tied` is the share of a score that a good and a bad copy of a row have in common.
    """
    apart = _NORMAL.inv_cdf(area) * np.sqrt(2)
    shared, own = draw.normal(size=rows), draw.normal(size=(2, rows))
    both = np.sqrt(tied) * shared + np.sqrt(1 - tied) * own + np.array([[apart], [0.0]])
    return _cut(both.ravel(), apart, levels)


def _cut(scores: Floats, apart: float, levels: int | None) -> Floats:
    """Round scores to levels around the middle between good and bad rows."""
    if levels is None:
        return scores
    edges = apart / 2 + np.linspace(-1, 1, levels - 1)
    return np.searchsorted(edges, scores).astype(np.float64)


def true_area(area: float, levels: int | None) -> float:
    """Return the AUC of scores after rounding, untied."""
    if levels is None:
        return area
    apart = _NORMAL.inv_cdf(area) * np.sqrt(2)
    edges = [-_FAR, *(apart / 2 + np.linspace(-1, 1, levels - 1)), _FAR]
    good, bad = (np.diff([_NORMAL.cdf(edge - mean) for edge in edges]) for mean in (apart, 0.0))
    return float(good @ (np.cumsum(bad) - bad / 2))


def canary_scores(
    draw: Draw, rows: int, area: float | None, levels: int | None, blind: int
) -> tuple[Floats, dict[str, Floats]]:
    """Draw scores of originals, and of each kind of canary.

    The judge is blind to the first `blind` kinds: they score like originals. Without an AUC,
    every row has the same score.
    """
    if area is None:
        return np.ones(rows), {kind: np.ones(rows) for kind in CANARIES}
    apart = _NORMAL.inv_cdf(area) * np.sqrt(2)
    shared = draw.normal(size=rows) * np.sqrt(0.3)
    means = [apart, *(apart if number < blind else 0.0 for number in range(len(CANARIES)))]
    scores = [
        _cut(mean + shared + np.sqrt(0.7) * draw.normal(size=rows), apart, levels) for mean in means
    ]
    return scores[0], dict(zip(CANARIES, scores[1:], strict=True))


def pair_verdicts(draw: Draw, pairs: int, bias: float) -> tuple[Floats, Floats]:
    """Draw verdicts on pairs in both orders; in a share `bias`, the answer shown first wins."""
    merit = draw.normal(size=pairs)
    forward, backward = np.sign(merit + draw.normal(size=(2, pairs)))
    taken = draw.random((2, pairs)) < bias
    return np.where(taken[0], 1.0, forward), np.where(taken[1], -1.0, backward)


def share_above(strengths: Floats) -> float:
    """Return the probability that the first item beats the second."""
    return float(1 / (1 + np.exp(strengths[1] - strengths[0])))


def wins_of(draw: Draw, strengths: Floats, meetings: int) -> tuple[list[int], list[int], Floats]:
    """Draw the winners when each pair is compared several times."""
    first, second = np.triu_indices(len(strengths), 1)
    first, second = np.repeat(first, meetings), np.repeat(second, meetings)
    chance = 1 / (1 + np.exp(strengths[second] - strengths[first]))
    verdicts = np.where(draw.random(len(first)) < chance, 1.0, -1.0)
    return first.tolist(), second.tolist(), verdicts
