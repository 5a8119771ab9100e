"""A message is one line that a terminal shows and does not obey."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.errors import MANY, MistakeError, Place, UnknownNameError, hint, quoted, shown


@given(st.text())
def test_nothing_that_is_shown_is_acted_on(text: str) -> None:
    assert shown(text).isprintable()
    assert quoted(text).isprintable()
    assert shown(shown(text)) == shown(text)


def test_a_long_value_is_cut() -> None:
    assert len(quoted("a" * 1000)) < 100


def test_a_place_is_named_as_seen_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Place(tmp_path / "a" / "b.yaml", 3)) == "a/b.yaml:3"
    assert str(Place(tmp_path.parent / "b.yaml")) == str(tmp_path.parent / "b.yaml")
    assert str(Place("chat/response", 3)) == "chat/response:3"
    assert str(Place(tmp_path / "a\x1b.yaml")) == "a\\x1b.yaml"


def test_a_place_is_named_even_where_the_current_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert str(Place(tmp_path / "b.yaml", 3)) == f"{tmp_path}/b.yaml:3"


def test_a_mistake_says_where_it_is_and_ends_with_2() -> None:
    error = MistakeError("no", Place("a.yaml", 3))
    assert str(error) == "a.yaml:3: no"
    assert str(MistakeError("no")) == "no"
    assert error.exit_code == 2


def test_a_wrong_name_is_told_with_the_nearest_one_or_with_all() -> None:
    assert str(UnknownNameError("prompt", "chta", ["chat", "code"])) == (
        "no prompt is called 'chta'; did you mean 'chat'?"
    )
    assert str(UnknownNameError("prompt", "zzz", ["chat", "code"])) == (
        "no prompt is called 'zzz'; there are: chat, code"
    )
    assert str(UnknownNameError("prompt", "zzz", [])) == "no prompt is called 'zzz'; there are none"


def test_of_very_many_names_only_some_are_listed() -> None:
    said = hint("zzz", [f"column {n:04}" for n in range(2000)])
    assert said.count("column") == MANY
    assert said.endswith(" and 1,980 more")
