"""What a run or a mix has to publish: its files, their hashes, and what is told of how it was made.

`soupstock.json` is the file that goes to the Hub with the dataset: how to make it again, what each
file's hash is, and that soupstock made it. Nothing in it says where on somebody's disk a file lies,
and nothing of what servers said.
"""

import hashlib
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
"""The file that says of a dataset on the Hub how it was made."""

CARD = "README.md"


@dataclass(frozen=True)
class Release:
    """A dataset that is to be published."""

    name: str
    folder: Path
    """The run's folder."""
    repository: str
    dataset: DatasetRecord
    files: Mapping[str, str]
    """The SHA-256 of each of the run's files, by its path in the folder, as the manifest says."""
    lock: Mapping[str, Any]
    """How it was made."""
    models: Sequence[ModelRecord] = ()
    """The models that were asked for it."""
    said: Manifest | None = None
    """The run's manifest; a mix has none."""

    @property
    def place(self) -> Path:
        """The dataset's folder."""
        return self.folder / folder.DATASET

    def paths(self) -> dict[str, Path]:
        """Return the dataset's files that are there, by their paths in it."""
        found = sorted(path for path in self.place.rglob("*") if path.is_file())
        return {path.relative_to(self.place).as_posix(): path for path in found}


def read_release(project: Project, name: str) -> Release:
    """Find what a run has to publish; raises MistakeError where it has nothing."""
    place = find_folder(project, name)
    if (place / mix.MIX).is_file():
        return _mixed(place)
    if not (place / manifest.MANIFEST).is_file():
        raise MistakeError(f"{name} is no run; there is no {place / manifest.MANIFEST}")
    said = manifest.read(place)
    if said.dataset is None:
        publishes = any(step.verb == "publish" for step in said.steps)
        why = "no row was kept" if publishes else "its pipeline has no publish step"
        raise MistakeError(f"{name} has nothing to publish: {why}")
    return Release(
        name=said.name,
        folder=place,
        repository=said.dataset.repository,
        dataset=said.dataset,
        files=said.files,
        lock=lock_of(said),
        models=said.models,
        said=said,
    )


def _mixed(place: Path) -> Release:
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


def lock_of(said: Manifest) -> dict[str, Any]:
    """Say how a run's dataset was made, as far as that is for strangers."""
    pipeline = json.loads(json.dumps(said.pipeline))
    steps = pipeline["steps"]
    there = [one for step in steps for one in step.get("against") or ()]
    for told in (pipeline["source"], *steps, *there):
        for kind in {"file", "dataset", "embedder"} & told.keys():
            told[kind] = public_path(told[kind]) if told[kind] else told[kind]
    return {
        "soupstock": said.soupstock,
        "name": said.name,
        "fingerprint": said.fingerprint,
        "seed": said.seed,
        "pipeline": pipeline,
        **{kind: [_part(part) for part in some] for kind, some in said.parts.items()},
        "models": [model.model_dump(mode="json") for model in said.models],
        "source": said.source.model_dump(mode="json"),
        "rows": said.rows,
        "kept": said.kept,
        "versions": dict(said.versions),
    }


def _part(part: PartRecord) -> dict[str, Any]:
    return part.model_dump(mode="json")


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
