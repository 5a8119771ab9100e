"""CONTRIBUTING.md and docs/design name files that exist, in the order that the code has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_architecture import ORDER

ROOT = Path(__file__).parents[1]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DESIGN = ROOT / "docs" / "design"
INDEX = DESIGN / "README.md"
PAGES = sorted(DESIGN.glob("*.md"))
STARTS = (ROOT, ROOT / "src" / "soupstock", INDEX.parent)
"""The folders from which a page names files."""

PLACEHOLDER = re.compile(r"\b(NAME|VERB)\b|test_VERB|^runs/")
"""Names to be filled in, and what is made by a run: they stand for files that do not exist yet."""

NOT_FILES = frozenset({"chat/response", "old.parquet"})
"""What looks like a path and is none: examples of what a user has."""

FILE = re.compile(r"[\w.-]+\.(py|md|yaml|json|jsonl|toml|parquet|sqlite|ipynb)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def paths(page: Path) -> Iterator[str]:
    """Yield what a page has in backticks that looks like a path: with a slash, or a file's name."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for code in re.findall(r"`([^`\n]+)`", prose):
        for word in code.split():
            if re.fullmatch(r"[\w.-]*(/[\w.-]*)+", word) or FILE.fullmatch(word):
                yield word


def exists(path: str) -> bool:
    return any((start / path).exists() for start in STARTS)


@pytest.mark.parametrize("page", [CONTRIBUTING, *PAGES], ids=lambda page: page.name)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    named = {path for path in paths(page) if not PLACEHOLDER.search(path)} - NOT_FILES
    assert not {path for path in named if not exists(path)}


def test_contributing_names_files() -> None:
    # If none were found, the test above could not fail.
    assert {"spec/pipeline.py", "steps/__init__.py", "CHANGELOG.md"} <= set(paths(CONTRIBUTING))


def test_the_tower_lists_the_packages_in_their_order() -> None:
    _, _, after = CONTRIBUTING.read_text(encoding="utf-8").partition("## The tower")
    fence = FENCE.search(after)
    assert fence
    tower = [line.split()[0].replace("/", ".") for line in fence[2].splitlines()]
    assert tower == list(ORDER)


def test_the_index_lists_every_page_of_design_once() -> None:
    listed = re.findall(r"^- \[([\w.-]+)\]\(\1\): \S", INDEX.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == [page.name for page in PAGES if page != INDEX]


@pytest.mark.parametrize("page", [p for p in PAGES if p != INDEX], ids=lambda page: page.name)
def test_a_page_of_design_has_the_five_parts_of_an_argument(page: Path) -> None:
    parts = re.findall(r"^\*\*([^*]+?)\.\*\*", page.read_text(encoding="utf-8"), re.MULTILINE)
    for part in ("The question", "Decided", "Why", "Rejected", "What would change our mind"):
        assert any(found.startswith(part) for found in parts), part


def test_every_word_of_the_glossary_says_where_it_is() -> None:
    _, _, glossary = CONTRIBUTING.read_text(encoding="utf-8").partition("## Glossary")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.*?) ?\|$", glossary, re.MULTILINE)[1:]
    assert rows
    words = [word for row in rows for word in row[0].split(", ")]
    assert len(words) == len(set(words))
    for word, meaning, where in rows:
        assert where or meaning.startswith("(to come)"), word
