"""Draw the rows that people read, each with a known chance, so that figures hold for the whole.

Each row has one random number for good, made of its id. A run that gives nearly the same rows draws
nearly the same ones, and the answers that people gave stay of use.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock.stats.apportionment import shared_out

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

LEAST_WEIGHT = 0.2
"""How much a row counts of which there is no doubt, beside one of which all is doubtful. It
can be drawn, too, and where it is, it does not outweigh all others."""

QUARTERS = 4
_FEWEST_EACH = 2


class SampledRows(NamedTuple):
    """The rows that were drawn: their places, and how likely each was."""

    places: Places
    chances: Floats

    @classmethod
    def of(cls, parts: Sequence["SampledRows"]) -> "SampledRows":
        """Put draws together."""
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
    """Draw so many rows, each as likely as any other."""
    places = np.argsort(numbers, kind="stable")[:wanted].astype(np.int64)
    return SampledRows(places, np.full(len(places), len(places) / max(1, len(numbers))))


def draw_weighted(numbers: Floats, wanted: int, sizes: Floats) -> SampledRows:
    """Draw so many rows, each as likely as its size says.

    This is Pareto sampling (Rosén 1997): exactly so many rows, and their chances are those that are
    asked for but for a difference that vanishes as the sample grows.
    """
    chances = _chances(sizes, min(wanted, len(sizes)))
    is_sure = chances >= 1
    with np.errstate(divide="ignore"):
        odds = numbers / (1 - numbers) * (1 - chances) / chances
    places = np.argsort(np.where(is_sure, 0.0, odds), kind="stable")[:wanted].astype(np.int64)
    return SampledRows(places, np.minimum(1.0, chances[places]))


def _chances(sizes: Floats, wanted: int) -> Floats:
    """Return chances in proportion to sizes, none above 1, that add up to `wanted`."""
    chances = np.zeros(len(sizes))
    is_sure = np.zeros(len(sizes), dtype=np.bool_)
    while True:
        rest = sizes[~is_sure]
        left = wanted - int(is_sure.sum())
        chances[~is_sure] = left * rest / rest.sum() if rest.size else 0.0
        chances[is_sure] = 1.0
        more = (chances > 1) & ~is_sure
        if not more.any():
            return chances
        is_sure |= more


def draw_stratified(numbers: Floats, wanted: int, strata: Sequence[str]) -> SampledRows:
    """Draw as many rows of each stratum, as far as it has them; what one lacks the others get.

    Where there are too many strata to have rows from each, the smallest are one.
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
    for code, quota in enumerate(shared_out(wanted, sizes.astype(np.int64))):
        own = np.flatnonzero(codes == code)
        found = draw_random(numbers[own], int(quota))
        parts.append(SampledRows(own[found.places].astype(np.int64), found.chances))
    return SampledRows.of(parts)


def quarters(values: Sequence[float | None]) -> list[str]:
    """Name the quarter of the values that each is in; those that are not there by themselves."""
    there = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = there[~np.isnan(there)]
    if not known.size:
        return ["none"] * len(values)
    cuts = np.quantile(known, np.arange(1, QUARTERS) / QUARTERS)
    # A value that is a cut belongs below it.
    place = np.searchsorted(cuts, there, side="left")
    return [
        "none" if np.isnan(value) else f"quarter {quarter + 1}"
        for value, quarter in zip(there, place, strict=True)
    ]


def uncertainty_of(
    score: float | None, threshold: float, uncertainty: float | None, disagreement: float | None
) -> float:
    """Say how doubtful a verdict is, from 0 to 1: the most doubtful that is known of it.

    A score at the threshold is doubtful, and so is one with an entropy of its levels, or one on
    which a jury differs. A row without a verdict is wholly doubtful.
    """
    if score is None:
        return 1.0
    reach = threshold if score < threshold else 1 - threshold
    nearness = 1 - abs(score - threshold) / reach if reach > 0 else 1.0
    return max(nearness**2, uncertainty or 0.0, disagreement or 0.0)


def sampling_weights(doubts: Sequence[float]) -> Floats:
    """Say how much each row counts when rows are drawn by doubt."""
    return LEAST_WEIGHT + np.asarray(doubts, dtype=np.float64)
