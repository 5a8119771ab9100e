"""Whether a dataset is fit to leave: what it says of itself is true, and nothing in it must stay.

Each check returns what is wrong in words for a person. What is secret is never quoted.
"""

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow.parquet as pq
from pydantic import ValidationError

from soupstock import folder, hub, spec
from soupstock.errors import MistakeError
from soupstock.manifest import ConfigRecord, ShardRecord
from soupstock.personal import NAMES, counted
from soupstock.project import Project
from soupstock.records import Row
from soupstock.release import Release, sha256
from soupstock.spec import Kind
from soupstock.splitting import Texts, groups, texts_of

_BATCH = 4096


def faults(release: Release, project: Project, allowed: Sequence[str] = ()) -> list[str]:
    """Return what keeps a dataset from being published; `allowed` kinds of personal data may be."""
    tampered = list(_tampered(release))
    if tampered:
        # What cannot be trusted need not be looked at further.
        return tampered
    if not release.dataset.rows:
        return ["it has no rows"]
    wanted = [kind for kind in spec.KINDS if kind not in allowed]
    return [
        *_unfit(release),
        *_misshapen(release, project),
        *_leaks(release),
        *_identifiers(release, wanted),
    ]


def _tampered(release: Release) -> Iterator[str]:
    there = {f"{folder.DATASET}/{name}": path for name, path in release.paths().items()}
    for name, digest in release.files.items():
        path = there.pop(name, release.folder / name)
        if not path.is_file():
            yield f"{name} is missing"
        elif sha256(path) != digest:
            yield f"{name} is not the file that the run wrote"
    for name in there:
        yield f"{name} is not of the run"


def _unfit(release: Release) -> Iterator[str]:
    """Name the judges that were to end the run where they are not fit."""
    said = release.said
    if said is None:
        return
    strict = {
        step["judge"]
        for step in said.pipeline["steps"]
        if step.get("judge") and step.get("on_unfit") == "stop"
    }
    for judge in said.judges:
        fitness = judge.fitness
        if judge.column in strict and fitness is not None and fitness.verdict == "not fit":
            yield f"the judge of {judge.column} is not fit, and the pipeline says on_unfit: stop"


def _shards(release: Release, config: ConfigRecord) -> Iterator[ShardRecord]:
    for shard in release.dataset.shards:
        if shard.file.startswith(f"{config.folder}/"):
            yield shard


def _rows(release: Release, config: ConfigRecord) -> Iterator[tuple[ShardRecord, list[Row]]]:
    for shard in _shards(release, config):
        file = pq.ParquetFile(release.place / shard.file)
        for batch in file.iter_batches(batch_size=_BATCH):
            yield shard, batch.to_pylist()


def _misshapen(release: Release, project: Project) -> Iterator[str]:
    """Compare columns and counts with the manifest's, and rows with their schema."""
    for config in release.dataset.configs:
        for shard in _shards(release, config):
            file = pq.ParquetFile(release.place / shard.file)
            if hub.features_of(file.schema_arrow) != config.features:
                yield f"{shard.file} has other columns than the manifest says"
            if file.metadata.num_rows != shard.rows:
                yield f"{shard.file} has {file.metadata.num_rows:,} rows, not {shard.rows:,}"
        yield from _broken(release, config, project)


def _broken(release: Release, config: ConfigRecord, project: Project) -> Iterator[str]:
    """Name the first row of each configuration that breaks its schema, if the project has it."""
    said = release.said
    if config.output_schema is None or said is None:
        return
    try:
        found = project.schema(config.output_schema)
    except MistakeError:
        return
    if found.record.sha256 not in {part.sha256 for part in said.schemas}:
        return
    for shard, rows in _rows(release, config):
        for row in rows:
            try:
                found.value.model_validate(row)
            except ValidationError:
                yield f"a row of {shard.file} breaks the schema {config.output_schema}"
                return


def _leaks(release: Release) -> Iterator[str]:
    """Name configurations with rows on both sides of a split that are nearly the same."""
    configs = release.dataset.configs
    shaped = [config for config in configs if config.output_schema] or list(configs)
    for config in shaped:
        if len(config.splits) == 1:
            continue
        texts: list[Texts | None] = []
        sides: list[str] = []
        for shard, rows in _rows(release, config):
            texts += map(texts_of, rows)
            sides += [shard.split] * len(rows)
        group = groups([texts], None)
        seen = (
            pl.DataFrame({"group": group, "side": sides})
            .group_by("group")
            .agg(pl.col("side").n_unique())
        )
        if leaking := int((seen["side"] > 1).sum()):
            yield (
                f"{config.name} leaks: {leaking:,} groups of rows that are nearly the same are on"
                " both sides of its splits"
            )


def _identifiers(release: Release, kinds: Sequence[Kind]) -> Iterator[str]:
    """Say in which files there are secrets or personal data; not which."""
    for shard in release.dataset.shards:
        for kind, count in counted(release.place / shard.file, kinds).items():
            if count:
                what = f"{shard.file} has {NAMES[kind]} ({count:,})"
                yield f"{what}: mask or filter them, or --allow {kind}"
