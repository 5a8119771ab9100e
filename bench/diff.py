"""Measure how long `diff` takes for 100,000 rows a side: `python bench/diff.py`."""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import polars as pl

from soupstock.dataset.diff import compare
from soupstock.dataset.versions import read_version
from soupstock.project.project import Project

WORDS = [f"word{number}" for number in range(5000)]


def main() -> None:
    """Make two versions of a dataset, as runs and as folders, and compare them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    rows = options.parse_args().rows
    draw = random.Random(0)  # noqa: S311 - words, no secret
    with tempfile.TemporaryDirectory() as place:
        for name in ("one", "other"):
            folder = Path(place) / "runs" / "made" / name
            folder.mkdir(parents=True)
            frame(rows, draw, edits=rows // 100 if name == "other" else 0).write_parquet(
                folder / "rows.parquet"
            )
            frame(rows, draw, edits=rows // 100).drop(
                "id", "dropped_by", "failures", "twin", "similarity"
            ).write_parquet(place + f"/{name}.parquet")
            data = Path(place) / name / "data"
            data.mkdir(parents=True)
            (Path(place) / f"{name}.parquet").rename(data / "train-0.parquet")
        project = Project(Path(place))
        for one, other in (("made/one", "made/other"), (f"{place}/one", f"{place}/other")):
            began = time.monotonic()
            found = compare(read_version(project, one), read_version(project, other))
            seconds = time.monotonic() - began
            counts = [len(found.added), len(found.removed), len(found.changed)]
            print(json.dumps({"by": found.identity, "seconds": round(seconds, 2), "a/r/c": counts}))


def frame(rows: int, draw: random.Random, edits: int) -> pl.DataFrame:
    """Make rows like those of a run; some are edited, some are new."""
    fixed = random.Random(1)  # noqa: S311 - words, no secret
    texts = [" ".join(fixed.choices(WORDS, k=80)) for _ in range(rows)]
    for place in draw.sample(range(rows), edits):
        texts[place] += " edited"
    ids = [f"{number + (edits if number >= rows - edits else 0):016x}" for number in range(rows)]
    messages = [
        [{"role": "user", "content": t[:90]}, {"role": "assistant", "content": t}] for t in texts
    ]
    scores = [{"score": fixed.random(), "criteria": {"right": {"reason": t[:40]}}} for t in texts]
    none = pl.Series([[]] * rows, dtype=pl.List(pl.String))
    return pl.DataFrame(
        {"id": ids, "answer": texts, "messages": messages, "quality": scores}
    ).with_columns(
        twin=pl.lit(None, pl.String),
        similarity=pl.lit(None, pl.Float64),
        failures=none,
        dropped_by=none,
    )


if __name__ == "__main__":
    main()
