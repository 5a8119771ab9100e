"""Agreement of judges with people, and with each other.

Each figure has an interval that is valid for few rows, and for complete agreement. docs/judging.md
has the formulas with their sources; bench/judge.py measures how often the intervals are right.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, assert_never

import numpy as np

from soupstock.stats.intervals import (
    LEVEL,
    Floats,
    Interval,
    Values,
    binomial_cdf,
    complete,
    counted,
    missing_note,
    numbers,
    score_limits,
    student_quantile,
    unknown,
    variance_ratio,
)
from soupstock.stats.proportions import proportion

Weights = Literal["equal", "linear", "quadratic"]
"""The weight of a disagreement: always 1, the distance of the levels, or its square."""

Metric = Literal["nominal", "ordinal", "interval"]
"""The distance of two values: whether they differ, by rank, or by number."""

_CHANCE_ROW = 0.5
_FEWEST_JUDGES = 2
_FEWEST_UNITS = 3


class Agreement(NamedTuple):
    """Agreement beyond chance: 1 is complete, 0 is that of chance, below 0 is less than that."""

    statistic: str
    interval: Interval
    error: float
    """The large-sample standard error."""
    rows: int
    missing: int
    """Rows that fewer than two judges scored; they do not count."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether it is more than chance alone explains."""
        return self.interval.low > 0

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        over = f"over {counted(self.rows, 'row')}{missing_note(self.missing)}"
        if not self.interval.is_known:
            return f"Agreement is unknown {over}: all levels are the same."
        figure = f"Agreement beyond chance ({self.statistic}) is {self.interval} {over}"
        return (
            f"{figure}." if self.is_beyond_chance else f"{figure}: not provably better than chance."
        )


class Accuracy(NamedTuple):
    """How often a judge is right, compared with always giving the most common level."""

    right: Interval
    base_rate: float
    """The share of the most common level: how often it would be right."""
    p_value: float
    """The probability that a judge that is no better does as well (McNemar, exact)."""
    rows: int
    missing: int

    @property
    def is_better_than_constant(self) -> bool:
        """Whether the judge is right more often than the most common level."""
        return self.p_value < 1 - self.right.level

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        over = f"over {counted(self.rows, 'row')}{missing_note(self.missing)}"
        if not self.right.is_known:
            return f"The judge's accuracy is unknown {over}."
        better = "better" if self.is_better_than_constant else "not provably better"
        return (
            f"The judge is right in {self.right.percent()} of cases {over}; always giving the most"
            f" common level is right in {self.base_rate * 100:.0f} %, and the judge is {better}."
        )


def kappa(
    people: Values,
    judge: Values,
    *,
    levels: Sequence[float] | None = None,
    weights: Weights = "equal",
    level: float = LEVEL,
) -> Agreement:
    """Return Cohen's kappa of two judges, weighted if their levels are ordered.

    Give all `levels`, in order, if some may not occur. The standard error is that of Fleiss, Cohen
    and Everitt (1969). The interval contains the values k that are compatible with the estimate,
    by the variance of a model in which both judges agree on a share k of the rows and judge the
    rest by chance; that variance is scaled towards the standard error the more rows there are.

    Raises:
        ValueError: A level is not among `levels`.
    """
    (first, second), missing = complete(people, judge)
    table = _table(first, second, levels)
    name = "Cohen's kappa" if weights == "equal" else f"Cohen's kappa, {weights}"
    rows = len(first)
    if (table.sum(axis=0) * table.sum(axis=1)).sum() == rows**2:
        return Agreement(name, unknown(level), math.nan, rows, missing)
    costs = _costs(len(table), weights)
    estimate, variance = _kappa(table / rows, costs)
    modelled = _mixture(table / rows, costs)
    common = (table.sum(axis=0) + table.sum(axis=1)) / (2 * rows)
    beyond = 1 - max(0.0, estimate)
    information = rows * beyond * (1 - (common**2).sum()) ** 2
    ratio = max(variance_ratio(variance, modelled(estimate), information), beyond)
    limits = score_limits(estimate, lambda k: ratio * modelled(k) / rows, (-1, 1), level)
    return Agreement(name, limits, math.sqrt(variance / rows), rows, missing)


def _table(first: Floats, second: Floats, levels: Sequence[float] | None) -> Floats:
    """Count rows by both judges' levels."""
    found = np.unique(np.concatenate((first, second)))
    known = found if levels is None else np.asarray(levels, dtype=np.float64)
    if not np.isin(found, known).all():
        raise ValueError(
            f"{np.setdiff1d(found, known)[0]} is not one of the levels {known.tolist()}"
        )
    order = np.argsort(known)
    places = [order[np.searchsorted(known, part, sorter=order)] for part in (first, second)]
    table = np.zeros((len(known), len(known)))
    np.add.at(table, tuple(places), 1)
    return table


def _costs(levels: int, weights: Weights) -> Floats:
    """Return the weight of each disagreement, from 0 to 1."""
    steps = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels))) / max(1, levels - 1)
    match weights:
        case "equal":
            return (steps > 0).astype(np.float64)
        case "linear":
            return steps
        case "quadratic":
            return steps**2
        case _:
            assert_never(weights)


def _kappa(shares: Floats, costs: Floats) -> tuple[float, float]:
    """Return kappa of a table of shares, and its variance for one row (delta method)."""
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    seen = float((shares * costs).sum())
    by_chance = float(rows @ costs @ columns)
    from_margins = np.add.outer(costs @ columns, rows @ costs)
    slopes = (seen * from_margins / by_chance - costs) / by_chance
    mean = (shares * slopes).sum()
    return 1 - seen / by_chance, float((shares * (slopes - mean) ** 2).sum())


