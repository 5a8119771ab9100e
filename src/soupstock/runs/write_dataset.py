"""Write a run's dataset and its card, in a run and in a replay alike."""

from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import Manifest
from soupstock.engine.plan import Plan
from soupstock.reports.card.card import render_card
from soupstock.rows.row import Row
from soupstock.rows.shards import write_shards
from soupstock.rows.table import Table
from soupstock.runs.dataset_record import record_of
from soupstock.steps.dataset import BoundDataset


def write_dataset(plan: Plan, table: Table, place: Path) -> DatasetRecord | None:
    """Write the kept rows as a dataset into the folder `place`.

    Returns its record; None if the pipeline has no dataset, or no row was kept.
    """
    step, bound = plan.steps[-1].spec, plan.steps[-1].bound
    if not (isinstance(step, spec.WriteDataset) and isinstance(bound, BoundDataset)):
        return None
    written = write_shards(bound.shapes, bound.splits, table, place)
    if written is None:
        return None
    return record_of(written, bound, place, license=step.license, language=step.language)


def write_card(manifest: Manifest, dataset: DatasetRecord, place: Path) -> Manifest:
    """Write the card of the dataset in `place`; returns the manifest with the dataset in it."""
    manifest = manifest.model_copy(update={"dataset": dataset})
    card = render_card(manifest, dataset, samples_of(place, dataset))
    (place / "README.md").write_text(card, encoding="utf-8")
    return manifest


def samples_of(place: Path, dataset: DatasetRecord) -> list[Row]:
    """Return the first row of the dataset, the one in its middle, and the last."""
    first = dataset.configs[0].folder
    files = [place / s.file for s in dataset.shards if s.file.startswith(f"{first}/")]
    rows = pl.scan_parquet(files, glob=False)
    places = sorted({0, dataset.rows // 2, dataset.rows - 1})
    return [rows.slice(number, 1).collect().row(0, named=True) for number in places]
