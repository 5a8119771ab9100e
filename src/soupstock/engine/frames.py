"""Take a frame of rows through steps that look at each row by itself, without a stream.

For rows that wait for nobody: nothing is asked here, so a whole batch goes from step to step.
"""

from collections.abc import Sequence

import polars as pl

from soupstock.engine.plan import Step
from soupstock.engine.tally import Tally
from soupstock.steps.decontaminate import Decontamination, find_items, reasons_of
from soupstock.steps.filter import Filtering, filter_rows
from soupstock.steps.mask import Masking, mask_frame

# What cannot be printed is the name of no column of a user's.
_PLACE, _WHY = "\0place", "\0why"
_KEPT = pl.col("dropped_by").list.len() == 0


def passed(steps: Sequence[tuple[Step, Tally]], rows: pl.DataFrame) -> pl.DataFrame:
    """Take rows through steps; those that are dropped go no further, and say why."""
    for step, tally in steps:
        kept = rows.select(_KEPT).to_series()
        there = rows.filter(kept)
        tally.rows_in += there.height
        match step.bound:
            case Filtering():
                reasons = filter_rows(step.bound, there)
                labelled = [[f"filter: {label}" for label in labels] for labels in reasons]
                rows = _dropped(rows, kept, labelled, tally)
            case Decontamination():
                rows = _decontaminated(step.bound, rows, kept, there, tally)
            case Masking():
                made = mask_frame(step.bound, there, tally.masked)
                rows = _with_column(rows, kept, made)
                tally.kept += there.height
            case _:
                raise ValueError(f"{step.title} asks a model or needs the whole set")
    return rows


def _dropped(
    rows: pl.DataFrame, kept: pl.Series, reasons: Sequence[list[str]], tally: Tally
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


def _decontaminated(
    bound: Decontamination, rows: pl.DataFrame, kept: pl.Series, there: pl.DataFrame, tally: Tally
) -> pl.DataFrame:
    found = [one for part in there.iter_slices(512) for one in find_items(bound, part)]
    bad = [place for place, one in enumerate(found) if one.stages]
    places = kept.arg_true().gather(bad)
    if bad:
        twins = [bound.name_item(found[place].item) for place in bad]
        rows = rows.with_columns(
            twin=rows["twin"].scatter(places, twins),
            similarity=rows["similarity"].scatter(places, [found[n].similarity for n in bad]),
        )
    return _dropped(rows, kept, [reasons_of(one) for one in found], tally)


def _with_column(rows: pl.DataFrame, kept: pl.Series, made: pl.Series) -> pl.DataFrame:
    """Add a column of the rows that are there; null for the others."""
    places = pl.Series(kept.cum_sum().cast(pl.Int64) - 1).set(~kept, None)
    return rows.with_columns(made.gather(places).alias(made.name))
