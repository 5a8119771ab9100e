"""Show in a terminal how two versions of a dataset differ."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from soupstock.cli.display.terminal import new_console, new_table
from soupstock.dataset.diff import Difference
from soupstock.errors import shown

_MOST = 5


def show_difference(found: Difference) -> None:
    """Print a difference."""
    console = new_console()
    for line in _lines(found):
        console.print(Text(line), soft_wrap=True)
    if found.distributions:
        console.print()
        console.print(_distributions(found))


def _lines(found: Difference) -> Iterator[str]:
    one, other = shown(found.one), shown(found.other)
    yield f"{one} ({found.rows[0]:,} rows) and {other} ({found.rows[1]:,} rows)"
    if found.is_empty:
        yield "no row is different"
        return
    changes = {"added": found.added, "removed": found.removed, "changed": found.changed}
    if found.identity == "content":
        yield "the rows have no ids: a changed row counts as removed and added"
    for what, rows in changes.items():
        examples = ", ".join(map(shown, rows[:_MOST])) + (", …" if len(rows) > _MOST else "")
        yield f"{what}: {len(rows):,} rows" + (f" ({examples})" if rows else "")
    for column, count in found.changed_columns.items():
        yield f"  {shown(column)} in {count:,} of the changed rows"
    for reason, count in found.reasons.items():
        yield f"  {count:,} of the removed rows are dropped now: {shown(reason)}"
    for what, columns in (("new", found.columns_added), ("removed", found.columns_removed)):
        if columns:
            yield f"{what} columns: {', '.join(map(shown, columns))}"


def _distributions(found: Difference) -> Table:
    right = ("median before", "after", "distance", "p")
    table = new_table("distribution", *right, "", right=right)
    for shift in found.distributions:
        table.add_row(
            Text(shown(shift.what)),
            f"{shift.before:,g}",
            f"{shift.after:,g}",
            f"{shift.distance:.3f}",
            f"{shift.p:.2g}",
            "moved" if shift.moved else "",
        )
    return table
