"""Draw the rows for review with known probabilities, so that shares can be estimated for all rows.

Each row has a fixed random number, made from its id. A run that makes nearly the same rows draws
nearly the same ones, so that earlier answers stay useful.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.stats.apportionment import even_shares

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

LEAST_WEIGHT = 0.2
"""The weight of a row whose verdict is certain, relative to a wholly uncertain one. It is above 0,
so that such a row can be drawn, too, and does not outweigh all others when it is."""

QUARTERS = 4
_FEWEST_EACH = 2


class SampledRows(NamedTuple):
    """The rows that were drawn: their positions, and the probability of each."""

    places: Places
    chances: Floats

    @classmethod
    def of(cls, parts: Sequence["SampledRows"]) -> "SampledRows":
        """Concatenate samples."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.places for part in parts)]),
            np.concatenate([np.empty(0), *(part.chances for part in parts)]),
        )


def random_numbers(ids: Sequence[str], seed: int) -> Floats:
    """Return each row's random number, above 0 and below 1."""
    digests = (blake2b(f"{seed}/{one}".encode(), digest_size=8).digest() for one in ids)
    whole = np.array([int.from_bytes(digest) >> 11 for digest in digests], dtype=np.float64)
    return (whole + 0.5) / 2**53


def draw_random(numbers: Floats, wanted: int) -> SampledRows:
    """Draw `wanted` rows, all with the same probability."""
    places = np.argsort(numbers, kind="stable")[:wanted].astype(np.int64)
    return SampledRows(places, np.full(len(places), len(places) / max(1, len(numbers))))


def draw_weighted(numbers: Floats, wanted: int, weights: Floats) -> SampledRows:
    """Draw `wanted` rows with probabilities proportional to `weights`.

    This is Pareto sampling (Rosén 1997): the size is exact, and the probabilities differ from the
    requested ones by an error that vanishes as the sample grows.
    """
    chances = _chances(weights, min(wanted, len(weights)))
    is_sure = chances >= 1
    with np.errstate(divide="ignore"):
        odds = numbers / (1 - numbers) * (1 - chances) / chances
    places = np.argsort(np.where(is_sure, 0.0, odds), kind="stable")[:wanted].astype(np.int64)
    return SampledRows(places, np.minimum(1.0, chances[places]))


def _chances(weights: Floats, wanted: int) -> Floats:
    """Return probabilities proportional to weights, none above 1, that sum to `wanted`."""
    chances = np.zeros(len(weights))
    is_sure = np.zeros(len(weights), dtype=np.bool_)
    while True:
        rest = weights[~is_sure]
        left = wanted - int(is_sure.sum())
        chances[~is_sure] = left * rest / rest.sum() if rest.size else 0.0
        chances[is_sure] = 1.0
        more = (chances > 1) & ~is_sure
        if not more.any():
            return chances
        is_sure |= more


def draw_stratified(numbers: Floats, wanted: int, strata: Sequence[str]) -> SampledRows:
    """Draw the same number of rows from each stratum; what a small one lacks, the others supply.

    If there are too many strata to draw from each, the smallest are merged.
    """
    names, codes = np.unique(np.array(strata, dtype=object), return_inverse=True)
    sizes = np.bincount(codes, minlength=len(names))
    most = max(1, wanted // _FEWEST_EACH)
    if len(names) > most:
        order = np.argsort(-sizes, kind="stable")
        merged = np.full(len(names), most - 1)
        merged[order[: most - 1]] = np.arange(most - 1)
        codes = merged[codes]
        sizes = np.bincount(codes, minlength=most)
    parts = []
    for code, quota in enumerate(even_shares(wanted, sizes.astype(np.int64))):
        own = np.flatnonzero(codes == code)
        found = draw_random(numbers[own], int(quota))
        parts.append(SampledRows(own[found.places].astype(np.int64), found.chances))
    return SampledRows.of(parts)


def quarters(values: Sequence[float | None]) -> list[str]:
    """Return the quarter that each value falls in; "none" for a missing value."""
    given = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = given[~np.isnan(given)]
    if not known.size:
        return ["none"] * len(values)
    cuts = np.quantile(known, np.arange(1, QUARTERS) / QUARTERS)
    # A value equal to a cut belongs to the lower quarter.
    place = np.searchsorted(cuts, given, side="left")
    return [
        "none" if np.isnan(value) else f"quarter {quarter + 1}"
        for value, quarter in zip(given, place, strict=True)
    ]


def uncertainty_of(
    score: float | None, threshold: float, uncertainty: float | None, disagreement: float | None
) -> float:
    """Return how uncertain a verdict is, from 0 to 1: the largest of three measures.

    They are the nearness of the score to the threshold, the entropy of its levels, and the
    disagreement of a jury. A row without a verdict is wholly uncertain.
    """
    if score is None:
        return 1.0
    reach = threshold if score < threshold else 1 - threshold
    nearness = 1 - abs(score - threshold) / reach if reach > 0 else 1.0
    return max(nearness**2, uncertainty or 0.0, disagreement or 0.0)


def sampling_weights(uncertainties: Sequence[float]) -> Floats:
    """Return the weights with which rows are drawn by uncertainty."""
    return LEAST_WEIGHT + np.asarray(uncertainties, dtype=np.float64)
