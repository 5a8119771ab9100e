"""An estimate with its interval, and the quantiles that intervals are made of.

Numbers that are missing (None, NaN) are never 0: they are taken out, and counted. Knows no judges.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Values = Sequence[float | None] | npt.NDArray[Any]
"""Numbers, some of which may be missing."""

LEVEL = 0.95
"""How often an interval is to cover the truth."""

PRIOR_INFORMATION = 2.0
"""How much information of its own an observed variance needs to count as much as a modelled one."""

_HALVINGS = 60
_TERMS = 100_000
_TINY = 1e-300
_SMALLEST_STEP = 1e-15


class Interval(NamedTuple):
    """An estimate and the limits that it lies in; all NaN where it cannot be told."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def is_known(self) -> bool:
        """Whether there is an estimate at all."""
        return not math.isnan(self.estimate)

    def __str__(self) -> str:
        limits = f"({self.level * 100:g} % interval {self.low:.2f} to {self.high:.2f})"
        return f"{self.estimate:.2f} {limits}" if self.is_known else "unknown"

    def percent(self) -> str:
        """Say a share in percent."""
        limits = f"{self.level * 100:g} % interval {self.low * 100:.0f} to {self.high * 100:.0f} %"
        return f"{self.estimate * 100:.0f} % ({limits})" if self.is_known else "unknown"


def unknown(level: float = LEVEL) -> Interval:
    """Return the interval of what cannot be told."""
    return Interval(math.nan, math.nan, math.nan, level)


class Complete(NamedTuple):
    """Columns without the rows in which any number is missing."""

    columns: tuple[Floats, ...]
    missing: int


def numbers(values: Values) -> Floats:
    """Take numbers as an array; what is missing or infinite is NaN."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def complete(*columns: Values) -> Complete:
    """Leave out and count the rows that lack a number in any column.

    Raises:
        ValueError: The columns differ in length.
    """
    arrays = [numbers(column) for column in columns]
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 1:
        lengths = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"columns of one length are needed, not {lengths}")
    is_there = ~np.any(np.isnan(np.stack(arrays)), axis=0)
    return Complete(tuple(array[is_there] for array in arrays), int((~is_there).sum()))


def binary(values: Floats, what: str) -> Floats:
    """Return values that are 0, 1 or missing.

    Raises:
        ValueError: Others are among them.
    """
    if not np.isin(values[~np.isnan(values)], (0, 1)).all():
        raise ValueError(f"{what} are 1 or 0, yes or no")
    return values


def times(count: int, one: str, many: str | None = None) -> str:
    """Say how many: `1 row`, `1,200 rows`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def besides(missing: int, what: str = "score") -> str:
    """Say how many more there were that did not count, or nothing."""
    return f" ({missing:,} more without a {what})" if missing else ""


def normal_quantile(level: float) -> float:
    """Return how many standard errors lie on either side: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def student_quantile(level: float, freedom: float) -> float:
    """Return the same for a variance that was estimated with so many degrees of freedom."""
    x = beta_quantile(1 - level, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # The fraction converges fast on this side alone.
        return 1 - incomplete_beta(1 - x, b, a)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(scale + a * math.log(x) + b * math.log1p(-x)) / a
    return front / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate 1 + d1/(1 + d2/(1 + ...)) by Lentz's method."""
    value = upper = 1.0
    lower = 0.0
    for n in range(1, _TERMS):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / (1 + term * lower or _TINY)
        upper = 1 + term / upper or _TINY
        value *= upper * lower
        if abs(upper * lower - 1) < _SMALLEST_STEP:
            break
    return value


@lru_cache(maxsize=65536)
def beta_quantile(p: float, a: float, b: float) -> float:
    """Return where the beta distribution has the share p below it."""
    return bisect(lambda x: incomplete_beta(x, a, b) <= p, 0.0, 1.0)


@lru_cache(maxsize=65536)
def binomial_cdf(count: int, of: int, share: float) -> float:
    """Return the chance that of so many, each with this share's chance, at most `count` occur."""
    if count < 0 or count >= of:
        return float(count >= of)
    return incomplete_beta(1 - share, of - count, count + 1)


def bisect(holds: Callable[[float], bool], start: float, end: float) -> float:
    """Go from start towards end as far as a condition holds, by halving."""
    if holds(end):
        return end
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start


def score_limits(
    estimate: float,
    variance: Callable[[float], float],
    bounds: tuple[float, float],
    level: float = LEVEL,
) -> Interval:
    """Return the values that an estimate does not contradict (a score interval, Wilson 1927).

    Unlike estimate ± errors it stays within the bounds, and has a width at the bounds too: the
    variance is that which each value itself would have, not that of the estimate.
    """
    reaches = normal_quantile(level) ** 2

    def is_near(value: float) -> bool:
        return (value - estimate) ** 2 <= reaches * variance(value)

    low, high = (bisect(is_near, estimate, float(bound)) for bound in bounds)
    return Interval(estimate, low, high, level)


def variance_ratio(observed: float, modelled: float, information: float) -> float:
    """Return observed over modelled variance, nearer to 1 the less there was to observe."""
    if modelled <= 0 or math.isnan(observed):
        return 1.0
    total = information + PRIOR_INFORMATION
    return (information * observed / modelled + PRIOR_INFORMATION) / total
