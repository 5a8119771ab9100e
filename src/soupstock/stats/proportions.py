"""Shares with their intervals, and the pass rate of rows, corrected for the judge's errors.

People label some rows, and the judge scores all of them. The judge's errors on the labelled rows
correct its pass rate on all rows.
"""

import math
from typing import NamedTuple

import numpy as np

from soupstock.stats.intervals import (
    LEVEL,
    Floats,
    Interval,
    Values,
    beta_quantile,
    binary,
    complete,
    counted,
    missing_note,
    normal_quantile,
    numbers,
    student_quantile,
    unknown,
)

_VERDICTS = (0.0, 1.0, math.nan)


class PassRate(NamedTuple):
    """The share of rows that people would pass if they labelled all of them."""

    method: str
    rate: Interval
    by_judge: float
    """The judge's own pass rate, over all rows with a verdict."""
    by_people: Interval
    """The pass rate of the labelled rows alone."""
    labels: int
    rows: int
    """The number of all rows."""
    missing: int
    """Rows on which the judge gave no verdict."""

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        seen = f"{counted(self.labels, 'row')} that people looked at"
        if not self.rate.is_known:
            return (
                f"The pass rate is unknown from {seen}: the judge's verdicts do not predict the"
                " labels."
            )
        none = f"; it gave no verdict on {counted(self.missing, 'row')}" if self.missing else ""
        return (
            f"{self.rate.percent()} of {counted(self.rows, 'row')} pass, corrected by {seen}"
            f" ({self.method}); the judge alone says {self.by_judge * 100:.0f} %{none}."
        )


class JudgeErrors(NamedTuple):
    """How a judge treats rows that people passed, and rows that they did not."""

    passes_good: Interval
    """Sensitivity: the share of good rows that it passes."""
    fails_bad: Interval
    """Specificity: the share of bad rows that it fails."""
    good: int
    bad: int
    missing: int

    def sentence(self) -> str:
        """Say it for a card or a summary."""
        return (
            f"The judge passes {self.passes_good.percent()} of {counted(self.good, 'good row')} and"
            f" fails {self.fails_bad.percent()} of {counted(self.bad, 'bad one')}"
            f"{missing_note(self.missing, 'verdict')}."
        )


def proportion(count: int, of: int, *, level: float = LEVEL) -> Interval:
    """Return a share and Jeffreys' interval of it, which covers the truth as often as it says.

    See Brown, Cai and DasGupta (2001). The interval ends at 0 if `count` is 0, at 1 if it is `of`.

    Raises:
        ValueError: `count` is not from 0 to `of`.
    """
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is not a share")
    if not of:
        return unknown(level)
    tail = (1 - level) / 2
    a, b = count + 0.5, of - count + 0.5
    low = beta_quantile(tail, a, b) if count else 0.0
    high = beta_quantile(1 - tail, a, b) if count < of else 1.0
    return Interval(count / of, low, high, level)


def net_share(up: int, down: int, of: int, *, level: float = LEVEL) -> Interval:
    """Return the share that went up minus the share that went down.

    The interval is Bonett and Price's (2012), which adds one to both, with Student's t.
    """
    if not of:
        return unknown(level)
    more, less, total = up + 1, down + 1, of + 2
    centre = (more - less) / total
    reach = student_quantile(level, of) * math.sqrt(((more + less) / total - centre**2) / total)
    estimate = (up - down) / of
    low, high = max(-1.0, centre - reach), min(1.0, centre + reach)
    return Interval(estimate, min(estimate, low), max(estimate, high), level)


def errors(people: Values, judge: Values, *, level: float = LEVEL) -> JudgeErrors:
    """Return a judge's sensitivity and specificity from labelled rows (1: passed)."""
    (truth, given), missing = complete(people, judge)
    good, passed = binary(truth, "labels") == 1, binary(given, "verdicts") == 1
    sizes = int(good.sum()), int((~good).sum())
    right = int((good & passed).sum()), int((~good & ~passed).sum())
    shares = [proportion(*counts, level=level) for counts in zip(right, sizes, strict=True)]
    return JudgeErrors(shares[0], shares[1], *sizes, missing)


