"""Measure how fast a file is pruned, and what decontaminate and select find: docs/benchmarks.md.

Run `python bench/pruning.py` for all parts, or name some: `python bench/pruning.py file select`.
The rows are those of bench/dedup.py. Times are wall-clock and CPU time, which other processes
disturb less; the share that other processes used is shown, too.
"""

import argparse
import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import prose
from dedup import PLACE, _parquet, _peak_megabytes

from engine import Neighbours
from soupstock.project.project import Project
from soupstock.runs.prune import PruneResult, Pruning, prune
from soupstock.similarity.contamination import Detector
from soupstock.similarity.edits import planted
from soupstock.steps.select import BoundSelect, select

PIPELINE = """\
source: {file: none.jsonl}
steps:
  - filter:
      - length: {column: response, min: 80, max: 2000}
      - not_truncated: {column: response}
      - not_refusal: {column: response}
      - language: {column: response, any_of: [en]}
  - dedup: response
"""
ITEMS, LONGEST_ITEM, OTHERS, BATCH = 1000, 60, 6000, 512
OVERLAP, THRESHOLD, ASK_FROM = 0.5, 0.6, 0.45


def file(options: argparse.Namespace) -> Iterator[str]:
    """Prune a Parquet file, from disk to disk."""
    rows = _parquet(options.rows)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "pipelines").mkdir()
        (root / "pipelines" / "big.yaml").write_text(PIPELINE, encoding="utf-8")
        pruning = Pruning(rows, root / "out.parquet", {"response": "texts"})
        done: list[PruneResult] = []
        took = _timed(lambda: done.append(prune(pruning, Project(root), "big")), options.rows)
    account = done[0].account
    yield f"Four filters and dedup by minhash, {account.rows:,} rows, {account.kept:,} kept: {took}"


def decontaminate(_: argparse.Namespace) -> Iterator[str]:
    """Count the edited items that are found, and the other prose that is taken for an item."""
    texts = prose.rows(2 * OTHERS)
    items = [text for text in texts if len(text.split()) <= LONGEST_ITEM][:ITEMS]
    others = [text for text in texts if text not in set(items)][:OTHERS]
    detector = Detector(items, OVERLAP, THRESHOLD)
    found = []

    def search() -> None:
        for start in range(0, len(others), BATCH):
            found.extend(detector.find(others[start : start + BATCH]))

    yield f"{len(others):,} other rows against {len(items):,} items: {_timed(search, len(others))}"
    stages = Counter(one.stages for one in found if one.stages)
    yield f"taken for an item: {sum(stages.values())}, by {dict(stages)}"
    asking = Detector(items, OVERLAP, ASK_FROM)
    parts = (others[start : start + BATCH] for start in range(0, len(others), BATCH))
    asked = sum(one.stages == ("rephrased",) for part in parts for one in asking.find(part))
    yield f"a model would be asked about {asked}"
    yield "\n| edit | canaries | found | by n-grams alone |\n|---|---|---|---|"
    for kind, edited in planted(items).items():
        found = [set(one.stages) for one in detector.find(edited)]
        share, grams = (
            sum(map(bool, some)) / len(edited)
            for some in (found, [s - {"rephrased"} for s in found])
        )
        yield f"| {kind} | {len(edited)} | {share:.3f} | {grams:.3f} |"


def choose(options: argparse.Namespace) -> Iterator[str]:
    """Select a tenth of the rows by each method."""
    texts = pl.read_parquet(_parquet(options.some), columns=["texts"])["texts"]
    rows = pl.DataFrame(
        {
            "id": [f"{n:016x}" for n in range(len(texts))],
            "text": texts,
            "quality": texts.str.len_chars() % 100,
        }
    )
    tenth = len(texts) // 10
    for step in (
        BoundSelect(rows=tenth, by="quality"),
        BoundSelect(rows=tenth, by="quality", method="deita", column="text"),
        BoundSelect(rows=tenth // 10, by="quality", method="k_center", column="text"),
        BoundSelect(rows=tenth, by="quality", clusters=100, column="text"),
    ):
        what = f"{step.method}, clusters" if step.clusters else step.method
        result = _timed(lambda step=step: select(step, rows), len(texts))
        yield f"{what}, {step.rows:,} of {len(texts):,} rows: {result}"


def _timed(work: Callable[[], object], rows: int) -> str:
    neighbours = Neighbours()
    clock, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return (
        f"{clock:.1f} s by the clock, {processor:.1f} s of CPU, {rows / clock:,.0f} rows/s,"
        f" {rows / processor:,.0f} a CPU second; peak {_peak_megabytes():,.0f} MB; others took"
        f" {neighbours.share:.0%} of the machine"
    )


PARTS = {"file": file, "decontaminate": decontaminate, "select": choose}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--some", type=int, default=100_000)
    options = parser.parse_args()
    PLACE.mkdir(exist_ok=True)
    for part in options.parts or PARTS:
        for line in PARTS[part](options):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
