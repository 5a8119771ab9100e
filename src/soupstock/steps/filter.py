"""Drop the rows that a filter does not keep. Knows expressions and labels of filters alone."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import MistakeError, quoted
from soupstock.project.project import Project
from soupstock.rows.expressions import FAULTS, evaluate, first_paragraph
from soupstock.rows.filters import BoundFilter, bind_filter, call_filter
from soupstock.rows.row import Columns, Row, dropped, frame
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.step import Account, At, Context, PrunedRows, RowWise, Stage, Step, typed
from soupstock.steps.verb import Made, Verb
from soupstock.steps.wording import filter_named
from soupstock.text.markdown import joined
from soupstock.text.measures import requires


def _numbered(labels: Iterable[str]) -> list[str]:
    seen: Counter[str] = Counter()
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return numbered


@dataclass(frozen=True, eq=False)
class BoundFilters(RowWise):
    """A filter step, bound: each filter's label, and the expression that keeps a row."""

    is_stateless: ClassVar[bool] = True
    keeps: tuple[tuple[str, pl.Expr], ...]

    @classmethod
    def of(cls, filters: Sequence[BoundFilter]) -> "BoundFilters":
        """Give each filter a label of its own."""
        labels = [bound.label for bound in filters]
        if repeated := {label for label, n in Counter(labels).items() if n > 1}:
            labels = [
                bound.full_label if label in repeated else label
                for bound, label in zip(filters, labels, strict=True)
            ]
        return cls(tuple(zip(_numbered(labels), (b.expression for b in filters), strict=True)))

    def identity(self) -> Iterable[bytes]:
        """Yield what each filter computes."""
        yield from (name.encode() + keep.meta.serialize() for name, keep in self.keeps)

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Drop the rows that a filter does not keep."""

        def check(rows: list[Row]) -> list[Row]:
            reasons = filter_rows(self, frame(rows, step.columns))
            return [
                dropped(row, *(f"filter: {label}" for label in labels)) if labels else row
                for row, labels in zip(rows, reasons, strict=True)
            ]

        return Stage(step.title, check=check)

    def prune(self, rows: pl.DataFrame, account: Account) -> PrunedRows:  # noqa: ARG002 - as above
        """Return why the filters do not keep rows of a frame."""
        found = filter_rows(self, rows)
        return PrunedRows(reasons=[[f"filter: {label}" for label in labels] for labels in found])


def bind(step: spec.Filter, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's filters, and call them with their arguments; raises MistakeError."""
    bounds, parts = [], []
    for number, use in enumerate(step.filter):
        place = at("filter", number)
        found = context.project.filter(use.name, place)
        bounds.append(bind_filter(use.name, found.value, use.arguments, columns, place))
        parts.append(("filter", found.record))
    bound = BoundFilters.of(bounds)
    reads = tuple(sorted(requires(keep for _, keep in bound.keeps)))
    return Step(
        step,
        bound,
        title=f"filter: {', '.join(label for label, _ in bound.keeps)}",
        reads=reads,
        parts=tuple(parts),
        columns=typed(reads, columns),
    )


def filter_rows(step: BoundFilters, rows: pl.DataFrame) -> list[list[str]]:
    """Return for each row the labels of the filters that do not keep it, in the filters' order.

    Every filter is applied to every row. A filter that returns null does not keep the row. A row's
    reasons depend on that row alone as long as the expressions do: an expression that reads other
    rows (`over`, `shift`) sees those that happen to be in the same block.

    Raises:
        MistakeError: A filter cannot be evaluated on these rows.
    """
    reasons: list[list[str]] = [[] for _ in range(rows.height)]
    if not rows.height or not step.keeps:
        return reasons
    for label, kept in zip((label for label, _ in step.keeps), _evaluate(step, rows), strict=True):
        # Plain Python: for the few rows of a block, each call into polars would cost more.
        for row, keep in enumerate(kept.to_list()):
            if not keep:
                reasons[row].append(label)
    return reasons


def _evaluate(step: BoundFilters, rows: pl.DataFrame) -> list[pl.Series]:
    try:
        return evaluate([keep for _, keep in step.keeps], rows)
    except FAULTS as error:
        for label, keep in step.keeps:
            try:
                evaluate([keep], rows)
            except FAULTS as own:
                raise MistakeError(
                    f"filter {quoted(label)} failed: {first_paragraph(own)}"
                ) from own
        raise MistakeError(f"the filters failed: {first_paragraph(error)}") from error


def makes(step: spec.Filter) -> Made:  # noqa: ARG001 - a filter makes no column
    """Name no column."""
    return Made()


def needs(step: spec.Filter, project: Project) -> Iterator[frozenset[str]]:
    """Name the columns that each filter reads."""
    for use in step.filter:
        bound = call_filter(use.name, project.filter(use.name).value, use.arguments)
        yield requires([bound.expression])


def describe(step: spec.Filter, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe the filters."""
    return f"rows were kept if they pass {joined(list(map(filter_named, step.filter)))}."


def chapter(step: spec.Filter, row_step: RowStep) -> Chapter:  # noqa: ARG001 - the row's step has it
    """Tell the figures that each filter read."""
    dropped = {
        label: figure
        for label, figure in row_step.figures.items()
        if f"filter: {label}" in row_step.reasons
    }
    return Chapter(value=dict(row_step.figures), passages=dropped)


VERB = Verb(spec.Filter, bind, makes, needs, describe, chapter)
