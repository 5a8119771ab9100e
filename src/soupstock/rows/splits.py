"""Put rows into splits so that nothing leaks: what belongs together goes to one side together.

Rows belong together that come from one source row, or whose texts, or whose questions, are nearly
the same. A group goes where the hash of its first row says, so that it stays there when rows are
added behind it. Knows no files.
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

from soupstock.rows.rows import Row
from soupstock.similarity.clusters import connected_components, near_duplicate_clusters
from soupstock.similarity.minhash import Counts

TRAIN = "train"
"""The split of all rows that no other one takes."""

_FEW = 10
"""A group of so few rows may go anywhere."""

_QUESTIONS = ("messages", "conversations", "prompt", "instruction", "question")
_SPEAKERS = ("role", "from")

SYSTEM = "system"
"""Who says what holds for the whole conversation."""


@dataclass(frozen=True)
class Splits:
    """Which splits there are beside `train`, and how they are made."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """The share of the rows that each takes."""
    stratify: str | None = None
    """A column, of each value of which every split has its share."""
    source: tuple[str, ...] = ()
    """Columns that are the same in all rows from one source row."""


class Texts(NamedTuple):
    """What of a row must not be on both sides."""

    whole: str | None
    """All its texts."""
    question: str | None
    """What is asked in it, where that can be told."""


@dataclass(frozen=True)
class Sides:
    """Where the rows go."""

    names: pl.Series
    """Each row's split."""
    groups: int
    """How many groups of rows there are that belong together."""
    largest: int
    """How many rows the largest has."""


def texts_of(row: Row) -> Texts:
    """Take a published row's texts; who says them, and what judges say of them, is none."""
    parts = list(_leaves(row))
    found = (row[name] for name in _QUESTIONS if row.get(name))
    question = next(found, None)
    asked = _asked(question)
    if asked is not None and isinstance(row.get("input"), str):
        asked = f"{asked}\n{row['input']}"
    return Texts("\n".join(parts) or None, asked)


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
    """Say who speaks a message."""
    said = (turn[name] for name in _SPEAKERS if isinstance(turn.get(name), str))
    return next(said, None)


def _asked(question: Any) -> str | None:
    """Take what is asked first."""
    match question:
        case str():
            return question
        case list():
            said = (m for m in question if isinstance(m, Mapping))
            asking = (m for m in said if speaker_of(m) in {"user", "human"})
            first = next(asking, {})
            return first.get("content") or first.get("value")
        case _:
            return None


def groups(texts: Sequence[Sequence[Texts | None]], sources: Sequence[bytes] | None) -> Counts:
    """Return for each row the index of the first one that it belongs together with.

    `texts` has for each way in which rows are published the rows' texts, None where a row is not;
    `sources` says of each row which source row it is from.
    """
    height = len(texts[0])
    links = [
        near_duplicate_clusters(pl.Series([one and one[which] for one in some], dtype=pl.String))
        for some in texts
        for which in range(len(Texts._fields))
    ]
    if sources is not None:
        first: dict[bytes, int] = {}
        same = (first.setdefault(source, row) for row, source in enumerate(sources))
        links.append(np.fromiter(same, np.int64, height))
    rows = np.tile(np.arange(height), len(links))
    return connected_components(height, rows, np.concatenate(links))


def source_of(row: Row, columns: Sequence[str]) -> bytes:
    """Name the source row that a row is from, by what it holds."""
    content = [row.get(column) for column in columns]
    return blake2b(orjson.dumps(content, default=str), digest_size=16).digest()


def divided(
    splits: Splits, group: Counts, ids: Sequence[str], strata: Sequence[Any] | None = None
) -> Sides:
    """Say where each row goes; `group` is what `groups` returned, `strata` a value for each row.

    Without strata a group's place follows from its first row's id alone. With them it is drawn, by
    that id, among the splits that lack rows of its first row's value, so that each has its share of
    every value; a group's place then depends on those before it, too, and on none behind it.

    A split that is left empty so, as happens with few groups, gets one group more, as far as there
    are groups enough; `train` comes first, and the others in their order.
    """
    sizes = np.bincount(group, minlength=len(group))
    heads = np.flatnonzero(sizes)
    places = np.empty(len(group), dtype=object)
    lots = _Lots(splits.shares, len(group))
    for head in heads.tolist():
        stratum = None if strata is None else orjson.dumps(strata[head], default=str)
        places[head] = lots.draw(ids[head], int(sizes[head]), stratum)
    _fill(places, heads, sizes, lots)
    names = pl.Series("split", places[group].tolist(), dtype=pl.String)
    return Sides(names, len(heads), int(sizes.max(initial=0)))


def _fill(places: npt.NDArray[np.object_], heads: Counts, sizes: Counts, lots: "_Lots") -> None:
    """Give each split that has no group one of those that another can spare.

    The first in the order of the source that is not too large for the split is taken, so that rows
    that are added behind it change that as rarely as can be; the smallest where all are too large.
    """
    order = [TRAIN, *lots.names]
    for rank, split in enumerate(order):
        holders = Counter(places[heads].tolist())
        if split in holders:
            continue
        spare = [head for head in heads.tolist() if holders[places[head]] > 1]
        spare.sort(key=lambda head: places[head] != TRAIN)
        # Where none can be spared, a split goes without, and it is one of the last.
        spare = spare or [head for head in heads.tolist() if order.index(places[head]) > rank][-1:]
        fitting = (head for head in spare if sizes[head] <= lots.room(split))
        smallest = min(spare, key=sizes.__getitem__, default=None)
        if (chosen := next(fitting, smallest)) is not None:
            places[chosen] = split


class _Lots:
    def __init__(self, shares: Mapping[str, float], rows: int) -> None:
        self._shares = {**shares, TRAIN: 1 - sum(shares.values())}
        self._rows = rows
        self._there: dict[bytes, dict[str, int]] = defaultdict(
            lambda: dict.fromkeys(self._shares, 0)
        )

    @property
    def names(self) -> list[str]:
        """The splits beside `train`."""
        return [split for split in self._shares if split != TRAIN]

    def room(self, split: str) -> float:
        """Say how large a group may be that goes to a split."""
        return max(_FEW, self._shares[split] * self._rows)

    def draw(self, name: str, size: int, stratum: bytes | None) -> str:
        """Draw a split for a group of so many rows."""
        chances = self._shares
        if stratum is not None:
            there = self._there[stratum]
            rows = sum(there.values()) + size
            lacks = {s: share * rows - there[s] for s, share in self._shares.items()}
            chances = {split: max(0.0, lack) for split, lack in lacks.items()}
        split = self._drawn(name, chances)
        if size > self.room(split):
            split = TRAIN
        if stratum is not None:
            self._there[stratum][split] += size
        return split

    def _drawn(self, name: str, chances: Mapping[str, float]) -> str:
        hashed = blake2b(name.encode(), digest_size=8, person=b"split").digest()
        left = int.from_bytes(hashed) / 2**64 * sum(chances.values())
        for split, chance in chances.items():
            left -= chance
            if left < 0:
                return split
        return TRAIN
