"""A project with a review by file, and people who answer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from conftest import CHAT, Folder
from soupstock.cli.main import main

Line = dict[str, Any]
Says = Callable[[int, Line], Mapping[str, Any] | None]
"""What somebody answers to a line, by its number; None leaves it unanswered."""


def with_review(folder: Folder, step: str = "review: file", *, threshold: float = 0.0) -> Folder:
    """Put a review before publishing; `threshold` is what the filter asks of the score."""
    text = CHAT.replace("min: 0.5", f"min: {threshold}")
    folder.write("pipelines/mine.yaml", text.replace("  - dataset", f"  - {step}\n  - dataset"))
    return folder


def out(folder: Folder) -> Path:
    return folder.root / "runs/mine/review/files/to-review.jsonl"


def lines(folder: Folder) -> list[Line]:
    return [json.loads(line) for line in out(folder).read_text(encoding="utf-8").splitlines()]


def review(folder: Folder, *arguments: str, **environment: str) -> Result:
    variables = {"ARGILLA_API_URL": "", "ARGILLA_API_KEY": "", "ARGILLA_WORKSPACE": ""}
    return CliRunner().invoke(
        main,
        ["--project", str(folder.root), "review", "mine", *arguments],
        env=variables | environment,
    )


def answer(folder: Folder, says: Says, annotator: str = "ann") -> None:
    """Let somebody copy the file of records and answer."""
    told = []
    for number, line in enumerate(lines(folder)):
        said = says(number, line)
        if said is not None:
            told.append({"key": line["key"], "answers": dict(said), "annotator": annotator})
    text = "".join(json.dumps(line) + "\n" for line in told)
    (out(folder).parent / f"{annotator}.jsonl").write_text(text, encoding="utf-8")
