"""Show in a terminal what a mix was made from."""

from soupstock.artifacts.decontamination import UNASKED
from soupstock.cli.display.terminal import cell, new_console
from soupstock.dataset.mix import Mixed


def show_mixed(done: Mixed) -> None:
    """Print how many rows each run gave, and where the mix is."""
    console, record = new_console(), done.record
    for one in record.ingredients:
        counts = f"{one.repeats:,} repeats, {one.contaminated:,} contaminated"
        line = f"{one.name}: {one.taken:,} of {one.rows:,} rows ({counts})"
        console.print(cell(line), soft_wrap=True)
    if any(one.is_unasked for one in record.decontamination):
        console.print(f"decontaminate: {UNASKED}", soft_wrap=True)
    console.print(cell(f"{record.dataset.rows:,} rows in {done.folder}"), soft_wrap=True)
