"""The standard filters find planted defects in real prose, and leave the sound texts alone.

bench/filters.py does the same with more texts, and prints a table.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import polars as pl
import pytest
from planted import KINDS, Kind, planted, question, sound_json

from soupstock.project.project import Project
from soupstock.rows.filters import bind_filter
from soupstock.steps.filter import BoundFilters, filter_rows

COLUMNS = {"text": pl.String(), "asked": pl.String()}
PLANTED = 200


class Found(NamedTuple):
    recall: float
    false_positives: float


def manual() -> Iterator[str]:
    """Yield the paragraphs of what Python says of itself that are whole sentences."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = [path.read_text(encoding="utf-8") for path in sorted(library.glob("[a-z]*.py"))]
    docs = [
        ast.get_docstring(node) or ""
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    for text in (*topics.values(), *docs):
        for part in re.split(r"\n\s*\n", text):
            flowed = " ".join(part.split())
            if re.fullmatch(r"[A-Z].*[.]", flowed) and 20 <= len(flowed.split()) <= 400:
                yield flowed


@cache
def sound() -> list[str]:
    return sorted(set(manual()))


def dropped(kind: Kind, texts: list[str], asked: list[str]) -> float:
    function = Project(Path(__file__).parents[2]).filter(kind.filter).value
    bound = bind_filter(kind.filter, function, {"column": "text", **kind.arguments}, COLUMNS)
    reasons = filter_rows(BoundFilters.of([bound]), pl.DataFrame({"text": texts, "asked": asked}))
    return sum(map(bool, reasons)) / len(texts)


def find(kind: Kind, texts: list[str]) -> Found:
    pairs = planted(kind, texts, PLANTED)
    asked = [question(text) for text, _ in pairs]
    recall = dropped(kind, [bad for _, bad in pairs], asked)
    return Found(recall, dropped(kind, texts, [question(text) for text in texts]))


def test_there_is_prose_to_plant_in() -> None:
    assert len(sound()) > 1000


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_planted_defect_is_found_and_sound_prose_is_kept(kind: Kind) -> None:
    texts = [sound_json(n, text) for n, text in enumerate(sound())] if kind.json else sound()
    found = find(kind, texts)
    assert found.recall >= 0.95
    assert found.false_positives <= 0.01
