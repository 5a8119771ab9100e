"""Make a new project: a copy of template/, which has an example of each thing to write."""

import re
import shlex
from pathlib import Path

from soupstock.errors import MistakeError, shown
from soupstock.spec.json_schema import schema_text

TEMPLATE = Path(__file__).parent / "template"

_NAMES = {"gitignore": ".gitignore"}
"""Files that have another name here, where they would act on this repository."""


def create(folder: Path) -> list[str]:
    """Make a project in a new or empty folder; returns what to tell the user, line by line.

    Hidden files may be there already (.git, .venv), and are left as they are.
    """
    try:
        _check_empty(folder)
        name = _project_name(folder.resolve().name)
        # Where pip installed the template, it compiled its Python files too.
        files = (path for path in TEMPLATE.rglob("*") if "__pycache__" not in path.parts)
        for source in sorted(path for path in files if path.is_file()):
            target = source.relative_to(TEMPLATE)
            _write(folder / target.with_name(_NAMES.get(target.name, target.name)), source, name)
        (folder / "pipelines" / ".pipeline.schema.json").write_text(schema_text(), "utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MistakeError(f"{shown(folder)} cannot be written: {shown(reason)}") from error
    return [
        f"{shown(folder)} is a soupstock project. Next:",
        f"  cd {shown(shlex.quote(str(folder)))}",
        "  soupstock plan tips       what would be done",
        "  soupstock preview tips    three rows, shown in the terminal",
        "  soupstock run tips        the dataset, in runs/tips/latest/dataset",
        "The standard pipelines work here as well: soupstock list",
    ]


def _check_empty(folder: Path) -> None:
    if folder.is_symlink() or folder.exists():
        there = next((path for path in folder.iterdir() if not path.name.startswith(".")), None)
        if there is not None:
            raise MistakeError(f"{shown(folder)} is not empty: {shown(there.name)} is in it")


def _project_name(folder: str) -> str:
    """Make a name that a pyproject.toml may hold."""
    return re.sub(r"[^A-Za-z0-9]+", "-", folder).strip("-").lower() or "my-data"


def _write(target: Path, source: Path, name: str) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text("utf-8").replace("NAME", name), "utf-8")
