"""Mix the kept rows of several runs into one dataset: exact shares, no repeats across them.

A run's rows are those of its dataset's first configuration. Which of them are taken follows from
their content and the seed, so a larger mix holds the smaller one, as far as shares are the same.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from soupstock import __version__, spec
from soupstock.artifacts import manifest
from soupstock.artifacts import run_folder as folder
from soupstock.artifacts.manifest import WRITING
from soupstock.artifacts.mix import MIX, IngredientRecord, MixRecord, Mixture
from soupstock.dataset.ingredients import ORIGIN, Ingredient, gather
from soupstock.dataset.release import sha256 as file_hash
from soupstock.errors import MistakeError, shown
from soupstock.project.project import Project
from soupstock.reports.card.mix import render_mix_card
from soupstock.rows.references import Reference, find_there
from soupstock.rows.rows import Columns
from soupstock.rows.splits import Splits, texts_of
from soupstock.rows.table import Table
from soupstock.runs.dataset_record import record_of
from soupstock.runs.decontamination_records import certificate
from soupstock.runs.manifest import package_versions
from soupstock.runs.results import samples_of
from soupstock.stats.apportionment import apportioned
from soupstock.steps.decontaminate import Decontamination, find_items
from soupstock.steps.dedup import Deduplication, duplicates
from soupstock.steps.publish import Publication, write

_SIMILAR = spec.SIMILAR["minhash"]
_PART = 8192


@dataclass(frozen=True)
class Mixed:
    """What was mixed."""

    folder: Path
    record: MixRecord


@dataclass(frozen=True)
class _Pool:
    """All rows, with what is wrong with each."""

    rows: pl.DataFrame
    which: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """Which ingredient each is from."""
    contaminated: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    repeated: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    order: Sequence[str]
    """What decides which rows are taken: the lowest first."""

    def room(self, number: int) -> int:
        """Count the rows that an ingredient has left."""
        return int(((self.which == number) & ~self.contaminated & ~self.repeated).sum())


def mix(mixture: Mixture, project: Project) -> Mixed:
    """Mix runs; raises MistakeError."""
    target_name = spec.slug(mixture.name)
    if (
        folder.runs_folder(project.root) / target_name / folder.LATEST / manifest.MANIFEST
    ).exists():
        raise MistakeError(f"{shown(mixture.name)} is a pipeline's name already; choose another")
    recipe = _prepared(mixture, gather(mixture, project), project)
    target = folder.run_folder(project.root, mixture.name, recipe.fingerprint)
    with folder.worked_in(target, lambda _: None) as work:
        fresh = work / "results"
        fresh.mkdir(parents=True)
        record = _cooked(recipe, fresh)
        _finish(fresh, target)
    folder.point_latest(target)
    return Mixed(target, record)


def mix_again(record: MixRecord, project: Project, places: Mapping[str, Path], into: Path) -> None:
    """Mix again what a record tells, from runs in some places; raises MistakeError.

    Writes into the folder `into` what a mix leaves in its own.
    """
    if record.mixture is None:
        raise MistakeError("an earlier version made it, which did not record what was asked for")
    recipe = _prepared(record.mixture, gather(record.mixture, project, places), project)
    if recipe.fingerprint != record.fingerprint:
        raise MistakeError("an evaluation set that rows were compared with has changed since")
    _cooked(recipe, into, soupstock=record.soupstock, versions=record.versions)


@dataclass(frozen=True)
class _Recipe:
    """Everything that is known before rows are chosen."""

    mixture: Mixture
    ingredients: Sequence[Ingredient]
    sets: Sequence[Decontamination]
    """The evaluation sets that rows are compared with."""
    fingerprint: str


def _prepared(mixture: Mixture, ingredients: Sequence[Ingredient], project: Project) -> _Recipe:
    sets = list(_evaluations(ingredients, project))
    return _Recipe(mixture, ingredients, sets, _fingerprint(mixture, ingredients, sets))


def _cooked(recipe: _Recipe, fresh: Path, **told: Any) -> MixRecord:
    """Choose the rows, and write dataset, card and record into a folder.

    The record says what `told` has where that is not of now: of versions.
    """
    mixture, ingredients = recipe.mixture, recipe.ingredients
    pool = _pool(ingredients, recipe.sets, mixture.seed)
    quotas = _quotas(mixture.rows, ingredients, pool)
    record = _written(mixture, ingredients, pool, quotas, fresh)
    record = record.model_copy(
        update={
            "fingerprint": recipe.fingerprint,
            "decontamination": tuple(certificate("mix", one) for one in recipe.sets),
            **told,
        }
    )
    place = fresh / folder.DATASET
    card = render_mix_card(record, samples_of(place, record.dataset))
    (place / "README.md").write_text(card, encoding="utf-8")
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    files = {path.relative_to(fresh).as_posix(): file_hash(path) for path in paths}
    record = record.model_copy(update={"files": files})
    (fresh / MIX).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _evaluations(ingredients: Sequence[Ingredient], project: Project) -> Iterator[Decontamination]:
    """Find what any of the runs was decontaminated against, for all of them."""
    pipelines = [one.said.spec for one in ingredients]
    steps = [s for one in pipelines for s in one.steps if isinstance(s, spec.Decontaminate)]
    is_unasked = any(step.model for step in steps)
    seen = set()
    for step in steps:
        against: list[Reference] = []
        for there in step.against:
            own = there.column or step.decontaminate
            reference = find_there(there, own, project.root, None)
            key = (reference.content, reference.column, step.overlap, step.threshold)
            if key not in seen:
                seen.add(key)
                against.append(reference)
        if against:
            found = Decontamination("text", tuple(against), step.overlap, step.threshold)
            yield replace(found, is_unasked=is_unasked)


def _pool(ingredients: Sequence[Ingredient], sets: Sequence[Decontamination], seed: int) -> _Pool:
    rows = pl.concat([one.rows.with_columns(pl.lit(one.name).alias(ORIGIN)) for one in ingredients])
    which = np.repeat(np.arange(len(ingredients)), [one.rows.height for one in ingredients])
    own = rows.drop(ORIGIN)
    told = [texts_of(row) for part in own.iter_slices(_PART) for row in part.to_dicts()]
    whole = [one.whole for one in told]
    texts = pl.Series("text", whole, dtype=pl.String)
    # Beside its answer a question that is rephrased would go under.
    both = pl.Series("text", [[one.whole, one.question] for one in told], dtype=pl.List(pl.String))
    contaminated = np.zeros(len(texts), bool)
    for one in sets:
        stages = (bool(found.stages) for found in find_items(one, both.to_frame()))
        contaminated |= np.fromiter(stages, bool, len(texts))
    clean = texts.set(pl.Series(contaminated), None) if contaminated.any() else texts
    found = duplicates(Deduplication("text", "minhash", _SIMILAR), clean)
    order = [_lot(seed, text or "", number) for number, text in enumerate(whole)]
    return _Pool(rows, which, contaminated, found.twin.is_not_null().to_numpy(), order)


def _lot(seed: int, text: str, number: int) -> str:
    """Draw a row's place by its content; rows without texts by their number."""
    name = f"{seed}\0{text or number}".encode()
    return blake2b(name, digest_size=8).hexdigest()


