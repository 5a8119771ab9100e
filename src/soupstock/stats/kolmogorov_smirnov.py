"""Test whether two samples of numbers have the same distribution. Knows no rows or columns."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_TERMS = 100
_SURE = 0.2
"""Below this the series converges slowly, and its sum is 1 to the last digit."""


class TwoSampleTest(NamedTuple):
    """The distance of two distributions, and how likely it is by chance alone."""

    distance: float
    """The greatest distance of the two empirical distribution functions, 0 to 1."""
    p: float


def kolmogorov_smirnov(one: Numbers, other: Numbers) -> TwoSampleTest:
    """Compare two samples by the two-sample test of Kolmogorov and Smirnov.

    The p-value is the asymptotic one with Stephens's correction (1970), which is good even for a
    handful of values. With tied values it is too large, never too small.
    """
    if not (len(one) and len(other)):
        raise ValueError("an empty sample has no distribution")
    one, other = np.sort(one), np.sort(other)
    both = np.concatenate((one, other))
    below = np.searchsorted(one, both, side="right") / len(one)
    distance = float(np.abs(below - np.searchsorted(other, both, side="right") / len(other)).max())
    root = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    return TwoSampleTest(distance, _tail(distance * (root + 0.12 + 0.11 / root)))


def _tail(x: float) -> float:
    """Return the probability of Kolmogorov's distribution above x."""
    if x < _SURE:
        return 1.0
    terms = ((-1) ** (n - 1) * math.exp(-2 * n * n * x * x) for n in range(1, _TERMS + 1))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
