"""Whether a dataset may be published: its manifest is true, and it holds nothing private.

Each check says what is wrong, for a person. Secrets are never quoted.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from soupstock import spec
from soupstock.artifacts import run_folder
from soupstock.artifacts.dataset import ConfigRecord
from soupstock.artifacts.files import sha256
from soupstock.dataset.leaks import SchemaOf, leaks, rows_of, shards_of
from soupstock.dataset.release import Release
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.project.recorded import RecordedProject
from soupstock.rows import features
from soupstock.rows.pii_scan import KIND_NAMES, count_identifiers
from soupstock.spec.pruning import IdentifierKind
from soupstock.text.pii import IDENTIFIERS


def faults(release: Release, project: Project, allowed: Sequence[str] = ()) -> list[str]:
    """List the reasons not to publish a dataset; `allowed` kinds of personal data are none."""
    tampered = list(_tampered(release))
    if tampered:
        # The further checks would be about other files than the run wrote.
        return tampered
    if not release.dataset.rows:
        return ["it has no rows"]
    wanted = [kind for kind in spec.KINDS if kind not in allowed]
    with _schemas(release, project) as schema_of:
        return [
            *_unfit(release),
            *_misshapen(release, schema_of),
            *leaks(release, schema_of),
            *_identifiers(release, wanted),
        ]


def _tampered(release: Release) -> Iterator[str]:
    there = {f"{run_folder.DATASET}/{name}": path for name, path in release.paths().items()}
    for name, digest in release.files.items():
        path = there.pop(name, release.folder / name)
        if not path.is_file():
            yield f"{name} is missing"
        elif sha256(path) != digest:
            yield f"{name} is not the file that the run wrote"
    for name in there:
        yield f"{name} is not a file of the run"


def _unfit(release: Release) -> Iterator[str]:
    """Name the judges that failed their sanity check, if that was to stop the run."""
    run = release.manifest
    if run is None:
        return
    strict = {
        step["judge"]
        for step in run.pipeline["steps"]
        if step.get("judge") and step.get("on_unfit") == "stop"
    }
    for judge in run.judges:
        fitness = judge.fitness
        if judge.column in strict and fitness is not None and fitness.verdict == "not fit":
            yield (
                f"the judge of {judge.column} failed its sanity check, and the pipeline says"
                " on_unfit: stop"
            )


def _misshapen(release: Release, schema_of: SchemaOf) -> Iterator[str]:
    """Compare columns and counts with the manifest's, and rows with their schema."""
    for config in release.dataset.configs:
        for shard in shards_of(release, config):
            file = pq.ParquetFile(release.place / shard.file)
            if features.features_of(file.schema_arrow) != config.features:
                yield f"{shard.file} has other columns than the manifest says"
            if file.metadata.num_rows != shard.rows:
                yield f"{shard.file} has {file.metadata.num_rows:,} rows, not {shard.rows:,}"
        yield from _broken(release, config, schema_of)


def _broken(release: Release, config: ConfigRecord, schema_of: SchemaOf) -> Iterator[str]:
    """Name the file of the first row of a config that breaks its schema."""
    schema = schema_of(config.output_schema) if config.output_schema else None
    if schema is None:
        return
    for shard, rows in rows_of(release, config):
        for row in rows:
            try:
                schema.model_validate(row)
            except ValidationError:
                yield f"a row of {shard.file} breaks the schema {config.output_schema}"
                return


@contextmanager
def _schemas(release: Release, project: Project) -> Iterator[SchemaOf]:
    """Find schemas as the run had them, from their texts in the manifest; a mix has none."""
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        run = release.manifest
        recorded = RecordedProject(project.root, run, Path(place)) if run else None

        def schema_of(name: str) -> type[BaseModel] | None:
            try:
                return recorded.schema(name).value if recorded else None
            except MistakeError:
                return None

        yield schema_of


def _identifiers(release: Release, kinds: Sequence[IdentifierKind]) -> Iterator[str]:
    """Name the files that hold secrets or personal data, without quoting them."""
    if release.manifest is not None and "secrets" in kinds:
        for part in chain(*release.manifest.parts.values()):
            if IDENTIFIERS["secrets"].find(part.text):
                what = f"{part.file}, which is pushed too, has secrets"
                yield f"{what}: remove them, or --allow secrets"
    for shard in release.dataset.shards:
        for kind, count in count_identifiers(release.place / shard.file, kinds).items():
            if count:
                what = f"{shard.file} has {KIND_NAMES[kind]} ({count:,})"
                yield f"{what}: mask or filter them, or --allow {kind}"
