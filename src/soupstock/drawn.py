"""A pipeline drawn in plain text, with the rows that went through it: for the dataset card."""

from soupstock.artifacts.manifest import Manifest
from soupstock.text.markdown import Markdown, fenced, one_line

_LONGEST = 60


def drawn(said: Manifest) -> Markdown:
    """Draw the source, each step and the dataset, one under the other."""
    lines = [f"{said.source.kind} source", f"│ {_rows(said.rows)}"]
    for step in said.steps:
        by = f"  by {one_line(step.model, _LONGEST)}" if step.model else ""
        lines += [f"▼ {one_line(step.label, _LONGEST)}{by}", f"│ {_rows(step.rows_kept)}"]
    if said.dataset is not None:
        lines.append(f"▼ {one_line(said.dataset.repository, _LONGEST)}")
    return fenced("\n".join(lines), "text")


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
