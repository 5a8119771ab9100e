"""Comparisons of pairs: verdicts in both orders, flips, and a ranking from many of them.

A verdict on a and b is 1 if a is better, -1 if b is, 0 for a tie, and may be missing (None, NaN).
It is always about a and b, whichever was shown first.
"""

import math
from collections.abc import Hashable, Sequence
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
    normal_quantile,
    numbers,
)
from soupstock.stats.proportions import net_share, proportion

PRIOR = 0.1
"""The weight of the squared strengths beside the log-likelihood: it pulls strengths to 0."""

_STEPS = 200
_PRECISE = 1e-12


class Orders(NamedTuple):
    """The verdicts on pairs that were judged in both orders."""

    outcomes: Floats
    """The common verdict of both orders for each pair; 0 if they differ, NaN if one is missing."""
    pairs: int
    """Pairs with a verdict in both orders."""
    same: Interval
    """The share of pairs with the same verdict in both orders."""
    flips: int
    """Pairs whose winner is the answer shown first, or the one shown second, both times."""
    wavers: int
    """Pairs with a winner in one order and a tie in the other."""
    bias: Interval
    """How much more often the order favours the answer shown first than the one shown second."""
    missing: int

    @property
    def is_biased(self) -> bool:
        """Whether the position of an answer matters, beyond chance."""
        return self.bias.low > 0 or self.bias.high < 0

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        over = f"{counted(self.pairs, 'pair')}{missing_note(self.missing, 'verdict')}"
        if not self.pairs:
            return f"Whether the order matters is unknown: {over}."
        flips = (
            f"{counted(self.flips, 'flip')} and {counted(self.wavers, 'half flip')} count as ties"
        )
        side = "first" if self.bias.estimate > 0 else "second"
        bias = f"it favours the answer shown {side}" if self.is_biased else "no side is favoured"
        return (
            f"The verdict is the same in both orders for {self.same.percent()} of {over}; {flips},"
            f" and {bias}."
        )


class Ranking(NamedTuple):
    """How strong each item is, by the model of Bradley and Terry (1952)."""

    items: tuple[Hashable, ...]
    """The strongest first; equally strong items in the order in which they came."""
    strengths: Floats
    """In the order of `items`: a is better than b with the odds exp(a's - b's)."""
    covariance: Floats
    """The covariance of the strengths, whose mean is 0."""
    comparisons: int
    ties: int
    missing: int

    def beats(self, item: Hashable, other: Hashable, level: float = LEVEL) -> Interval:
        """Return the probability that one item is better than another."""
        a, b = self.items.index(item), self.items.index(other)
        difference = self.strengths[a] - self.strengths[b]
        parts = self.covariance[[a, b], [a, b]].sum() - 2 * self.covariance[a, b]
        reach = normal_quantile(level) * math.sqrt(max(0.0, parts))
        estimate, low, high = (_chance(difference + by) for by in (0, -reach, reach))
        return Interval(estimate, low, high, level)

    def sentence(self) -> str:
        """Say it for a card or a summary; escape it there, because names of items are as given."""
        rest = missing_note(self.missing, "verdict")
        over = f"{counted(self.comparisons, 'comparison')}, {counted(self.ties, 'tie')}{rest}"
        if len(self.items) < 2:  # noqa: PLR2004 - a single item has no rank
            return f"There is nothing to rank ({over})."
        chance = self.beats(self.items[0], self.items[1])
        return (
            f"{self.items[0]} ranks first and beats {self.items[1]}, the second, in"
            f" {chance.percent()} of cases: {over}."
        )


def both_orders(forward: Values, backward: Values, *, level: float = LEVEL) -> Orders:
    """Combine the verdicts with a shown first and those with b shown first.

    A flip counts as a tie. The bias is the share of pairs in which the order helps the answer shown
    first, minus the share in which it helps the second.

    Raises:
        ValueError: A verdict is not 1, 0 or -1, or the columns differ in length.
    """
    first, second = _verdicts(forward), _verdicts(backward)
    (ahead, behind), missing = complete(first, second)
    pairs = len(ahead)
    same = int((ahead == behind).sum())
    flips = int((ahead * behind < 0).sum())
    outcomes = np.where(np.isnan(first + second) | (first == second), first + second, 0) / 2
    bias = net_share(int((ahead > behind).sum()), int((ahead < behind).sum()), pairs, level=level)
    share = proportion(same, pairs, level=level)
    return Orders(outcomes, pairs, share, flips, pairs - same - flips, bias, missing)


def _verdicts(values: Values) -> Floats:
    found = numbers(values)
    if not np.isin(found[~np.isnan(found)], (-1, 0, 1)).all():
        raise ValueError("a verdict on a pair is 1, 0 or -1")
    return found


def bradley_terry(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    verdicts: Values,
    *,
    prior: float = PRIOR,
) -> Ranking:
    """Rank items from verdicts on pairs of them; a tie is half a win for each.

    The strengths maximise the log-likelihood minus `prior` times the sum of their squares. There is
    always exactly one maximum, even if an item always wins, or two groups of items never meet.

    Raises:
        ValueError: The columns differ in length, an item is compared with itself, a verdict is
            not 1, 0 or -1, or `prior` is not above 0.
    """
    if not prior > 0:
        raise ValueError("the prior must be above 0, or there may be no ranking")
    found = _verdicts(verdicts)
    if not len(first) == len(second) == len(found):
        raise ValueError("each verdict needs a first and a second item")
    pairs = list(zip(first, second, strict=True))
    if any(a == b for a, b in pairs):
        raise ValueError("an item is compared with itself")
    items = list(dict.fromkeys(item for pair in pairs for item in pair))
    strengths, covariance = _fit(_wins(items, pairs, found), prior)
    order = np.argsort(-strengths, kind="stable")
    missing = int(np.isnan(found).sum())
    return Ranking(
        tuple(items[number] for number in order),
        strengths[order],
        covariance[np.ix_(order, order)],
        len(found) - missing,
        int((found == 0).sum()),
        missing,
    )


def _wins(
    items: Sequence[Hashable], pairs: Sequence[tuple[Hashable, Hashable]], verdicts: Floats
) -> Floats:
    """Count how often the item of each row won against the item of each column."""
    place = {item: number for number, item in enumerate(items)}
    wins = np.zeros((len(items), len(items)))
    for (a, b), verdict in zip(pairs, verdicts, strict=True):
        if not math.isnan(verdict):
            wins[place[a], place[b]] += (1 + verdict) / 2
            wins[place[b], place[a]] += (1 - verdict) / 2
    return wins


def _fit(wins: Floats, prior: float) -> tuple[Floats, Floats]:
    """Find the strengths by Newton's method, and their covariance by Laplace's approximation."""
    number = len(wins)
    strengths, meetings = np.zeros(number), wins + wins.T
    curvature = np.eye(number)
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(np.subtract.outer(-strengths, -strengths)))
        slope = (wins - meetings * chances).sum(axis=1) - 2 * prior * strengths
        weights = meetings * chances * (1 - chances)
        curvature = np.diag(weights.sum(axis=1) + 2 * prior) - weights
        step = np.linalg.solve(curvature, slope)
        # A full step may overshoot if an item always wins; a step of at most 1 never does.
        strengths = strengths + step / max(1.0, float(np.abs(step).max(initial=0)))
        if np.abs(step).max(initial=0) < _PRECISE:
            break
    # Comparisons say nothing about the common level of all strengths.
    covariance = np.linalg.inv(curvature) - 1 / (2 * prior * max(1, number))
    return strengths - strengths.sum() / max(1, number), covariance.astype(np.float64)


def _chance(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
