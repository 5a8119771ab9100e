"""The figures that a filter compares in a row, found by taking its condition apart."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock.errors import quoted
from soupstock.text.measures import derive


@dataclass(frozen=True)
class FilterFigures:
    """A filter's decision on one row, and the figures that it compares with its limits."""

    keeps: bool | None
    """None if it could not tell."""
    figures: Sequence[str]

    def summary(self, arguments: Mapping[str, object]) -> str:
        """Return the decision, the figures, and the limits among the filter's arguments."""
        figures = ", ".join(dict.fromkeys(self.figures))
        limits = ", ".join(f"{k}={v}" for k, v in arguments.items() if k != "column")
        found = f": {figures}" if figures else ""
        return f"{'keeps it' if self.keeps else 'drops it'}{found} ({limits or 'no limits'})"


def figures_of(keeps: Sequence[pl.Expr], frame: pl.DataFrame) -> list[FilterFigures]:
    """Apply filters to one row and find the figures that they compare, all in one query."""
    rows = derive(frame, keeps).lazy()
    operands = [list(_operands(keep, rows)) for keep in keeps]
    wanted = [*keeps, *itertools.chain(*operands)]
    # As lists, because an operand may have any number of values.
    columns = [expression.implode().alias(str(n)) for n, expression in enumerate(wanted)]
    values = iter([column[0].to_list() for column in rows.select(columns).collect()])
    answers = [next(values)[0] for _ in keeps]
    return [
        FilterFigures(
            answer, [_brief(value[0]) for value in itertools.islice(values, len(own)) if value]
        )
        for answer, own in zip(answers, operands, strict=True)
    ]


def _operands(condition: pl.Expr, rows: pl.LazyFrame) -> Iterator[pl.Expr]:
    """Yield the columns and numbers that a condition compares, however deeply it is nested."""
    # `pop` returns the last operand first. An operand without a column is a limit, an argument.
    parts = [part for part in reversed(condition.meta.pop()) if part.meta.root_names()]
    named = [part.alias(str(n)) for n, part in enumerate(parts)]
    for part, dtype in zip(parts, rows.select(named).collect_schema().dtypes(), strict=True):
        if dtype == pl.Boolean:
            yield from _operands(part, rows)
        elif dtype.is_numeric() or part.meta.is_column():
            yield part


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return quoted(value, 40) if isinstance(value, str) else str(value)
