"""Pipelines in Python: where they run, what they return, and the notebook that shows it."""

import asyncio
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from datasets import load_dataset

from conftest import Folder
from soupstock import api
from soupstock.testing import Server

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"

PIPELINE = api.Pipeline(
    models={"writer": "test"},
    source=api.SampleSource(rows=12, sample={"topic": ["<b>bread</b>", "soup"]}),
    steps=(
        api.Generate(generate="text", model="writer", prompt="short"),
        api.Dedup(dedup="text", method="exact"),
        api.WriteDataset(dataset="me/short"),
    ),
)


@pytest.fixture
def project(folder: Folder, server: Server) -> Folder:
    folder.write("prompts/short.md", "Write about {{ topic }}.")
    server.answer = lambda request: f"{request.prompt} {request.body['seed'] % 4}"
    return folder


def test_a_pipeline_of_the_project_is_run_by_its_name(project: Folder) -> None:
    made = api.run("mine", project=project.root, rows=5, is_shown=False)
    assert made.manifest.rows == made.rows.height == 5


def test_a_pipeline_in_python_leaves_rows_a_dataset_and_a_report(project: Folder) -> None:
    made = api.run(PIPELINE, name="my pipeline", project=project.root, is_shown=False)
    assert made.folder.parent == project.root / "runs" / "my-pipeline"
    assert made.rows.height == 12
    assert 0 < made.kept.height < 12
    assert made.report.is_file()
    assert made.dataset is not None
    dataset = load_dataset(str(made.dataset), split="train", cache_dir=str(project.root / "cache"))
    assert len(dataset) == made.kept.height


def test_it_runs_where_an_event_loop_runs_already_as_in_a_notebook(project: Folder) -> None:
    async def cell() -> api.Run:
        return api.run(PIPELINE, project=project.root, is_shown=False)

    assert asyncio.run(cell()).rows.height == 12


def test_running_again_asks_nothing_and_another_model_is_a_word(
    project: Folder, server: Server
) -> None:
    first = api.run(PIPELINE, project=project.root, is_shown=False)
    before = server.count
    again = api.run(PIPELINE, project=project.root, is_shown=False)
    assert (server.count, again.manifest.paid.calls) == (before, 0)
    assert again.rows.equals(first.rows)
    settings = (project.root / "pyproject.toml").read_text()
    project.write("pyproject.toml", settings + settings.replace("models.test", "models.other"))
    project.replace("pyproject.toml", 'model = "tester"', 'model = "changed"')
    api.run(PIPELINE, project=project.root, models={"writer": "other"}, is_shown=False)
    assert server.count > before


def test_a_budget_holds_here_too(project: Folder, server: Server) -> None:
    made = api.run(PIPELINE, project=project.root, budget=api.Budget(max_calls=3), is_shown=False)
    assert server.count == 3
    assert made.manifest.outcome == "partial"


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_run_shows_its_funnel_in_a_notebook_and_no_text_of_it_is_html(project: Folder) -> None:
    project.replace("pyproject.toml", "models.test", "models.te-st")
    step = api.Filter(filter=(api.FilterUse(name="own", arguments={"word": "<script>"}),))
    own = 'import polars as pl\n\n\ndef own(word: str) -> pl.Expr:\n    return pl.lit(False) & pl.col("text").is_null()\n'  # noqa: E501 - one file
    project.write("filters/own.py", own)
    steps = (PIPELINE.steps[0], step)
    pipeline = PIPELINE.model_copy(update={"steps": steps})
    made = api.run(pipeline, project=project.root, models={"writer": "te-st"}, is_shown=False)
    page = Text()
    page.feed(made._repr_html_())
    assert "script" not in page.tags
    assert "12 rows in, 0 kept" in page.text
    assert "filter: own" in page.text
    assert repr(made) == "Run(notebook: 12 rows in, 0 kept, complete)"


RUNNER = """
import asyncio, json, sys

async def main():
    cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "cell", "exec"), names)
    print(names["again"].manifest.paid.calls, names["made"].manifest.rows, len(names["dataset"]))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.embedded
def test_the_notebook_runs_with_the_embedded_model(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(  # noqa: S603 - our own notebook
        [sys.executable, "-c", RUNNER, str(NOTEBOOK)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls, rows, published = map(int, done.stdout.split())
    assert (calls, rows) == (0, 6)
    assert 0 < published <= 6


def test_the_notebook_names_no_machine() -> None:
    told = NOTEBOOK.read_text(encoding="utf-8")
    assert json.loads(told)["nbformat"] == 4
    assert "PosixPath" not in told
    assert str(NOTEBOOK.parents[1]) not in told
