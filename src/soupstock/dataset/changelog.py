"""The changelog of a dataset on the Hub: an entry for each version, and the card's section."""

from collections.abc import Mapping, Sequence
from typing import Any

from soupstock.dataset.diff import Difference
from soupstock.text.markdown import Markdown, code, listed, paragraphs

_LONGEST = 120


def entry(version: str, found: Difference | None) -> dict[str, Any]:
    """Say in numbers what a version changed, as `soupstock.json` keeps it."""
    if found is None:
        return {"version": version}
    return {
        "version": version,
        "rows": found.rows[1],
        "added": len(found.added),
        "removed": len(found.removed),
        "changed": len(found.changed),
        "columns_added": list(found.columns_added),
        "columns_removed": list(found.columns_removed),
        "moved": [
            {"what": shift.what, "before": shift.before, "after": shift.after}
            for shift in found.moved
        ],
    }


def section(entries: Sequence[Mapping[str, Any]]) -> str:
    """Write the card's section, the newest version first. The entries are hostile text."""
    parts = ["## Changes"]
    for one in reversed(entries):
        parts.append(f"### {code(one.get('version'), _LONGEST)}")
        parts.append(_changes(one))
    return "\n" + paragraphs(map(Markdown, parts)) + "\n"


def _changes(one: Mapping[str, Any]) -> Markdown:
    if "rows" not in one:
        return Markdown("The first version.")
    lines = [
        Markdown(
            f"{_count(one, 'added')} rows added, {_count(one, 'removed')} removed,"
            f" {_count(one, 'changed')} changed; {_count(one, 'rows')} rows now"
        )
    ]
    for what, key in (("new", "columns_added"), ("removed", "columns_removed")):
        names = one.get(key) or []
        if names:
            lines.append(Markdown(f"{what} columns: {', '.join(code(n, _LONGEST) for n in names)}"))
    for shift in one.get("moved") or []:
        before, after = (f"{float(shift[key]):,g}" for key in ("before", "after"))
        lines.append(
            Markdown(f"{code(shift['what'], _LONGEST)} moved: its median from {before} to {after}")
        )
    return listed(lines)


def _count(one: Mapping[str, Any], key: str) -> str:
    return f"{int(one.get(key) or 0):,}"