def _quotas(rows: int | None, ingredients: Sequence[Ingredient], pool: _Pool) -> list[int]:
    """Say how many rows to take of each; raises MistakeError where there are not so many."""
    shares = [one.share for one in ingredients]
    room = [pool.room(number) for number in range(len(shares))]
    most = min(math.floor((left + 1) / share) for left, share in zip(room, shares, strict=True))
    while any(q > left for q, left in zip(apportioned(most, shares), room, strict=True)):
        most -= 1
    wanted = most if rows is None else rows
    quotas = apportioned(wanted, shares)
    for one, quota, left in zip(ingredients, quotas, room, strict=True):
        if quota > left:
            raise MistakeError(
                f"{shown(one.name)} has {left:,} rows left without repeats, and {quota:,} are"
                f" needed; with these shares there are {most:,} rows at most: -n {most}"
            )
    if not wanted:
        raise MistakeError("no row is left to mix")
    return quotas


def _written(
    mixture: Mixture,
    ingredients: Sequence[Ingredient],
    pool: _Pool,
    quotas: Sequence[int],
    fresh: Path,
) -> MixRecord:
    """Take the rows, write the dataset, and say what came from where."""
    chosen = sorted(_chosen(pool, quotas), key=lambda row: (pool.order[row], row))
    rows = pool.rows[chosen]
    if "id" not in rows.columns:
        rows = rows.with_columns(pl.Series("id", [pool.order[row] for row in chosen]))
    rows = rows.with_columns(
        pl.Series("dropped_by", [[]] * len(chosen), dtype=pl.List(pl.String)),
    )
    columns: Columns = dict(pool.rows.schema)
    table = Table(fresh.parent / "rows", dict(rows.schema))
    for number, part in enumerate(rows.iter_slices(_PART)):
        table.write(number, part)
    repository = mixture.repository or spec.slug(mixture.name)
    splits = Splits(dict(mixture.splits), ORIGIN if mixture.splits else None)
    bound = Publication(repository, columns, splits=splits)
    written = write(bound, table, fresh / folder.DATASET)
    if written is None:
        raise MistakeError("no row is left to mix")
    licenses = {one.said.dataset.license if one.said.dataset else None for one in ingredients}
    languages = [
        code for one in ingredients if one.said.dataset for code in one.said.dataset.language
    ]
    return MixRecord(
        soupstock=__version__,
        name=mixture.name,
        fingerprint="",
        seed=mixture.seed,
        mixture=mixture,
        similar=_SIMILAR,
        ingredients=tuple(
            _told(number, one, pool, quotas[number]) for number, one in enumerate(ingredients)
        ),
        dataset=record_of(
            written,
            bound,
            fresh / folder.DATASET,
            license=licenses.pop() if len(licenses) == 1 else None,
            language=tuple(dict.fromkeys(languages)),
        ),
        versions=package_versions(),
    )


