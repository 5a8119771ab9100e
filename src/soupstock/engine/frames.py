"""Take a frame of rows through steps that look at each row by itself, without a stream.

For rows that wait for nobody: nothing is asked here, so a whole batch goes from step to step.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from soupstock.engine.tally import Tally
from soupstock.steps.step import RowWise, Step

# What cannot be printed is the name of no column of a user's.
_PLACE, _WHY = "\0place", "\0why"
_KEPT = pl.col("dropped_by").list.len() == 0


def passed(steps: Sequence[tuple[Step, Tally]], rows: pl.DataFrame) -> pl.DataFrame:
    """Take rows through steps; those that are dropped go no further, and say why."""
    for step, tally in steps:
        if not isinstance(step.bound, RowWise):
            raise TypeError(f"{step.title} needs all rows at once")
        kept = rows.select(_KEPT).to_series()
        there = rows.filter(kept)
        tally.rows_in += there.height
        found = step.bound.prune(there, tally)
        if found.made is not None:
            rows = _with_column(rows, kept, found.made)
        if found.twins:
            rows = _with_twins(rows, kept, found.twins)
        rows = _dropped(rows, kept, found.reasons or [[]] * there.height, tally)
    return rows


def _dropped(
    rows: pl.DataFrame, kept: pl.Series, reasons: Sequence[Sequence[str]], tally: Tally
) -> pl.DataFrame:
    """Add the reasons of the rows that are there to them."""
    bad = [place for place, labels in enumerate(reasons) if labels]
    tally.kept += len(reasons) - len(bad)
    for place in bad:
        tally.count(reasons[place])
    if not bad:
        return rows
    places = kept.arg_true().gather(bad)
    said = pl.DataFrame(
        {_PLACE: places, _WHY: [reasons[place] for place in bad]},
        schema={_PLACE: pl.UInt32, _WHY: pl.List(pl.String)},
    )
    joined = rows.with_row_index(_PLACE).join(said, on=_PLACE, how="left", maintain_order="left")
    return joined.with_columns(dropped_by=pl.coalesce(_WHY, "dropped_by")).drop(_PLACE, _WHY)


def _with_twins(
    rows: pl.DataFrame, kept: pl.Series, twins: Mapping[int, tuple[str, float]]
) -> pl.DataFrame:
    """Name what some of the rows that are there resemble."""
    places = kept.arg_true().gather(list(twins))
    names, similarities = zip(*twins.values(), strict=True)
    return rows.with_columns(
        twin=rows["twin"].scatter(places, names),
        similarity=rows["similarity"].scatter(places, similarities),
    )


def _with_column(rows: pl.DataFrame, kept: pl.Series, made: pl.Series) -> pl.DataFrame:
    """Add a column of the rows that are there; null for the others."""
    places = pl.Series(kept.cum_sum().cast(pl.Int64) - 1).set(~kept, None)
    return rows.with_columns(made.gather(places).alias(made.name))
