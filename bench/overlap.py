"""Measure how long `overlap` takes for three datasets: `python bench/overlap.py`."""

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import Process
from pathlib import Path

import numpy as np
import polars as pl

from soupstock.dataset.corpus import read_corpus
from soupstock.dataset.overlap import overlap
from soupstock.project.project import Project
from soupstock.similarity.cosine import Embedder, Vectors

WORDS = [f"word{number}" for number in range(20_000)]
DATASETS = 3
SHARED = 0.1
"""The share of each dataset's rows that is the anchor."""
PLANTED = 0.01
"""The share of rows that are near-duplicates of the dataset before."""


def main() -> None:
    """Make datasets with an anchor and planted near-duplicates, and count them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--words", type=int, default=120)
    options.add_argument("--boilerplate", type=int, default=0, help="words that all rows share")
    options.add_argument("--vectors", action="store_true", help="compare random vectors, too")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        boilerplate = " ".join(WORDS[: chosen.boilerplate])
        # In a process of its own, so that its memory is not counted.
        maker = Process(target=write, args=(Path(place), chosen.rows, chosen.words, boilerplate))
        maker.start()
        maker.join()
        began = time.monotonic()
        project = Project(Path(place))
        corpora = [read_corpus(project, f"{place}/{n}") for n in range(DATASETS)]
        read = time.monotonic()
        found = overlap(corpora, embedder=Embedder(embed) if chosen.vectors else None)
        ended = time.monotonic()
    counts = sorted({(one.of[-1], one.within[-1], one.same, one.near) for one in found.crossings})
    result = {
        "rows": [DATASETS, chosen.rows],
        "read": round(read - began, 1),
        "compare": round(ended - read, 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "anchor": found.anchor_rows,
        "same and near": counts,
    }
    print(json.dumps(result))


def embed(texts: Sequence[str]) -> Vectors:
    """Draw random vectors, as only the time to compare them is measured."""
    return np.random.default_rng(0).normal(size=(len(texts), 256)).astype(np.float32)


def write(place: Path, rows: int, words: int, boilerplate: str) -> None:
    """Write the datasets."""
    draw = random.Random(0)  # noqa: S311 - words, no secret
    size = words - len(boilerplate.split())

    def made(number: int) -> list[str]:
        return [f"{boilerplate} {' '.join(draw.choices(WORDS, k=size))}" for _ in range(number)]

    anchor, before = made(int(rows * SHARED)), made(rows)
    for number in range(DATASETS):
        copies = [f"{text} indeed" for text in before[: int(rows * PLANTED)]]
        own = made(rows - len(anchor) - len(copies))
        conversations = [
            [{"role": "user", "content": text[:60]}, {"role": "assistant", "content": text}]
            for text in (*anchor, *copies, *own)
        ]
        (place / str(number)).mkdir()
        pl.DataFrame({"messages": conversations}).write_parquet(
            place / str(number) / "train.parquet"
        )
        before = own


if __name__ == "__main__":
    main()
