"""Measure the standard filters' speed and recall: the figures of docs/benchmarks.md.

Run `python bench/filters.py` for all parts, or name some: `python bench/filters.py speed defects`.
Speed is the best of several runs, each in a process of its own: with one polars thread by CPU time,
which other processes disturb least, and with two threads by wall-clock time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

THREADS = (1, 2)
PLANTED = 500
RECALL, FALSE_POSITIVES = 0.95, 0.01
SLOW = ("not_repetitive", "language")
"""The chat pipeline's filters that are measured separately."""


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    rows: int
    times: int


def _best(times: int, work: Callable[[], object]) -> float:
    """Return the fewest seconds that the work took."""
    alone = os.environ.get("POLARS_MAX_THREADS") == "1"
    clock = time.process_time if alone else time.perf_counter
    seconds = []
    for _ in range(times):
        started = clock()
        work()
        seconds.append(clock() - started)
    return min(seconds)


def speeds(options: Options) -> dict[str, float]:
    """Measure rows per second in this process, of the chat pipeline's filters and of eldc alone."""
    import eldc
    import polars as pl
    import prose

    from soupstock.engine.plan import plan_file
    from soupstock.project.project import Project
    from soupstock.steps.filter import BoundFilters, filter_rows

    texts = prose.rows(options.rows)
    rows = pl.DataFrame(
        {
            "instruction": [f"What would you say of {text[:60]}?" for text in texts],
            "response": texts,
            "quality": [{"score": 0.5}] * len(texts),
        }
    )
    steps = plan_file("chat", Project(ROOT)).steps
    keeps = [
        keep for step in steps if isinstance(step.bound, BoundFilters) for keep in step.bound.keeps
    ]
    quick = [keep for keep in keeps if not keep[0].startswith(SLOW)]
    asked = {
        "heuristics": quick,
        "heuristics and repetition": [k for k in keeps if not k[0].startswith("language")],
        "repetition": [k for k in keeps if k[0].startswith("not_repetitive")],
        "language": [k for k in keeps if k[0].startswith("language")],
        "all": keeps,
    }
    found = {}
    for name, some in asked.items():
        work = partial(filter_rows, BoundFilters(tuple(some)), rows)
        found[name] = rows.height / _best(options.times, work)
    eldc.init()
    detect = eldc.instance().detect_mt
    alone = _best(options.times, lambda: [detect(text) for text in texts])
    words = sum(len(text.split()) for text in texts) / len(texts)
    return found | {"eldc": rows.height / alone, "rows": rows.height, "words": words}


def speed(options: Options) -> Iterator[str]:
    """Measure with each number of threads, and compare with the goals."""
    goals = {
        "heuristics": "≥ 50,000",
        "heuristics and repetition": "≥ 10,000",
        "repetition": "",
        "language": "≥ .5 of eldc",
        "all": "",
    }
    found = {threads: _apart(options, threads) for threads in THREADS}
    any_of = found[THREADS[0]]
    yield f"{any_of['rows']:,.0f} rows of {any_of['words']:.0f} words on average; rows done in\n"
    yield "| filters of the chat pipeline | goal | a CPU second, 1 thread | a second, 2 threads |"
    yield "|---|---|---|---|"
    for name, goal in goals.items():
        cells = [f"{found[threads][name]:,.0f}" for threads in THREADS]
        if name == "language":
            cells = [
                f"{cell} ({found[threads][name] / found[threads]['eldc']:.2f} of eldc)"
                for cell, threads in zip(cells, THREADS, strict=True)
            ]
        yield f"| {name} | {goal} | {' | '.join(cells)} |"


def _apart(options: Options, threads: int) -> dict[str, float]:
    arguments = json.dumps({"rows": options.rows, "times": options.times})
    ended = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, __file__, "--alone", arguments],
        env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(ended.stdout)
    return measured


def defects(options: Options) -> Iterator[str]:
    """Plant each kind of defect, and count what its filter drops."""
    import prose
    from planted import KINDS, planted, question, sound_json

    texts = prose.rows(options.rows)
    yield f"{PLANTED} planted of each kind; sound rows: {len(texts):,}\n"
    yield "| defect | filter | recall (≥ .95) | sound rows dropped (≤ .01) |\n|---|---|---|---|"
    for name, kind in KINDS.items():
        sound = [sound_json(n, text) for n, text in enumerate(texts)] if kind.json else texts
        pairs = planted(kind, sound, PLANTED)
        bad = [planted_in for _, planted_in in pairs]
        recall = _dropped(kind.filter, kind.arguments, bad, [question(text) for text, _ in pairs])
        wrong = _dropped(kind.filter, kind.arguments, sound, list(map(question, sound)))
        yield f"| {name} | `{kind.filter}` | {recall:.3f} | {wrong:.4f} |"
        assert recall >= RECALL, name
        assert wrong <= FALSE_POSITIVES, name


def _dropped(
    name: str, arguments: Mapping[str, Any], texts: Sequence[str], asked: Sequence[str]
) -> float:
    import polars as pl

    from soupstock.project.project import Project
    from soupstock.rows.filters import bind_filter
    from soupstock.steps.filter import BoundFilters, filter_rows

    columns = {"text": pl.String(), "asked": pl.String()}
    function = Project(ROOT).filter(name).value
    bound = bind_filter(name, function, {"column": "text", **arguments}, columns)
    reasons = filter_rows(BoundFilters.of([bound]), pl.DataFrame({"text": texts, "asked": asked}))
    return sum(map(bool, reasons)) / len(texts)


PARTS: dict[str, Callable[[Options], Iterator[str]]] = {"speed": speed, "defects": defects}


def main() -> None:
    """Measure the named parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(speeds(Options(**json.loads(given.alone)))))
        return
    for part in given.parts or PARTS:
        for line in PARTS[part](Options(given.rows, given.times)):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
