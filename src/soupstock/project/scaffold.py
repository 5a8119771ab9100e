"""Make a new project: a copy of template/, with an example of everything that a user can write."""

import re
import shlex
from pathlib import Path

from soupstock.errors import MistakeError, shown
from soupstock.spec.json_schema import schema_text

TEMPLATE = Path(__file__).parent / "template"

_NAMES = {"gitignore": ".gitignore"}
"""Files with another name in the template, because they would affect this repository."""


def create(folder: Path) -> list[str]:
    """Make a project in a new or empty folder; return what to print, line by line.

    The folder may contain hidden files (.git, .venv), which are left as they are.
    """
    try:
        _check_empty(folder)
        name = _project_name(folder.resolve().name)
        # pip compiles the Python files of the template when it installs it.
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
        "  soupstock plan tips       shows what the pipeline would do",
        "  soupstock preview tips    makes three rows, and shows them",
        "  soupstock run tips        makes the dataset, in runs/tips/latest/dataset",
        "The standard pipelines work here as well: soupstock list",
    ]


def _check_empty(folder: Path) -> None:
    if folder.is_symlink() or folder.exists():
        found = next((path for path in folder.iterdir() if not path.name.startswith(".")), None)
        if found is not None:
            raise MistakeError(f"{shown(folder)} is not empty: it contains {shown(found.name)}")


def _project_name(folder: str) -> str:
    """Return a name that is valid in pyproject.toml."""
    return re.sub(r"[^A-Za-z0-9]+", "-", folder).strip("-").lower() or "my-data"


def _write(target: Path, source: Path, name: str) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text("utf-8").replace("NAME", name), "utf-8")
