"""Mark the rows of a table that a set-wise step drops, each with its reason and twin.

The step decides from a few columns in memory; the other columns are copied one part at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from soupstock.rows.row import KEPT
from soupstock.rows.table import Table

# No column of a user has a name that cannot be printed.
INDEX = "\0index"
MARKS = {INDEX: pl.UInt32(), "twin": pl.String(), "similarity": pl.Float64(), "why": pl.String()}
"""The columns of marks: a dropped row's place, its twin with the similarity, and the reason."""


def read_kept(table: Table, paths: Sequence[str | None]) -> pl.DataFrame:
    """Read some columns of the rows that are kept so far, with their INDEX and `id`."""
    names = {path.partition("::")[0].partition(".")[0] for path in paths if path}
    lazy = table.scan().with_row_index(INDEX).filter(KEPT)
    return lazy.select(INDEX, "id", *sorted(names - {"id"})).collect()


def reasons_of(marks: pl.DataFrame) -> Mapping[str, int]:
    """Count the marked rows by reason, the most frequent first."""
    return dict(marks["why"].value_counts(sort=True).iter_rows())


def mark(table: Table, marks: pl.DataFrame, folder: Path) -> Table:
    """Write a table into a folder with marks (a frame of MARKS) added to its rows."""
    return table.map(folder, _marked(table, marks))


def _marked(table: Table, marks: pl.DataFrame) -> Iterator[pl.DataFrame]:
    start = 0
    named = marks.rename({"twin": "\0twin", "similarity": "\0similarity", "why": "\0why"})
    for part in table.frames():
        indexed = part.with_row_index(INDEX, offset=start)
        start += part.height
        joined = indexed.join(named, on=INDEX, how="left", maintain_order="left")
        marked = joined.with_columns(
            twin=pl.coalesce("\0twin", "twin"),
            similarity=pl.coalesce("\0similarity", "similarity"),
            dropped_by=pl.when(pl.col("\0why").is_not_null())
            .then(pl.col("dropped_by").list.concat(pl.concat_list("\0why")))
            .otherwise(pl.col("dropped_by")),
        )
        yield marked.drop(INDEX, "\0twin", "\0similarity", "\0why")
