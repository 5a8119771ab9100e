"""Write a column anew with placeholders for personal data and secrets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.rows.rows import Columns, Row, column, frame
from soupstock.spec.pruning import KINDS, Kind
from soupstock.steps.columns import check_new, check_texts, type_at
from soupstock.steps.step import At
from soupstock.text.masking import mask


@dataclass(frozen=True)
class Masking:
    """A mask step: the column that is read, and the one that is made."""

    column: str
    into: str
    dtype: pl.DataType
    """The type of what is read, and made."""
    kinds: tuple[Kind, ...] = KINDS


def mask_frame(step: Masking, rows: pl.DataFrame, counts: Counter[str]) -> pl.Series:
    """Make the column, and count by kind what was masked."""
    path, _, role = step.column.partition("::")
    found = mask(rows.select(column(path).alias("")).to_series(), step.kinds, role)
    counts.update(found.counts)
    return found.texts.alias(step.into)


def mask_rows(
    step: Masking, rows: Sequence[Row], columns: dict[str, pl.DataType], counts: Counter[str]
) -> list[Row]:
    """Add the column to rows; `columns` are those that the step reads, with their types."""
    made = mask_frame(step, frame(rows, columns), counts).to_list()
    return [row | {step.into: value} for row, value in zip(rows, made, strict=True)]


def bind_mask(step: spec.Mask, columns: Columns, at: At) -> Masking:
    """Check a mask step's columns; raises MistakeError."""
    check_texts(step.mask, columns, at("mask"))
    check_new(step.into, columns, at("into"))
    dtype: Any = type_at(step.mask.partition("::")[0], columns, at("mask"))
    return Masking(step.mask, step.into, dtype, step.kinds)
