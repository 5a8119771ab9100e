"""Write what a run leaves in its folder: rows, dataset, card, report and manifest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import Manifest, TimingRecord
from soupstock.engine.flow import FlowAccount
from soupstock.engine.plan import Plan
from soupstock.inference.model_queue import Account
from soupstock.reports.page.page import write_report
from soupstock.rows.table import Table
from soupstock.runs import calibration
from soupstock.runs.manifest import manifest_of, review_of, waits
from soupstock.runs.write_dataset import write_card, write_dataset
from soupstock.steps.filter import BoundFilters


def write_results(
    target: Path, table: Table, flow: FlowAccount, client: Account, timing: TimingRecord
) -> Manifest:
    """Write everything that a run leaves. The manifest comes last and has the others' hashes.

    Everything is first written beside the results of an earlier run, and replaces them when it is
    complete.
    """
    fresh = target / ".work" / "results"
    fresh.mkdir(parents=True)
    place = fresh / run_folder.DATASET
    has_dataset = not waits(flow.plan, review_of(flow))
    # Writing rows and dataset takes as long as measuring them, so both happen at once.
    with ThreadPoolExecutor(2) as pool:
        saved = pool.submit(table.save, fresh / run_folder.ROWS)
        written = pool.submit(write_dataset, flow.plan, table, place) if has_dataset else None
        run = _calibrated(manifest_of(flow, client, timing, table), flow.plan)
        dataset = written.result() if written else None
        if dataset is not None:
            run = write_card(run, dataset, place)
        saved.result()
    rows = pl.scan_parquet(fresh / run_folder.ROWS, glob=False)
    if (count := rows.select(pl.len()).collect().item()) != run.rows:
        raise RuntimeError(f"{run.rows:,} rows were taken, but {count:,} were written")
    write_report(fresh, run, rows, list(bound_filters(flow.plan)))
    run = run.model_copy(update={"files": run_folder.hashes(fresh)})
    manifest.write(fresh, run)
    run_folder.replace_files(target, fresh)
    return run


def bound_filters(plan: Plan) -> Iterator[tuple[spec.FilterUse, str, pl.Expr]]:
    """Yield the filters of a plan, each with its label and the expression that keeps rows."""
    for step in plan.steps:
        if isinstance(step.spec, spec.Filter) and isinstance(step.bound, BoundFilters):
            for use, (label, keep) in zip(step.spec.filter, step.bound.keeps, strict=True):
                yield use, label, keep


def _calibrated(run: Manifest, plan: Plan) -> Manifest:
    """Add each judge's calibration by people to the manifest, if there is one."""
    known = calibration.read(plan.project.root, plan.name)
    steps = {step.spec.judge: step.spec for step in plan.steps if isinstance(step.spec, spec.Judge)}
    judges = (
        judge.model_copy(
            update={"calibration": calibration.calibration_of(known, run, steps[judge.column])}
        )
        for judge in run.judges
    )
    return run.model_copy(update={"judges": tuple(judges)})
