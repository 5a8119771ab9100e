"""Find the lowest score to keep so that a promise holds: few of the kept rows are bad."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from soupstock.stats.intervals import (
    LEVEL,
    Flags,
    Floats,
    Interval,
    Values,
    beta_quantile,
    binary,
    binomial_cdf,
    complete,
    counted,
    missing_note,
)
from soupstock.stats.proportions import proportion

GRID = tuple(round(1 - step / 100, 2) for step in range(101))
"""Scores from 1 to 0: the thresholds to test, fixed before any label is seen."""

POWER = 0.8
"""How often the suggested number of labels should suffice."""

_FIRST_SHARE = 1 / 3


class Promise(NamedTuple):
    """A threshold that keeps a promise, or the number of labels needed to prove one."""

    bad: float
    """At most this share of the kept rows is bad."""
    confidence: float
    """In this share of calibrations, the promise holds or none is made."""
    threshold: float | None
    """Keep rows with at least this score; None if nothing is proven."""
    kept: Interval
    """The share of rows that the threshold keeps; if none is proven, that the first one keeps."""
    found: Interval
    """The share of bad rows among those labelled rows, as if no other threshold was tested."""
    labels: int
    needed: int | None
    """How many more labels would probably prove it; None if no number would, 0 if it is proven."""
    missing: int
    """Labelled rows without a score; they do not count."""

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        promise = f"at most {self.bad * 100:g} % bad rows at {self.confidence * 100:g} % confidence"
        labels = f"{counted(self.labels, 'label')}{missing_note(self.missing)}"
        if self.threshold is not None:
            return (
                f"Keeping scores of at least {self.threshold:g} leaves {promise}; it keeps"
                f" {self.kept.estimate * 100:.0f} % of the rows ({labels})."
            )
        if self.needed is not None:
            return f"Not proven with {labels}: {promise}; about {self.needed:,} more are needed."
        return (
            f"Not proven with {labels}: {promise}; among the rows with the highest scores,"
            f" {self.found.percent()} are bad."
        )


class _Kept(NamedTuple):
    """The labelled rows that a threshold keeps."""

    threshold: float
    rows: int
    bad: int


def promise(
    labels: Values,
    scores: Values,
    *,
    bad: float = 0.05,
    confidence: float = LEVEL,
    grid: Sequence[float] = GRID,
) -> Promise:
    """Find the lowest score from which at most the share `bad` of rows is bad (label 0, not 1).

    Thresholds are tested from the strictest down, each by the exact binomial test, until one fails.
    In this fixed-sequence testing, many thresholds need no correction (Angelopoulos et al. 2022,
    Learn then Test). The first one tested keeps a third of the labelled rows, and at least enough
    to prove the promise if none were bad. The labelled rows must be a random sample of those that
    the threshold is for.

    Raises:
        ValueError: A label is neither 1 nor 0, the columns differ in length, or a share is not
            between 0 and 1.
    """
    if not (0 < bad < 1 and 0 < confidence < 1):
        raise ValueError("the share of bad rows and the confidence must be between 0 and 1")
    (truth, values), missing = complete(labels, scores)
    is_bad = binary(truth, "labels") == 0
    kept = _counted(values, is_bad, grid)
    start = math.ceil(len(truth) * _FIRST_SHARE)
    proven = _proven(kept, start, bad, 1 - confidence)
    one = proven or next((one for one in kept if one.rows >= start), kept[-1])
    needed = 0 if proven else _needed(one, len(truth), bad, 1 - confidence)
    return Promise(
        bad,
        confidence,
        proven.threshold if proven else None,
        proportion(one.rows, len(truth), level=confidence),
        proportion(one.bad, one.rows, level=confidence),
        len(truth),
        needed,
        missing,
    )


def _counted(values: Floats, is_bad: Flags, grid: Sequence[float]) -> list[_Kept]:
    """Count the labelled rows that each threshold keeps, the strictest first."""
    thresholds = sorted(grid, reverse=True)
    order = np.argsort(-values, kind="stable")
    rows = np.searchsorted(-values[order], -np.array(thresholds), side="right")
    bad = np.concatenate(([0], np.cumsum(is_bad[order])))[rows]
    return list(map(_Kept, thresholds, rows.tolist(), bad.tolist()))


def _proven(kept: Sequence[_Kept], start: int, bad: float, risk: float) -> _Kept | None:
    """Return the last threshold before the first failure, ignoring those with too few rows."""
    start = max(start, _fewest(0, bad, risk))
    proven: _Kept | None = None
    for one in kept:
        if one.rows < start:
            continue
        if binomial_cdf(one.bad, one.rows, bad) > risk:
            break
        # Of several thresholds that keep the same labelled rows, take the strictest.
        if proven is None or one.rows > proven.rows:
            proven = one
    return proven


def _fewest(count: int, bad: float, risk: float) -> int:
    """Return how many rows prove the promise if `count` of them are bad."""
    low, high = count, max(2, 2 * count)
    while binomial_cdf(count, high, bad) > risk:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(count, middle, bad) > risk else (low, middle)
    return high


def _needed(first: _Kept, labels: int, bad: float, risk: float) -> int | None:
    """Return how many more labels the first threshold would need to pass."""
    fewest = _fewest(0, bad, risk)
    if not labels:
        return fewest
    # The median, not the mean: if none of a few rows is bad, the rate is probably small.
    rate = beta_quantile(0.5, first.bad + 0.5, first.rows - first.bad + 0.5)
    if rate >= bad:
        return None
    rows = max(fewest, _rows_needed(rate, bad, risk))
    return max(1, math.ceil(rows * labels / max(1, first.rows)) - labels)


def _rows_needed(rate: float, bad: float, risk: float) -> float:
    """Return how many rows with this rate of bad ones prove the promise with `POWER`."""
    reach, margin = NormalDist().inv_cdf(1 - risk), NormalDist().inv_cdf(POWER)
    spread = reach * math.sqrt(bad * (1 - bad)) + margin * math.sqrt(rate * (1 - rate))
    return (spread / (bad - rate)) ** 2
