"""How far a judge agrees with people, in figures."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from soupstock.artifacts.judges import DIGITS, CriterionRecord, PromiseRecord, RateRecord, interval
from soupstock.judging.labels import Labels
from soupstock.judging.rubric import Criterion, Rubric
from soupstock.stats.agreement import accuracy, alpha, kappa
from soupstock.stats.proportions import PassRate, errors, prediction_powered, rogan_gladen
from soupstock.stats.roc import auc
from soupstock.stats.thresholds import Promise, promise

Scores = list[float | None]


@dataclass(frozen=True)
class LabelledVerdicts:
    """A judge's verdicts and people's labels."""

    rubric: Rubric
    labels: Labels
    verdicts: Mapping[str, Any]
    threshold: float

    @property
    def labelled(self) -> list[str]:
        """The labelled rows that have a verdict."""
        return [row for row in self.labels.rows if self.verdicts.get(row) is not None]

    def figures(self, bad: float, *, are_chosen: bool) -> dict[str, Any]:
        """Compute all fields of the calibration record that compare the judge with people."""
        criteria = tuple(self._criteria())
        found: dict[str, Any] = {"criteria": criteria}
        keeps = self.labels.keeps()
        if any(keep is not None for keep in keeps.values()):
            found |= self._overall(keeps, bad, are_chosen=are_chosen)
        weak = [one.name for one in criteria if not one.is_beyond_chance]
        sentences = list(found.get("sentences", ()))
        if weak:
            sentences.append(f"Not provably better than chance: {', '.join(weak)}.")
        return found | {"sentences": tuple(sentences)}

    def _overall(
        self, keeps: Mapping[str, float | None], bad: float, *, are_chosen: bool
    ) -> dict[str, Any]:
        people = [keeps[row] for row in self.labelled]
        scores = [float(self.verdicts[row]["score"]) for row in self.labelled]
        passes: Scores = [float(score >= self.threshold) for score in scores]
        agreed, right = kappa(people, passes, levels=(0, 1)), accuracy(people, passes)
        apart = auc(people, scores)
        rate = self._rate(keeps, are_chosen=are_chosen)
        held = None if are_chosen else promise(people, scores, bad=bad)
        among = alpha(self.labels.by_annotator(), metric="nominal") if self._is_shared else None
        results = [agreed, right, apart, errors(people, passes), held, rate]
        sentences = [one.sentence() for one in results if one is not None]
        if among is not None:
            sentences.append(f"People among themselves: {among.sentence()}")
        return {
            "kappa": interval(agreed.interval),
            "accuracy": interval(right.right),
            "base_rate": None if math.isnan(right.base_rate) else round(right.base_rate, DIGITS),
            "auc": interval(apart.auc),
            "people": interval(among.interval) if among is not None else None,
            "promise": _promise(held) if held is not None else None,
            "rate": _rate_record(rate),
            "sentences": tuple(sentences),
        }

    @property
    def _is_shared(self) -> bool:
        """Whether several people labelled rows."""
        return len(self.labels.annotators) > 1

    def _rate(self, keeps: Mapping[str, float | None], *, are_chosen: bool) -> PassRate:
        passes: dict[str, float | None] = {
            row: None if verdict is None else float(verdict["score"] >= self.threshold)
            for row, verdict in self.verdicts.items()
        }
        if not are_chosen:
            return prediction_powered([keeps.get(row) for row in passes], list(passes.values()))
        people = [keeps[row] for row in self.labelled]
        others = [value for row, value in passes.items() if row not in keeps]
        return rogan_gladen(people, [passes[row] for row in self.labelled], others)

    def _criteria(self) -> Iterator[CriterionRecord]:
        keeps = self.labels.keeps()
        for name, one in self.rubric.criteria.items():
            levels = self.labels.levels(name)
            if isinstance(one, Criterion) and any(found is not None for found in levels.values()):
                yield self._by_levels(name, len(one.levels), levels)
            elif any(keep is not None for keep in keeps.values()):
                yield self._by_keeping(name, keeps)

    def _by_levels(
        self, name: str, most: int, levels: Mapping[str, float | None]
    ) -> CriterionRecord:
        people = [levels[row] for row in self.labelled]
        levels_given = [_level(self.verdicts[row]["criteria"][name], most) for row in self.labelled]
        found = kappa(people, levels_given, levels=range(1, most + 1), weights="quadratic")
        right = accuracy(people, levels_given)
        return CriterionRecord(
            name=name,
            rows=found.rows,
            statistic="kappa",
            value=interval(found.interval),
            is_beyond_chance=found.is_beyond_chance,
            sentence=f"{found.sentence()} {right.sentence()}",
        )

    def _by_keeping(self, name: str, keeps: Mapping[str, float | None]) -> CriterionRecord:
        scores = [self.verdicts[row]["criteria"][name]["score"] for row in self.labelled]
        found = auc([keeps[row] for row in self.labelled], scores)
        return CriterionRecord(
            name=name,
            rows=found.good + found.bad,
            statistic="AUC",
            value=interval(found.auc),
            is_beyond_chance=found.is_beyond_chance,
            sentence=found.sentence(),
        )


def _level(found: Mapping[str, Any], most: int) -> float:
    """Return the level; for a jury, the level that is nearest to its score."""
    level = found["level"]
    return float(round(found["score"] * (most - 1)) + 1 if level is None else level)


def _promise(found: Promise) -> PromiseRecord:
    return PromiseRecord(
        bad=found.bad,
        confidence=found.confidence,
        threshold=found.threshold,
        kept=interval(found.kept),
        needed=found.needed,
        sentence=found.sentence(),
    )


def _rate_record(found: PassRate) -> RateRecord:
    return RateRecord(
        method=found.method,
        rate=interval(found.rate),
        by_judge=None if math.isnan(found.by_judge) else round(found.by_judge, DIGITS),
        by_people=interval(found.by_people),
        rows=found.rows,
        sentence=found.sentence(),
    )