def _mixture(shares: Floats, costs: Floats) -> Callable[[float], float]:
    """Return the variance of kappa if a given share of rows agrees and the rest is chance."""
    common = (shares.sum(axis=0) + shares.sum(axis=1)) / 2
    chance, agreed = np.outer(common, common), np.diag(common)

    def variance(value: float) -> float:
        share = min(1.0, max(0.0, value))
        return _kappa((1 - share) * chance + share * agreed, costs)[1]

    return variance


def alpha(
    ratings: Sequence[Values] | Floats, *, metric: Metric = "ordinal", level: float = LEVEL
) -> Agreement:
    """Return Krippendorff's alpha (2011) of scores (judges by rows), any of which may be missing.

    The standard error is the jackknife's over rows. The interval is on Fisher's z scale, by
    Student's t, with half a row of chance added, so that it has a width for complete agreement.
    """
    table = np.stack([numbers(judge) for judge in ratings])
    name = f"Krippendorff's alpha, {metric}"
    is_pairable = (~np.isnan(table)).sum(axis=0) >= _FEWEST_JUDGES
    table = table[:, is_pairable]
    units, missing = table.shape[1], int((~is_pairable).sum())
    if units < _FEWEST_UNITS or np.nanmin(table) == np.nanmax(table):
        return Agreement(name, unknown(level), math.nan, units, missing)
    estimate, without = _nominal(table) if metric == "nominal" else _distances(table, metric)
    parts = units * estimate - (units - 1) * np.nan_to_num(without)
    error = math.sqrt(((parts - estimate) ** 2).sum() / (units * (units - 1)))
    return Agreement(name, _fisher_limits(estimate, parts, level), error, units, missing)


class _Alpha(NamedTuple):
    estimate: float
    without: Floats
    """Alpha without each row; NaN if nothing would vary."""


def _nominal(table: Floats) -> _Alpha:
    """Return alpha of values that are equal or not."""
    is_present = ~np.isnan(table)
    sizes = is_present.sum(axis=0)
    alike = (table[:, None] == table[None]).sum(axis=(0, 1))
    _, places, totals = np.unique(table[is_present], return_inverse=True, return_counts=True)
    frequencies = np.zeros(table.shape)
    frequencies[is_present] = totals[places]
    seen = (sizes**2 - alike) / (sizes - 1)
    total, same = sizes.sum(), (totals**2).sum()
    left = total - sizes
    left_same = same - 2 * frequencies.sum(axis=0) + alike
    with np.errstate(divide="ignore", invalid="ignore"):
        without = 1 - (seen.sum() - seen) * (left - 1) / (left**2 - left_same)
    return _Alpha(float(1 - seen.sum() * (total - 1) / (total**2 - same)), without)


def _distances(table: Floats, metric: Metric) -> _Alpha:
    """Return alpha of values that differ by the square of their distance."""
    places = table if metric == "interval" else _mean_ranks(table)
    places = places - np.nanmean(places)
    sizes = (~np.isnan(table)).sum(axis=0)
    sums, squares = np.nansum(places, axis=0), np.nansum(places**2, axis=0)
    seen = (sizes * squares - sums**2) / (sizes - 1)
    total = sizes.sum()
    by_chance = (total * squares.sum() - sums.sum() ** 2) / (total - 1)
    left, left_sums, left_squares = (part.sum() - part for part in (sizes, sums, squares))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = 1 - (seen.sum() - seen) * (left - 1) / (left * left_squares - left_sums**2)
    return _Alpha(float(1 - seen.sum() / by_chance), without)


def _mean_ranks(table: Floats) -> Floats:
    """Return mean ranks: Krippendorff's distance of two levels is that of their mean ranks."""
    is_present = ~np.isnan(table)
    _, places, totals = np.unique(table[is_present], return_inverse=True, return_counts=True)
    ranks = table.copy()
    ranks[is_present] = (np.cumsum(totals) - totals / 2)[places]
    return ranks


def _fisher_limits(estimate: float, parts: Floats, level: float) -> Interval:
    units = len(parts)
    weight = units + _CHANCE_ROW
    centre = units * estimate / weight
    squares = ((parts - centre) ** 2).sum() + _CHANCE_ROW * centre**2
    error = math.sqrt(squares / (weight - 1) / weight) / (1 - centre**2)
    reach = student_quantile(level, units - 1) * error
    low, high = (math.tanh(math.atanh(centre) + sign * reach) for sign in (-1, 1))
    return Interval(estimate, min(low, estimate), max(high, estimate), level)


def accuracy(people: Values, judge: Values, *, level: float = LEVEL) -> Accuracy:
    """Return how often a judge gives the same level as people, and the base rate."""
    (truth, given), missing = complete(people, judge)
    rows = len(truth)
    if not rows:
        return Accuracy(unknown(level), math.nan, 1.0, 0, missing)
    values, counts = np.unique(truth, return_counts=True)
    is_right, is_common = given == truth, truth == values[counts.argmax()]
    gained, lost = int((is_right & ~is_common).sum()), int((~is_right & is_common).sum())
    p_value = binomial_cdf(lost, gained + lost, 0.5)
    right = proportion(int(is_right.sum()), rows, level=level)
    return Accuracy(right, float(counts.max()) / rows, p_value, rows, missing)
