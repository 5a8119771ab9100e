"""How well scores separate good rows from bad ones: the area under the ROC curve."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.stats.intervals import (
    LEVEL,
    Flags,
    Floats,
    Interval,
    Values,
    binary,
    complete,
    counted,
    missing_note,
    score_limits,
    unknown,
    variance_ratio,
)

Groups = Sequence[Any] | npt.NDArray[Any]
"""The group of each score, by any names."""

CHANCE = 0.5
"""The area if good and bad rows have the same scores."""

_FEWEST_GROUPS = 2


class Separation(NamedTuple):
    """How often a good row has the higher score than a bad one; a tie counts half."""

    auc: Interval
    error: float
    """The standard error: DeLong's, or Obuchowski's with groups; NaN for a single row or group."""
    good: int
    bad: int
    missing: int
    """Rows without a score or a label; they do not count."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the area is above that of chance."""
        return self.auc.low > CHANCE

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        rows = f"{counted(self.good, 'good row')} and {counted(self.bad, 'bad one')}"
        rest = missing_note(self.missing)
        if not self.auc.is_known:
            return f"Scores of good and bad rows cannot be compared: {rows}{rest}."
        return (
            f"A good row has a higher score than a bad one in {self.auc.percent()} of cases"
            f" (chance: 50 %): {rows}{rest}."
        )


def auc(
    labels: Values, scores: Values, *, groups: Groups | None = None, level: float = LEVEL
) -> Separation:
    """Return the area under the ROC curve of scores, labels being 1 for good rows and 0 for bad.

    `groups` names rows that belong together, such as a text and a corrupted copy of it. The
    standard error is DeLong's (1988), or with groups Obuchowski's (1997). The interval is
    Newcombe's (2006, method 5), with its variance scaled towards the standard error the more rows
    there are.

    Raises:
        ValueError: A label is neither 1 nor 0, or the columns differ in length.
    """
    (labelled, values, codes), missing = complete(labels, scores, _codes(groups, len(labels)))
    good, names = binary(labelled, "labels") == 1, codes.astype(np.int64)
    sizes = (int(good.sum()), int((~good).sum()))
    if 0 in sizes:
        return Separation(unknown(level), math.nan, *sizes, missing)
    placements = _placements(good, values)
    estimate = float(placements[good].mean())
    variance = _variance(placements - estimate, good, names)
    units = [len(np.unique(names[part])) for part in (good, ~good)]
    modelled = _modelled(*units)
    information = 4 * min(units) * estimate * (1 - estimate)
    ratio = variance_ratio(variance, modelled(estimate), information)
    limits = score_limits(estimate, lambda value: ratio * modelled(value), (0, 1), level)
    return Separation(limits, math.sqrt(variance), *sizes, missing)


def _codes(groups: Groups | None, rows: int) -> Floats:
    """Number the groups; without groups, each row is its own."""
    if groups is None:
        return np.arange(rows, dtype=np.float64)
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.float64)


def _placements(good: Flags, values: Floats) -> Floats:
    """Return for each row the share of rows of the other kind that its score separates it from."""
    placed = np.empty(len(values))
    for part, sign in ((good, 1), (~good, -1)):
        others, own = np.sort(sign * values[~part]), sign * values[part]
        below = np.searchsorted(others, own) + np.searchsorted(others, own, side="right")
        placed[part] = below / (2 * len(others))
    return placed


def _variance(deviations: Floats, good: Flags, names: npt.NDArray[np.int64]) -> float:
    """Return the area's variance from each group's deviations; NaN for a single group."""
    sums, variances = [], []
    for part in (good, ~good):
        present = len(np.unique(names[part]))
        if present < _FEWEST_GROUPS:
            return math.nan
        mean = np.bincount(names[part], deviations[part], minlength=names.max() + 1) / part.sum()
        sums.append(mean)
        variances.append(present / (present - 1) * (mean**2).sum())
    number = len(np.unique(names))
    shared = number / (number - 1) * (sums[0] * sums[1]).sum()
    return max(0.0, float(sum(variances) + 2 * shared))


def _modelled(good: int, bad: int) -> Callable[[float], float]:
    """Return the variance of an area if the scores of both kinds are exponential."""
    others = (good + bad) / 2 - 1

    def variance(value: float) -> float:
        spread = 1 + others * ((1 - value) / (2 - value) + value / (1 + value))
        return value * (1 - value) * spread / (good * bad)

    return variance
