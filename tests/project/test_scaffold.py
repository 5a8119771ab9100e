"""A new project works at once, and lies over the standard one."""

import compileall
import shutil
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conftest import Folder
from soupstock.cli.main import main
from soupstock.errors import MistakeError
from soupstock.inference.servers.endpoint import Endpoint
from soupstock.project import scaffold
from soupstock.project.project import Project
from soupstock.project.scaffold import create
from soupstock.project.settings import read_settings
from soupstock.testing import Server


def soupstock(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--project", str(folder), *arguments])


def test_a_new_project_can_be_planned_and_run_at_once(tmp_path: Path) -> None:
    create(tmp_path / "x")
    folder = Folder(tmp_path / "x")
    assert soupstock(folder.root, "plan", "tips").exit_code == 0
    assert soupstock(folder.root, "plan", "chat").exit_code == 0
    names = soupstock(folder.root, "list", "--names").output.split()
    assert {"chat", "tips"} <= set(names)
    with Server() as server:
        path = folder.root / "pyproject.toml"
        entry = f'\n[tool.soupstock.models.test]\nbase_url = "{server.base_url}"\n'
        path.write_text(path.read_text() + entry)
        folder.replace("pipelines/tips.yaml", "writer: embedded", "writer: test")
        folder.replace("pipelines/tips.yaml", "judge: embedded", "judge: test")
        said = folder.run("tips").manifest
    assert said.outcome == "complete"
    assert said.kept > 0


def test_every_example_in_it_is_used_by_its_pipeline(tmp_path: Path) -> None:
    create(tmp_path / "x")
    planned = Folder(tmp_path / "x").plan("tips")
    used = {part.file for step in planned.steps for _, part in step.parts}
    files = {
        path.relative_to(tmp_path / "x").as_posix()
        for path in (tmp_path / "x").rglob("*")
        if path.parent != tmp_path / "x" and path.is_file() and path.name != "README.md"
    }
    assert files - used == {"pipelines/tips.yaml", "pipelines/.pipeline.schema.json"}


def test_every_folder_says_what_it_is_for(tmp_path: Path) -> None:
    create(tmp_path / "x")
    for name in ("pipelines", "prompts", "prompts/rubrics", "schemas", "filters"):
        assert (tmp_path / "x" / name / "README.md").read_text(encoding="utf-8").startswith("# ")
    assert "soupstock run tips" in (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    assert "runs/\n" in (tmp_path / "x" / ".gitignore").read_text(encoding="utf-8")


def test_the_example_of_a_model_is_one_once_its_marks_are_taken_away(tmp_path: Path) -> None:
    create(tmp_path / "x")
    assert read_settings(tmp_path / "x").models == {}
    path = tmp_path / "x" / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    start = text.index("# [tool.soupstock.models.local]")
    path.write_text(text[:start] + text[start:].replace("# [", "[").replace("\n# ", "\n"))
    entry = read_settings(tmp_path / "x").models["local"]
    assert isinstance(entry, Endpoint)
    assert entry.model == "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("my-data", "my-data"),
        ("My Data", "my-data"),
        ('a"b\\c\nd', "a-b-c-d"),
        ("\x1b[2J]", "2j"),
        ("--", "my-data"),
        ("é", "my-data"),
        ("..x", "x"),
    ],
)
def test_a_folder_of_any_name_gives_a_valid_project(
    tmp_path: Path, name: str, project: str
) -> None:
    lines = create(tmp_path / name)
    assert all(line.isprintable() for line in lines)
    settings = tomllib.loads((tmp_path / name / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["name"] == project
    assert Project.at(tmp_path / name).root == tmp_path / name
    assert soupstock(tmp_path / name, "plan", "tips").exit_code == 0


def test_a_folder_with_hidden_files_alone_is_made_a_project(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("mine\n")
    create(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert (tmp_path / "pipelines" / "tips.yaml").is_file()


def test_nothing_is_written_where_something_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "x", Path("/proc/x")):
        with pytest.raises(MistakeError) as caught:
            create(place)
        assert str(caught.value).isprintable()
        assert str(place) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "\ud800"])
def test_a_name_that_no_folder_can_have_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MistakeError, match="cannot be written: ") as caught:
        create(tmp_path / name)
    assert str(caught.value).isprintable()


def test_what_pip_compiled_in_the_template_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "template"
    shutil.copytree(scaffold.TEMPLATE, installed)
    compileall.compile_dir(installed, quiet=1)
    assert list(installed.rglob("*.pyc"))
    monkeypatch.setattr(scaffold, "TEMPLATE", installed)
    create(tmp_path / "x")
    assert not list((tmp_path / "x").rglob("*.pyc"))
    assert (tmp_path / "x/filters/plain.py").is_file()
