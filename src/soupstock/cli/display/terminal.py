"""Tables and texts for a terminal, or plain lines if there is none.

Generated text is hostile here too: it goes through `shown`, so no control character gets out.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from soupstock.errors import shown

_FILTER = "filter: "


def new_console(*, stderr: bool = False) -> Console:
    """Open the terminal, or whatever takes its place."""
    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def new_table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """Make a table without lines; the columns `right` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def cell(value: object) -> Text:
    """Show a value with its own lines and without control characters."""
    return Text("\n".join(shown(line) for line in str(value).split("\n")))


def whole(value: float) -> str:
    """Say a number without its fractions."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Say a time: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def short(label: str) -> str:
    """Leave out what a step of many filters is called in full: it would fill the table."""
    return _FILTER.rstrip(": ") if label.startswith(_FILTER) and "," in label else label
