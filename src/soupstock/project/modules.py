"""Import a project's Python files under private names, and find what they define.

They are never put on `sys.path`: an installed package called `filters` would win over them.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.spec.loader import read_text


@dataclass(frozen=True)
class Definition:
    """A public definition in a file."""

    value: Any
    file: Path

    @property
    def place(self) -> Place:
        """Return the line at which the definition begins."""
        try:
            return Place(self.file, inspect.getsourcelines(self.value)[1])
        except (OSError, TypeError):
            return Place(self.file)


def definitions(
    package: str,
    folder: Path,
    wanted: Callable[[object], bool],
    is_imported: Callable[[Path], bool] = lambda _: True,
) -> dict[str, Definition]:
    """Import a folder's Python files, and return their definitions by name.

    `is_imported` selects the files. `package` is a private name such as `_project.filters`; earlier
    modules under it, from another project, are replaced. Files whose names begin with `_` are only
    imported by the other files; hidden files are ignored. Raises MistakeError if a file cannot be
    imported, or if two files define the same name.
    """
    found: dict[str, Definition] = {}
    _open_package(package, folder)
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith(("_", ".")) or not file.is_file() or not is_imported(file):
            continue
        for name, definition in _defined(_imported(package, file, folder), file, wanted):
            if name in found:
                problem = f"{quoted(name)} is already defined in {found[name].place}"
                raise MistakeError(problem, definition.place)
            found[name] = definition
    return found


def _open_package(package: str, folder: Path) -> None:
    """Register empty packages whose modules come from a folder."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    outer, _, _ = package.partition(".")
    sys.modules.setdefault(outer, ModuleType(outer)).__path__ = []
    module = ModuleType(package)
    module.__path__ = [str(folder)]
    sys.modules[package] = module


class _Finder(MetaPathFinder):
    """Finds modules of the private packages: each is a file in its package's folder."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 - importlib's own signature
    ) -> ModuleSpec | None:
        outer = fullname.partition(".")[0]
        if outer not in {"_project", "_standard"} or not path:
            return None
        file = Path(path[0]) / f"{fullname.rpartition('.')[2]}.py"
        if not file.is_file():
            return None
        return spec_from_file_location(fullname, file, loader=_Loader(fullname, str(file)))


class _Loader(SourceFileLoader):
    """Compiles a file each time: a bytecode cache depends on time stamps, and adds files."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(read_text(Path(path)), path)
        return code


def _imported(package: str, file: Path, folder: Path) -> ModuleType:
    if not file.stem.isidentifier():
        raise MistakeError(
            "rename it: a Python file's name is letters, digits and underscores", Place(file)
        )
    try:
        return importlib.import_module(f"{package}.{file.stem}")
    except (KeyboardInterrupt, MistakeError):
        raise
    except SyntaxError as error:
        place = Place(error.filename or file, error.lineno)
        raise MistakeError(f"not Python: {shown(error.msg)}", place) from error
    # A user's file may raise anything, and may call sys.exit().
    except BaseException as error:
        problem = shown(f"{type(error).__name__}: {error}".split("\n", 1)[0])
        place = _place_within(folder, error) or Place(file)
        raise MistakeError(f"it cannot be imported: {problem}", place) from error


def _place_within(folder: Path, error: BaseException) -> Place | None:
    """Return the innermost line of a folder's files in an error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).parent == folder]
    return Place(Path(inside[-1].filename), inside[-1].lineno) if inside else None


def _defined(
    module: ModuleType, file: Path, wanted: Callable[[object], bool]
) -> Iterator[tuple[str, Definition]]:
    """Yield what a module defines itself, not what it imports."""
    for name, value in vars(module).items():
        if name.startswith("_") or not wanted(value):
            continue
        if getattr(value, "__module__", None) == module.__name__:
            yield name, Definition(value, file)