def prediction_powered(people: Values, judge: Values, *, level: float = LEVEL) -> PassRate:
    """Correct a judge's pass rate by a random sample of its rows that people labelled.

    `judge` has the verdict on each row (1: pass), `people` the labels, which may be missing. For
    verdicts that pass or fail, prediction-powered inference (Angelopoulos et al. 2023), tuned to
    the least variance, is post-stratification: people pass some share of the rows with each
    verdict, and the shares are weighted by the frequency of the verdicts; a missing verdict is a
    verdict of its own. Their limits (Jeffreys') are combined as in Zou and Donner (2008).

    Raises:
        ValueError: A label or a verdict is neither 1 nor 0, or the columns differ in length.
    """
    labels, verdicts = _columns(people, judge)
    is_seen = ~np.isnan(labels)
    if not is_seen.any():
        return _pass_rate("prediction-powered inference", unknown(level), labels, verdicts)
    kinds = [_is(verdicts, verdict) for verdict in _VERDICTS]
    shares = np.array([kind.mean() for kind in kinds])
    found = [_passed(labels[is_seen], kind[is_seen], level) for kind in kinds]
    rates, lows, highs = (np.array(part) for part in zip(*(one[:3] for one in found), strict=True))
    estimate = float(shares @ rates)
    mixing = (shares @ rates**2 - estimate**2) / len(labels) * normal_quantile(level) ** 2
    down, up = (
        math.sqrt(max(0.0, ((shares * (rates - part)) ** 2).sum() + mixing))
        for part in (lows, highs)
    )
    rate = Interval(estimate, max(0.0, estimate - down), min(1.0, estimate + up), level)
    return _pass_rate("prediction-powered inference", rate, labels, verdicts)


def _is(verdicts: Floats, verdict: float) -> Floats:
    found = np.isnan(verdicts) if math.isnan(verdict) else verdicts == verdict
    return found.astype(np.float64)


def _passed(labels: Floats, chosen: Floats, level: float) -> Interval:
    """Return the share of chosen rows that people pass; if none is labelled, from 0 to 1."""
    if not chosen.any():
        return Interval(float(labels.mean()), 0.0, 1.0, level)
    return proportion(int(labels @ chosen), int(chosen.sum()), level=level)


def _columns(people: Values, judge: Values) -> tuple[Floats, Floats]:
    labels, verdicts = binary(numbers(people), "labels"), binary(numbers(judge), "verdicts")
    if labels.shape != verdicts.shape:
        raise ValueError(f"there are {len(labels)} labels and {len(verdicts)} verdicts")
    return labels, verdicts


def _pass_rate(method: str, rate: Interval, labels: Floats, verdicts: Floats) -> PassRate:
    seen, given = labels[~np.isnan(labels)], verdicts[~np.isnan(verdicts)]
    by_judge = float(given.mean()) if len(given) else math.nan
    by_people = proportion(int(seen.sum()), len(seen), level=rate.level)
    missing = len(verdicts) - len(given)
    return PassRate(method, rate, by_judge, by_people, len(seen), len(verdicts), missing)


def rogan_gladen(
    people: Values, judge: Values, others: Values, *, level: float = LEVEL
) -> PassRate:
    """Correct a judge's pass rate on other rows by its errors on labelled ones.

    Unlike for `prediction_powered`, the labelled rows need not be a sample of the others: they may
    come from an earlier run, or be selected to have many good and many bad ones. The judge must
    only err equally often on good rows, and on bad ones. The estimate is Rogan and Gladen's (1978),
    the interval Lang and Reiczigel's (2014). Rows without a verdict do not count.

    Raises:
        ValueError: A label or a verdict is neither 1 nor 0, or the columns differ in length.
    """
    (truth, judged), _ = complete(*_columns(people, judge))
    verdicts = binary(numbers(others), "verdicts")
    given = verdicts[~np.isnan(verdicts)]
    rate = _corrected(truth, judged, given, level) if len(given) else unknown(level)
    return _pass_rate("Rogan-Gladen", rate, truth, verdicts)


def _corrected(truth: Floats, judged: Floats, others: Floats, level: float) -> Interval:
    z = normal_quantile(level)
    good, bad = float(truth.sum()), float((1 - truth).sum())
    passed, failed = float(truth @ judged), float((1 - truth) @ (1 - judged))
    if passed * bad + failed * good <= good * bad:
        return unknown(level)
    apparent = float(others.mean())
    informed = passed / good + failed / bad - 1
    estimate = min(1.0, max(0.0, (apparent + failed / bad - 1) / informed))
    rows, good, bad = len(others) + z**2, good + 2, bad + 2
    apparent = (others.sum() + z**2 / 2) / rows
    sensitivity, specificity = (passed + 1) / good, (failed + 1) / bad
    informed = sensitivity + specificity - 1
    if informed <= 0:
        return Interval(estimate, 0.0, 1.0, level)
    rate = (apparent + specificity - 1) / informed
    on_good = sensitivity * (1 - sensitivity) / good
    on_bad = specificity * (1 - specificity) / bad
    centre = rate + 2 * z**2 * (rate * on_good - (1 - rate) * on_bad)
    variance = apparent * (1 - apparent) / rows + rate**2 * on_good + (1 - rate) ** 2 * on_bad
    reach = z * math.sqrt(variance) / informed
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return Interval(estimate, min(estimate, low), max(estimate, high), level)
