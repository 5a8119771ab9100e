"""What a filter looks at in a row: its condition taken apart into the figures that it compares."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock.errors import quoted
from soupstock.text.measures import derive


@dataclass(frozen=True)
class Look:
    """What a filter says of one row, and the figures that it compares with its limits."""

    keeps: bool | None
    """Null where it could not tell."""
    figures: Sequence[str]

    def said(self, arguments: Mapping[str, object]) -> str:
        """Say it beside the filter's limits, which are among its arguments."""
        figures = ", ".join(dict.fromkeys(self.figures))
        limits = ", ".join(f"{k}={v}" for k, v in arguments.items() if k != "column")
        of = f" of {figures}" if figures else ""
        return f"{'keeps' if self.keeps else 'drops'}{of} ({limits or 'no limits'})"


def look(keeps: Sequence[pl.Expr], frame: pl.DataFrame) -> list[Look]:
    """Ask filters about one row, and take their conditions apart, all in one query."""
    rows = derive(frame, keeps).lazy()
    operands = [list(_operands(keep, rows)) for keep in keeps]
    asked = [*keeps, *itertools.chain(*operands)]
    # As lists, because an operand may have any number of values.
    columns = [expression.implode().alias(str(n)) for n, expression in enumerate(asked)]
    values = iter([column[0].to_list() for column in rows.select(columns).collect()])
    answers = [next(values)[0] for _ in keeps]
    return [
        Look(answer, [_brief(value[0]) for value in itertools.islice(values, len(own)) if value])
        for answer, own in zip(answers, operands, strict=True)
    ]


def _operands(condition: pl.Expr, rows: pl.LazyFrame) -> Iterator[pl.Expr]:
    """Yield the columns and numbers that a condition compares, however it is put together."""
    # The last is popped first. What has no column in it is a limit, and stands among the arguments.
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
