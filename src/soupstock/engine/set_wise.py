"""Take a table through a step that needs all rows at once, and count the rows.

A run and the pruning of a file both do it so. Asks no model.
"""

from pathlib import Path

from soupstock.engine.tally import Tally
from soupstock.rows.table import Table
from soupstock.similarity.cosine import Embedder
from soupstock.steps.step import SetWise


def run_set_wise(
    step: SetWise, table: Table, folder: Path, tally: Tally, embedder: Embedder | None = None
) -> Table:
    """Take a table through a step, into a table in `folder`.

    `embedder` has the vectors that a model server made. A step with a static embedder loads it
    itself.
    """
    found = step.whole(table, folder, tally, embedder)
    tally.rows_in += found.rows_in
    tally.kept += found.rows_in - sum(found.dropped.values())
    for reason, count in found.dropped.items():
        tally.count_many(0, count, reason)
    return found.table
