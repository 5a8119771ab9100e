"""Take a table through a step that needs all rows at once, and count what became of them."""

from pathlib import Path

from soupstock.engine.tally import Tally
from soupstock.rows.table import Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.step import SetWise


def taken_whole(
    step: SetWise, table: Table, folder: Path, tally: Tally, embedder: Embedder | None = None
) -> Table:
    """Take a table through a step, into a table in `folder`.

    `embedder` has the vectors of a step that asks a model server; a static one loads its own.
    """
    found = step.whole(table, folder, tally, embedder)
    tally.rows_in += found.rows_in
    tally.kept += found.rows_in - sum(found.dropped.values())
    for reason, count in found.dropped.items():
        tally.count_many(0, count, reason)
    return found.table
