"""The record of one step of a run or a pruning, made from its tally."""

import math
from collections.abc import Sequence

from soupstock.artifacts.manifest import FailureRecord, StepRecord, TokenRecord
from soupstock.engine.tally import Tally, TokenCounts
from soupstock.inference.servers.endpoint import PICO
from soupstock.inference.servers.model import Model
from soupstock.steps.step import RowWise, Step


def step_record(
    number: int, tally: Tally, step: Step | None, failures: Sequence[FailureRecord] = ()
) -> StepRecord:
    """Make the record of a step; `step` is None for what the run adds after the last step."""
    models = step.models if step else ()
    figures = step.bound.figures(tally.counts) if step and isinstance(step.bound, RowWise) else {}
    return StepRecord(
        index=number,
        verb=tally.label.split(":")[0],
        label=tally.label,
        model=step.role if step else None,
        models=tuple(role for role, _ in models),
        rows_in=tally.rows_in,
        rows_kept=tally.kept,
        dropped=dict(sorted(tally.reasons.items())),
        flagged=dict(sorted(tally.flagged.items())),
        notes=tuple(tally.notes),
        failures=tuple(failures),
        answers=tally.spent.answers,
        tokens=tokens_of(tally.spent),
        cost=cost_of(models, tally),
        **figures,
    )


def cost_of(models: Sequence[tuple[str, Model]], tally: Tally) -> float | None:
    """Add up what each model's tokens cost, in US dollars.

    None if a price is unknown, or the step asks no model.
    """
    asked = {model: tally.by_model.get(model, TokenCounts()) for _, model in models}
    costs = [cost_at(model, tokens_of(spent)) for model, spent in asked.items()]
    known = [cost for cost in costs if cost is not None]
    return round(math.fsum(known), 9) if costs and len(known) == len(costs) else None


def tokens_of(spent: TokenCounts) -> TokenRecord:
    """Return the tokens of answers as a record."""
    return TokenRecord(prompt=spent.prompt, cached=spent.cached, completion=spent.completion)


def cost_at(model: Model, tokens: TokenRecord) -> float | None:
    """Return what tokens cost in US dollars; None if a price is unknown."""
    if not model.price.is_known:
        return None
    return round(model.price.cost(tokens.prompt, tokens.completion, tokens.cached) / PICO, 9)
