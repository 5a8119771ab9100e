"""Criteria that need no judge: a filter's true scores 1, false 0, and a number is the score."""

import math
from dataclasses import dataclass

import polars as pl

from soupstock.errors import MistakeError, quoted
from soupstock.inference.call import Failure
from soupstock.judging.rubric import CriterionVerdict
from soupstock.rows.expressions import FAULTS, evaluate


@dataclass(frozen=True, eq=False)
class BoundRule:
    """A rule of a rubric: its criterion, the filter in words, and the expression."""

    criterion: str
    label: str
    """The filter and its arguments: `length(response, min=80)`."""
    expression: pl.Expr


Ruled = dict[str, CriterionVerdict] | Failure
"""A row's verdicts by rule, or why there are none."""


def apply(rules: tuple[BoundRule, ...], rows: pl.DataFrame) -> list[Ruled]:
    """Score each row by each rule.

    Raises:
        MistakeError: A rule cannot be evaluated on these rows.
    """
    found = [_values(rule, rows) for rule in rules]
    return [_row(rules, values) for values in zip(*found, strict=True)] if rows.height else []


def _values(rule: BoundRule, rows: pl.DataFrame) -> list[object]:
    try:
        (values,) = evaluate([rule.expression], rows, are_scores=True)
    except FAULTS as error:
        said = " ".join(str(error).partition("\n\n")[0].split())
        raise MistakeError(f"rule {quoted(rule.criterion)} failed: {said}") from error
    return values.to_list()


def _row(rules: tuple[BoundRule, ...], values: tuple[object, ...]) -> Ruled:
    found = {}
    for rule, value in zip(rules, values, strict=True):
        score = float(value) if isinstance(value, bool | int | float) else math.nan
        if not 0 <= score <= 1:
            why = "cannot tell" if math.isnan(score) else f"gives {score:g}, not 0 to 1"
            return Failure("Rule", f"{rule.criterion}: {rule.label} {why}")
        found[rule.criterion] = CriterionVerdict(None, score, rule.label)
    return found
