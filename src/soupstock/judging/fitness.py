"""Whether a judge is fit to judge: known cases made from its own rows, and biases it may have.

A canary is a row that was spoiled on purpose: its answer emptied, replaced by gibberish or by that
of another row, cut off, or the instruction echoed. A judge that does not score it below the
original cannot be believed about rows that nobody knows.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from soupstock.stats.intervals import (
    LEVEL,
    Floats,
    Interval,
    Values,
    besides,
    complete,
    numbers,
    score_limits,
    times,
    unknown,
    variance_ratio,
)
from soupstock.stats.proportions import net_share
from soupstock.stats.roc import COIN, Separation, auc

BAR = 0.75
"""How often, at the least, a fit judge scores an original above a canary."""


class Kind(NamedTuple):
    """How well a judge tells one kind of canary from originals."""

    apart: Separation
    """Over all originals and all canaries of the kind: would one threshold do?"""
    within: Interval
    """How often a canary scores below the original that it was made from; a tie counts half."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether a coin would do worse, in one way or the other."""
        return max(self.apart.auc.low, self.within.low) > COIN

    def is_blind(self, bar: float) -> bool:
        """Whether the judge surely stays below the bar, in both ways."""
        return max(self.apart.auc.high, self.within.high) < bar


class Fitness(NamedTuple):
    """How well a judge tells originals from canaries."""

    overall: Separation
    kinds: Mapping[str, Kind]
    bar: float

    @property
    def is_fit(self) -> bool:
        """Whether the judge reaches the bar, is surely better than a coin, and blind to no kind.

        A judge that cannot be told from a coin is not fit, whatever the estimate.
        """
        reaches = self.overall.auc.estimate >= self.bar
        return reaches and self.overall.is_beyond_chance and not self.blind

    @property
    def blind(self) -> list[str]:
        """The kinds of canaries that it surely tells from originals more rarely than the bar."""
        return [name for name, kind in self.kinds.items() if kind.is_blind(self.bar)]

    @property
    def doubtful(self) -> list[str]:
        """The kinds that it may tell no better than a coin; more canaries would say."""
        unsure = [name for name, kind in self.kinds.items() if not kind.is_beyond_chance]
        return [name for name in unsure if name not in self.blind]

    def sentence(self) -> str:
        """Say it for a card or a summary; kinds are named as they came, so escape them there."""
        fit = "fit" if self.is_fit else "not fit"
        canaries = times(self.overall.bad, "canary", "canaries")
        counts = f"{times(self.overall.good, 'original')} and {canaries}"
        missing = besides(self.overall.missing)
        if not self.overall.auc.is_known:
            return f"The judge is {fit}: it scored {counts}{missing}."
        told = (
            f"The judge is {fit}: it scores an original above a canary in"
            f" {self.overall.auc.percent()} of cases, where a coin has {COIN * 100:.0f} % and"
            f" {self.bar * 100:g} % are asked: {counts}{missing}."
        )
        blind = f" It does not tell apart: {', '.join(self.blind)}." if self.blind else ""
        unsure = f" Too few to tell: {', '.join(self.doubtful)}." if self.doubtful else ""
        return f"{told}{blind}{unsure}"


class LengthBias(NamedTuple):
    """What padding an answer with words that say nothing does to its score."""

    net: Interval
    """The share of rows whose score rises less the share whose score falls."""
    change: float
    """The mean change of the score."""
    rises: int
    falls: int
    rows: int
    missing: int

    @property
    def is_biased(self) -> bool:
        """Whether padding raises the score, beyond chance. That it lowers it is no fault."""
        return self.net.low > 0

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        over = f"{times(self.rows, 'row')}{besides(self.missing)}"
        if not self.rows:
            return f"Whether padding raises the score cannot be told: {over}."
        does = "raises" if self.is_biased else "does not provably raise"
        return (
            f"Padding an answer {does} its score: it rises for {self.rises:,} and falls for"
            f" {self.falls:,} of {over}, by {_signed(self.change)} on average."
        )


def _signed(change: float) -> str:
    """Write a change with its sign; one that rounds to nothing has none."""
    return f"{change:+.2f}" if abs(change) >= 0.005 else "0.00"  # noqa: PLR2004 - half a digit


def fitness(
    originals: Values,
    canaries: Mapping[str, Values],
    *,
    bar: float = BAR,
    level: float = LEVEL,
) -> Fitness:
    """Compare scores of originals with those of each kind of canary, row by row.

    `canaries[kind][i]` is the score of the canary made from the row of `originals[i]`; where there
    is none, or no verdict, it is missing. A missing score counts for nothing, never as 0.

    Raises:
        ValueError: A kind has not one score for each original.
    """
    scores = numbers(originals)
    kinds = {name: numbers(values) for name, values in canaries.items()}
    for name, values in kinds.items():
        if values.shape != scores.shape:
            raise ValueError(f"{name} has {len(values)} scores for {len(scores)} originals")
    found = {
        name: Kind(_apart(scores, [values], level), _within(scores, values, level))
        for name, values in kinds.items()
    }
    return Fitness(_apart(scores, list(kinds.values()), level), found, bar)


def _apart(originals: Floats, spoiled: Sequence[Floats], level: float) -> Separation:
    rows = np.arange(len(originals))
    parts = [originals, *spoiled]
    labels = np.repeat([1.0, *[0.0] * len(spoiled)], len(originals))
    groups = np.tile(rows, len(parts))
    return auc(labels, np.concatenate(parts), groups=groups, level=level)


def _within(originals: Floats, spoiled: Floats, level: float) -> Interval:
    (before, after), _ = complete(originals, spoiled)
    rows = len(before)
    if not rows:
        return unknown(level)
    wins = (np.sign(before - after) + 1) / 2
    share = float(wins.mean())
    # Ties vary less than wins and losses would.
    modelled = share * (1 - share)
    ratio = variance_ratio(float(wins.var()), modelled, 4 * rows * modelled)
    return score_limits(share, lambda value: ratio * value * (1 - value) / rows, (0, 1), level)


def length_bias(plain: Values, padded: Values, *, level: float = LEVEL) -> LengthBias:
    """Compare the scores of answers with those of the same answers, padded.

    Raises:
        ValueError: The columns differ in length.
    """
    (before, after), missing = complete(plain, padded)
    rows = len(before)
    if not rows:
        return LengthBias(unknown(level), 0.0, 0, 0, 0, missing)
    rises, falls = int((after > before).sum()), int((after < before).sum())
    net = net_share(rises, falls, rows, level=level)
    return LengthBias(net, float((after - before).mean()), rises, falls, rows, missing)
