"""A project's Python is imported under private names, and leaves nothing behind."""

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from soupstock.errors import MistakeError
from soupstock.project.modules import definitions

PACKAGE = "_project.parts"


def found_in(folder: Path, **files: str) -> dict[str, Any]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    found = definitions(PACKAGE, folder, inspect.isfunction)
    return {name: definition.value for name, definition in found.items()}


def test_public_functions_are_found_by_their_names_and_nothing_else(tmp_path: Path) -> None:
    text = """\
from os.path import join
LIMIT = 3
def one(): return LIMIT
def _hidden(): ...
class Two: ...
three = lambda: 3
"""
    found = found_in(tmp_path, parts=text)
    assert set(found) == {"one", "three"}
    assert found["one"]() == 3


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    found = found_in(
        tmp_path,
        _shared="WORD = 'shared'\n\ndef no_part(): ...\n",
        one="from ._shared import WORD\n\ndef one(): return WORD\n",
        two="from .one import one\n\ndef two(): return one() + '!'\n",
    )
    assert set(found) == {"one", "two"}
    assert found["two"]() == "shared!"


def test_hidden_files_folders_and_dangling_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".#one.py").symlink_to("nowhere")
    (tmp_path / "._one.py").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "gone.py").symlink_to("nowhere")
    (tmp_path / "folder.py").mkdir()
    assert set(found_in(tmp_path, one="def one(): ...")) == {"one"}


def test_a_folder_that_is_not_there_defines_nothing(tmp_path: Path) -> None:
    assert found_in(tmp_path / "none") == {}


def test_another_project_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = found_in(tmp_path / "first", part=f"def part(): return {1}", other="def other(): ...")
    second = found_in(tmp_path / "second", part=f"def part(): return {2}")
    assert (first["part"](), second["part"]()) == (1, 2)
    assert set(second) == {"part"}
    assert not [name for name in sys.modules if name.endswith(".other") and "_project" in name]


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    assert found_in(tmp_path, part="def part(): return 1")["part"]() == 1
    assert found_in(tmp_path, part="def part(): return 2")["part"]() == 2


def test_nothing_is_written_beside_the_files(tmp_path: Path) -> None:
    found_in(tmp_path, one="def one(): ...", two="from .one import one")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["one.py", "two.py"]


def test_installed_modules_of_the_same_name_are_neither_used_nor_hidden(tmp_path: Path) -> None:
    found = found_in(tmp_path, json="import json\n\ndef dumped(): return json.dumps([1])\n")
    assert found["dumped"]() == "[1]"
    assert "dumped" not in vars(sys.modules["json"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def one(", r"part\.py:1: not Python: '\(' was never closed"),
        ("x = 1\n\n1 / 0\n", r"part\.py:3: it cannot be imported: ZeroDivisionError: division"),
        ("def f():\n    1 / 0\n\nf()\n", r"part\.py:2: it cannot be imported: ZeroDivisionError"),
        ("import json\n\njson.loads('{')\n", r"part\.py:3: it cannot be imported: JSONDecode"),
        ("from . import nothing\n", r"part\.py:1: it cannot be imported: ImportError"),
        ("exit(3)\n", r"part\.py:1: it cannot be imported: SystemExit: 3"),
        ("class E(BaseException): ...\nraise E('a\\nb')", r"part\.py:2: .* imported: E: a$"),
        ("def f(): f()\n\nf()\n", r"part\.py:1: it cannot be imported: RecursionError"),
        ("a\0b", r"part\.py: not Python: source code (string )?cannot contain null bytes"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(MistakeError, match=message) as caught:
        found_in(tmp_path, part=text)
    assert str(caught.value).isprintable()


def test_an_interrupt_is_no_mistake_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        found_in(tmp_path, part="raise KeyboardInterrupt")


def test_two_of_one_name_are_a_mistake_that_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(MistakeError) as caught:
        found_in(tmp_path, a="def one(): ...\n", b="\n\ndef one(): ...\n")
    assert str(caught.value) == (
        f"{tmp_path}/b.py:3: 'one' is already defined in {tmp_path}/a.py:1"
    )
