"""A dataset as training data: its texts, prompts, system prompts and the shape of its messages.

The columns that are trained on follow from their names, as trainers read them; if no name is known,
every text of a row is trained on.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from soupstock.artifacts import manifest, run_folder
from soupstock.dataset.hub import PREFIX, read_hub_version
from soupstock.dataset.ingredients import ORIGIN
from soupstock.dataset.versions import Version, find_folder, read_published
from soupstock.project.project import Project
from soupstock.rows.row import KEPT, Row
from soupstock.rows.splits import SYSTEM, TRAIN, speaker_of, texts_of

FORMS: Sequence[tuple[str, ...]] = (
    ("prompt", "chosen", "rejected"),
    ("messages",),
    ("conversations",),
    ("prompt", "completion"),
    ("instruction", "input", "output"),
)
"""The columns that trainers read: the first of these that a dataset has in full."""

_NOT_TRAINED_ON = {"id", "split", ORIGIN}
_TURNS = re.compile(r"\b(\w+ \w+)( \1)+\b")
_PART = 8192


@dataclass(frozen=True)
class Corpus:
    """A dataset's rows as a model is trained on them."""

    label: str
    texts: pl.Series
    """The text of each row, without its system prompt."""
    prompts: pl.Series
    """The first question of each row."""
    systems: Mapping[str | None, int]
    """How many rows have each system prompt."""
    shapes: Mapping[str, int]
    """How many rows have each shape: the columns that are trained on, and the order of roles."""
    held_out: pl.Series
    """Which rows are in another split than `train`."""
    sources: frozenset[str] | None = None
    """The ids of rows that were read from a file, a dataset or documents: equal for equal rows.
    None if they are not known."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.texts)


class _Sample(NamedTuple):
    text: str | None
    prompt: str | None
    system: str | None
    shape: str


def read_corpus(project: Project, name: str) -> Corpus:
    """Read a run's dataset, a folder's, or one of the Hub; raises MistakeError."""
    if name.startswith(PREFIX):
        return corpus_of(read_hub_version(name), name)
    return corpus_of(read_published(project, name), name, _sources(find_folder(project, name)))


def corpus_of(version: Version, label: str, sources: frozenset[str] | None = None) -> Corpus:
    """Read a dataset's rows as a model is trained on them."""
    rows = version.rows
    samples = list(_samples(rows))
    is_split = "split" in rows.columns and rows.schema["split"] == pl.String
    held_out = (
        rows["split"] != TRAIN if is_split else pl.repeat(value=False, n=len(rows), eager=True)
    )
    return Corpus(
        label,
        pl.Series([one.text for one in samples], dtype=pl.String),
        pl.Series([one.prompt for one in samples], dtype=pl.String),
        Counter(one.system for one in samples),
        Counter(one.shape for one in samples),
        held_out.fill_null(value=False),
        sources,
    )


def _samples(rows: pl.DataFrame) -> Iterator[_Sample]:
    columns = _trained_on(rows.columns)
    named = "system" if "system" in rows.columns and "system" not in columns else None
    kept = [*columns, *([named] if named else [])]
    for part in rows.select(kept).iter_slices(_PART):
        for row in part.to_dicts():
            yield _sample(row, columns)


def _trained_on(columns: Sequence[str]) -> tuple[str, ...]:
    form = next((form for form in FORMS if set(columns).issuperset(form)), None)
    return form or tuple(name for name in columns if name not in _NOT_TRAINED_ON)


def _sample(row: Row, columns: Sequence[str]) -> _Sample:
    spoken = {name: _without_system(row[name]) for name in columns if name != "system"}
    text, prompt = texts_of(spoken)
    speakers = " ".join(speaker for name in columns for speaker in _speakers(row[name]))
    shape = ": ".join(filter(None, (", ".join(columns), _TURNS.sub(r"\1", speakers))))
    return _Sample(text, prompt, _system(row, columns), shape)


def _turns(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (turn for turn in value if isinstance(turn, Mapping))


def _speakers(value: Any) -> Iterator[str]:
    for turn in _turns(value):
        if speaker := speaker_of(turn):
            yield speaker


def _without_system(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [
        turn for turn in value if not (isinstance(turn, Mapping) and speaker_of(turn) == SYSTEM)
    ]


def _system(row: Row, columns: Sequence[str]) -> str | None:
    """Return a row's system prompt: from the column `system`, or from its messages."""
    if isinstance(row.get(SYSTEM), str):
        return str(row[SYSTEM])
    turns = (turn for name in columns for turn in _turns(row[name]))
    prompt = next((turn for turn in turns if speaker_of(turn) == SYSTEM), {})
    text = prompt.get("content") or prompt.get("value")
    return None if text is None else str(text)


def _sources(place: Path) -> frozenset[str] | None:
    """Return the ids of a run's kept rows; None if its source was not read but made."""
    is_run = (place / run_folder.ROWS).is_file() and (place / manifest.MANIFEST).is_file()
    if not is_run or manifest.read(place).source.kind == "sample":
        return None
    ids = pl.scan_parquet(place / run_folder.ROWS, glob=False).filter(KEPT).select("id").collect()
    return frozenset(ids["id"].to_list())
