"""Steps that need the whole set: they read a few columns of a table, and mark its rows.

What stays is decided from one column of texts and one of numbers, which are in memory; all others
pass by a part at a time.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import assert_never

import polars as pl

from soupstock.engine.tally import Tally
from soupstock.inference.static_embeddings import StaticModel
from soupstock.review.apply import Reviewed, Reviewing, review
from soupstock.rows.table import Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.dedup import Deduplication, Duplicates, duplicates
from soupstock.steps.select import Selection, select
from soupstock.text.measures import read_scores, read_texts

Barrier = Deduplication | Selection | Reviewing
BARRIERS = (Deduplication, Selection, Reviewing)
"""The steps that are taken here."""

_KEPT = pl.col("dropped_by").list.len() == 0
# What cannot be printed is the name of no column of a user's.
INDEX = "\0index"
MARKS = {INDEX: pl.UInt32(), "twin": pl.String(), "similarity": pl.Float64(), "why": pl.String()}
"""What a step says of the rows that it drops: their place, their twin, and the reason."""


def taken_whole(
    step: Barrier,
    table: Table,
    folder: Path,
    tally: Tally,
    embedder: Embedder | None = None,
) -> Table:
    """Let a step say which rows of a table it drops, and why.

    `embedder` has the vectors of a step that asks a model server; a static one loads its own.
    """
    if isinstance(step, Reviewing):
        return _reviewed(review(step, table, folder), tally)
    if isinstance(step.embedder, StaticModel):
        embedder = step.embedder.load()
    match step:
        case Deduplication():
            rows = read_kept(table, [step.column, step.best])
            marks = _repeats(step, rows, embedder)
        case Selection():
            rows = read_kept(table, step.reads)
            marks = _unselected(step, rows, tally, embedder)
        case _:
            assert_never(step)
    tally.rows_in += rows.height
    tally.kept += rows.height - marks.height
    for reason, count in marks["why"].value_counts(sort=True).iter_rows():
        tally.count_many(0, count, reason)
    return table.map(folder, _marked(table, marks))


def _reviewed(found: Reviewed, tally: Tally) -> Table:
    told = tally.review = found.record
    tally.rows_in += told.rows
    tally.kept += told.rows - sum(told.vetoed.values())
    for veto, count in told.vetoed.items():
        tally.count_many(0, count, f"review: {veto}")
    tally.notes.extend(told.sentences())
    return found.table


def read_kept(table: Table, paths: Sequence[str | None]) -> pl.DataFrame:
    """Read of the rows that are there some columns, with their INDEX and `id`."""
    names = {path.partition("::")[0].partition(".")[0] for path in paths if path}
    lazy = table.scan().with_row_index(INDEX).filter(_KEPT)
    return lazy.select(INDEX, "id", *sorted(names - {"id"})).collect()


def _repeats(step: Deduplication, rows: pl.DataFrame, embedder: Embedder | None) -> pl.DataFrame:
    there = [reference.texts() for reference in step.against]
    before = pl.concat([part["text"] for part in there]) if there else None
    found = duplicates(
        step,
        read_texts(rows, step.column),
        scores=None if step.best is None else read_scores(rows, step.best),
        against=before,
        embedder=embedder,
    )
    reason = f"dedup: {step.column}"
    marks = pl.DataFrame(
        {
            INDEX: rows[INDEX],
            # Null takes no row: gathering with a null index gives null.
            "twin": rows["id"].gather(found.twin),
            "similarity": found.similarity,
            "why": pl.Series([reason], dtype=pl.String).new_from_index(0, rows.height),
        },
        schema=MARKS,
    )
    return _named(step, there, found, marks).filter(pl.col("twin").is_not_null())


def _named(
    step: Deduplication, there: Sequence[pl.DataFrame], found: Duplicates, marks: pl.DataFrame
) -> pl.DataFrame:
    """Name the twins that were there before, and say in the reason where."""
    rows = found.against.is_not_null().arg_true()
    if rows.is_empty():
        return marks
    ends = list(itertools.accumulate(part.height for part in there))
    twins, reasons = [], []
    for place in found.against.gather(rows).to_list():
        which = next(n for n, end in enumerate(ends) if place < end)
        number = there[which]["number"][place - (ends[which] - there[which].height)]
        reference = step.against[which]
        twins.append(reference.name_row(number))
        reasons.append(f"dedup: {step.column} (in {reference.label})")
    return marks.with_columns(
        twin=marks["twin"].scatter(rows, twins), why=marks["why"].scatter(rows, reasons)
    )


def _unselected(
    step: Selection, rows: pl.DataFrame, tally: Tally, embedder: Embedder | None
) -> pl.DataFrame:
    found = select(step, rows, embedder)
    tally.notes.extend(found.notes)
    marks = pl.DataFrame(
        {
            INDEX: rows[INDEX],
            "twin": rows["id"].gather(found.twin),
            "similarity": found.similarity,
            "why": found.reason,
        },
        schema=MARKS,
    )
    return marks.filter(pl.col("why").is_not_null())


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
