"""Show what a run would do, and what it would cost."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from soupstock.cli.display.terminal import cell, duration, new_console, new_table, whole
from soupstock.engine.plan import Plan
from soupstock.errors import shown
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.model import Model
from soupstock.inference.static_embeddings import StaticModel
from soupstock.judging.canaries import FEWEST, canaries_per_row
from soupstock.similarity.edits import EDITS
from soupstock.spec.judging import Judge
from soupstock.spec.pruning import Decontaminate, Dedup, Select
from soupstock.steps.decontaminate import BoundDecontaminate
from soupstock.steps.judge import BoundJudge
from soupstock.steps.step import Step

if TYPE_CHECKING:
    from soupstock.runs.estimate import Estimate, EstimateRange


def show_plan(plan: Plan) -> None:
    """Print what a run would do."""
    console = new_console()
    _show_rows(console, plan)
    console.print()
    for number, step in enumerate(plan.steps, 1):
        console.print(Text(f"{number}. {shown(step.title)}", style="bold"))
        for label, text in _details(step, plan.rows):
            console.print(Text(f"   {label:<10}{shown(text)}"), soft_wrap=True)
    console.print()
    for role, model in plan.models.items():
        _show_model(console, role, model)
    if crowding := plan.memory_conflict():
        console.print(cell(crowding), style="yellow", soft_wrap=True)
    for line in _calls(plan):
        console.print(line)
    console.print(f"fingerprint: {plan.fingerprint[:12]}")


def _show_rows(console: Console, plan: Plan) -> None:
    rows = "as many rows as it takes" if plan.rows is None else f"{plan.rows:,} rows"
    columns = ", ".join(plan.source.columns)
    console.print(Text(f"{shown(plan.name)}: {rows} from a {plan.source.kind} source ({columns})"))
    if plan.pipeline.target:
        console.print(f"target: exactly {plan.pipeline.target:,} kept rows")


def _show_model(console: Console, role: str, model: Model) -> None:
    revision = f", revision {model.revision}" if model.revision else ""
    where = f" at {model.base_url}" if model.base_url else ""
    console.print(cell(f"{role}: {model.reference} ({model.name}{revision}){where}"))
    if model.launch:
        command = " ".join(model.launch.command)
        console.print(cell(f"  started by the run: {command}"), soft_wrap=True)
    if model.missing:
        console.print(cell(f"  missing: {model.missing}"), style="yellow")


def _calls(plan: Plan) -> Iterator[str]:
    """Say how many calls a run makes at most: for its rows, and to test the models that judge."""
    if plan.rows is not None:
        total = plan.rows * sum(step.calls for step in plan.steps)
        yield f"calls: at most {total:,}, fewer as rows are dropped; none is made twice"
    if canaries := sum(map(_canary_calls, plan.steps)):
        yield f"calls about canaries, for the sanity check of the judge: at most {canaries:,}"
    if cases := sum(map(_case_calls, plan.steps)):
        yield f"calls about canaries, to measure what decontaminate finds: at most {cases:,}"


def _canary_calls(step: Step) -> int:
    """Say how many calls the sanity check of a judge takes at most."""
    return len(step.models) * round(canary_rows(step))


def canary_rows(step: Step, rows: float = math.inf) -> float:
    """Say about how many canaries a judge of this many rows is asked at most."""
    if not (isinstance(step.bound, BoundJudge) and isinstance(step.spec, Judge) and step.models):
        return 0
    taken = min(rows, step.spec.canaries or 0)
    return canaries_per_row(step.bound.rubric) * taken if taken >= FEWEST else 0


def _case_calls(step: Step) -> int:
    """Say how many calls it takes at most to test the model that compares questions."""
    if not (isinstance(step.bound, BoundDecontaminate) and isinstance(step.spec, Decontaminate)):
        return 0
    items = sum(reference.rows for reference in step.bound.against)
    # Each item is edited in each way, and compared with another item.
    return (len(EDITS) + 1) * min(items, step.spec.canaries or 0) if step.models else 0


def _details(step: Step, rows: int | None) -> Iterator[tuple[str, str]]:
    """Say what a step reads, asks and adds: labels and texts."""
    if step.reads:
        yield "reads", ", ".join(step.reads)
    if step.adds:
        yield "adds", ", ".join(f"{name} ({_type(dtype)})" for name, dtype in step.adds.items())
    if step.models:
        calls = f"{step.calls} a row" if rows is None else f"at most {rows * step.calls:,}"
        yield "asks", f"{step.role} = {step.models[0][1].reference}, calls: {calls}"
    for reference in getattr(step.bound, "against", ()):
        yield "against", f"{reference.label}, {reference.column}: {reference.rows:,} rows"
    match getattr(step.bound, "embedder", None):
        case StaticModel(name=name):
            yield "embedder", name
        case EmbeddingForm(model=model):
            yield "embedder", model.reference
        case _:
            pass
    for kind, part in dict.fromkeys(step.parts):
        yield kind, part.file


def _type(dtype: Any) -> str:
    names = {"String": "text", "List(String)": "texts", "Int64": "integer", "Float64": "number"}
    text = str(dtype)
    return names.get(text, "score and reasons" if "criteria" in text else "fields")


def show_estimate(plan: Plan, estimate: "Estimate") -> None:
    """Print what is still to be done for a plan, each figure with its interval."""
    console = new_console()
    console.print()
    console.print(f"{estimate.found:,} answers are in the cache already")
    console.print(_figures(estimate))
    if estimate.cost is None:
        console.print("cost: set input_price and output_price in [tool.soupstock.models]")
    for title in estimate.unknown:
        unknown = f"no answer of '{title}' is known yet: its longest answers are assumed"
        console.print(cell(unknown))
    if any(isinstance(step.spec, Dedup | Select) for step in plan.steps):
        console.print("dedup and select drop more the more rows there are: expect less than this")


def _figures(estimate: "Estimate") -> Table:
    table = new_table("to come", "about", "nine in ten", right=("about", "nine in ten"))
    rows: list[tuple[str, EstimateRange | None, Callable[[float], str]]] = [
        ("calls", estimate.calls, whole),
        ("prompt tokens", estimate.prompt_tokens, whole),
        ("answer tokens", estimate.completion_tokens, whole),
        ("cost", estimate.cost, lambda value: f"${value:.2f}"),
        ("time", estimate.seconds, duration),
        ("rows in the dataset", estimate.kept, whole),
    ]
    for label, interval, say in rows:
        if interval is None:
            table.add_row(label, "not known", "")
        else:
            limits = f"{say(interval.low)} to {say(interval.high)}"
            table.add_row(label, say(interval.median), limits)
    return table
