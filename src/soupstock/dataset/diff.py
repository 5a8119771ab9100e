"""Compare two versions of a dataset: rows added, removed and changed, and distributions that moved.

Rows with equal ids are the same row. Without ids, rows with equal content are, and then no row can
have changed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np
import orjson
import polars as pl

from soupstock.dataset.versions import Version
from soupstock.errors import MistakeError
from soupstock.spec.fields import Record
from soupstock.stats.kolmogorov_smirnov import kolmogorov_smirnov
from soupstock.text.measures import read_scores, read_texts

SIGNIFICANCE = 0.01
"""The p-value below which a distribution has moved, if divided by the number of them."""

_DIGITS = 6
_SEED = 8


class Shift(Record):
    """One distribution in both versions."""

    what: str
    """What is measured: `length of answer`, `score of quality`, `n`."""
    before: float
    """The median of the first version."""
    after: float
    distance: float
    """The Kolmogorov-Smirnov distance, 0 to 1."""
    p: float
    moved: bool


class Difference(Record):
    """What is different between two versions."""

    one: str
    other: str
    rows: tuple[int, int]
    """The number of rows of each version."""
    identity: Literal["id", "content"]
    """What two rows share if they are the same row."""
    added: tuple[str, ...]
    """The rows that only the second has: their ids, or hashes of their content."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    changed_columns: dict[str, int] = {}
    """In how many of the changed rows each column differs."""
    reasons: dict[str, int] = {}
    """Why the second version dropped rows of the first, if it records that."""
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    distributions: tuple[Shift, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the two versions are the same."""
        rows = self.added or self.removed or self.changed
        return not (rows or self.columns_added or self.columns_removed)

    @property
    def moved(self) -> tuple[Shift, ...]:
        """The distributions that moved."""
        return tuple(shift for shift in self.distributions if shift.moved)


def compare(one: Version, other: Version) -> Difference:
    """Compare two versions; raises MistakeError if they have no column in common."""
    before, after = set(one.rows.columns), set(other.rows.columns)
    common = [name for name in one.rows.columns if name in after]
    by_id = one.has_ids and other.has_ids
    if not set(common) - {"id"}:
        raise MistakeError(f"{one.label} and {other.label} have no column in common")
    found = _by_id(one, other, common) if by_id else _by_content(one, other, common)
    return found.model_copy(
        update={
            "columns_added": tuple(c for c in other.rows.columns if c not in before),
            "columns_removed": tuple(c for c in one.rows.columns if c not in after),
            "distributions": tuple(_shifts(one.rows, other.rows, common)),
        }
    )


def _by_id(one: Version, other: Version, common: Sequence[str]) -> Difference:
    shared = one.rows.join(other.rows, on="id", how="inner", suffix="\0", maintain_order="left")
    columns = [name for name in common if name != "id"]
    differ = pl.DataFrame({name: _differs(shared, name) for name in columns})
    changed = differ.select(pl.any_horizontal(pl.all())).to_series()
    counts = {name: int(differ[name].sum()) for name in columns}
    removed = one.rows.join(other.rows, on="id", how="anti", maintain_order="left")["id"]
    added = other.rows.join(one.rows, on="id", how="anti", maintain_order="left")["id"]
    return Difference(
        one=one.label,
        other=other.label,
        rows=(one.rows.height, other.rows.height),
        identity="id",
        added=tuple(map(str, added)),
        removed=tuple(map(str, removed)),
        changed=tuple(map(str, shared.filter(changed)["id"])),
        changed_columns={name: count for name, count in counts.items() if count},
        reasons=_reasons(other, removed),
    )


def _differs(shared: pl.DataFrame, name: str) -> pl.Series:
    one, other = shared[name], shared[f"{name}\0"]
    if one.dtype == other.dtype:
        return one.ne_missing(other)
    pairs = zip(_texts(one.to_list()), _texts(other.to_list()), strict=True)
    return pl.Series([this != that for this, that in pairs], dtype=pl.Boolean)


def _texts(values: Sequence[object]) -> Iterator[bytes]:
    """Write values so that equal values are equal, whatever the types of their columns."""
    for value in values:
        yield orjson.dumps(value, default=repr, option=orjson.OPT_SORT_KEYS)


def _reasons(other: Version, removed: pl.Series) -> dict[str, int]:
    if other.dropped is None or removed.is_empty():
        return {}
    found = other.dropped.filter(pl.col("id").is_in(removed.implode()))["reason"]
    return dict(Counter(found.to_list()).most_common())


def _by_content(one: Version, other: Version, common: Sequence[str]) -> Difference:
    columns = [name for name in common if name not in ("id", "split")] or list(common)
    before, after = one.rows.select(sorted(columns)), other.rows.select(sorted(columns))
    if before.schema != after.schema:
        before, after = _as_text(before), _as_text(after)
    return Difference(
        one=one.label,
        other=other.label,
        rows=(one.rows.height, other.rows.height),
        identity="content",
        added=_surplus(before, after),
        removed=_surplus(after, before),
        changed=(),
    )


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Make columns of different types comparable."""
    return pl.DataFrame({name: list(_texts(rows[name].to_list())) for name in rows.columns})


def _surplus(one: pl.DataFrame, other: pl.DataFrame) -> tuple[str, ...]:
    """Name the rows of `other` that `one` lacks, or has less often, by hashes of their content."""
    frames = [frame.with_columns(_hash=frame.hash_rows(_SEED)) for frame in (one, other)]
    before, after = (
        frame.with_columns(_nth=pl.int_range(pl.len()).over("_hash")) for frame in frames
    )
    more = after.join(before, on=["_hash", "_nth"], how="anti", maintain_order="left")
    texts = _texts(more.drop("_hash", "_nth").to_dicts())
    return tuple(blake2b(text, digest_size=8).hexdigest() for text in texts)


def _shifts(one: pl.DataFrame, other: pl.DataFrame, common: Sequence[str]) -> Iterator[Shift]:
    found = []
    for name in common:
        for what in ("length", "score"):
            before, after = _measured(one, name, what), _measured(other, name, what)
            if before is not None and after is not None and len(before) and len(after):
                found.append((what, name, before, after))
                break
    for what, name, before, after in found:
        moved = kolmogorov_smirnov(before, after)
        yield Shift(
            what=f"length of {name}" if what == "length" else f"values of {name}",
            before=round(float(np.median(before)), _DIGITS),
            after=round(float(np.median(after)), _DIGITS),
            distance=round(moved.distance, _DIGITS),
            p=moved.p,
            moved=moved.p < SIGNIFICANCE / len(found),
        )


def _measured(
    rows: pl.DataFrame, name: str, what: str
) -> "np.ndarray[tuple[int], np.dtype[np.float64]] | None":
    """Measure a column: the lengths of its texts, or its numbers or scores; None for others."""
    if name == "id":
        return None
    try:
        if what == "length":
            numbers = read_texts(rows, name).str.len_chars()
        else:
            numbers = read_scores(rows, name)
    except (ValueError, pl.exceptions.PolarsError):
        return None
    values = numbers.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
    return np.asarray(values, np.float64)
