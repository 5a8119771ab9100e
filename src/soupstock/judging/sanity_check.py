"""The judge's sanity check: does it rank originals above corrupted copies, and is it biased?

A canary is a row that was corrupted on purpose: its answer is emptied, replaced by gibberish or by
another row's answer, cut off, or replaced by the instruction. A judge that does not score a canary
below its original cannot be trusted with rows whose quality is unknown.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from soupstock.stats.intervals import (
    LEVEL,
    Floats,
    Interval,
    Values,
    complete,
    counted,
    missing_note,
    numbers,
    score_limits,
    unknown,
    variance_ratio,
)
from soupstock.stats.proportions import net_share
from soupstock.stats.roc import CHANCE, Separation, auc

BAR = 0.75
"""How often a judge must score an original above a canary to pass."""


class CanaryKind(NamedTuple):
    """How well a judge tells one kind of canary from originals."""

    apart: Separation
    """Over all originals and all canaries of the kind: would one threshold separate them?"""
    within: Interval
    """How often a canary scores below its own original; a tie counts half."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the judge beats chance, by either measure."""
        return max(self.apart.auc.low, self.within.low) > CHANCE

    def is_blind(self, bar: float) -> bool:
        """Whether the judge is provably below the bar, by both measures."""
        return max(self.apart.auc.high, self.within.high) < bar


class SanityCheck(NamedTuple):
    """How well a judge tells originals from canaries."""

    overall: Separation
    kinds: Mapping[str, CanaryKind]
    bar: float

    @property
    def is_passed(self) -> bool:
        """Whether the judge passes: it reaches the bar, beats chance, and is blind to no kind.

        A judge that is not provably better than chance fails, whatever the estimate.
        """
        reaches = self.overall.auc.estimate >= self.bar
        return reaches and self.overall.is_beyond_chance and not self.blind

    @property
    def blind(self) -> list[str]:
        """The kinds of canaries that the judge provably detects less often than required."""
        return [name for name, kind in self.kinds.items() if kind.is_blind(self.bar)]

    @property
    def doubtful(self) -> list[str]:
        """The kinds that it may detect no better than chance; more canaries would decide."""
        unsure = [name for name, kind in self.kinds.items() if not kind.is_beyond_chance]
        return [name for name in unsure if name not in self.blind]

    def sentence(self) -> str:
        """Return the result in plain words; names of kinds are not escaped."""
        outcome = f"The judge {'passed' if self.is_passed else 'failed'} its sanity check"
        canaries = counted(self.overall.bad, "corrupted copy", "corrupted copies")
        counts = f"{counted(self.overall.good, 'original')} and {canaries}"
        missing = missing_note(self.overall.missing)
        if not self.overall.auc.is_known:
            return f"{outcome}: it scored {counts}{missing}."
        found = self.overall.auc
        figures = (
            f"{outcome}: it ranked the original above the corrupted copy"
            f" {found.estimate * 100:.0f} % of the time (chance {CHANCE * 100:.0f} %, required"
            f" {self.bar * 100:g} %; {found.level * 100:g} % interval {found.low * 100:.0f} to"
            f" {found.high * 100:.0f} %), over {counts}{missing}."
        )
        blind = f" It does not detect: {', '.join(self.blind)}." if self.blind else ""
        unsure = f" Too few copies to tell: {', '.join(self.doubtful)}." if self.doubtful else ""
        return f"{figures}{blind}{unsure}"


class LengthBias(NamedTuple):
    """How padding an answer with empty phrases changes its score."""

    net: Interval
    """The share of rows whose score rises, minus the share whose score falls."""
    change: float
    """The mean change of the score."""
    rises: int
    falls: int
    rows: int
    missing: int

    @property
    def is_biased(self) -> bool:
        """Whether padding provably raises the score. Lowering it is not a fault."""
        return self.net.low > 0

    def sentence(self) -> str:
        """Return the result in plain words."""
        over = f"{counted(self.rows, 'row')}{missing_note(self.missing)}"
        if not self.rows:
            return f"It is unknown whether padding raises the score: {over} compared."
        effect = "raises" if self.is_biased else "does not provably raise"
        return (
            f"Padding an answer {effect} its score: it rose for {self.rises:,} and fell for"
            f" {self.falls:,} of {over}, by {_signed(self.change)} on average."
        )


def _signed(change: float) -> str:
    """Write a change with its sign; one that rounds to zero has none."""
    return f"{change:+.2f}" if abs(change) >= 0.005 else "0.00"  # noqa: PLR2004 - half a digit


def sanity_check(
    originals: Values,
    canaries: Mapping[str, Values],
    *,
    bar: float = BAR,
    level: float = LEVEL,
) -> SanityCheck:
    """Compare the scores of originals with those of each kind of canary, row by row.

    `canaries[kind][i]` is the score of the canary made from the row of `originals[i]`; it is
    missing where there is no canary or no verdict. A missing score is ignored, never taken as 0.

    Raises:
        ValueError: A kind does not have one score for each original.
    """
    scores = numbers(originals)
    kinds = {name: numbers(values) for name, values in canaries.items()}
    for name, values in kinds.items():
        if values.shape != scores.shape:
            raise ValueError(f"{name} has {len(values)} scores for {len(scores)} originals")
    found = {
        name: CanaryKind(_apart(scores, [values], level), _within(scores, values, level))
        for name, values in kinds.items()
    }
    return SanityCheck(_apart(scores, list(kinds.values()), level), found, bar)


def _apart(originals: Floats, corrupted: Sequence[Floats], level: float) -> Separation:
    rows = np.arange(len(originals))
    parts = [originals, *corrupted]
    labels = np.repeat([1.0, *[0.0] * len(corrupted)], len(originals))
    groups = np.tile(rows, len(parts))
    return auc(labels, np.concatenate(parts), groups=groups, level=level)


def _within(originals: Floats, corrupted: Floats, level: float) -> Interval:
    (before, after), _ = complete(originals, corrupted)
    rows = len(before)
    if not rows:
        return unknown(level)
    wins = (np.sign(before - after) + 1) / 2
    share = float(wins.mean())
    # Ties vary less than wins and losses do.
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
