"""Read `[tool.soupstock]` in a project's pyproject.toml."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.inference.servers.endpoint import Endpoint
from soupstock.inference.servers.vllm import VLLM, Vllm
from soupstock.spec.fields import ModelName, Spec
from soupstock.spec.loader import Located, read_text, validate

FILE = "pyproject.toml"
_TABLE = ("tool", "soupstock")
_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")


def _kind(entry: object) -> str:
    is_vllm = isinstance(entry, Vllm) or (isinstance(entry, Mapping) and VLLM in entry)
    return VLLM if is_vllm else "base_url"


Entry = Annotated[
    Annotated[Endpoint, Tag("base_url")] | Annotated[Vllm, Tag(VLLM)], Discriminator(_kind)
]
"""A model server: one that already runs, or one that a run starts."""


class Settings(Spec):
    """The table `[tool.soupstock]` of a project's pyproject.toml."""

    models: dict[ModelName, Entry] = {}
    """Model servers, by the names that pipelines use."""

    embedder: str | None = None
    """The static embedding model for steps that name none: a folder, or an id on the Hub."""


def has_settings(folder: Path) -> bool:
    """Tell whether a folder's pyproject.toml has `[tool.soupstock]`."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    try:
        return _table(tomllib.loads(text)) is not None
    except tomllib.TOMLDecodeError:
        # A project with a mistake in its pyproject.toml is still the project.
        return "[tool.soupstock" in text


def read_settings(folder: Path) -> Settings:
    """Read `[tool.soupstock]`; raises MistakeError."""
    file = folder / FILE
    if not file.is_file():
        return Settings()
    text = read_text(file)
    try:
        table = _table(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _PLACE.search(str(error))
        problem = shown(_PLACE.sub("", str(error)))
        place = Place(file, int(found[1]) if found else None)
        raise MistakeError(f"not TOML: {problem}", place) from error
    if table is None:
        return Settings()
    if not isinstance(table, Mapping):
        place = Place(file, _lines(text).get(()))
        raise MistakeError(
            f"soupstock should be a table, [tool.soupstock], not {quoted(table)}", place
        )
    return validate(Located(data=table, file=file, lines=_lines(text)), Settings).value


def _table(data: Mapping[str, Any]) -> Any:
    """Return `[tool.soupstock]`, or None."""
    value: Any = data
    for key in _TABLE:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Return the lines of tables and keys under `[tool.soupstock]`, as far as lines tell."""
    lines: dict[tuple[str | int, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        is_table = line.lstrip().startswith("[")
        keys = _keys(line if is_table else line.partition("=")[0] + "= 0")
        if keys is None:
            continue
        table = keys if is_table else table
        path = keys if is_table else table + keys
        if path[:2] == _TABLE:
            lines.setdefault(path[2:], number)
    return lines


def _keys(line: str) -> tuple[str, ...] | None:
    """Return the path of keys in one line of TOML."""
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    keys: list[str] = []
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, value),) = value.items()
        keys.append(key)
    return tuple(keys) or None
