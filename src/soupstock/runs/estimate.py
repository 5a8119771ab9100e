"""Estimate what a run will take: calls, tokens, cost and time, each with an interval.

A few rows are made for real; their answers are cached, so a run does not pay for them again. Then
the plan is taken through the cache, which shows how many rows each step keeps and how long answers
are. The intervals come from simulated runs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import ServerRecord
from soupstock.engine.plan import Plan
from soupstock.engine.tally import Tally, TokenCounts
from soupstock.errors import MistakeError
from soupstock.inference.budget import Budget
from soupstock.inference.servers.model import Model
from soupstock.judging.canaries import FEWEST, canaries_per_row
from soupstock.runs import run
from soupstock.runs.coverage import UNASKED, Coverage, coverage_of
from soupstock.steps.decontaminate import BoundDecontaminate
from soupstock.steps.judge import BoundJudge
from soupstock.steps.select import BoundSelect
from soupstock.steps.step import Step

PROBE = 8
"""How many rows are made for real."""

_DRAWS = 4000
_LEVELS = (0.05, 0.5, 0.95)

Draws = npt.NDArray[np.float64]
"""One number for each simulated run."""


class EstimateRange(NamedTuple):
    """The range of a number in nine of ten simulated runs, and its median."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """What a run of a plan still has to do."""

    found: int
    """Answers that the cache has already."""
    calls: EstimateRange
    prompt_tokens: EstimateRange
    completion_tokens: EstimateRange
    cost: EstimateRange | None
    """US dollars; None if a model's price is unknown."""
    seconds: EstimateRange | None
    """At the speed of the rows made so far; None if a model has not been asked yet."""
    kept: EstimateRange
    """Rows in the dataset."""
    unknown: tuple[str, ...] = ()
    """Steps that no row has reached yet: their calls count with the most tokens they can have."""


def estimate(
    plan: Plan, *, budget: Budget | None = None, watch: run.Watch | None = None
) -> Estimate:
    """Make a few rows for real, and simulate the rest from what the cache has then."""
    rows = PROBE if plan.rows is None else min(PROBE, plan.rows)
    probed: list[ServerRecord] = []
    run.preview(
        replace(plan, rows=rows),
        lambda done: probed.extend(done.manifest.paid.servers),
        budget=budget,
        watch=watch,
    )
    paces = _paces([*_earlier(plan), *probed])
    return simulate(plan, coverage_of(plan), paces)


def _earlier(plan: Plan) -> Sequence[ServerRecord]:
    """Return the records of the servers of the pipeline's last run."""
    try:
        return manifest.read(run_folder.latest(plan.project.root, plan.name)).paid.servers
    except MistakeError:
        return ()


def _paces(servers: Sequence[ServerRecord]) -> Mapping[str, float]:
    """Return the seconds per token of each model, from the last record that has them."""
    return {
        server.model: server.seconds / server.tokens.completion
        for server in servers
        if server.tokens.completion and server.seconds
    }


class _Ask(NamedTuple):
    """What one step will ask, in each simulated run."""

    model: Model
    calls: Draws
    prompt: Draws
    completion: Draws


def simulate(plan: Plan, found: Coverage, paces: Mapping[str, float], seed: int = 0) -> Estimate:
    """Simulate what is left of a plan, from what the cache has of it.

    Samples each step's yield from its posterior (Jeffreys) and lets rows pass with that chance.
    The mean length of answers is sampled as if lengths were exponential, which makes intervals
    too wide rather than too narrow.
    """
    draw = np.random.default_rng(seed)
    steps = list(zip(plan.steps, found.tallies, strict=False))
    passing = [_passing(tally, draw) for _, tally in steps]
    rows = _rows_to_come(plan, found, passing)
    asked: list[_Ask] = []
    kept = np.full(_DRAWS, float(found.tallies[-1].kept))
    for (step, tally), chance in zip(steps, passing, strict=True):
        rows = rows + tally.reasons[UNASKED]
        if step.models:
            asking = _asking(step, tally, rows, draw) + _canaries(step, tally, rows, found)
            asked += _asks(step, tally, asking, draw)
        rows = draw.binomial(rows.astype(np.int64), chance).astype(np.float64)
        rows = _selected(step, tally, rows)
    kept = kept + rows
    if plan.pipeline.target:
        kept = np.minimum(kept, plan.pipeline.target)
    return _estimate(found, asked, paces, kept, tuple(_unreached(steps)))


def _passing(tally: Tally, draw: np.random.Generator) -> Draws:
    """Sample the chance that a row passes a step."""
    decided = tally.rows_in - tally.reasons[UNASKED]
    if decided == tally.kept:
        # A step that has dropped nothing yet most likely never drops anything.
        return draw.beta(tally.kept + 1, 0.05, _DRAWS) if decided else np.ones(_DRAWS)
    return draw.beta(tally.kept + 0.5, decided - tally.kept + 0.5, _DRAWS)


