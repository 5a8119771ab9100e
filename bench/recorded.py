"""Score judges' recorded verdicts, read from JSONL, with the code that scores our own.

The format is that of JudgeBench's outputs (Tan et al. 2024): a pair of answers per line, with the
judge's decision for each order. docs/judging.md describes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.stats.intervals import Flags, Interval, complete
from soupstock.stats.proportions import proportion
from soupstock.stats.ranking import both_orders, bradley_terry

Floats = npt.NDArray[np.float64]

DECISIONS = {"A>B": 1.0, "B>A": -1.0, "A=B": 0.0}
_ORDERS = 2
_FEWEST_ITEMS = 2


class Band(NamedTuple):
    """Pairs whose margins are from `low` to `high`."""

    low: float
    high: float
    pairs: int
    flips: Interval
    """The share of them that flips."""


@dataclass(frozen=True)
class Recorded:
    """A judge's verdicts on A and B, whichever was shown first; NaN where there is none."""

    name: str
    labels: Floats
    """Which one is truly better."""
    forward: Floats
    backward: Floats
    margins: Floats
    """The difference between the scores of A and B, averaged over the orders."""
    models: list[tuple[str, str]]
    """The models that wrote A and B; empty names where the file does not name them."""


def read(path: Path) -> Recorded:
    """Read a file of verdicts.

    Raises:
        MistakeError: The file cannot be read, or a line is not a pair with its verdicts.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise MistakeError(f"the file cannot be read: {error.strerror}", Place(path)) from error
    pairs = [
        _pair(line, Place(path, number)) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not pairs:
        raise MistakeError("the file has no verdicts", Place(path))
    labels, forward, backward, margins = np.array([pair[:4] for pair in pairs], dtype=np.float64).T
    return Recorded(path.name, labels, forward, backward, margins, [pair[4] for pair in pairs])


def _pair(
    line: bytes, place: Place
) -> tuple[float | None, float | None, float | None, float | None, tuple[str, str]]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MistakeError(f"this line is not JSON: {error.msg}", place) from error
    judgments = row.get("judgments") if isinstance(row, dict) else None
    if not isinstance(judgments, list) or not 1 <= len(judgments) <= _ORDERS:
        raise MistakeError("a line should have `judgments`, a list with one for each order", place)
    verdicts = [_decision(one, "decision", place) for one in judgments]
    backward = verdicts[1] if len(verdicts) == _ORDERS else None
    gaps = [gap for one in judgments if (gap := _gap(one)) is not None]
    return (
        _decision(row, "label", place),
        verdicts[0],
        # With B shown first, the file names B as A.
        None if backward is None else -backward,
        sum(gaps) / len(gaps) if gaps else None,
        (str(row.get("model_a") or ""), str(row.get("model_b") or "")),
    )


def _decision(row: object, key: str, place: Place) -> float | None:
    value = row.get(key) if isinstance(row, dict) else None
    if value is None:
        return None
    if not isinstance(value, str) or value not in DECISIONS:
        known = ", ".join(DECISIONS)
        raise MistakeError(f"{key} is {quoted(value)}; it is one of {known}, or null", place)
    return DECISIONS[value]


def _gap(judgment: Any) -> float | None:
    """Return the difference between the two scores of a judgment, if it has any."""
    if not isinstance(judgment, dict):
        return None
    inner = judgment.get("judgment")
    scores = judgment.get("scores", inner.get("scores") if isinstance(inner, dict) else None)
    if not isinstance(scores, list) or len(scores) != _ORDERS:
        return None
    a, b = scores
    are_numbers = all(isinstance(one, int | float) for one in scores)
    return abs(a - b) if are_numbers else None


def table(judges: Iterable[Recorded]) -> Iterator[str]:
    """Describe each judge, in a Markdown table and lines below it."""
    yield "| judge | pairs | right in both orders | in the first | same in both | flips | order |"
    yield "|---|---|---|---|---|---|---|"
    further: list[str] = []
    for judge in judges:
        name = shown(judge.name).replace("|", r"\|")
        orders = both_orders(judge.forward, judge.backward)
        cells = (
            name,
            f"{len(judge.labels):,} ({orders.missing:,} without a verdict in both orders)",
            _right(judge.labels, orders.outcomes).percent(),
            _right(judge.labels, judge.forward).percent(),
            orders.same.percent(),
            f"{orders.flips:,} and {orders.wavers:,} half",
            f"{orders.bias} for the first" if orders.pairs else "unknown",
        )
        yield f"| {' | '.join(cells)} |"
        further += [f"{name}: {line}" for line in _further(judge)]
    if further:
        yield ""
        yield from further


def _right(labels: Floats, verdicts: Floats) -> Interval:
    """Return how often the verdict is the label; a missing verdict counts as wrong."""
    known = ~np.isnan(labels)
    return proportion(int((labels == verdicts)[known].sum()), int(known.sum()))


def flips_by_margin(
    forward: Floats, backward: Floats, margins: Floats, *, bands: int = 4
) -> list[Band]:
    """Return how often verdicts flip, for bands of margins with about as many pairs each.

    A margin is how sure the judge was, such as the difference of two scores; its sign does not
    count. If wide margins flip as often as narrow ones, the judge was not sure of anything.
    """
    (ahead, behind, sizes), _ = complete(forward, backward, margins)
    is_flip, width = ahead * behind < 0, np.abs(sizes)
    return list(_bands(width, is_flip, bands)) if len(width) else []


def _bands(width: Floats, is_flip: Flags, bands: int) -> Iterator[Band]:
    edges = np.unique(np.quantile(width, np.linspace(0, 1, bands + 1)))
    places = np.searchsorted(edges[1:-1], width, side="right")
    for place in np.unique(places):
        chosen = places == place
        flips = proportion(int(is_flip[chosen].sum()), int(chosen.sum()))
        low, high = width[chosen].min(), width[chosen].max()
        yield Band(float(low), float(high), int(chosen.sum()), flips)


def _further(judge: Recorded) -> Iterator[str]:
    for band in flips_by_margin(judge.forward, judge.backward, judge.margins):
        margins = f"margins from {band.low:.3g} to {band.high:.3g}"
        yield f"{margins}: {band.flips.percent()} of {band.pairs:,} pairs flip"
    named = [number for number, (a, b) in enumerate(judge.models) if a and b and a != b]
    outcomes = both_orders(judge.forward, judge.backward).outcomes[named]
    first, second = ([judge.models[number][side] for number in named] for side in (0, 1))
    ranking = bradley_terry(first, second, outcomes)
    if len(ranking.items) >= _FEWEST_ITEMS:
        yield shown(ranking.sentence())
