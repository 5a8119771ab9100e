"""Rows and pipelines for tests of what prunes."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from conftest import Folder

SOUP = (
    "Soak the beans overnight, then simmer them with an onion, two carrots and a bay leaf until "
    "they are soft, and take the leaf out before you mash a third of the beans against the pot."
)


NEAR = SOUP.replace("two carrots", "three carrots")


TRAIN = (
    "The night train leaves at ten and reaches the coast before seven, so reserve a berth early "
    "in summer, and bring your own breakfast, since the dining car has been closed for years."
)


def jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def pipeline(folder: Folder, steps: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a pipeline that asks no model."""
    folder.write("rows.jsonl", jsonl(rows))
    folder.write(
        "pipelines/mine.yaml",
        f"source: {{file: rows.jsonl}}\nsteps:\n{steps}  - dataset: me/mine\n",
    )


def texts(*some: str | None) -> list[dict[str, Any]]:
    return [{"text": text} for text in some]
