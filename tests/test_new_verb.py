"""A verb that is added as CONTRIBUTING.md says, in a copy of the source, works everywhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("src", "pipelines", "prompts", "schemas", "filters", "pyproject.toml")
BLOCK = re.compile(r"^```python\n# (\S+\.py)(?:, ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = {
    "among its imports": "from soupstock.spec.fields import ",
    "above the union": "_Steps = (\n",
    "in the union": '    | Annotated[WriteDataset, Tag("dataset")]\n',
    "among the imports": "    task,\n",
    "in the table": "        task.VERB,\n",
}
"""Before what line of its file each piece goes."""

PIPELINE = """\
source: {file: seeds.jsonl}
steps:
  - shorten: text
    words: %d
    into: short
  - filter:
      - length: {column: short, min: 6}
  - dataset: me/short
"""
OPERATIONS = {
    "identity": r"    def identity\(.*?return \(\)\n\n",
    "stage": r"    def stage\(.*?_shorten\)\n\n",
    "chapter": r", chapter(?=\)\n$)",
}


def pieces() -> Iterator[tuple[str, str, str]]:
    """Yield the pieces of code of the section: file, where it goes, and the code."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("### To add a verb\n")[2].partition("\n## ")[0]
    for found in BLOCK.finditer(section):
        yield found[1], found[2] or "", found[3]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the source, and do what CONTRIBUTING.md says."""
    for name in COPIED:
        place = tmp_path / "copy" / name
        place.parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    for file, where, code in pieces():
        path = tmp_path / "copy" / "src" / "soupstock" / file
        if not where:
            path.write_text(code, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        assert text.count(BEFORE[where]) == 1
        gap = "\n\n" if where.startswith("above") else ""
        text = text.replace(BEFORE[where], f"{code}{gap}{BEFORE[where]}")
        path.write_text(text, encoding="utf-8")
    return tmp_path / "copy"


def soupstock(copy: Path, project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    code = "from soupstock.cli.main import main; main()"
    return subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_verb_takes_two_files_and_the_table() -> None:
    assert {file for file, _, _ in pieces()} == {
        "spec/pipeline.py",
        "steps/shorten.py",
        "steps/__init__.py",
    }


def test_a_new_verb_runs_and_is_explained_and_reproduced(copy: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "pipelines").mkdir(parents=True)
    (project / "seeds.jsonl").write_text('{"text": "one two three four"}\n{"text": "five"}\n')
    (project / "pipelines" / "short.yaml").write_text(PIPELINE % 2)
    ran = soupstock(copy, project, "run", "short")
    assert ran.returncode == 0, ran.stderr
    assert "shorten: text" in ran.stdout
    run = (project / "runs" / "short" / "latest").resolve()
    rows = pl.read_parquet(run / "rows.parquet")
    assert rows["short"].to_list() == ["one two", "five"]
    assert rows["dropped_by"].to_list() == [[], ["filter: length(short)"]]
    kept = pl.read_parquet(next((run / "dataset" / "data").glob("*.parquet")))
    assert kept.columns == ["text", "short"]
    card = (run / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "1. **shorten**: `short` holds the first 2 words of `text`.\n" in card
    assert "shorten: text" in (run / "report.html").read_text(encoding="utf-8")
    told = soupstock(copy, project, "explain", "short", rows["id"][0])
    assert "shorten: text\n    answer: one two\n" in told.stdout
    again = soupstock(copy, project, "reproduce", "short")
    assert (again.returncode, again.stderr) == (0, "")
    # Another number of words is another plan.
    (project / "pipelines" / "short.yaml").write_text(PIPELINE % 3)
    assert soupstock(copy, project, "run", "short").returncode == 0
    assert (
        len([path for path in (project / "runs" / "short").iterdir() if path.name != "latest"]) == 2
    )
    (project / "pipelines" / "short.yaml").write_text(PIPELINE.replace("text\n", "txt\n") % 3)
    failed = soupstock(copy, project, "plan", "short")
    assert failed.returncode == 2
    assert failed.stderr.startswith("soupstock: pipelines/short.yaml:3: no column is called 'txt'")


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_verb_without_an_operation_fails_the_type_check_in_its_own_module(
    copy: Path, operation: str
) -> None:
    path = copy / "src" / "soupstock" / "steps" / "shorten.py"
    text = path.read_text(encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "verb")]

    def check() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own interpreter and words
            [*command, "src/soupstock/steps/shorten.py"],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )

    whole = check()
    assert whole.returncode == 0, whole.stdout
    path.write_text(re.sub(OPERATIONS[operation], "", text, flags=re.DOTALL), encoding="utf-8")
    lacking = check()
    assert lacking.returncode == 1
    errors = [line for line in lacking.stdout.splitlines() if ": error: " in line]
    assert errors
    assert all(line.startswith("src/soupstock/steps/shorten.py:") for line in errors)
    assert operation in lacking.stdout
