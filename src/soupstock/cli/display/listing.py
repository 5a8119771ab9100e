"""Show pipelines, tasks and cached answers; and what people said in a review."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from soupstock.cli.display.terminal import cell, new_console, new_table
from soupstock.errors import SoupstockError
from soupstock.project.project import Project
from soupstock.spec.loader import load
from soupstock.spec.pipeline import Pipeline

if TYPE_CHECKING:
    from soupstock.artifacts.judges import CriterionRecord
    from soupstock.inference.cache import Size
    from soupstock.review.exchange import Exchanged
    from soupstock.runs.calibration import Calibrated
    from soupstock.steps.distilabel.catalogue import TaskEntry


def show_cache(sizes: "Sequence[Size]") -> None:
    """Print how many answers of each model the cache holds."""
    table = new_table("model", "answers", "size", right=("answers", "size"))
    for size in sizes:
        table.add_row(cell(size.model), f"{size.answers:,}", f"{size.bytes / 1e3:,.0f} kB")
    new_console().print(table)


def show_pipelines(project: Project) -> None:
    """Print the pipelines by name, with their descriptions."""
    table = new_table("pipeline", "what it makes", "where")
    for name, path in sorted(project.pipeline_names().items()):
        try:
            description = load(path, Pipeline).value.description
        except SoupstockError as error:
            description = f"(cannot be read: {error.message})"
        where = "standard" if path.is_relative_to(project.standard) else "project"
        if project.root == project.standard:
            where = "project"
        table.add_row(*map(cell, (name, description, where)))
    new_console().print(table)


def show_tasks(entries: "Iterable[TaskEntry]") -> None:
    """Print the tasks that a task step can carry out: inputs, outputs and paper of each."""
    table = new_table("task", "inputs", "outputs", "paper")
    for entry in entries:
        needs = [name if is_needed else f"{name}?" for name, is_needed in entry.inputs.items()]
        paper = "\n".join(entry.paper) if entry.paper else ""
        outputs = "\n".join(entry.outputs)
        table.add_row(*map(cell, (entry.name, "\n".join(needs), outputs, paper)))
    new_console().print(table)


def show_calibration(found: "Calibrated") -> None:
    """Print how a judge compares with people."""
    console, record = new_console(), found.record
    console.print(cell(f"{record.column}: {record.summary}"), soft_wrap=True)
    for sentence in record.sentences:
        console.print(cell(sentence), soft_wrap=True)
    console.print(_criteria(record.criteria))
    if record.unscored:
        unscored = f"{record.unscored:,} labelled rows have no score in the last run"
        console.print(cell(unscored), style="yellow")
    if found.ignored:
        ignored = f"ignored, because they hold no labels: {', '.join(found.ignored)}"
        console.print(cell(ignored), style="yellow")
    kept = f"written to {found.path}; to show it in the card and the report, run the pipeline again"
    console.print(cell(kept), soft_wrap=True)


def _criteria(criteria: "Sequence[CriterionRecord]") -> Table:
    table = new_table("criterion", "rows", "measure", "value", "interval", right=("rows", "value"))
    for one in criteria:
        value, limits = "unknown", ""
        if one.value is not None:
            value = f"{one.value.estimate:.2f}"
            limits = f"{one.value.low:.2f} to {one.value.high:.2f}"
        style = "" if one.is_beyond_chance else "yellow"
        table.add_row(cell(one.name), f"{one.rows:,}", one.statistic, value, limits, style=style)
    return table


def show_review(done: "Exchanged") -> None:
    """Print what was fetched and sent, and where people go to answer."""
    console = new_console()
    for note in done.notes:
        console.print(cell(note), style="yellow", soft_wrap=True)
    console.print(cell(f"review at {done.place.where}"), soft_wrap=True)
    for label, text in done.place.details.items():
        console.print(cell(f"  {label}: {text}"), soft_wrap=True)
    pushed = done.pushed
    console.print(f"sent: {pushed.sent:,} new; {pushed.there:,} were sent before")
    for row, why in pushed.refused.items():
        console.print(cell(f"  row {row} was refused: {why}"), style="red", soft_wrap=True)
    console.print(f"waiting: {done.waiting:,} of {done.wanted:,} texts")
    more = f", and {done.others:,} to texts outside the sample" if done.others else ""
    console.print(f"answers: {done.answers:,}{more}; {done.fresh:,} new or changed")
    if done.fresh:
        again = f"run the pipeline again to use them: soupstock run {done.name}"
        console.print(cell(again), soft_wrap=True)
