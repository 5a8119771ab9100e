"""Measure dedup's speed and recall, beside other libraries on the same rows: docs/benchmarks.md.

Run `python bench/dedup.py` for all parts, or name some: `python bench/dedup.py near growth`. Each
measure runs in a process of its own. The other libraries are installed into an environment in the
temporary folder, or `--peers PYTHON` names an interpreter that has them. The table shows rows per
second by wall-clock time and by CPU time, which is disturbed less by other processes and does not
hide the cost of threads.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

HERE = Path(__file__).parent
PLACE = Path(tempfile.gettempdir()) / "soupstock-bench-dedup"
PEERS = ("rensa", "datasketch", "gaoya", "semhash")
THRESHOLD, COSINE = 0.7, 0.9
ROUNDING = 1e-9
WIDTH = 256
"""The dimensions of a vector."""

_JOINED = 50_000
"""How many rows are compared with all others, to know the truth."""


class Measure(NamedTuple):
    """The measurements of one process."""

    rows: int
    clock: float
    processor: float
    megabytes: float
    gone: list[int]

    def cells(self) -> str:
        """Return rows per second, by wall-clock and CPU time, and the memory."""
        speeds = (self.rows / self.clock, self.rows / self.processor)
        return " | ".join((*(f"{speed:,.0f}" for speed in speeds), f"{self.megabytes:,.0f}"))


HEAD = "| {} | rows | a second | a CPU second | peak MB | recall | precision |\n" + "|---" * 7 + "|"


def near(options: argparse.Namespace) -> Iterator[str]:
    """Compare near-duplicate search with other libraries, and with the truth."""
    import repeats

    yield HEAD.format("near-duplicates, Jaccard 0.7")
    made = _rows(_JOINED)
    pairs = repeats.all_pairs(made.texts, THRESHOLD)
    others = [name for name in options.others if name != "semhash"]
    for name in ("soupstock", *others):
        yield _judged(name, _measured(name, "minhash", _JOINED, options), pairs)
    planted = repeats.planted_pairs(_rows(options.rows), THRESHOLD)
    for name in ("soupstock", *(other for other in others if other in options.large)):
        line = _judged(name, _measured(name, "minhash", options.rows, options), planted)
        yield line.replace(name, f"{name}, against planted pairs", 1)


def twins(options: argparse.Namespace) -> Iterator[str]:
    """Check every named twin by an exact comparison."""
    import repeats

    from soupstock.similarity.duplicates import duplicates

    made = _rows(options.rows)
    found = duplicates(pl.Series(made.texts), "minhash", THRESHOLD)
    wrong = checked = 0
    for row, (twin, similarity) in enumerate(zip(found.twin, found.similarity, strict=True)):
        if twin is not None:
            one, other = (repeats.shingled(made.texts[n]) for n in (row, twin))
            checked += 1
            wrong += (
                abs(repeats.jaccard(one, other) - similarity) > ROUNDING or similarity < THRESHOLD
            )
    yield f"Twins named: {checked:,}; with another similarity than is said, or too little: {wrong}"


def exact(options: argparse.Namespace) -> Iterator[str]:
    """Measure exact dedup of normalised texts."""
    measure = _measured("soupstock", "exact", options.rows, options)
    yield "| exact, normalised | a second | a CPU second | peak MB |\n|---|---|---|---|"
    yield f"| {options.rows:,} rows | {measure.cells()} |"


def growth(options: argparse.Namespace) -> Iterator[str]:
    """Measure how the cost of a row grows with the number of rows."""
    yield "| near-duplicates, rows | µs of CPU a row | against the fewest |\n|---|---|---|"
    first = 0.0
    for rows in (options.rows // 100, options.rows // 10, options.rows):
        measure = _measured("soupstock", "minhash", rows, options)
        cost = measure.processor / rows
        first = first or cost
        yield f"| {rows:,} | {cost * 1e6:.1f} | {cost / first:.2f} |"


def semantic(options: argparse.Namespace) -> Iterator[str]:
    """Compare semantic dedup with semhash, on given vectors."""
    yield HEAD.format("semantic, cosine 0.9")
    pairs = list(_close_pairs(np.load(_vectors(options.vectors))))
    for name in ("soupstock", *({"semhash"} & set(options.others))):
        yield _judged(name, _measured(name, "semantic", options.vectors, options), pairs)


def _judged(name: str, measure: Measure, pairs: Sequence[tuple[int, int]]) -> str:
    import repeats

    quality = repeats.judge(measure.gone, pairs)
    found = f"{quality.recall:.4f} | {quality.precision:.4f}"
    return f"| {name} | {measure.rows:,} | {measure.cells()} | {found} |"


def _measured(name: str, method: str, rows: int, options: argparse.Namespace) -> Measure:
    """Measure several times, each in a process of its own, and return the best."""
    source = _vectors(rows) if method == "semantic" else _parquet(rows)
    tried = []
    for _ in range(options.times if name == "soupstock" else 1):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            ours = [sys.executable, __file__, "--measure", method, source]
            theirs = [options.peers, HERE / "dedup_peers.py", name, _for_others(source)]
            command = [*(ours if name == "soupstock" else theirs), report]
            subprocess.run(command, check=True)  # noqa: S603 - our own scripts
            tried.append(Measure(rows, **json.loads(report.read_text(encoding="utf-8"))))
    return min(tried, key=lambda measure: measure.processor)


def _for_others(source: Path) -> Path:
    return source if source.suffix == ".npy" else source.with_suffix(".txt")


def _measure(method: str, source: Path, report: Path) -> None:
    """Measure in this process, and write the result."""
    from soupstock.similarity.cosine import cosine_duplicates
    from soupstock.similarity.duplicates import duplicates

    if method == "semantic":
        vectors = np.load(source)
        _report(
            lambda: np.flatnonzero(cosine_duplicates(vectors, COSINE).twin >= 0).tolist(), report
        )
    else:
        texts = pl.read_parquet(source, columns=["texts"])["texts"]
        how = "exact" if method == "exact" else "minhash"
        _report(
            lambda: duplicates(texts, how, THRESHOLD).twin.is_not_null().arg_true().to_list(),
            report,
        )


def _peak_megabytes() -> float:
    # getrusage includes the parent's memory at the time of the fork.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def _report(work: Callable[[], list[int]], report: Path) -> None:
    clock, processor = time.perf_counter(), time.process_time()
    gone = work()
    measured: dict[str, Any] = {
        "clock": time.perf_counter() - clock,
        "processor": time.process_time() - processor,
        "megabytes": _peak_megabytes(),
        "gone": gone,
    }
    report.write_text(json.dumps(measured), encoding="utf-8")


def _rows(count: int) -> Any:
    """Make rows, or read those of an earlier run."""
    import repeats

    columns = pl.read_parquet(_parquet(count))
    return repeats.Rows(*(columns[name].to_list() for name in repeats.Rows._fields))


def _parquet(count: int) -> Path:
    """Make the files of rows, one for us and one for the others, if they do not exist yet."""
    import repeats

    path = PLACE / f"rows-{count}.parquet"
    if not path.exists():
        made = repeats.rows(count)
        path.with_suffix(".txt").write_text("\n".join(made.texts), encoding="utf-8")
        pl.DataFrame(made._asdict()).write_parquet(path)
    return path


def _vectors(count: int) -> Path:
    """Embed rows: sum random vectors of their words, weighted by rarity, and centre them."""
    path = PLACE / f"vectors-{count}.npy"
    if not path.exists():
        draw = np.random.default_rng(1)
        words = pl.Series(_rows(count).texts).str.to_lowercase().str.extract_all(r"\w+")
        names = words.explode().fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
        often = np.bincount(names)
        directions = draw.standard_normal((len(often), WIDTH)) / np.sqrt(often)[:, None]
        starts = np.cumsum(sizes := np.maximum(1, words.list.len().to_numpy().astype(int))) - sizes
        vectors = np.empty((count, WIDTH), np.float32)
        for first in range(0, count, 1000):
            own = names[starts[first] : starts[first + 1000] if first + 1000 < count else None]
            cuts = starts[first : first + 1000] - starts[first]
            vectors[first : first + 1000] = np.add.reduceat(directions[own], cuts, axis=0)
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
        np.save(path, vectors - vectors.mean(axis=0))
    return path


def _close_pairs(vectors: Any) -> Iterator[tuple[int, int]]:
    """Compare all pairs, in float64."""
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    for first in range(0, len(unit), 500):
        close = unit[first : first + 500] @ unit[: first + 500].T >= COSINE
        for one, other in np.argwhere(np.tril(close, first - 1)):
            yield int(one) + first, int(other)


def _environment() -> Path:
    """Install the other libraries, once."""
    folder = PLACE / "peers"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *PEERS], check=True)  # noqa: S603 - our own words
    return python


PARTS = {part.__name__: part for part in (near, twins, exact, growth, semantic)}


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--peers", type=Path, help="a Python that has the other libraries")
    parser.add_argument("--others", nargs="*", default=PEERS, help="the other libraries to measure")
    parser.add_argument(
        "--large",
        nargs="*",
        default=("rensa", "gaoya"),
        help="the other libraries to measure on all rows",
    )
    options = parser.parse_args()
    PLACE.mkdir(exist_ok=True)
    options.peers = options.peers or (_environment() if options.others else None)
    for part in options.parts or PARTS:
        for line in PARTS[part](options):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        _measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
