"""What runs give to a mix: found by their names, or in the folders that a mix recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import polars as pl

from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.files import sha256 as file_hash
from soupstock.artifacts.manifest import Manifest
from soupstock.artifacts.mix import Mixture
from soupstock.dataset.versions import find_folder, split_files
from soupstock.errors import MistakeError, shown
from soupstock.project.project import Project

ORIGIN = "origin"
"""The column that says which run a row is from."""


@dataclass(frozen=True)
class Ingredient:
    """What a run gives to a mix: the rows of its dataset's first config."""

    name: str
    place: Path
    manifest: Manifest
    share: Fraction
    rows: pl.DataFrame
    files: Mapping[str, str]
    """The SHA-256 of each file that was read, by its path in the run's folder."""


def gather(
    mixture: Mixture, project: Project, places: Mapping[str, Path] | None = None
) -> list[Ingredient]:
    """Read what runs give to a mix; raises MistakeError.

    `places` are the folders of the runs, by name. Default: they are looked up in the project.
    """
    # As they are written: 0.7 is seven tenths.
    shares = {name: Fraction(str(share)) for name, share in mixture.shares.items()}
    total = sum(shares.values())
    found = [
        _ingredient(name, places[name] if places else find_folder(project, name), share / total)
        for name, share in shares.items()
    ]
    _check_columns(found)
    return found


def _ingredient(name: str, place: Path, share: Fraction) -> Ingredient:
    if not (place / manifest.MANIFEST).is_file():
        raise MistakeError(f"{shown(name)} is not a run: there is no {place / manifest.MANIFEST}")
    if not (place / run_folder.DATASET).is_dir():
        raise MistakeError(f"{shown(name)} has no dataset to mix: no row was kept or written")
    files = [path for _, path in split_files(place / run_folder.DATASET)]
    rows = pl.concat([pl.read_parquet(path, glob=False) for path in files])
    hashes = {path.relative_to(place).as_posix(): file_hash(path) for path in files}
    return Ingredient(name, place, manifest.read(place), share, rows, hashes)


def _check_columns(ingredients: Sequence[Ingredient]) -> None:
    first = ingredients[0]
    if ORIGIN in first.rows.columns:
        raise MistakeError(f"{shown(first.name)} has a column {ORIGIN} already")
    for other in ingredients[1:]:
        if other.rows.schema != first.rows.schema:
            one, two = (", ".join(map(shown, i.rows.columns)) for i in (first, other))
            raise MistakeError(
                f"{shown(first.name)} ({one}) and {shown(other.name)} ({two}) do not have the same"
                " columns of the same types; write both with one schema"
            )
