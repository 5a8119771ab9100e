"""Assign rows to splits without leaks: rows that belong together go to the same split.

Rows belong together if they come from the same source row, or if their texts or their questions are
near-duplicates. The hash of a group's first row decides on its split, so that a group stays there
when rows are added after it. Knows no files.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from soupstock.rows.row import Row
from soupstock.similarity.clusters import connected_components, near_duplicate_clusters
from soupstock.similarity.minhash import Integers

TRAIN = "train"
"""The split of all rows that are in no other one."""

_FEW = 10
"""A group of at most this many rows may go to any split."""

_QUESTIONS = ("messages", "conversations", "prompt", "instruction", "question")
_SPEAKERS = ("role", "from")

SYSTEM = "system"
"""The role of the message that applies to the whole conversation."""


@dataclass(frozen=True)
class Splits:
    """The splits besides `train`, and how to make them."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """The share of the rows that each split gets."""
    stratify: str | None = None
    """A column: every split gets its share of the rows with each value."""
    source: tuple[str, ...] = ()
    """Columns that are equal in all rows from the same source row."""


class SplitTexts(NamedTuple):
    """The texts of a row that must not be in two splits."""

    whole: str | None
    """All its texts."""
    question: str | None
    """Its question, if it can be found."""


@dataclass(frozen=True)
class Assignment:
    """The split of each row."""

    names: pl.Series
    """Each row's split."""
    groups: int
    """The number of groups of rows that belong together."""
    largest: int
    """The number of rows in the largest group."""


def texts_of(row: Row) -> SplitTexts:
    """Return the texts of a row of a dataset, without roles and verdicts."""
    parts = list(_leaves(row))
    found = (row[name] for name in _QUESTIONS if row.get(name))
    question = next(found, None)
    asked = _asked(question)
    if asked is not None and isinstance(row.get("input"), str):
        asked = f"{asked}\n{row['input']}"
    return SplitTexts("\n".join(parts) or None, asked)


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case {"criteria": _, "score": _}:
            return
        case Mapping():
            for name, inner in value.items():
                if not (name in _SPEAKERS and isinstance(inner, str)):
                    yield from _leaves(inner)
        case list():
            for inner in value:
                yield from _leaves(inner)
        case _:
            pass


def speaker_of(turn: Mapping[str, Any]) -> str | None:
    """Return the role of a message."""
    found = (turn[name] for name in _SPEAKERS if isinstance(turn.get(name), str))
    return next(found, None)


def _asked(question: Any) -> str | None:
    """Return the first question."""
    match question:
        case str():
            return question
        case list():
            messages = (m for m in question if isinstance(m, Mapping))
            asking = (m for m in messages if speaker_of(m) in {"user", "human"})
            first = next(asking, {})
            return first.get("content") or first.get("value")
        case _:
            return None


def groups(
    texts: Sequence[Sequence[SplitTexts | None]], sources: Sequence[bytes] | None
) -> Integers:
    """Return for each row the index of the first row that it belongs together with.

    `texts` has the rows' texts for each configuration of the dataset, None if a row is not in it;
    `sources` has the source row of each row.
    """
    height = len(texts[0])
    links = [
        near_duplicate_clusters(pl.Series([one and one[which] for one in some], dtype=pl.String))
        for some in texts
        for which in range(len(SplitTexts._fields))
    ]
    if sources is not None:
        first: dict[bytes, int] = {}
        same = (first.setdefault(source, row) for row, source in enumerate(sources))
        links.append(np.fromiter(same, np.int64, height))
    rows = np.tile(np.arange(height), len(links))
    return connected_components(height, rows, np.concatenate(links))


def source_key(row: Row, columns: Sequence[str]) -> bytes:
    """Return a key for the source row of a row, from its content."""
    content = [row.get(column) for column in columns]
    return blake2b(orjson.dumps(content, default=str), digest_size=16).digest()


def assign_splits(
    splits: Splits, group: Integers, ids: Sequence[str], strata: Sequence[Any] | None = None
) -> Assignment:
    """Assign each row to a split; `group` is the result of `groups`, `strata` a value for each row.

    Without strata, only the id of a group's first row decides on its split. With strata, that id
    draws one of the splits that lack rows of the first row's value, so that each split gets its
    share of every value; a group's split then also depends on the groups before it.

    If there are few groups, a split may be left empty. It then gets one group, as far as there are
    enough groups: `train` first, then the others in their order.
    """
    sizes = np.bincount(group, minlength=len(group))
    heads = np.flatnonzero(sizes)
    places = np.empty(len(group), dtype=object)
    allocator = _Allocator(splits.shares, len(group))
    for head in heads.tolist():
        stratum = None if strata is None else orjson.dumps(strata[head], default=str)
        places[head] = allocator.draw(ids[head], int(sizes[head]), stratum)
    _fill(places, heads, sizes, allocator)
    names = pl.Series("split", places[group].tolist(), dtype=pl.String)
    return Assignment(names, len(heads), int(sizes.max(initial=0)))


def _fill(
    places: npt.NDArray[np.object_], heads: Integers, sizes: Integers, allocator: "_Allocator"
) -> None:
    """Give each empty split a group from a split with several.

    It is the first group in source order that is not too large for the split, so that rows that are
    added later rarely change it; if all are too large, it is the smallest.
    """
    order = [TRAIN, *allocator.names]
    for rank, split in enumerate(order):
        holders = Counter(places[heads].tolist())
        if split in holders:
            continue
        spare = [head for head in heads.tolist() if holders[places[head]] > 1]
        spare.sort(key=lambda head: places[head] != TRAIN)
        # If no split has several, one of the last splits stays empty.
        spare = spare or [head for head in heads.tolist() if order.index(places[head]) > rank][-1:]
        fitting = (head for head in spare if sizes[head] <= allocator.room(split))
        smallest = min(spare, key=sizes.__getitem__, default=None)
        if (chosen := next(fitting, smallest)) is not None:
            places[chosen] = split


class _Allocator:
    """Draws a split for each group, and counts the rows of each stratum in each split."""

    def __init__(self, shares: Mapping[str, float], rows: int) -> None:
        self._shares = {**shares, TRAIN: 1 - sum(shares.values())}
        self._rows = rows
        self._counts: dict[bytes, dict[str, int]] = defaultdict(
            lambda: dict.fromkeys(self._shares, 0)
        )

    @property
    def names(self) -> list[str]:
        """The splits beside `train`."""
        return [split for split in self._shares if split != TRAIN]

    def room(self, split: str) -> float:
        """Return the size of the largest group that may go to a split."""
        return max(_FEW, self._shares[split] * self._rows)

    def draw(self, name: str, size: int, stratum: bytes | None) -> str:
        """Draw a split for a group of `size` rows."""
        chances = self._shares
        if stratum is not None:
            counts = self._counts[stratum]
            rows = sum(counts.values()) + size
            lacks = {s: share * rows - counts[s] for s, share in self._shares.items()}
            chances = {split: max(0.0, lack) for split, lack in lacks.items()}
        split = self._drawn(name, chances)
        if size > self.room(split):
            split = TRAIN
        if stratum is not None:
            self._counts[stratum][split] += size
        return split

    def _drawn(self, name: str, chances: Mapping[str, float]) -> str:
        hashed = blake2b(name.encode(), digest_size=8, person=b"split").digest()
        left = int.from_bytes(hashed) / 2**64 * sum(chances.values())
        for split, chance in chances.items():
            left -= chance
            if left < 0:
                return split
        return TRAIN