def _chosen(pool: _Pool, quotas: Sequence[int]) -> Iterator[int]:
    there = ~pool.contaminated & ~pool.repeated
    for number, quota in enumerate(quotas):
        own = np.flatnonzero(there & (pool.which == number)).tolist()
        yield from sorted(own, key=lambda row: (pool.order[row], row))[:quota]


def _told(number: int, one: Ingredient, pool: _Pool, quota: int) -> IngredientRecord:
    own = pool.which == number
    steps = one.said.steps
    asked = {role for step in steps for role in step.models}
    writers = {role for step in steps if step.verb in WRITING for role in step.models}
    return IngredientRecord(
        name=one.name,
        run=folder.run_name(one.place),
        fingerprint=one.said.fingerprint,
        files=dict(one.files),
        share=round(float(one.share), 6),
        rows=one.rows.height,
        contaminated=int((own & pool.contaminated).sum()),
        repeats=int((own & pool.repeated).sum()),
        taken=quota,
        license=one.said.dataset.license if one.said.dataset else None,
        models=tuple(model for model in one.said.models if model.role in writers),
        others=tuple(model for model in one.said.models if model.role in asked - writers),
    )


def _fingerprint(
    mixture: Mixture, ingredients: Sequence[Ingredient], sets: Sequence[Decontamination]
) -> str:
    told = {
        "seed": mixture.seed,
        "rows": mixture.rows,
        "splits": dict(mixture.splits),
        "repository": mixture.repository,
        "ingredients": [[one.name, str(one.share), dict(one.files)] for one in ingredients],
        "sets": [[reference.content for reference in one.against] for one in sets],
    }
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _finish(fresh: Path, target: Path) -> None:
    """Put what was written in its place."""
    shutil.rmtree(target / folder.DATASET, ignore_errors=True)
    (fresh / folder.DATASET).replace(target / folder.DATASET)
    (fresh / MIX).replace(target / MIX)