def _rows_to_come(plan: Plan, found: Coverage, passing: Sequence[Draws]) -> Draws:
    """Return how many source rows are still to be taken."""
    if plan.pipeline.target is None:
        return np.full(_DRAWS, float((plan.rows or found.source_rows) - found.source_rows))
    expected = np.zeros(_DRAWS)
    for tally, chance in zip(found.tallies, passing, strict=False):
        expected = (expected + tally.reasons[UNASKED]) * chance
    missing = np.maximum(0.0, plan.pipeline.target - found.tallies[-1].kept - expected)
    needed = np.ceil(missing / np.maximum(np.prod(passing, axis=0), 1e-3))
    if plan.rows is not None:
        needed = np.minimum(needed, plan.rows - found.source_rows)
    whole: Draws = needed.astype(np.float64)
    return whole


def _asking(step: Step, tally: Tally, rows: Draws, draw: np.random.Generator) -> Draws:
    """Return how many of the rows a step asks about: a decontaminate step asks about few."""
    if not isinstance(step.bound, BoundDecontaminate):
        return rows
    waiting = tally.reasons[UNASKED]
    asked = min(tally.rows_in, waiting + tally.spent.answers)
    share = draw.beta(asked + 0.5, tally.rows_in - asked + 0.5, _DRAWS)
    # A row that lacks an answer in the cache is surely asked about.
    return waiting + (rows - waiting) * share


def _canaries(step: Step, tally: Tally, rows: Draws, found: Coverage) -> Draws:
    """Return how many canaries a step's model is still asked about."""
    given, judging = step.spec, step.bound
    if isinstance(judging, BoundDecontaminate) and judging.question is not None:
        return np.full(_DRAWS, float(_canaries_of(judging.question.into, found).reasons[UNASKED]))
    if not (isinstance(judging, BoundJudge) and isinstance(given, spec.Judge) and given.canaries):
        return np.zeros(_DRAWS)
    judged = rows + tally.kept
    spoiled = canaries_per_row(judging.rubric) * np.minimum(judged, given.canaries)
    answers = _canaries_of(judging.column, found).spent.answers
    done = answers / max(1, len(judging.members))
    return np.where(judged < FEWEST, 0.0, np.maximum(0.0, spoiled - done))


def _canaries_of(column: str, found: Coverage) -> Tally:
    return found.canaries.get(column) or Tally(column)


def _asks(step: Step, tally: Tally, rows: Draws, draw: np.random.Generator) -> Iterator[_Ask]:
    """Return what a step will ask each of its models: judges differ in price and length."""
    decided = tally.rows_in - tally.reasons[UNASKED]
    for model, roles in Counter(model for _, model in step.models).items():
        share, spent = roles / len(step.models), tally.by_model.get(model, TokenCounts())
        if not spent.answers or not decided:
            most = float(getattr(step.spec, "max_tokens", 0))
            calls = rows * step.calls * share
            yield _Ask(model, calls, calls * most, calls * most)
            continue
        calls = rows * max(step.calls * share, spent.answers / decided)
        spread = draw.gamma(spent.answers, 1 / spent.answers, (2, _DRAWS))
        prompt, completion = (
            calls * tokens / spent.answers * wide
            for tokens, wide in zip((spent.prompt, spent.completion), spread, strict=True)
        )
        yield _Ask(model, calls, prompt, completion)


def _selected(step: Step, tally: Tally, rows: Draws) -> Draws:
    """Return how many rows pass at most: a select step has an upper limit."""
    match step.bound:
        case BoundSelect(rows=int(most)):
            return np.minimum(rows, max(0, most - tally.kept))
        case _:
            return rows


def _unreached(steps: Sequence[tuple[Step, Tally]]) -> Iterator[str]:
    for step, tally in steps:
        if step.models and not tally.by_model:
            yield step.title


def _estimate(
    found: Coverage,
    asked: Sequence[_Ask],
    paces: Mapping[str, float],
    kept: Draws,
    unknown: tuple[str, ...],
) -> Estimate:
    none = np.zeros(_DRAWS)
    return Estimate(
        found=sum(tally.spent.answers for tally in found.tallies),
        calls=_interval(sum((ask.calls for ask in asked), none)),
        prompt_tokens=_interval(sum((ask.prompt for ask in asked), none)),
        completion_tokens=_interval(sum((ask.completion for ask in asked), none)),
        cost=_cost(asked),
        seconds=_seconds(asked, paces),
        kept=_interval(kept),
        unknown=unknown,
    )


def _cost(asked: Sequence[_Ask]) -> EstimateRange | None:
    total = np.zeros(_DRAWS)
    for ask in asked:
        price = ask.model.price
        if price.input is None or price.output is None:
            return None
        total += ask.prompt * price.input + ask.completion * price.output
    return _interval(total / 1e6)


def _seconds(asked: Sequence[_Ask], paces: Mapping[str, float]) -> EstimateRange | None:
    """Add up each server's time. Servers work at the same time, so the slowest counts."""
    servers: dict[str, Draws] = {}
    for ask in asked:
        pace = paces.get(ask.model.reference)
        if pace is None:
            return None
        before = servers.get(ask.model.reference, np.zeros(_DRAWS))
        servers[ask.model.reference] = before + ask.completion * pace
    return _interval(np.max(list(servers.values()), axis=0)) if servers else EstimateRange(0, 0, 0)


def _interval(draws: Draws) -> EstimateRange:
    return EstimateRange(*(float(value) for value in np.quantile(draws, _LEVELS)))
