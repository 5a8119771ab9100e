"""Make a new project: folders, a pyproject.toml, and an example of each thing to override."""

from pathlib import Path

from soupstock.errors import MistakeError

PYPROJECT = """\
[project]
name = "{name}"
version = "0"
dependencies = ["soupstock[embedded]"]

# Models by name, for pipelines and for --model ROLE=NAME. `embedded` and `openai/NAME` need none.
[tool.soupstock.models]

# [tool.soupstock.models.local]
# base_url = "http://localhost:8000/v1"   # any server that speaks the OpenAI protocol
# model = "Qwen/Qwen3-8B"
# api_key_env = "LOCAL_API_KEY"           # the variable's name, never the key
# input_price = 0.0                       # US dollars per million tokens
# output_price = 0.0
"""

READMES = {
    "pipelines": """\
A file here is a pipeline: `pipelines/mine.yaml` is run by `soupstock run mine`. The standard
pipelines (`soupstock list`) can be run as they are; a file of the same name here takes their place.
""",
    "prompts": """\
`prompts/chat/response.md` here takes the place of the standard `chat/response`: Markdown with
Jinja variables (`{{ instruction }}`) and, between `---` lines at its head, `description`, `system`
and `examples`. Rubrics are in `prompts/rubrics/`.
""",
    "schemas": """\
Public pydantic models in `schemas/*.py` are what a row or an answer must be: `schema: Name`.
""",
    "filters": """\
Public functions in `filters/*.py` that return a polars expression are filters: true keeps. One with
the name of a standard filter takes its place.
""",
}

GITIGNORE = "runs/\n.venv/\n__pycache__/\n"


def create(folder: Path) -> list[str]:
    """Make a project in a new or empty folder; returns what to tell the user, line by line."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MistakeError(f"{folder} is there already and is not an empty folder")
    files = {
        "pyproject.toml": PYPROJECT.format(name=folder.resolve().name),
        ".gitignore": GITIGNORE,
        **{f"{name}/README.md": text for name, text in READMES.items()},
    }
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MistakeError(f"{error.filename} cannot be written: {error.strerror}") from error
    return [
        f"{folder} is a soupstock project. Next:",
        f"  cd {folder}",
        "  soupstock plan chat       what would be done",
        "  soupstock preview chat    three rows, shown in the terminal",
        "  soupstock run chat        the dataset, in runs/chat/latest/dataset",
    ]
