"""Commands that take rows through a pipeline: plan, preview, run, explain, prune."""

import sys
from pathlib import Path
from typing import Any

import click

from soupstock.cli.options import (
    budget_of,
    budget_options,
    one_model_option,
    pair_of,
    plan_of,
    plan_options,
    project_of,
)

_PREVIEW_ROWS = 3


@click.command()
@plan_options
@click.option(
    "--estimate",
    "is_estimated",
    is_flag=True,
    help="Make a few rows for real, and estimate the calls, tokens, cost and time of the rest.",
)
@budget_options
@click.pass_context
def plan(
    context: click.Context,
    /,
    name: str,
    models: tuple[str, ...],
    rows: int | None,
    *,
    is_estimated: bool,
    **limits: Any,
) -> None:
    """Show what a run would do: steps, columns, calls. Asks no model without --estimate."""
    from soupstock.cli.display.plan import show_estimate, show_plan
    from soupstock.cli.display.progress import watch

    plan = plan_of(context, name, models, rows)
    show_plan(plan)
    if is_estimated:
        from soupstock.runs.estimate import estimate

        show_estimate(plan, estimate(plan, budget=budget_of(plan, **limits), watch=watch))


@click.command()
@plan_options
@one_model_option
@budget_options
@click.pass_context
def preview(
    context: click.Context,
    /,
    name: str,
    models: tuple[str, ...],
    rows: int | None,
    *,
    one_model_at_a_time: bool,
    **limits: Any,
) -> None:
    """Make a few rows (three without --rows) and show them here. Keeps nothing but the answers."""
    from soupstock.cli.display.progress import watch
    from soupstock.cli.display.row import show_preview
    from soupstock.runs import run as runs

    plan = plan_of(context, name, models, rows or _PREVIEW_ROWS)
    runs.preview(
        plan,
        lambda done: show_preview(plan, done),
        budget=budget_of(plan, **limits),
        watch=watch,
        one_model_at_a_time=one_model_at_a_time,
    )


@click.command()
@plan_options
@one_model_option
@budget_options
@click.pass_context
def run(
    context: click.Context,
    /,
    name: str,
    models: tuple[str, ...],
    rows: int | None,
    *,
    one_model_at_a_time: bool,
    **limits: Any,
) -> None:
    """Make the dataset. Run it again to continue: no answered call is made twice."""
    from soupstock.cli.display.progress import watch
    from soupstock.cli.display.run import show_run
    from soupstock.runs import run as runs

    plan = plan_of(context, name, models, rows)
    done = runs.run(
        plan,
        budget=budget_of(plan, **limits),
        watch=watch,
        one_model_at_a_time=one_model_at_a_time,
    )
    show_run(done)
    if done.manifest.outcome == "partial":
        sys.exit(1)


@click.command()
@click.argument("name")
@click.argument("row")
@click.pass_context
def explain(context: click.Context, /, name: str, row: str) -> None:
    """Show the history of one row in the last run of pipeline NAME.

    ROW is the id of the row, or its beginning.
    """
    from soupstock.cli.display.row import show_life
    from soupstock.reports import life

    show_life(life.explain(project_of(context), name, row))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--pipeline", "name", required=True, help="The pipeline whose steps are applied.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the kept rows: a .parquet file.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="The file's COLUMN is the pipeline's NAME: response=text.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="Skip the steps and filters that need the column NAME.",
)
@click.pass_context
def prune(context: click.Context, /, file: Path, name: str, **options: Any) -> None:
    """Apply a pipeline's steps to the rows of a file.

    FILE is a .parquet, .jsonl or .csv file, or a folder of .parquet files. Applies the steps that
    need no model: filter, mask, dedup, decontaminate (without its model) and select. The dropped
    rows are written too, with the reasons, beside OUTPUT as .dropped.parquet.
    """
    from soupstock.cli.display.run import show_pruned
    from soupstock.runs import prune as pruning

    columns = dict(pair_of(choice, "--column", "NAME=COLUMN") for choice in options["columns"])
    skipped = frozenset(options["without"])
    asked = pruning.Pruning(file, options["output"], columns, skipped)
    show_pruned(pruning.prune(asked, project_of(context), name))
