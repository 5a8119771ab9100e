"""Find everything by name: in the user's project first, then in the standard one."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from soupstock.artifacts.files import sha256
from soupstock.artifacts.manifest import PartRecord
from soupstock.errors import MistakeError, Place, UnknownNameError, shown
from soupstock.inference.servers.endpoint import Endpoint
from soupstock.inference.servers.vllm import Vllm
from soupstock.judging.rubric import Rubric
from soupstock.project.modules import Definition, definitions
from soupstock.project.settings import has_settings, read_settings
from soupstock.spec.loader import load, read_text
from soupstock.spec.prompt import Prompt, parse_prompt

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

# No part begins with a dot, so no name leads out of its folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_SUFFIXES = {".yaml", ".yml"}
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Part(Generic[T]):
    """Something found by its name, with the file that it came from."""

    value: T
    record: PartRecord


class Project:
    """A folder with pipelines/, prompts/, schemas/ and filters/, over the standard project."""

    def __init__(self, root: Path) -> None:
        """Use `root` as the project's folder; `Project.at` finds it."""
        self.root = root.resolve()
        inside = _PACKAGE / "standard"
        # In the wheel the standard project is inside the package; in a clone it is the clone.
        self.standard = (inside if inside.is_dir() else _PACKAGE.parents[1]).resolve()

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """Find the project that contains a folder; or else the folder is an empty project."""
        try:
            start = folder.resolve()
        except OSError as error:
            raise MistakeError(f"the folder {shown(folder)} does not exist any more") from error
        for candidate in (start, *start.parents):
            if (candidate / "pipelines").is_dir() or has_settings(candidate):
                return cls(candidate)
        return cls(start)

    def pipeline_names(self) -> dict[str, Path]:
        """Return all pipelines by name, with their files."""
        return self._files("pipelines", ".yaml")

    def pipeline(self, name: str) -> Path:
        """Find a pipeline by its name (`chat`, `specialists/x`) or its file's path."""
        if (path := Path(name)).suffix in _SUFFIXES:
            return path
        return self._file("pipeline", name, self.pipeline_names(), None)

    def prompt(self, name: str, place: Place | None = None) -> Part[Prompt]:
        """Find a prompt: `chat/response` is prompts/chat/response.md."""
        file = self._file("prompt", name, self._files("prompts", ".md"), place)
        text = read_text(file)
        return Part(parse_prompt(name, text, file), self._record(name, file))

    def rubric(self, name: str, place: Place | None = None) -> Part[Rubric]:
        """Find a rubric: `chat` is prompts/rubrics/chat.yaml."""
        file = self._file("rubric", name, self._files("prompts/rubrics", ".yaml"), place)
        return Part(load(file, Rubric).value, self._record(name, file))

    def schema(self, name: str, place: Place | None = None) -> Part[type[BaseModel]]:
        """Find a schema: a public pydantic model in schemas/*.py."""
        return self._part("schema", name, self._schemas, place)

    def filter(self, name: str, place: Place | None = None) -> Part[Callable[..., "pl.Expr"]]:
        """Find a filter: a public function in filters/*.py."""
        return self._part("filter", name, self._filters, place)

    def filters_of(self, records: Iterable[PartRecord]) -> Mapping[str, Callable[..., "pl.Expr"]]:
        """Find the filters of a run in those of its files that have not changed.

        Imports no other file.
        """
        wanted = {record.file: record.sha256 for record in records}

        def is_same(file: Path) -> bool:
            return wanted.get(self._where(file)) == sha256(file)

        found = self._definitions("filters", inspect.isfunction, is_same)
        return {name: definition.value for name, definition in found.items()}

    def endpoints(self) -> dict[str, Endpoint | Vllm]:
        """Return the model servers of `[tool.soupstock.models]` in the project's pyproject.toml."""
        return dict(read_settings(self.root).models)

    def embedder(self) -> str | None:
        """Return the embedding model of `[tool.soupstock]`, for steps that name none."""
        return read_settings(self.root).embedder

    @functools.cached_property
    def _filters(self) -> Mapping[str, Definition]:
        return self._definitions("filters", inspect.isfunction)

    @functools.cached_property
    def _schemas(self) -> Mapping[str, Definition]:
        return self._definitions("schemas", _is_model)

    def _definitions(
        self,
        kind: str,
        wanted: Callable[[object], bool],
        is_imported: Callable[[Path], bool] = lambda _: True,
    ) -> Mapping[str, Definition]:
        """Return the definitions of both projects; the user's replace standard ones by name."""
        found = definitions(f"_standard.{kind}", self.standard / kind, wanted, is_imported)
        if self.root != self.standard:
            found |= definitions(f"_project.{kind}", self.root / kind, wanted, is_imported)
        return found

    def _files(self, folder: str, suffix: str) -> dict[str, Path]:
        """Return the files of both projects by name; the user's replace standard ones."""
        roots = dict.fromkeys((self.standard, self.root))
        found: dict[str, Path] = {}
        for root in roots:
            for file in sorted((root / folder).rglob(f"*{suffix}")):
                name = file.relative_to(root / folder).as_posix().removesuffix(suffix)
                if _NAME.fullmatch(name) and name != "README" and file.is_file():
                    found[name] = file
        return found

    def _file(self, kind: str, name: str, files: Mapping[str, Path], place: Place | None) -> Path:
        if name not in files:
            raise UnknownNameError(kind, name, files, place)
        return files[name]

    def _part(
        self, kind: str, name: str, found: Mapping[str, Definition], place: Place | None
    ) -> Part[Any]:
        if name not in found:
            raise UnknownNameError(kind, name, found, place)
        return Part(found[name].value, self._record(name, found[name].file))

    def _record(self, name: str, file: Path) -> PartRecord:
        return PartRecord(
            name=name,
            file=self._where(file),
            sha256=sha256(file),
            text=read_text(file),
        )

    def _where(self, file: Path) -> str:
        """Return a file's path in its project, with the prefix `standard:` for the standard one."""
        # One may contain the other: the standard one in an environment in the user's folder.
        holders = [root for root in (self.root, self.standard) if file.is_relative_to(root)]
        nearest = max(holders, key=lambda root: len(root.parts))
        prefix = "standard:" if nearest == self.standard else ""
        return prefix + file.relative_to(nearest).as_posix()


def name_of(pipeline: str) -> str:
    """Return a pipeline's name for its name or its file: `drafts/mine.yaml` is `mine`."""
    path = Path(pipeline)
    return path.stem if path.suffix in _SUFFIXES else pipeline


def _is_model(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseModel)
