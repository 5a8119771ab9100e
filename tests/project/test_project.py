"""A name is looked up in the user's project first, and then in the standard one."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conftest import Folder
from soupstock.artifacts.run_folder import run_folder, run_name
from soupstock.errors import MistakeError
from soupstock.project.project import Part, Project, name_of

FILTER = """\
import polars as pl


def length(column: str, min: int = 1) -> pl.Expr:
    return pl.col(column).str.len_bytes() >= min
"""


@pytest.fixture
def empty(tmp_path: Path) -> Folder:
    (tmp_path / "project" / "pipelines").mkdir(parents=True)
    return Folder(tmp_path / "project")


def test_a_project_replaces_one_of_each_and_keeps_the_rest(empty: Folder) -> None:
    empty.write("prompts/chat/response.md", "{{ instruction }} (in verse)")
    empty.write("prompts/rubrics/chat.yaml", RUBRIC)
    empty.write("filters/own.py", FILTER)
    project = Project(empty.root)
    found: dict[str, Part[Any]] = {
        "response": project.prompt("chat/response"),
        "instruction": project.prompt("chat/instruction"),
        "rubric": project.rubric("chat"),
        "length": project.filter("length"),
        "score": project.filter("score"),
        "schema": project.schema("Conversation"),
    }
    assert {name: part.record.file for name, part in found.items()} == {
        "response": "prompts/chat/response.md",
        "instruction": "standard:prompts/chat/instruction.md",
        "rubric": "prompts/rubrics/chat.yaml",
        "length": "filters/own.py",
        "score": "standard:filters/scores.py",
        "schema": "standard:schemas/chat.py",
    }
    assert project.rubric("chat").value.description == "mine"
    assert project.prompt("chat/response").value.messages({"instruction": "Why?"}) == [
        {"role": "user", "content": "Why? (in verse)"}
    ]
    assert "len_bytes" in str(project.filter("length").value("text"))
    assert project.filter("not_refusal").record.file.startswith("standard:filters/")


RUBRIC = "description: mine\ncolumns: [a]\ncriteria: {x: {question: q, levels: [a, b]}}\n"


def test_a_filter_of_the_users_takes_its_place_in_a_standard_pipeline(empty: Folder) -> None:
    empty.write("filters/own.py", FILTER.replace("min: int", "max: int = 9, min: int"))
    plan = empty.plan("chat")
    files = {part.file for part in plan.parts("filter")}
    assert "filters/own.py" in files
    assert "standard:filters/length.py" not in files


def test_the_project_is_found_upwards_from_where_one_stands(empty: Folder) -> None:
    deep = empty.root / "notes" / "of" / "mine"
    deep.mkdir(parents=True)
    assert Project.at(deep).root == empty.root


def test_a_folder_with_settings_is_a_project_without_pipelines(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.soupstock]\n")
    assert Project.at(tmp_path / "a" / "b").root == tmp_path / "a"


def test_any_folder_is_an_empty_project(tmp_path: Path) -> None:
    project = Project.at(tmp_path)
    assert project.root == tmp_path
    assert "chat" in project.pipeline_names()


def test_a_current_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(MistakeError, match=r"the folder \. does not exist any more"):
        Project.at(Path())


def test_pipelines_in_folders_have_their_folders_in_their_names(empty: Folder) -> None:
    empty.write("pipelines/specialists/maths.yaml", "")
    empty.write("pipelines/chat.yaml", "")
    project = Project(empty.root)
    assert project.pipeline("specialists/maths") == empty.root / "pipelines/specialists/maths.yaml"
    assert project.pipeline("chat") == empty.root / "pipelines/chat.yaml"


NAME_PART = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,5}", fullmatch=True)
NAME = st.lists(NAME_PART, min_size=1, max_size=3).map("/".join)


@given(NAME, NAME)
@example("a/b", "a--b")
@example("a-/b", "a-.-b")
def test_no_two_pipelines_share_a_runs_folder(one: str, other: str) -> None:
    folders = {run_folder(Path("p"), name, "0" * 64).parent for name in (one, other)}
    assert len(folders) == len({one, other})
    assert run_name(run_folder(Path("p"), one, "0" * 64)) == f"{one}/{'0' * 12}"


def test_a_pipeline_may_be_given_by_its_file(tmp_path: Path, empty: Folder) -> None:
    path = tmp_path / "drafts" / "new.yaml"
    assert Project(empty.root).pipeline(str(path)) == path
    assert name_of(str(path)) == "new"
    assert name_of("specialists/v1.2") == "specialists/v1.2"


def test_files_that_are_no_parts_have_no_names(empty: Folder) -> None:
    for name in (".#a.yaml", "README.yaml", "a b.yaml", ".hidden/a.yaml", "a.yml", "a.txt"):
        empty.write(f"pipelines/{name}", "")
    (empty.root / "pipelines" / "folder.yaml").mkdir()
    (empty.root / "pipelines" / "gone.yaml").symlink_to("nowhere")
    standard = Project(empty.root / "none").pipeline_names()
    assert Project(empty.root).pipeline_names() == standard


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipeline", "no pipeline is called 'chta'; did you mean 'chat'?"),
        ("rubric", "no rubric is called 'chta'; did you mean 'chat'?"),
        ("prompt", "no prompt is called 'chta'; "),
        ("schema", "no schema is called 'chta'; "),
        ("filter", "no filter is called 'chta'; "),
    ],
)
def test_an_unknown_name_is_told_with_those_that_there_are(
    empty: Folder, kind: str, message: str
) -> None:
    with pytest.raises(MistakeError) as caught:
        getattr(Project(empty.root), kind)("chta")
    assert str(caught.value).startswith(message)


def test_a_part_is_named_by_the_project_that_it_is_from_wherever_the_two_lie(
    tmp_path: Path,
) -> None:
    standard, mine = tmp_path / "standard", tmp_path / "mine"
    for root, within in (
        (mine, mine / ".venv" / "standard"),
        (standard / "examples" / "mine", standard),
    ):
        for folder, name in ((root, "own"), (within, "theirs")):
            (folder / "prompts").mkdir(parents=True)
            (folder / "prompts" / f"{name}.md").write_text("hello")
        project = Project(root)
        project.standard = within
        assert project.prompt("own").record.file == "prompts/own.md"
        assert project.prompt("theirs").record.file == "standard:prompts/theirs.md"


def test_what_a_run_keeps_of_a_part_is_its_text_and_the_hash_of_its_file(empty: Folder) -> None:
    path = empty.root / "prompts" / "a.md"
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    record = Project(empty.root).prompt("a").record
    assert record.text == "one\ntwo"
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
