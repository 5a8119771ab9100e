"""Measure how long it takes to find the rows that belong together: `python bench/splits.py`."""

import argparse
import json
import random
import time

import polars as pl

from soupstock.similarity.clusters import near_duplicate_clusters

WORDS = [f"word{number}" for number in range(20_000)]


def main() -> None:
    """Cluster texts without anything in common, and texts that are half boilerplate."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    rows = options.parse_args().rows
    draw = random.Random(0)  # noqa: S311 - words, no secret
    for name, share in (("distinct", 0), ("a third is boilerplate", 40), ("half is", 60)):
        boilerplate = " ".join(WORDS[:share])
        texts = [
            f"{boilerplate} {' '.join(draw.choices(WORDS, k=120 - share))}" for _ in range(rows)
        ]
        began = time.monotonic()
        found = len(set(near_duplicate_clusters(pl.Series(texts)).tolist()))
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({"texts": name, "rows": rows, "seconds": seconds, "clusters": found}))


if __name__ == "__main__":
    main()
