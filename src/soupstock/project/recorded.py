"""A project as it was for a run: prompts, rubrics, schemas and filters from the run's manifest.

Later edits make no difference. Model servers, and the files that rows are read from, are those of
the project now; the plan's fingerprint shows whether they have changed.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from soupstock.artifacts.manifest import Manifest, PartRecord
from soupstock.errors import Place, UnknownNameError
from soupstock.judging.rubric import Rubric
from soupstock.project.modules import Definition, definitions
from soupstock.project.project import Part, Project
from soupstock.spec.loader import parse_yaml, validate
from soupstock.spec.prompt import Prompt, parse_prompt

if TYPE_CHECKING:
    import polars as pl

_STANDARD = "standard:"


class RecordedProject(Project):
    """A project whose parts come from a manifest."""

    def __init__(self, root: Path, manifest: Manifest, folder: Path) -> None:
        """Take the parts from a manifest; Python files are written into `folder`."""
        super().__init__(root)
        self._manifest = manifest
        self._folder = folder
        for part in (*manifest.schemas, *manifest.filters):
            path = folder / _subfolder(part) / part.file.removeprefix(_STANDARD)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(part.text, encoding="utf-8")

    def prompt(self, name: str, place: Place | None = None) -> Part[Prompt]:
        """Find a prompt in the manifest."""
        part = _named("prompt", name, self._manifest.prompts, place)
        return Part(parse_prompt(name, part.text, Path(part.file)), part)

    def rubric(self, name: str, place: Place | None = None) -> Part[Rubric]:
        """Find a rubric in the manifest."""
        part = _named("rubric", name, self._manifest.rubrics, place)
        return Part(_parsed(part), part)

    def schema(self, name: str, place: Place | None = None) -> Part[type[BaseModel]]:
        """Find a schema in the manifest."""
        return self._defined("schema", name, self._models, self._manifest.schemas, place)

    def filter(self, name: str, place: Place | None = None) -> Part[Callable[..., "pl.Expr"]]:
        """Find a filter in the manifest."""
        return self._defined("filter", name, self._functions, self._manifest.filters, place)

    @functools.cached_property
    def _models(self) -> Mapping[str, Definition]:
        def is_model(value: object) -> bool:
            return inspect.isclass(value) and issubclass(value, BaseModel)

        return self._found("schemas", is_model)

    @functools.cached_property
    def _functions(self) -> Mapping[str, Definition]:
        return self._found("filters", inspect.isfunction)

    def _found(self, kind: str, wanted: Callable[[object], bool]) -> Mapping[str, Definition]:
        found: dict[str, Definition] = {}
        for folder in ("standard", "project"):
            found |= definitions(f"_recorded_{folder}.{kind}", self._folder / folder / kind, wanted)
        return found

    def _defined(
        self,
        kind: str,
        name: str,
        found: Mapping[str, Definition],
        parts: Sequence[PartRecord],
        place: Place | None,
    ) -> Part[Any]:
        if name not in found:
            raise UnknownNameError(kind, name, found, place)
        file = found[name].file
        part = next(
            part
            for part in parts
            if self._folder / _subfolder(part) / part.file.removeprefix(_STANDARD) == file
        )
        return Part(found[name].value, part)


def rubric(manifest: Manifest, name: str | None) -> Rubric | None:
    """Read a rubric of a run from its manifest; None where the run used none of that name."""
    part = next((part for part in manifest.rubrics if part.name == name), None)
    return None if part is None else _parsed(part)


def rubrics(manifest: Manifest) -> Iterator[Rubric]:
    """Read all rubrics of a run from its manifest."""
    return map(_parsed, manifest.rubrics)


def _parsed(part: PartRecord) -> Rubric:
    return validate(parse_yaml(part.text, Path(part.file)), Rubric).value


def tampered_parts(manifest: Manifest) -> list[str]:
    """Name the texts in a manifest that do not match their hashes."""
    return [
        part.file
        for part in chain(*manifest.parts.values())
        if hashlib.sha256(part.text.encode()).hexdigest() != part.sha256
    ]


def _subfolder(part: PartRecord) -> str:
    return "standard" if part.file.startswith(_STANDARD) else "project"


def _named(kind: str, name: str, parts: Sequence[PartRecord], place: Place | None) -> PartRecord:
    found = next((part for part in parts if part.name == name), None)
    if found is None:
        raise UnknownNameError(kind, name, [part.name for part in parts], place)
    return found
