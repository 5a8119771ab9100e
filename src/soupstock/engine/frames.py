"""Take a frame of rows through row-wise steps that ask no model.

Nothing waits for an answer, so a whole frame goes from step to step, without a stream.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from soupstock.engine.tally import Tally
from soupstock.rows.row import KEPT
from soupstock.steps.step import RowWise, Step

# No column of a user's has a name with characters that cannot be printed.
_PLACE, _REASONS = "\0place", "\0reasons"


def prune_frame(steps: Sequence[tuple[Step, Tally]], rows: pl.DataFrame) -> pl.DataFrame:
    """Take rows through steps. Dropped rows skip the later steps, and have their reasons."""
    for step, tally in steps:
        if not isinstance(step.bound, RowWise):
            raise TypeError(f"{step.title} needs all rows at once")
        kept = rows.select(KEPT).to_series()
        alive = rows.filter(kept)
        tally.rows_in += alive.height
        found = step.bound.prune(alive, tally)
        if found.made is not None:
            rows = _with_column(rows, kept, found.made)
        if found.twins:
            rows = _with_twins(rows, kept, found.twins)
        rows = _dropped(rows, kept, found.reasons or [[]] * alive.height, tally)
    return rows


def _dropped(
    rows: pl.DataFrame, kept: pl.Series, reasons: Sequence[Sequence[str]], tally: Tally
) -> pl.DataFrame:
    """Mark kept rows with the reasons to drop them; `reasons` has an entry for each kept row."""
    bad = [place for place, labels in enumerate(reasons) if labels]
    tally.kept += len(reasons) - len(bad)
    for place in bad:
        tally.count(reasons[place])
    if not bad:
        return rows
    places = kept.arg_true().gather(bad)
    marks = pl.DataFrame(
        {_PLACE: places, _REASONS: [reasons[place] for place in bad]},
        schema={_PLACE: pl.UInt32, _REASONS: pl.List(pl.String)},
    )
    joined = rows.with_row_index(_PLACE).join(marks, on=_PLACE, how="left", maintain_order="left")
    return joined.with_columns(dropped_by=pl.coalesce(_REASONS, "dropped_by")).drop(
        _PLACE, _REASONS
    )


def _with_twins(
    rows: pl.DataFrame, kept: pl.Series, twins: Mapping[int, tuple[str, float]]
) -> pl.DataFrame:
    """Name what some of the kept rows resemble; `twins` counts kept rows only."""
    places = kept.arg_true().gather(list(twins))
    names, similarities = zip(*twins.values(), strict=True)
    return rows.with_columns(
        twin=rows["twin"].scatter(places, names),
        similarity=rows["similarity"].scatter(places, similarities),
    )


def _with_column(rows: pl.DataFrame, kept: pl.Series, made: pl.Series) -> pl.DataFrame:
    """Add a column that has a value for each kept row; null for the others."""
    places = pl.Series(kept.cum_sum().cast(pl.Int64) - 1).set(~kept, None)
    return rows.with_columns(made.gather(places).alias(made.name))
