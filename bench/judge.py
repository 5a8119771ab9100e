"""Validate the statistics about judges on simulated judges of known error, many runs each.

Run `python bench/judge.py` for all figures, or name some: `python bench/judge.py passes promise`.
`python bench/judge.py --recorded FILE` scores any judge's recorded verdicts with the same code;
docs/judging.md describes the file.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ParamSpec

import numpy as np
import recorded
from judges import (
    CANARIES,
    CURVES,
    Curve,
    Draw,
    Judge,
    canary_scores,
    levels_of,
    normal_scores,
    pair_verdicts,
    share_above,
    true_alpha,
    true_area,
    true_kappa,
    wins_of,
)

from soupstock.errors import MistakeError
from soupstock.judging.sanity_check import length_bias, sanity_check
from soupstock.stats.agreement import Weights, alpha, kappa
from soupstock.stats.intervals import Interval
from soupstock.stats.proportions import prediction_powered, proportion, rogan_gladen
from soupstock.stats.ranking import both_orders, bradley_terry
from soupstock.stats.roc import auc
from soupstock.stats.thresholds import promise

P = ParamSpec("P")

LOW, HIGH = 0.93, 0.97
ROWS = 2000
PROMISES = 5
"""The factor of runs for promises, so that the worst of many cases is not an accident."""
PASS_RATES = (0.3, 0.5, 0.8, 0.95)
USUAL = (Judge(0.7, 0.6), Judge(0.8, 0.7), Judge(0.9, 0.8), Judge(0.9, 0.9))
"""Judges that are wrong on 10 to 40% of the rows of a kind."""
GOOD = Judge(0.98, 0.95)
GUESSING = Judge(0.5, 0.5)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    goal: str
    found: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.goal} | {self.found} |"


def _covering(cells: Sequence[float]) -> str:
    """Return how often intervals covered the truth, over kinds of judges and sample sizes."""
    inside = sum(LOW <= cell <= HIGH for cell in cells)
    return (
        f"{min(cells):.1%} to {max(cells):.1%}, mean {np.mean(cells):.1%};"
        f" {inside} of {len(cells)} cases within"
    )


def _share(runs: int, holds: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> float:
    """Return the share of runs in which a statement holds."""
    return sum(holds(*args, **kwargs) for _ in range(runs)) / runs


def _covers(found: Interval, truth: float) -> bool:
    return found.is_known and found.low <= truth <= found.high


def passes(runs: int, draw: Draw) -> Iterator[Figure]:
    """The corrected pass rate, and for comparison the judge's own."""

    def powered(rate: float, labels: int, judge: Judge) -> bool:
        people, verdicts = judge.verdicts(draw, ROWS, rate)
        people[labels:] = np.nan
        return _covers(prediction_powered(people, verdicts).rate, rate)

    def by_judge(rate: float, labels: int, judge: Judge) -> bool:
        _, verdicts = judge.verdicts(draw, ROWS + labels, rate)
        return _covers(proportion(int(verdicts.sum()), len(verdicts)), rate)

    def rogan(rate: float, labels: int, judge: Judge) -> bool:
        # The labelled rows differ from the rest: half of them are good.
        people, known = judge.verdicts(draw, labels, 0.5)
        _, verdicts = judge.verdicts(draw, ROWS, rate)
        return _covers(rogan_gladen(people, known, verdicts).rate, rate)

    cases = (
        ("prediction-powered, judges that err on 10 to 40%", powered, (40, 100, 300), USUAL),
        ("prediction-powered, the same judges", powered, (20,), USUAL),
        ("prediction-powered, a judge that guesses", powered, (20, 40, 100, 300), (GUESSING,)),
        ("prediction-powered, a judge that errs on 2 to 5%", powered, (40, 100, 300), (GOOD,)),
        ("Rogan-Gladen, judges that err on 10 to 40%", rogan, (100, 300), USUAL),
        ("the judge's own, uncorrected, the same judges", by_judge, (0,), USUAL),
    )
    for what, trial, sizes, judges in cases:
        cells = [_share(runs, trial, *cell) for cell in product(PASS_RATES, sizes, judges)]
        labels = ", ".join(map(str, sizes))
        rates = "pass rates 30 to 95%"
        yield Figure(
            f"pass rate, {what}, {labels} labels of {ROWS:,} rows, {rates}: 95% interval covers",
            f"{LOW:.0%} to {HIGH:.0%}",
            _covering(cells),
        )


