"""What a run leaves in its folder: rows, dataset, card, report and manifest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import (
    Manifest,
    TimingRecord,
)
from soupstock.engine.flow import Flow
from soupstock.engine.plan import Plan
from soupstock.inference.client import Client
from soupstock.reports.card.card import render_card
from soupstock.reports.page.page import write_report
from soupstock.rows.rows import Row
from soupstock.rows.shards import write_dataset
from soupstock.rows.table import Table
from soupstock.runs import calibration
from soupstock.runs.dataset_record import record_of
from soupstock.runs.manifest import manifest_of, review_of, waits
from soupstock.steps.filter import Filtering
from soupstock.steps.publish import Publication


def write_results(
    target: Path, table: Table, flow: Flow, client: Client, timing: TimingRecord
) -> Manifest:
    """Write everything that a run leaves; the manifest comes last and vouches for the rest.

    All of it is written beside the results of an earlier run first, and takes their place when it
    is complete.
    """
    fresh = target / ".work" / "results"
    fresh.mkdir(parents=True)
    # To write rows and dataset takes as long as to look at them.
    with ThreadPoolExecutor(2) as beside:
        saved = beside.submit(table.save, fresh / run_folder.ROWS)
        dataset = beside.submit(_dataset, flow, table, fresh / run_folder.DATASET)
        said = _calibrated(manifest_of(flow, client.account(), timing, table), flow.plan)
        said = _with_card(said, dataset.result(), fresh / run_folder.DATASET)
        saved.result()
    rows = pl.scan_parquet(fresh / run_folder.ROWS, glob=False)
    if (there := rows.select(pl.len()).collect().item()) != said.rows:
        raise RuntimeError(f"of {said.rows:,} rows that were taken, {there:,} came out")
    write_report(fresh, said, rows, list(filters_of(flow.plan)))
    said = said.model_copy(update={"files": run_folder.hashes(fresh)})
    manifest.write(fresh, said)
    run_folder.replace(target, fresh)
    return said


def filters_of(plan: Plan) -> Iterator[tuple[spec.FilterUse, str, pl.Expr]]:
    """Yield the filters of a plan, each with its label and what keeps a row from it."""
    for step in plan.steps:
        if isinstance(step.spec, spec.Filter) and isinstance(step.bound, Filtering):
            for use, (label, keep) in zip(step.spec.filter, step.bound.keeps, strict=True):
                yield use, label, keep


def _dataset(flow: Flow, table: Table, place: Path) -> DatasetRecord | None:
    """Write the dataset, if there is one."""
    step, bound = flow.plan.steps[-1].spec, flow.plan.steps[-1].bound
    if not (isinstance(step, spec.Publish) and isinstance(bound, Publication)):
        return None
    if waits(flow.plan, review_of(flow)):
        return None
    written = write_dataset(bound.shapes, bound.splits, table, place)
    if written is None:
        return None
    return record_of(written, bound, place, license=step.license, language=step.language)


def _with_card(said: Manifest, dataset: DatasetRecord | None, place: Path) -> Manifest:
    """Let the manifest and a card speak of the dataset."""
    if dataset is None:
        return said
    said = said.model_copy(update={"dataset": dataset})
    card = render_card(said, dataset, samples_of(place, dataset))
    (place / "README.md").write_text(card, encoding="utf-8")
    return said


def samples_of(place: Path, dataset: DatasetRecord) -> list[Row]:
    """Return the first row of the dataset, the one in its middle, and the last."""
    first = dataset.configs[0].folder
    files = [place / s.file for s in dataset.shards if s.file.startswith(f"{first}/")]
    rows = pl.scan_parquet(files, glob=False)
    places = sorted({0, dataset.rows // 2, dataset.rows - 1})
    return [rows.slice(number, 1).collect().row(0, named=True) for number in places]


def _calibrated(said: Manifest, plan: Plan) -> Manifest:
    """Put beside each judge what its calibration by people says, if there is one."""
    known = calibration.read(plan.project.root, plan.name)
    steps = {step.spec.judge: step.spec for step in plan.steps if isinstance(step.spec, spec.Judge)}
    judges = (
        judge.model_copy(
            update={"calibration": calibration.standing(known, said, steps[judge.column])}
        )
        for judge in said.judges
    )
    return said.model_copy(update={"judges": tuple(judges)})
