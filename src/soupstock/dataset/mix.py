"""Mix the kept rows of several runs into one dataset: exact shares, no repeats across runs.

A run's rows are those of its dataset's first config. Which of them are taken follows from their
content and the seed, so with the same shares a larger mix contains the smaller one.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from soupstock import __version__, spec
from soupstock.artifacts import manifest
from soupstock.artifacts import run_folder as folder
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.files import sha256 as file_hash
from soupstock.artifacts.manifest import WRITING
from soupstock.artifacts.mix import MIX, IngredientRecord, MixRecord, Mixture
from soupstock.dataset.ingredients import ORIGIN, Ingredient, gather
from soupstock.errors import MistakeError, shown
from soupstock.project.project import Project
from soupstock.reports.card.mix import render_mix_card
from soupstock.rows.references import ReferenceTexts, find_reference
from soupstock.rows.row import Columns
from soupstock.rows.shards import write_shards
from soupstock.rows.splits import Splits, SplitTexts, texts_of
from soupstock.rows.table import Table
from soupstock.runs.dataset_record import record_of
from soupstock.runs.decontamination_records import decontamination_record
from soupstock.runs.manifest import package_versions
from soupstock.runs.write_dataset import samples_of
from soupstock.similarity.duplicates import duplicates
from soupstock.stats.apportionment import largest_remainder
from soupstock.steps.dataset import BoundDataset
from soupstock.steps.decontaminate import BoundDecontaminate, find_items

_SIMILAR = spec.DEFAULT_THRESHOLDS["minhash"]
_PART = 8192


@dataclass(frozen=True)
class Mixed:
    """A mix that was written."""

    folder: Path
    record: MixRecord


@dataclass(frozen=True)
class _Pool:
    """The rows of all ingredients, with what is wrong with each."""

    rows: pl.DataFrame
    ingredient: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """The number of the ingredient that each row is from."""
    contaminated: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    repeated: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    order: Sequence[str]
    """The rows' sort keys: rows are taken from the lowest on."""

    @property
    def is_usable(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which rows can be taken."""
        return ~self.contaminated & ~self.repeated

    def room(self, number: int) -> int:
        """Count the rows that can be taken of an ingredient."""
        return int(((self.ingredient == number) & self.is_usable).sum())

    def chosen(self, quotas: Sequence[int]) -> list[int]:
        """Choose as many rows of each ingredient as its quota says, and sort them."""
        rows: list[int] = []
        for number, quota in enumerate(quotas):
            own = np.flatnonzero(self.is_usable & (self.ingredient == number)).tolist()
            rows += self._sorted(own)[:quota]
        return self._sorted(rows)

    def _sorted(self, rows: list[int]) -> list[int]:
        return sorted(rows, key=lambda row: (self.order[row], row))


def mix(mixture: Mixture, project: Project) -> Mixed:
    """Mix runs; raises MistakeError."""
    _check_name(mixture.name, project)
    inputs = _inputs(mixture, gather(mixture, project), project)
    target = folder.run_folder(project.root, mixture.name, inputs.fingerprint)
    with folder.locked_folder(target, lambda _: None) as work:
        fresh = work / "results"
        fresh.mkdir(parents=True)
        record = _write(inputs, fresh)
        _replace(target, fresh)
    folder.point_latest(target)
    return Mixed(target, record)


def _check_name(name: str, project: Project) -> None:
    latest = folder.runs_folder(project.root) / spec.slug(name) / folder.LATEST
    if (latest / manifest.MANIFEST).exists():
        raise MistakeError(f"{shown(name)} is the name of a pipeline already; choose another")


def mix_again(record: MixRecord, project: Project, places: Mapping[str, Path], into: Path) -> None:
    """Make a mix again from its record; raises MistakeError.

    `places` are the folders of its runs, by name. Writes into the folder `into` what a mix leaves
    in its own.
    """
    if record.mixture is None:
        raise MistakeError("an earlier version made it, which did not record what was asked for")
    inputs = _inputs(record.mixture, gather(record.mixture, project, places), project)
    if inputs.fingerprint != record.fingerprint:
        raise MistakeError("an evaluation set that rows were compared with has changed since")
    _write(inputs, into, soupstock=record.soupstock, versions=record.versions)


@dataclass(frozen=True)
class _Inputs:
    """Everything that is known before rows are chosen."""

    mixture: Mixture
    ingredients: Sequence[Ingredient]
    sets: Sequence[BoundDecontaminate]
    """The evaluation sets that rows are compared with."""
    fingerprint: str


def _inputs(mixture: Mixture, ingredients: Sequence[Ingredient], project: Project) -> _Inputs:
    sets = list(_evaluation_sets(ingredients, project))
    return _Inputs(mixture, ingredients, sets, _fingerprint(mixture, ingredients, sets))


def _write(inputs: _Inputs, fresh: Path, **recorded: Any) -> MixRecord:
    """Choose the rows, and write dataset, card and record into a folder.

    The fields `recorded` take the place of the record's own: the versions of an earlier mix.
    """
    pool = _pool(inputs.ingredients, inputs.sets, inputs.mixture.seed)
    quotas = _quotas(inputs.mixture.rows, inputs.ingredients, pool)
    record = _record(inputs, pool, quotas, _write_dataset(inputs, pool, quotas, fresh))
    record = record.model_copy(update=recorded)
    place = fresh / folder.DATASET
    card = render_mix_card(record, samples_of(place, record.dataset))
    (place / "README.md").write_text(card, encoding="utf-8")
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    files = {path.relative_to(fresh).as_posix(): file_hash(path) for path in paths}
    record = record.model_copy(update={"files": files})
    (fresh / MIX).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _evaluation_sets(
    ingredients: Sequence[Ingredient], project: Project
) -> Iterator[BoundDecontaminate]:
    """Find what any of the runs was decontaminated against, for all of them."""
    pipelines = [one.manifest.spec for one in ingredients]
    steps = [s for one in pipelines for s in one.steps if isinstance(s, spec.Decontaminate)]
    is_unasked = any(step.model for step in steps)
    seen: set[tuple[object, ...]] = set()
    for step in steps:
        if against := list(_unseen(step, project, seen)):
            found = BoundDecontaminate("text", tuple(against), step.overlap, step.threshold)
            yield replace(found, is_unasked=is_unasked)


def _unseen(
    step: spec.Decontaminate, project: Project, seen: set[tuple[object, ...]]
) -> Iterator[ReferenceTexts]:
    """Find the evaluation sets of a step that no earlier step compares in the same way."""
    for there in step.against:
        own = there.column or step.decontaminate
        reference = find_reference(there, own, project.root, None)
        key = (reference.content, reference.column, step.overlap, step.threshold)
        if key not in seen:
            seen.add(key)
            yield reference


def _pool(
    ingredients: Sequence[Ingredient], sets: Sequence[BoundDecontaminate], seed: int
) -> _Pool:
    rows = pl.concat([one.rows.with_columns(pl.lit(one.name).alias(ORIGIN)) for one in ingredients])
    numbers = np.repeat(np.arange(len(ingredients)), [one.rows.height for one in ingredients])
    own = rows.drop(ORIGIN)
    texts = [texts_of(row) for part in own.iter_slices(_PART) for row in part.to_dicts()]
    contaminated = _contaminated(texts, sets)
    whole = pl.Series("text", [text.whole for text in texts], dtype=pl.String)
    clean = whole.set(pl.Series(contaminated), None) if contaminated.any() else whole
    repeats = duplicates(clean, "minhash", _SIMILAR)
    order = [_sort_key(seed, text.whole or "", number) for number, text in enumerate(texts)]
    return _Pool(rows, numbers, contaminated, repeats.twin.is_not_null().to_numpy(), order)


def _contaminated(
    texts: Sequence[SplitTexts], sets: Sequence[BoundDecontaminate]
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Say which rows resemble an item of an evaluation set."""
    # In the whole text a rephrased question would not be found: the answer outweighs it.
    both = [[text.whole, text.question] for text in texts]
    frame = pl.Series("text", both, dtype=pl.List(pl.String)).to_frame()
    contaminated = np.zeros(len(texts), bool)
    for one in sets:
        stages = (bool(found.stages) for found in find_items(one, frame))
        contaminated |= np.fromiter(stages, bool, len(texts))
    return contaminated


def _sort_key(seed: int, text: str, number: int) -> str:
    """Make a row's sort key of its content and the seed; rows without texts have their number."""
    name = f"{seed}\0{text or number}".encode()
    return blake2b(name, digest_size=8).hexdigest()


def _quotas(rows: int | None, ingredients: Sequence[Ingredient], pool: _Pool) -> list[int]:
    """Say how many rows to take of each ingredient; raises MistakeError if it has fewer."""
    shares = [one.share for one in ingredients]
    room = [pool.room(number) for number in range(len(shares))]
    most = _most(shares, room)
    wanted = most if rows is None else rows
    quotas = largest_remainder(wanted, shares)
    for one, quota, left in zip(ingredients, quotas, room, strict=True):
        if quota > left:
            raise MistakeError(
                f"{shown(one.name)} has {left:,} rows left without repeats, and {quota:,} are"
                f" needed; these shares allow {most:,} rows at most: -n {most}"
            )
    if not wanted:
        raise MistakeError("no row is left to mix")
    return quotas


def _most(shares: Sequence[Fraction], room: Sequence[int]) -> int:
    """Count the rows that shares allow at most."""
    most = min(math.floor((left + 1) / share) for left, share in zip(room, shares, strict=True))
    while any(q > left for q, left in zip(largest_remainder(most, shares), room, strict=True)):
        most -= 1
    return most


def _write_dataset(
    inputs: _Inputs, pool: _Pool, quotas: Sequence[int], fresh: Path
) -> DatasetRecord:
    """Take the rows, and write the dataset."""
    mixture, place = inputs.mixture, fresh / folder.DATASET
    columns: Columns = dict(pool.rows.schema)
    repository = mixture.repository or spec.slug(mixture.name)
    splits = Splits(dict(mixture.splits), ORIGIN if mixture.splits else None)
    bound = BoundDataset(repository, columns, splits=splits)
    table = _table(pool, quotas, fresh.parent / "rows")
    written = write_shards(bound.shapes, bound.splits, table, place)
    if written is None:
        raise MistakeError("no row is left to mix")
    datasets = [one.manifest.dataset for one in inputs.ingredients]
    licenses = {one.license if one else None for one in datasets}
    languages = [code for one in datasets if one for code in one.language]
    return record_of(
        written,
        bound,
        place,
        license=licenses.pop() if len(licenses) == 1 else None,
        language=tuple(dict.fromkeys(languages)),
    )


def _table(pool: _Pool, quotas: Sequence[int], place: Path) -> Table:
    """Put the taken rows into a table, in the form that a run has."""
    chosen = pool.chosen(quotas)
    rows = pool.rows[chosen]
    if "id" not in rows.columns:
        rows = rows.with_columns(pl.Series("id", [pool.order[row] for row in chosen]))
    kept = pl.Series("dropped_by", [[]] * len(chosen), dtype=pl.List(pl.String))
    rows = rows.with_columns(kept)
    table = Table(place, dict(rows.schema))
    for number, part in enumerate(rows.iter_slices(_PART)):
        table.write(number, part)
    return table


def _record(
    inputs: _Inputs, pool: _Pool, quotas: Sequence[int], dataset: DatasetRecord
) -> MixRecord:
    return MixRecord(
        soupstock=__version__,
        name=inputs.mixture.name,
        fingerprint=inputs.fingerprint,
        seed=inputs.mixture.seed,
        mixture=inputs.mixture,
        similar=_SIMILAR,
        ingredients=tuple(
            _ingredient_record(number, one, pool, quotas[number])
            for number, one in enumerate(inputs.ingredients)
        ),
        decontamination=tuple(decontamination_record("mix", one) for one in inputs.sets),
        dataset=dataset,
        versions=package_versions(),
    )


def _ingredient_record(number: int, one: Ingredient, pool: _Pool, quota: int) -> IngredientRecord:
    own, run = pool.ingredient == number, one.manifest
    asked = {role for step in run.steps for role in step.models}
    writers = {role for step in run.steps if step.verb in WRITING for role in step.models}
    return IngredientRecord(
        name=one.name,
        run=folder.run_name(one.place),
        fingerprint=run.fingerprint,
        files=dict(one.files),
        share=round(float(one.share), 6),
        rows=one.rows.height,
        contaminated=int((own & pool.contaminated).sum()),
        repeats=int((own & pool.repeated).sum()),
        taken=quota,
        license=run.dataset.license if run.dataset else None,
        models=tuple(model for model in run.models if model.role in writers),
        others=tuple(model for model in run.models if model.role in asked - writers),
    )


def _fingerprint(
    mixture: Mixture, ingredients: Sequence[Ingredient], sets: Sequence[BoundDecontaminate]
) -> str:
    identity = {
        "seed": mixture.seed,
        "rows": mixture.rows,
        "splits": dict(mixture.splits),
        "repository": mixture.repository,
        "ingredients": [[one.name, str(one.share), dict(one.files)] for one in ingredients],
        "sets": [[reference.content for reference in one.against] for one in sets],
    }
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _replace(target: Path, fresh: Path) -> None:
    """Put what was written into the folder of the mix."""
    shutil.rmtree(target / folder.DATASET, ignore_errors=True)
    (fresh / folder.DATASET).replace(target / folder.DATASET)
    (fresh / MIX).replace(target / MIX)
