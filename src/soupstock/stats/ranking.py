"""What comparisons in pairs say: verdicts in both orders, flips, and a ranking from many of them.

A verdict on a and b is 1 where a is better, -1 where b is, 0 for a tie, and missing (None, NaN)
where there is none. It is always told of a and b, whichever was shown first.
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
    besides,
    complete,
    normal_quantile,
    numbers,
    times,
)
from soupstock.stats.proportions import net_share, proportion

PRIOR = 0.1
"""How firmly strengths are held near 0: the weight of their squares beside the log-likelihood."""

_STEPS = 200
_PRECISE = 1e-12


class Orders(NamedTuple):
    """What became of pairs that were asked about in both orders."""

    outcomes: Floats
    """For each pair the verdict that both orders give; 0 where they differ, NaN where one is
    missing."""
    pairs: int
    """Pairs with a verdict in both orders."""
    same: Interval
    """The share of pairs with the same verdict in both orders."""
    flips: int
    """Pairs whose winner is the one shown first, or the one shown second, both times."""
    wavers: int
    """Pairs with a winner in one order and a tie in the other."""
    bias: Interval
    """By how much more often the order favours the one shown first than the one shown second."""
    missing: int

    @property
    def is_biased(self) -> bool:
        """Whether the place in which an answer is shown matters, beyond chance."""
        return self.bias.low > 0 or self.bias.high < 0

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        over = f"{times(self.pairs, 'pair')}{besides(self.missing, 'verdict')}"
        if not self.pairs:
            return f"Whether order matters cannot be told: {over}."
        flips = f"{times(self.flips, 'flip')} and {times(self.wavers, 'half flip')} count as ties"
        side = "first" if self.bias.estimate > 0 else "second"
        bias = f"it favours the answer shown {side}" if self.is_biased else "no side is favoured"
        return (
            f"The verdict is the same in both orders for {self.same.percent()} of {over}; {flips},"
            f" and {bias}."
        )


class Ranking(NamedTuple):
    """How strong each item is, by the model of Bradley and Terry (1952)."""

    items: tuple[Hashable, ...]
    """The strongest first; items as strong as each other in the order in which they came."""
    strengths: Floats
    """In the order of `items`: of two, a is better with the odds exp(a's - b's)."""
    covariance: Floats
    """Of the strengths, which have the mean 0."""
    comparisons: int
    ties: int
    missing: int

    def beats(self, item: Hashable, other: Hashable, level: float = LEVEL) -> Interval:
        """Return the chance that one item is better than another."""
        a, b = self.items.index(item), self.items.index(other)
        difference = self.strengths[a] - self.strengths[b]
        parts = self.covariance[[a, b], [a, b]].sum() - 2 * self.covariance[a, b]
        reach = normal_quantile(level) * math.sqrt(max(0.0, parts))
        estimate, low, high = (_chance(difference + by) for by in (0, -reach, reach))
        return Interval(estimate, low, high, level)

    def sentence(self) -> str:
        """Say it for a card or a summary; names of items are as they came, so escape them there."""
        rest = besides(self.missing, "verdict")
        over = f"{times(self.comparisons, 'comparison')}, {times(self.ties, 'tie')}{rest}"
        if len(self.items) < 2:  # noqa: PLR2004 - one alone has no rank
            return f"There is nothing to rank ({over})."
        chance = self.beats(self.items[0], self.items[1])
        return (
            f"{self.items[0]} ranks first and beats {self.items[1]}, the second, in"
            f" {chance.percent()} of cases: {over}."
        )


def both_orders(forward: Values, backward: Values, *, level: float = LEVEL) -> Orders:
    """Put the verdicts with a shown first and those with b shown first together.

    A flip is a tie: what depends on the order says nothing of the two. The bias is the share of
    pairs in which the order helps the first less the share in which it helps the second.

    Raises:
        ValueError: A verdict is none, or the columns differ in length.
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
    """Rank items from verdicts on pairs of them; a tie is half a win for either.

    The strengths are those of the greatest log-likelihood less `prior` times the sum of their
    squares. That one is always there and is the only one, though an item win always, or two groups
    of items never meet.

    Raises:
        ValueError: The columns differ in length, an item is compared with itself, a verdict is
            none, or `prior` is not above 0.
    """
    if not prior > 0:
        raise ValueError("without a prior above 0 there may be no ranking")
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
    """Count how often the item of each row won against that of each column."""
    place = {item: number for number, item in enumerate(items)}
    wins = np.zeros((len(items), len(items)))
    for (a, b), verdict in zip(pairs, verdicts, strict=True):
        if not math.isnan(verdict):
            wins[place[a], place[b]] += (1 + verdict) / 2
            wins[place[b], place[a]] += (1 - verdict) / 2
    return wins


def _fit(wins: Floats, prior: float) -> tuple[Floats, Floats]:
    """Find the strengths by Newton's method, and their covariance (Laplace's approximation)."""
    number = len(wins)
    strengths, meetings = np.zeros(number), wins + wins.T
    curvature = np.eye(number)
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(np.subtract.outer(-strengths, -strengths)))
        slope = (wins - meetings * chances).sum(axis=1) - 2 * prior * strengths
        weights = meetings * chances * (1 - chances)
        curvature = np.diag(weights.sum(axis=1) + 2 * prior) - weights
        step = np.linalg.solve(curvature, slope)
        # A full step may overshoot where one item wins always; a step of 1 never does.
        strengths = strengths + step / max(1.0, float(np.abs(step).max(initial=0)))
        if np.abs(step).max(initial=0) < _PRECISE:
            break
    # How strong all are together is not told by comparing them.
    covariance = np.linalg.inv(curvature) - 1 / (2 * prior * max(1, number))
    return strengths - strengths.sum() / max(1, number), covariance.astype(np.float64)


def _chance(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
