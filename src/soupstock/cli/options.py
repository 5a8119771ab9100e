"""Arguments and options that several commands have, and what is made of their values."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from soupstock.errors import MistakeError, shown

if TYPE_CHECKING:
    from soupstock.engine.plan import Plan
    from soupstock.inference.budget import Budget
    from soupstock.project.project import Project

Function = Callable[..., Any]


def plan_options(function: Function) -> Function:
    """Give a command the arguments that a plan is made from: NAME, --model and --rows."""
    options = (
        click.argument("name"),
        click.option(
            "--model",
            "models",
            multiple=True,
            metavar="ROLE=MODEL",
            help="Use another model for a role: writer=openai/gpt-4.1-mini.",
        ),
        click.option(
            "--rows",
            type=click.IntRange(min=1),
            help="How many source rows to take. Default: as many as the pipeline says.",
        ),
    )
    return _with(options, function)


def budget_options(function: Function) -> Function:
    """Give a command the limits of what it may spend."""
    options = (
        click.option(
            "--max-calls", type=click.IntRange(min=0), help="Stop before more calls than this."
        ),
        click.option(
            "--max-tokens", type=click.IntRange(min=0), help="Stop before more tokens than this."
        ),
        click.option(
            "--max-cost",
            type=click.FloatRange(min=0),
            help="Stop before more US dollars than this.",
        ),
    )
    return _with(options, function)


one_model_option = click.option(
    "--one-model-at-a-time",
    is_flag=True,
    help="Serve vLLM models one after the other, if they do not fit side by side.",
)


def _with(options: tuple[Callable[[Function], Function], ...], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


def project_of(context: click.Context) -> "Project":
    """Find the project that a command works on."""
    from soupstock.project.project import Project

    return Project.at(context.obj)


def plan_of(context: click.Context, name: str, models: tuple[str, ...], rows: int | None) -> "Plan":
    """Make the plan that the values of `plan_options` describe; raises MistakeError."""
    from soupstock.engine.plan import plan_file

    return plan_file(name, project_of(context), models=roles_of(models), rows=rows)


def roles_of(models: tuple[str, ...]) -> dict[str, str]:
    """Read ROLE=MODEL; raises MistakeError."""
    return dict(pair_of(choice, "--model", "ROLE=MODEL") for choice in models)


def budget_of(
    plan: "Plan", max_calls: int | None, max_tokens: int | None, max_cost: float | None
) -> "Budget":
    """Make the budget that the values of `budget_options` describe; raises MistakeError."""
    from soupstock.inference.budget import Budget

    if max_cost is not None:
        _check_cost(plan, max_cost)
    return Budget(max_calls=max_calls, max_tokens=max_tokens, max_cost=max_cost)


def _check_cost(plan: "Plan", max_cost: float) -> None:
    if not math.isfinite(max_cost):
        raise MistakeError(f"--max-cost should be a number of US dollars, not {max_cost}")
    for role, model in plan.models.items():
        if model.base_url and not model.price.is_known:
            raise MistakeError(
                f"--max-cost needs the prices of {shown(model.reference)} ({role}): set "
                "input_price and output_price in [tool.soupstock.models]"
            )


def pair_of(choice: str, flag: str, form: str) -> tuple[str, str]:
    """Split a flag's value at its first `=`; raises MistakeError."""
    one, equals, other = choice.partition("=")
    if not (one and equals and other):
        raise MistakeError(f"{flag} {shown(choice)} is not {form}")
    return one, other


def share_of(text: str, what: str, below: float = math.inf) -> float:
    """Read the share of something; raises MistakeError."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < below:
        wanted = f"a number above 0{f' and below {below:g}' if below < math.inf else ''}"
        raise MistakeError(f"the share of {shown(what)} should be {wanted}, not {shown(text)}")
    return share
