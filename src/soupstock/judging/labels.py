"""People's labels of rows, from a JSONL or CSV file, combined where several people labelled one."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soupstock.errors import MistakeError, Place, hint, quoted
from soupstock.spec.loader import read_text

KEEP = frozenset({"keep", "good", "yes", "true", "pass", "1"})
DROP = frozenset({"drop", "bad", "no", "false", "fail", "0"})

_OWN = ("id", "label", "annotator")

Criteria = Mapping[str, Sequence[str]]
"""The levels in words, worst first, of each criterion."""


@dataclass(frozen=True)
class Label:
    """One person's label of one row."""

    row: str
    annotator: str
    keep: bool | None = None
    levels: Mapping[str, int] = field(default_factory=dict)
    """The level of each criterion, from 1."""


@dataclass(frozen=True)
class Labels:
    """All labels."""

    given: Sequence[Label]
    ignored: Sequence[str]
    """Fields of the file that are not labels."""

    @property
    def rows(self) -> list[str]:
        """The ids of the labelled rows, each once."""
        return list(dict.fromkeys(one.row for one in self.given))

    @property
    def annotators(self) -> list[str]:
        """The people who labelled rows, each once."""
        return list(dict.fromkeys(one.annotator for one in self.given))

    def keeps(self) -> dict[str, float | None]:
        """Return for each row whether most people keep it; None for a tie."""
        return {row: _majority([one.keep for one in some]) for row, some in self._by_row().items()}

    def levels(self, criterion: str) -> dict[str, float | None]:
        """Return for each row the median level, the lower one of two."""
        found = {}
        for row, some in self._by_row().items():
            said = sorted(one.levels[criterion] for one in some if criterion in one.levels)
            found[row] = float(said[(len(said) - 1) // 2]) if said else None
        return found

    def by_annotator(self) -> list[list[float | None]]:
        """Return for each person whether they keep each row, in the order of `rows`."""
        said = {(one.annotator, one.row): one.keep for one in self.given}
        return [
            [_number(said.get((person, row))) for row in self.rows] for person in self.annotators
        ]

    def _by_row(self) -> dict[str, list[Label]]:
        found: dict[str, list[Label]] = {}
        for one in self.given:
            found.setdefault(one.row, []).append(one)
        return found


def _majority(said: Sequence[bool | None]) -> float | None:
    counts = Counter(one for one in said if one is not None)
    if counts[True] == counts[False]:
        return None
    return float(counts[True] > counts[False])


def _number(value: bool | None) -> float | None:  # noqa: FBT001 - a label, not a flag
    return None if value is None else float(value)


def read_labels(path: Path, criteria: Criteria) -> Labels:
    """Read labels: a row's `id`, its `label` (keep or drop) or criteria's levels, `annotator`.

    A level is a number from 1, the worst, or its words. If a person labels a row twice, the last
    label counts. Raises MistakeError.
    """
    records = list(_records(path))
    if not records:
        raise MistakeError("the file has no labels", Place(path))
    fields = list(dict.fromkeys(name for _, record in records for name in record))
    for needed, what in ((("id",), "id"), (("label", *criteria), "label")):
        if not set(needed) & set(fields):
            problem = f"no line has a field {quoted(what)}"
            raise MistakeError(problem + hint("", [*_OWN, *criteria]), Place(path))
    said: dict[tuple[str, str], Label] = {}
    for place, record in records:
        label = _label(record, criteria, place)
        if label is not None:
            said[label.row, label.annotator] = label
    return Labels(list(said.values()), [n for n in fields if n not in {*_OWN, *criteria}])


def _records(path: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    text = read_text(path)
    match path.suffix:
        case ".jsonl" | ".ndjson":
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    yield Place(path, number), _object(line, Place(path, number))
        case ".csv":
            reader = csv.DictReader(io.StringIO(text))
            for row in reader:
                yield Place(path, reader.line_num), {k: v for k, v in row.items() if k}
        case suffix:
            problem = f"labels should be a .jsonl or .csv file, not {quoted(suffix or path.name)}"
            raise MistakeError(problem, Place(path))


def _object(line: str, place: Place) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MistakeError("the line is not JSON", place) from error
    if not isinstance(value, dict):
        raise MistakeError('each line should be an object: {"id": …, "label": …}', place)
    return value


def _label(record: Mapping[str, Any], criteria: Criteria, place: Place) -> Label | None:
    """Read one label; None where the row has none."""
    row = record.get("id")
    if not isinstance(row, str) or not row.strip():
        raise MistakeError(f"the id of a row should be text, not {quoted(row)}", place)
    keep = _keep(record.get("label"), place)
    levels = {
        name: level
        for name, words in criteria.items()
        if (level := _level(name, words, record.get(name), place)) is not None
    }
    if keep is None and not levels:
        return None
    return Label(row.strip(), str(record.get("annotator") or ""), keep, levels)


def _keep(value: object, place: Place) -> bool | None:
    word = str(value).strip().lower() if value is not None else ""
    if not word:
        return None
    if word not in KEEP | DROP:
        raise MistakeError(f"a label should be keep or drop, not {quoted(value)}", place)
    return word in KEEP


def _level(name: str, words: Sequence[str], value: object, place: Place) -> int | None:
    if value is None or not str(value).strip():
        return None
    text = str(value).strip()
    if text in words:
        return words.index(text) + 1
    if text.isdecimal() and 1 <= int(text) <= len(words):
        return int(text)
    problem = f"{name} should be a level from 1 to {len(words)} or its words, not {quoted(value)}"
    raise MistakeError(problem, place)
