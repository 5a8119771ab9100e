"""Measure how long `explain` takes for one row of 100,000: make bench NAME=explain."""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from soupstock.engine.garbage_collection import infrequent_collection
from soupstock.engine.plan import Plan, plan_file
from soupstock.project.project import Project
from soupstock.reports.life import explain
from soupstock.rows.row import Row, frame
from soupstock.rows.table import PART_ROWS, save
from soupstock.runs import run as runs
from soupstock.testing import Server

WORDS = 150
"""The words of a response."""


def planned(root: Path, base_url: str) -> Plan:
    """Plan `chat` in an empty project, with its models on a server."""
    settings = f'[tool.soupstock.models.stub]\nbase_url = "{base_url}"\n'
    (root / "pyproject.toml").write_text(settings)
    return plan_file("chat", Project(root), models={"writer": "stub", "judge": "stub"}, rows=20)


def many(rows: list[Row], count: int, chance: random.Random) -> Iterator[list[Row]]:
    """Yield `count` rows like those of a run, each with an id and a response of its own."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(5000)]
    for start in range(0, count, PART_ROWS):
        yield [
            rows[number % len(rows)]
            | {
                "id": f"{chance.getrandbits(64):016x}",
                "response": " ".join(chance.choices(words, k=WORDS)),
            }
            for number in range(start, min(start + PART_ROWS, count))
        ]


def main() -> None:
    """Measure, and print the milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=200)
    arguments = parser.parse_args()
    chance = random.Random(7)  # noqa: S311 - rows, no secret
    with tempfile.TemporaryDirectory() as place, Server() as server:
        root = Path(place)
        plan = planned(root, server.base_url)
        run = runs.run(plan)
        blocks = many(run.rows.to_dicts(), arguments.rows, chance)
        path = run.folder / "rows.parquet"
        save(path, plan.columns, (frame(block, plan.columns) for block in blocks))
        ids = pl.read_parquet(path, columns=["id"])["id"].to_list()
        milliseconds = []
        # As the command line does.
        with infrequent_collection():
            for row_id in chance.sample(ids, arguments.times):
                started = time.perf_counter()
                explain(Project(root), "chat", row_id[:12])
                milliseconds.append((time.perf_counter() - started) * 1000)
    centiles = statistics.quantiles(milliseconds, n=100)
    print(f"{arguments.rows:,} rows: median {centiles[49]:.1f} ms, p95 {centiles[94]:.1f} ms")


if __name__ == "__main__":
    main()