def promises(runs: int, draw: Draw) -> Iterator[Figure]:
    """The threshold that keeps at most a share of bad rows, and how many more labels it needs."""

    def trial(curve: Curve, bad: float, labels: int) -> tuple[bool, bool, float]:
        good, scores = curve.labelled(draw, labels)
        found = promise(good, scores, bad=bad)
        if found.threshold is None:
            return False, False, 0.0
        return True, curve.bad_above(found.threshold) > bad, 1 - found.threshold

    cells, lines = [], []
    for (name, curve), bad in product(CURVES.items(), (0.05, 0.1, 0.2)):
        for labels in (40, 100, 200, 400):
            seen = [trial(curve(bad), bad, labels) for _ in range(PROMISES * runs)]
            proven, broken, kept = (float(part) for part in np.mean(seen, axis=0))
            cells.append(broken)
            if name == "good":
                lines.append(f"{bad:.0%} with {labels}: {proven:.0%}, keeping {kept:.0%}")
    kinds = ", ".join(CURVES)
    what = f"promise of at most 5, 10 or 20% bad, 40 to 400 labels; judges: {kinds}"
    found = f"{max(cells):.1%} in the worst of {len(cells)} cases, mean {np.mean(cells):.1%}"
    yield Figure(f"{what}; {PROMISES * runs:,} runs: broken", "≤ 5%", found)
    yield Figure("the same, the good judge: proven, and share of rows kept", "", "; ".join(lines))
    yield _enough(runs, draw)


def _enough(runs: int, draw: Draw) -> Figure:
    """Label as many more rows as the promise says are needed."""
    curve, tried, proven = CURVES["good"](0.1), 0, 0
    for _ in range(runs):
        good, scores = curve.labelled(draw, 40)
        needed = promise(good, scores, bad=0.1).needed
        if needed:
            more_good, more_scores = curve.labelled(draw, needed)
            both = np.concatenate((good, more_good)), np.concatenate((scores, more_scores))
            tried, proven = tried + 1, proven + (promise(*both, bad=0.1).threshold is not None)
    what = "at most 10% bad not provable with 40 labels: proven with as many more as it says"
    return Figure(what, "≥ 80%", f"{proven / max(1, tried):.0%} of {tried:,}")


def agreements(runs: int, draw: Draw) -> Iterator[Figure]:
    """Kappa, weighted kappa and alpha."""

    def kappa_covers(rows: int, levels: int, care: float, weights: Weights, truth: float) -> bool:
        people, judge = levels_of(draw, rows, 2, levels, care)
        found = kappa(people, judge, levels=range(levels), weights=weights).interval
        return _covers(found, truth) or not found.is_known

    def alpha_covers(rows: int, judges: int, care: float, truth: float) -> bool:
        return _covers(alpha(levels_of(draw, rows, judges, 4, care)).interval, truth)

    kinds: tuple[tuple[int, Weights], ...] = ((2, "equal"), (4, "linear"), (4, "quadratic"))
    cells = []
    for (levels, weights), care in product(kinds, (0.0, 0.5, 0.9)):
        truth = true_kappa(levels, care, weights)
        cells += [
            _share(runs, kappa_covers, rows, levels, care, weights, truth)
            for rows in (20, 40, 100, 300)
        ]
    what = (
        "kappa of 2 levels, weighted kappa of 4, 20 to 300 rows, judges that guess to careful ones"
    )
    yield Figure(f"{what}: 95% interval covers", "≥ 93%", _covering(cells))
    cells = []
    for judges, care in product((2, 4), (0.0, 0.5, 0.9)):
        truth = true_alpha(judges, 4, care)
        cells += [_share(runs, alpha_covers, rows, judges, care, truth) for rows in (20, 40, 100)]
    what = "alpha of 2 and 4 judges, 4 levels, 20 to 100 rows: 95% interval covers"
    yield Figure(what, "≥ 90%", _covering(cells))


def areas(runs: int, draw: Draw) -> Iterator[Figure]:
    """The area under the ROC curve, of scores without and with ties, single and in pairs."""

    def covers(rows: int, area: float, levels: int | None, tied: float) -> bool:
        scores = normal_scores(draw, rows, area, levels, tied)
        groups = np.tile(np.arange(rows), 2) if tied else None
        found = auc(np.repeat([1.0, 0.0], rows), scores, groups=groups)
        return _covers(found.auc, true_area(area, levels))

    for levels, tied in product((None, 5), (0.0, 0.5)):
        grid = product((8, 12, 20, 50), (0.5, 0.8, 0.95, 0.99))
        cells = [_share(runs, covers, *cell, levels, tied) for cell in grid]
        scores = "continuous scores" if levels is None else f"{levels} levels"
        kind = "bad rows are copies of the good ones, spoiled" if tied else "independent rows"
        what = f"AUC 0.50 to 0.99, 8 to 50 rows of each kind, {scores}, {kind}"
        yield Figure(f"{what}: 95% interval covers", "≥ 93%", _covering(cells))


