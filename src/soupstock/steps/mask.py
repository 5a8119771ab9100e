"""Copy a column of texts with placeholders for personal data and secrets."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.project.project import Project
from soupstock.rows.row import Columns, Row, column, frame
from soupstock.spec.pruning import KINDS, IdentifierKind
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import check_new, check_texts, type_at
from soupstock.steps.step import (
    Account,
    At,
    Context,
    PrunedRows,
    RowWise,
    Stage,
    Step,
    column_of,
    typed,
)
from soupstock.steps.verb import Made, Verb
from soupstock.steps.wording import LONGEST
from soupstock.text.markdown import code, joined
from soupstock.text.masking import mask


@dataclass(frozen=True)
class BoundMask(RowWise):
    """A mask step, bound."""

    is_stateless: ClassVar[bool] = True
    column: str
    """The column that is read."""
    into: str
    """The new column."""
    dtype: pl.DataType
    """The type of both columns."""
    kinds: tuple[IdentifierKind, ...] = KINDS

    def identity(self) -> Iterable[bytes]:
        """Yield nothing: the pipeline's words say it all."""
        return ()

    def stage(self, step: Step, account: Account) -> Stage:
        """Mask the rows, and count the identifiers by kind."""
        return Stage(
            step.title, check=lambda rows: mask_rows(self, rows, step.columns, account.counts)
        )

    def prune(self, rows: pl.DataFrame, account: Account) -> PrunedRows:
        """Mask the rows of a frame."""
        return PrunedRows(mask_frame(self, rows, account.counts))

    def figures(self, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """Return how many identifiers were masked, by kind."""
        return {"masked": dict(sorted(counts.items()))}


def bind(step: spec.Mask, columns: Columns, at: At, context: Context) -> Step:  # noqa: ARG001
    """Check a step's columns; raises MistakeError."""
    check_texts(step.mask, columns, at("mask"))
    check_new(step.into, columns, at("into"))
    dtype: Any = type_at(step.mask.partition("::")[0], columns, at("mask"))
    bound = BoundMask(step.mask, step.into, dtype, step.kinds)
    return Step(
        step,
        bound,
        title=f"mask: {step.mask}",
        reads=(step.mask,),
        adds={bound.into: bound.dtype},
        columns=typed([column_of(step.mask)], columns),
        texts=(step.into,),
        # The dataset has the masked column in place of the original.
        withholds=(step.mask.partition("::")[0],),
    )


def mask_frame(step: BoundMask, rows: pl.DataFrame, counts: Counter[str]) -> pl.Series:
    """Return the new column, and count the identifiers by kind."""
    path, _, role = step.column.partition("::")
    found = mask(rows.select(column(path).alias("")).to_series(), step.kinds, role)
    counts.update(found.counts)
    return found.texts.alias(step.into)


def mask_rows(
    step: BoundMask, rows: Sequence[Row], columns: Columns, counts: Counter[str]
) -> list[Row]:
    """Add the column to rows; `columns` are the ones that the step reads, with their types."""
    made = mask_frame(step, frame(rows, columns), counts).to_list()
    return [row | {step.into: value} for row, value in zip(rows, made, strict=True)]


def makes(step: spec.Mask) -> Made:
    """Name the column."""
    return Made((step.into,))


def needs(step: spec.Mask, project: Project) -> Iterator[frozenset[str]]:  # noqa: ARG001
    """Name the column that is read."""
    yield frozenset({column_of(step.mask)})


def describe(step: spec.Mask, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe what was masked."""
    counts = [f"{count:,} {kind}" for kind, count in record.masked.items()]
    found = ", ".join(counts) if counts else "none were found"
    return (
        f"{code(step.into)} is {code(step.mask, LONGEST)} with placeholders for"
        f" {joined(list(map(code, step.kinds)))} ({found})."
    )


def chapter(step: spec.Mask, row_step: RowStep) -> Chapter:
    """Tell the masked text."""
    values = row_step.cells([step.into])
    return Chapter(value=values, passages=values)


VERB = Verb(spec.Mask, bind, makes, needs, describe, chapter)
