"""Compare several answers to one question pair by pair: which pairs, and which answer is best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soupstock.judging.rubric import MAX_REASON, object_schema, read_choice
from soupstock.stats.ranking import both_orders, bradley_terry

MOST_FOR_ALL_PAIRS = 4
"""Up to this many answers, all pairs are compared; of more, each with the next two in a circle."""

_SAID = {"first": 1, "second": -1, "tie": 0}
_ALIKE = 1e-9


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a verdict on two answers: first a reason, then which is better."""
    return object_schema(
        {
            "reason": {"type": "string", "maxLength": MAX_REASON},
            "better": {"type": "string", "enum": list(_SAID)},
        }
    )


def pairs(answers: int) -> list[tuple[int, int]]:
    """Return which answers are compared, by their positions from 0: the same in every run."""
    if answers <= MOST_FOR_ALL_PAIRS:
        return [(a, b) for a in range(answers) for b in range(a + 1, answers)]
    met = {tuple(sorted((a, (a + by) % answers))) for a in range(answers) for by in (1, 2)}
    return [(a, b) for a, b in sorted(met)]


@dataclass(frozen=True, slots=True)
class Preference:
    """A verdict on two answers: 1 if the one shown first is better, -1 the second, 0 for a tie."""

    better: int
    reason: str


def read_preference(text: str) -> Preference | str:
    """Read a judge's reply, or return a sentence that says why it cannot be read; never raises."""
    found = read_choice(text, "better", tuple(_SAID))
    return found if isinstance(found, str) else Preference(_SAID[found.word], found.reason)


@dataclass(frozen=True)
class PairVerdicts:
    """One judge's two verdicts on a pair of answers, with each answer shown first once."""

    judge: str
    first: int
    second: int
    forward: Preference | None
    """With the first answer shown first; None where there is no verdict."""
    backward: Preference | None
    """With the second answer shown first."""

    @property
    def verdicts(self) -> tuple[float | None, float | None]:
        """The verdicts in both orders: 1 if the first is better, whichever was shown first."""
        ahead = None if self.forward is None else float(self.forward.better)
        behind = None if self.backward is None else -float(self.backward.better)
        return ahead, behind


@dataclass(frozen=True)
class Standing:
    """The ranking of answers after all comparisons."""

    best: int
    worst: int
    margin: float
    """How clearly the best beats the worst: 0 chance, 1 always (twice the probability, minus 1)."""
    ranks: list[int]
    """For each answer its rank from 1, the best; equally good answers share a rank."""
    outcomes: list[int | None]
    """For each comparison, which is better in both orders: 1 first, -1 second, 0 neither."""
    flips: int
    """Comparisons won both times by the answer shown first, or second. They count as ties."""


def standing(answers: int, meetings: Sequence[PairVerdicts]) -> Standing | None:
    """Rank answers by the comparisons that have verdicts; None if an answer has no verdict."""
    verdicts = [one.verdicts for one in meetings]
    orders = both_orders([ahead for ahead, _ in verdicts], [behind for _, behind in verdicts])
    known = [
        (one.first, one.second, outcome)
        for one, outcome in zip(meetings, orders.outcomes, strict=True)
        if not math.isnan(outcome)
    ]
    if {place for a, b, _ in known for place in (a, b)} != set(range(answers)):
        return None
    first, second, outcomes = zip(*known, strict=True)
    ranking = bradley_terry(first, second, outcomes)
    strengths = dict(zip(ranking.items, ranking.strengths.tolist(), strict=True))
    ranks = [
        1 + sum(other > own + _ALIKE for other in strengths.values())
        for own in (strengths[place] for place in range(answers))
    ]
    best, worst = ranks.index(min(ranks)), answers - 1 - ranks[::-1].index(max(ranks))
    margin = max(0.0, 2 * ranking.beats(best, worst).estimate - 1)
    said = [None if math.isnan(one) else round(one) for one in orders.outcomes]
    return Standing(best, worst, margin, ranks, said, orders.flips)
