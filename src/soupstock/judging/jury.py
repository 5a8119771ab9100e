"""Combine several judges' verdicts on one row. Knows no models and asks none."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal, assert_never

from soupstock.judging.rubric import CriterionVerdict, Rubric, Verdict, weighted

Aggregate = Literal["mean", "median", "majority", "unanimity"]
"""How the members' scores for a criterion are combined: see `aggregated`."""


def aggregate(
    rubric: Rubric, members: Mapping[str, Verdict | None], how: Aggregate
) -> Verdict | None:
    """Combine the members' verdicts; None where too few have one.

    For each criterion: `mean` and `median` of the members' scores; `majority`, the most frequent
    level (the lowest of a tie); `unanimity`, the lowest level. More than half of the members must
    have a verdict; for `unanimity`, all of them.
    """
    given = [verdict for verdict in members.values() if verdict is not None]
    needed = len(members) if how == "unanimity" else len(members) // 2 + 1
    if len(given) < needed:
        return None
    criteria = {
        name: _criterion([verdict.criteria[name] for verdict in given], len(one.levels), how)
        for name, one in rubric.judged.items()
    }
    return weighted(rubric, criteria)


def _criterion(found: Sequence[CriterionVerdict], levels: int, how: Aggregate) -> CriterionVerdict:
    scores = [one.score for one in found]
    known = [one.uncertainty for one in found if one.uncertainty is not None]
    uncertainty = math.fsum(known) / len(known) if known else None
    match how:
        case "mean":
            score = math.fsum(scores) / len(scores)
        case "median":
            score = median(scores)
        case "majority":
            counts = Counter(one.level or 1 for one in found)
            most = max(counts.values())
            score = (min(n for n, count in counts.items() if count == most) - 1) / (levels - 1)
        case "unanimity":
            score = min(scores)
        case _:
            assert_never(how)
    return CriterionVerdict(None, score, None, uncertainty)


def disagreement(members: Mapping[str, Verdict | None]) -> float | None:
    """Return how far apart the members' scores are, from 0 (equal) to 1."""
    scores = [verdict.score for verdict in members.values() if verdict is not None]
    return max(scores) - min(scores) if len(scores) > 1 else None
