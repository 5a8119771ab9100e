"""Commands about whether answers are good: review by people, and the judge beside them."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from soupstock.cli.options import project_of


@click.command()
@click.argument("name")
@click.pass_context
def review(context: click.Context, /, name: str) -> None:
    """Send rows to people for review, and fetch their answers.

    The review step of the last run of pipeline NAME chose the rows. Argilla is found by
    ARGILLA_API_URL and ARGILLA_API_KEY (and ARGILLA_WORKSPACE); without these, the one that `make
    review` started is used. The next run uses the answers.
    """
    from soupstock.cli.display.listing import show_review
    from soupstock.review.exchange import exchange

    done = exchange(project_of(context), name, os.environ)
    show_review(done)
    if done.pushed.refused:
        sys.exit(1)


@click.command()
@click.argument("name")
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .jsonl or .csv file: id, label (keep or drop) or the criteria's levels, annotator. "
    "Default: the answers of the review.",
)
@click.option("--column", help="The judge's column, if the pipeline has several judges.")
@click.option(
    "--bad",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    help="The share of bad rows that the promised threshold may keep. Default: 0.05.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="The lowest score at which the judge keeps a row. Default: that of the pipeline's filter, "
    "or 0.5.",
)
@click.option(
    "--chosen",
    "are_chosen",
    is_flag=True,
    help="The labelled rows were chosen, not drawn at random: compute no guarantees from them.",
)
@click.pass_context
def calibrate(context: click.Context, /, name: str, labels: Path | None, **choices: Any) -> None:
    """Compare a judge with people's labels of the same rows.

    The rows are those of the last run of pipeline NAME.
    """
    from soupstock.cli.display.listing import show_calibration
    from soupstock.runs import calibration

    show_calibration(calibration.calibrate(project_of(context), name, labels, **choices))