def canaries(runs: int, draw: Draw) -> Iterator[Figure]:
    """Whether a bad judge fails its sanity check, and a good one passes."""
    kinds = len(CANARIES)
    for what, area, goal, blind in (
        ("a judge that guesses", 0.5, "≥ 95%", 0),
        ("a judge that gives every row one score", None, "≥ 95%", 0),
        ("a good judge (AUC 0.95)", 0.95, "≤ 5%", 0),
        ("a fair judge (AUC 0.90)", 0.9, "≤ 5%", 0),
        ("a good judge that cannot tell one kind", 0.95, "", 1),
    ):
        for levels in (None, 5):
            flagged = []
            for rows in (6, 8, 12, 20, 50):
                found = (canary_scores(draw, rows, area, levels, blind) for _ in range(runs))
                flagged.append(float(np.mean([not sanity_check(*one).is_passed for one in found])))
            scores = "continuous scores" if levels is None else f"{levels} levels"
            yield Figure(
                f"canaries, {kinds} kinds of 6, 8, 12, 20 and 50 rows, {scores}, {what}: not fit",
                goal,
                ", ".join(f"{share:.1%}" for share in flagged),
            )


def biases(runs: int, draw: Draw) -> Iterator[Figure]:
    """Order and length bias: false alarms, and detections."""
    for bias, goal in ((0.0, "≤ 5%"), (0.2, "")):
        cells = []
        for pairs in (20, 50, 200):
            trials = (both_orders(*pair_verdicts(draw, pairs, bias)) for _ in range(runs))
            cells.append(float(np.mean([one.is_biased for one in trials])))
        found = ", ".join(f"{cell:.1%}" for cell in cells)
        what = f"order decides {bias:.0%} of verdicts for the first; 20, 50 and 200 pairs: found"
        yield Figure(what, goal, found)
    for rise, goal in ((0.0, "≤ 5%"), (0.5, "")):
        cells = []
        for rows in (10, 20, 50):
            plain = (draw.normal(size=(2, rows)) for _ in range(runs))
            biased = [length_bias(a, a + b + rise).is_biased for a, b in plain]
            cells.append(float(np.mean(biased)))
        found = ", ".join(f"{cell:.1%}" for cell in cells)
        what = f"padding raises scores by {rise:g} standard deviations; 10, 20 and 50 rows: found"
        yield Figure(what, goal, found)


def rankings(runs: int, draw: Draw) -> Iterator[Figure]:
    """Bradley-Terry: the probability that one item beats another."""

    def covers(items: int, meetings: int) -> bool:
        strengths = draw.normal(size=items)
        found = bradley_terry(*wins_of(draw, strengths, meetings))
        return _covers(found.beats(0, 1), share_above(strengths))

    cells = [_share(runs, covers, *cell) for cell in product((4, 8), (5, 20))]
    what = "Bradley-Terry, 4 and 8 items, each pair met 5 or 20 times: 95% interval covers"
    yield Figure(f"{what} the chance to win", "≥ 93%", _covering(cells))


MEASURES: dict[str, Callable[[int, Draw], Iterator[Figure]]] = {
    measure.__name__: measure
    for measure in (passes, promises, agreements, areas, canaries, biases, rankings)
}


def main() -> int:
    """Measure, and print each figure as a line of a table; or score recorded verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(MEASURES))
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs of each case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recorded", type=Path, nargs="+", metavar="FILE", help="JSONL files")
    options = parser.parse_args()
    if options.recorded:
        return _score(options.recorded)
    chosen = options.figures or list(MEASURES)
    if unknown := sorted(set(chosen) - set(MEASURES)):
        parser.error(f"no figure is called {unknown[0]!r}; there are: {', '.join(MEASURES)}")
    print(f"{options.runs:,} runs of each case\n\n| what | goal | found |\n|---|---|---|")
    for name in chosen:
        # Each figure has its own random stream, so that it is the same alone and among others.
        draw = np.random.default_rng([options.seed, list(MEASURES).index(name)])
        for figure in MEASURES[name](options.runs, draw):
            print(figure, flush=True)
    return 0


def _score(files: Sequence[Path]) -> int:
    try:
        for line in recorded.table([recorded.read(file) for file in files]):
            print(line)
    except MistakeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
