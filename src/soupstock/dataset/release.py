"""What a run or a mix has to publish: its files, their hashes, and how it was made.

`soupstock.json` goes to the Hub with the dataset: how to make it again, the hash of each file, and
that soupstock made it. It holds no path of anybody's disk and nothing that a server answered.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soupstock.artifacts import manifest, mix
from soupstock.artifacts import run_folder as folder
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import Manifest, ModelRecord, PartRecord
from soupstock.dataset.versions import find_folder
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.steps.wording import public_path

LOCK = "soupstock.json"
"""The file that says how a dataset on the Hub was made."""

CARD = "README.md"


@dataclass(frozen=True)
class Release:
    """A dataset with everything that is pushed beside it."""

    name: str
    folder: Path
    """The run's folder."""
    repository: str
    dataset: DatasetRecord
    files: Mapping[str, str]
    """The SHA-256 of each of the run's files, by path in its folder, as the manifest has it."""
    lock: Mapping[str, Any]
    """How it was made."""
    models: Sequence[ModelRecord] = ()
    """The models that were asked for it."""
    manifest: Manifest | None = None
    """The run's manifest; a mix has none."""

    @property
    def place(self) -> Path:
        """The dataset's folder."""
        return self.folder / folder.DATASET

    def paths(self) -> dict[str, Path]:
        """Return the dataset's files that exist, by their paths in it."""
        found = sorted(path for path in self.place.rglob("*") if path.is_file())
        return {path.relative_to(self.place).as_posix(): path for path in found}


def read_release(project: Project, name: str) -> Release:
    """Read what a run or a mix has to publish; raises MistakeError if it has nothing."""
    place = find_folder(project, name)
    if (place / mix.MIX).is_file():
        return _mix(place)
    if not (place / manifest.MANIFEST).is_file():
        raise MistakeError(f"{name} is not a run: there is no {place / manifest.MANIFEST}")
    return _run(place, manifest.read(place), name)


def _run(place: Path, run: Manifest, name: str) -> Release:
    if run.dataset is None:
        publishes = any(step.verb == "dataset" for step in run.steps)
        why = "no row was kept" if publishes else "its pipeline has no dataset step"
        raise MistakeError(f"{name} has nothing to publish: {why}")
    return Release(
        name=run.name,
        folder=place,
        repository=run.dataset.repository,
        dataset=run.dataset,
        files=run.files,
        lock=_lock(run),
        models=run.models,
        manifest=run,
    )


def _mix(place: Path) -> Release:
    record = mix.read(place)
    return Release(
        name=record.name,
        folder=place,
        repository=record.dataset.repository,
        dataset=record.dataset,
        files=record.files,
        lock=record.model_dump(mode="json", exclude={"files", "dataset"}),
        models=record.asked,
    )


def _lock(run: Manifest) -> dict[str, Any]:
    """Say how a run's dataset was made, as far as others may know."""
    return {
        "soupstock": run.soupstock,
        "name": run.name,
        "fingerprint": run.fingerprint,
        "seed": run.seed,
        "pipeline": _public(run.pipeline),
        **{kind: [_part(part) for part in some] for kind, some in run.parts.items()},
        "models": [model.model_dump(mode="json") for model in run.models],
        "source": run.source.model_dump(mode="json"),
        "rows": run.rows,
        "kept": run.kept,
        "versions": dict(run.versions),
    }


def _public(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a pipeline, and leave only the names of files outside the project."""
    copy: dict[str, Any] = json.loads(json.dumps(pipeline))
    steps = copy["steps"]
    compared = [one for step in steps for one in step.get("against") or ()]
    for place in (copy["source"], *steps, *compared):
        for kind in {"file", "dataset", "embedder"} & place.keys():
            place[kind] = public_path(place[kind]) if place[kind] else place[kind]
    return copy


def _part(part: PartRecord) -> dict[str, Any]:
    return part.model_dump(mode="json")
