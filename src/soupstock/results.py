"""What a run leaves in its folder: rows, dataset, card, report and manifest."""

import platform
import shutil
from importlib import metadata
from pathlib import Path

import polars as pl

from soupstock import __version__, folder, manifest
from soupstock.card import Published, render_card
from soupstock.client import Client
from soupstock.flow import Flow
from soupstock.manifest import (
    FailureRecord,
    Manifest,
    PaidRecord,
    SourceRecord,
    StepRecord,
    TimingRecord,
    TokenRecord,
)
from soupstock.plan import Plan
from soupstock.records import Table
from soupstock.report import write_report
from soupstock.servers import Model
from soupstock.steps.publish import Publication, write
from soupstock.stream import Tally

PACKAGES = ("polars", "pyarrow", "pydantic", "jinja2", "eldc", "xllamacpp")
"""Packages that shape a result; their versions are in the manifest."""


def write_results(
    target: Path, table: Table, flow: Flow, client: Client, timing: TimingRecord
) -> Manifest:
    """Write everything that a run leaves; the manifest comes last and vouches for the rest."""
    said = _manifest(flow, client, timing, _failures(table))
    table.save(target / folder.ROWS)
    _write_dataset(target, flow.plan, table, said)
    write_report(target, said, pl.scan_parquet(target / folder.ROWS))
    said = said.model_copy(update={"files": folder.hashes(target)})
    manifest.write(target, said)
    return said


def _write_dataset(target: Path, plan: Plan, table: Table, said: Manifest) -> None:
    """Write the dataset beside the old one and put it in its place."""
    step = plan.steps[-1].bound
    if not isinstance(step, Publication):
        return
    fresh, place = target / ".work" / folder.DATASET, target / folder.DATASET
    shards = write(step, table, fresh)
    published = Published.of(step, shards, table.scan(), said)
    (fresh / "README.md").write_text(render_card(said, published), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    fresh.replace(place)


def _manifest(
    flow: Flow, client: Client, timing: TimingRecord, failures: dict[str, list[FailureRecord]]
) -> Manifest:
    plan, tallies = flow.plan, flow.tallies
    steps = tuple(
        _step(flow, index, tally, tuple(failures.get(tally.label, ())))
        for index, tally in enumerate(tallies)
    )
    reason = _shortfall(flow, client)
    return Manifest(
        soupstock=__version__,
        name=plan.name,
        fingerprint=plan.fingerprint,
        pipeline=plan.pipeline.model_dump(mode="json"),
        prompts=plan.parts("prompt"),
        rubrics=plan.parts("rubric"),
        schemas=plan.parts("schema"),
        filters=plan.parts("filter"),
        models=plan.model_records(),
        source=SourceRecord(kind=plan.source.kind, rows=flow.taken, sha256=plan.source.sha256),
        outcome="partial" if reason else "complete",
        reason=reason,
        steps=steps,
        rows=flow.taken,
        kept=tallies[-1].kept,
        versions=_versions(),
        paid=_paid(flow, client),
        timing=timing,
    )


def _step(flow: Flow, index: int, tally: Tally, failures: tuple[FailureRecord, ...]) -> StepRecord:
    step = flow.plan.steps[index] if index < len(flow.plan.steps) else None
    tokens = TokenRecord(prompt=tally.prompt_tokens, completion=tally.completion_tokens)
    return StepRecord(
        index=index + 1,
        verb=tally.label.split(":")[0],
        label=tally.label,
        model=step.role if step else None,
        rows_in=tally.rows_in,
        rows_kept=tally.kept,
        dropped=dict(sorted(tally.reasons.items())),
        flagged=dict(sorted(tally.flagged.items())),
        failures=failures,
        answers=tally.answers,
        tokens=tokens,
        cost=_cost(step.model, tokens) if step and step.model else None,
    )


def _cost(model: Model, tokens: TokenRecord) -> float | None:
    """Return US dollars; null where a price is not known."""
    if model.input_price is None or model.output_price is None:
        return None
    total = tokens.prompt * model.input_price + tokens.completion * model.output_price
    return round(total / 1e6, 9)


def _shortfall(flow: Flow, client: Client) -> str | None:
    """Say why the dataset is not all that was asked for; None where it is."""
    wanted, tallies = flow.plan.pipeline.target, flow.tallies
    if client.stopped is not None:
        return f"stopped: {client.stopped.message}"
    if wanted is None or tallies[-1].kept >= wanted:
        return None
    kept = tallies[-1].kept
    worst = max(tallies[:-1], key=lambda tally: tally.dropped / max(1, tally.rows_in))
    need = f"about {-(-wanted * flow.taken // kept)} would be needed" if kept else "none was kept"
    return (
        f"{kept} of the {wanted} wanted rows came of {flow.taken} source rows; {need}. "
        f"'{worst.label}' drops most: {worst.dropped} of {worst.rows_in}"
    )


def _paid(flow: Flow, client: Client) -> PaidRecord:
    usage, lanes = client.usage, client.lanes.values()
    costs = [
        _cost(lane.model, TokenRecord(prompt=lane.prompt_tokens, completion=lane.tokens))
        for lane in lanes
    ]
    answers = sum(tally.answers for tally in flow.tallies)
    known = [cost for cost in costs if cost is not None]
    return PaidRecord(
        calls=usage.calls,
        found=max(0, answers - usage.calls),
        retried=usage.retried,
        tokens=TokenRecord(prompt=usage.prompt_tokens, completion=usage.completion_tokens),
        cost=sum(known) if len(known) == len(costs) and costs else None,
    )


def _failures(table: Table) -> dict[str, list[FailureRecord]]:
    """Group the rows' failures by step and cause, each with the first in source order."""
    found = (
        table.scan()
        .select(pl.col("failures").explode())
        .drop_nulls()
        .unnest("failures")
        .group_by("step", "cause", maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("message").first().alias("example"))
        .sort("step", "rows", "cause", descending=[False, True, False])
        .collect()
    )
    grouped: dict[str, list[FailureRecord]] = {}
    for row in found.to_dicts():
        grouped.setdefault(row.pop("step"), []).append(FailureRecord(**row))
    return grouped


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "soupstock": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
