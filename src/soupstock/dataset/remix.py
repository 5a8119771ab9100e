"""Make a mix again from its record and from the runs that it was made of.

`python -m soupstock.dataset.remix PROJECT MIX INTO` does it in a process of its own, and writes a
`Remix` as JSON beside the files.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from soupstock.artifacts import manifest, mix, run_folder
from soupstock.artifacts.files import sha256
from soupstock.artifacts.mix import IngredientRecord, MixRecord
from soupstock.dataset.mix import mix_again
from soupstock.errors import SoupstockError, shown
from soupstock.project.project import Project
from soupstock.runs.replay import RESULT
from soupstock.spec.fields import Spec


class Remix(Spec):
    """The result of mixing again."""

    problems: tuple[str, ...] = ()
    """Why the mix cannot be reproduced; none if it was."""


def main(arguments: Sequence[str]) -> None:
    """Make the mix in a folder again, in another folder."""
    root, place, into = map(Path, arguments)
    found = Remix(problems=tuple(_mix_again(root, mix.read(place), into)))
    (into / RESULT).write_text(found.model_dump_json(), encoding="utf-8")


def _mix_again(root: Path, record: MixRecord, into: Path) -> Iterator[str]:
    places = {one.name: _place(root, one) for one in record.ingredients}
    changed = [line for one in record.ingredients for line in _changed(one, places[one.name])]
    yield from changed
    if not changed:
        try:
            mix_again(record, Project(root), places, into)
        except SoupstockError as error:
            yield f"it cannot be reproduced: {error}"


def _place(root: Path, one: IngredientRecord) -> Path:
    """Find the run's folder; a run outside the project was named by its path."""
    own = run_folder.runs_folder(root) / one.run
    return own if own.is_dir() else Path(one.name).expanduser()


def _changed(one: IngredientRecord, place: Path) -> Iterator[str]:
    """Name the files of a run that are missing, or have changed since they were mixed."""
    if not (place / manifest.MANIFEST).is_file():
        yield f"the run {shown(one.run)} that it was made of is missing"
        return
    for name, digest in one.files.items():
        path = place / name
        if not path.is_file():
            yield f"{shown(one.run)}/{name}, which it was made of, is missing"
        elif sha256(path) != digest:
            yield f"{shown(one.run)}/{name} is not the file that was mixed"


if __name__ == "__main__":
    main(sys.argv[1:])
