"""An estimate with its interval, and the quantiles for intervals.

Missing numbers (None, NaN) are never 0: they are removed and counted. Knows no judges.
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
"""The confidence level: how often an interval should cover the truth."""

PRIOR_INFORMATION = 2.0
"""The information with which an observed variance counts as much as a modelled one."""

_HALVINGS = 60
_TERMS = 100_000
_TINY = 1e-300
_SMALLEST_STEP = 1e-15


class Interval(NamedTuple):
    """An estimate and its limits; all NaN if it is unknown."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def is_known(self) -> bool:
        """Whether there is an estimate."""
        return not math.isnan(self.estimate)

    def __str__(self) -> str:
        limits = f"({self.level * 100:g} % interval {self.low:.2f} to {self.high:.2f})"
        return f"{self.estimate:.2f} {limits}" if self.is_known else "unknown"

    def percent(self) -> str:
        """Return a share in percent, as text."""
        limits = f"{self.level * 100:g} % interval {self.low * 100:.0f} to {self.high * 100:.0f} %"
        return f"{self.estimate * 100:.0f} % ({limits})" if self.is_known else "unknown"


def unknown(level: float = LEVEL) -> Interval:
    """Return the interval of an unknown estimate."""
    return Interval(math.nan, math.nan, math.nan, level)


class Complete(NamedTuple):
    """Columns without the rows in which a number is missing."""

    columns: tuple[Floats, ...]
    missing: int


def numbers(values: Values) -> Floats:
    """Return numbers as an array; missing and infinite ones are NaN."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def complete(*columns: Values) -> Complete:
    """Remove and count the rows with a missing number in any column.

    Raises:
        ValueError: The columns differ in length.
    """
    arrays = [numbers(column) for column in columns]
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 1:
        lengths = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"the columns must have the same length, not {lengths}")
    is_complete = ~np.any(np.isnan(np.stack(arrays)), axis=0)
    return Complete(tuple(array[is_complete] for array in arrays), int((~is_complete).sum()))


def binary(values: Floats, what: str) -> Floats:
    """Check that all values are 0, 1 or missing, and return them.

    Raises:
        ValueError: There are other values.
    """
    if not np.isin(values[~np.isnan(values)], (0, 1)).all():
        raise ValueError(f"{what} should be 1 (yes) or 0 (no)")
    return values


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: `1 row`, `1,200 rows`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def missing_note(missing: int, what: str = "score") -> str:
    """Return a note on how many more did not count; empty if there are none."""
    return f" ({missing:,} more without a {what})" if missing else ""


def normal_quantile(level: float) -> float:
    """Return the number of standard errors on either side: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def student_quantile(level: float, freedom: float) -> float:
    """Return the same for a variance estimated with `freedom` degrees of freedom."""
    x = beta_quantile(1 - level, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # The fraction converges fast only on this side.
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
    """Return the quantile p of the beta distribution."""
    return bisect(lambda x: incomplete_beta(x, a, b) <= p, 0.0, 1.0)


@lru_cache(maxsize=65536)
def binomial_cdf(count: int, of: int, share: float) -> float:
    """Return the probability of at most `count` successes in `of` trials."""
    if count < 0 or count >= of:
        return float(count >= of)
    return incomplete_beta(1 - share, of - count, count + 1)


def bisect(holds: Callable[[float], bool], start: float, end: float) -> float:
    """Return the point between start and end up to which a condition holds, by bisection."""
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
    """Return the values that are compatible with an estimate (a score interval, Wilson 1927).

    Unlike estimate ± errors it stays within the bounds, and has a width at the bounds too: each
    value is compared by its own variance, not by that of the estimate.
    """
    reaches = normal_quantile(level) ** 2

    def is_near(value: float) -> bool:
        return (value - estimate) ** 2 <= reaches * variance(value)

    low, high = (bisect(is_near, estimate, float(bound)) for bound in bounds)
    return Interval(estimate, low, high, level)


def variance_ratio(observed: float, modelled: float, information: float) -> float:
    """Return observed over modelled variance, closer to 1 the less information there is."""
    if modelled <= 0 or math.isnan(observed):
        return 1.0
    total = information + PRIOR_INFORMATION
    return (information * observed / modelled + PRIOR_INFORMATION) / total
