"""Measure how fast records are sent to Argilla and answers fetched, beside Argilla's own client.

    python bench/review.py --sdk PYTHON [--push 400] [--pull 10000]

PYTHON is an interpreter that has the package `argilla`, in an environment of its own. A real server
is started as by `make review`, once for each client, so that both begin with an empty one.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soupstock.review.argilla import Argilla
from soupstock.review.argilla_api import Api, ArgillaSettings
from soupstock.review.form import Field, Form, FormRecord, Option, Question, Suggestion

ROOT = Path(__file__).parents[1]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
BATCHES = (25, 50, 100, 256)
"""The batch sizes to try for Argilla's client; the fastest counts."""

LEVELS = tuple(Option(str(level), f"level {level}") for level in range(1, 5))
FORM = Form(
    (Field("conversation", "Conversation", "chat"), Field("reasons", "What the judge says")),
    (
        Question(
            "verdict", "Keep?", (Option("keep", "Keep"), Option("bad", "Drop")), is_required=True
        ),
        Question("criterion_1_a", "Is it helpful?", LEVELS, criterion="a", description="a"),
        Question("correction", "How should it read?"),
    ),
)
SDK = """
import argilla as rg, json, sys, time
url, key, what, batch = sys.argv[1:5]
given = json.load(sys.stdin)
client = rg.Argilla(api_url=url, api_key=key)
if what == "read":
    (dataset,) = list(client.datasets)
    started = time.perf_counter()
    found = dataset.records(batch_size=1000, with_responses=True, with_suggestions=False)
    count = sum(1 for _ in found)
    print(json.dumps([time.perf_counter() - started, count]))
    sys.exit()
workspace = client.workspaces("raw") or rg.Workspace(name="raw", client=client).create()
levels = {str(n): f"level {n}" for n in range(1, 5)}
dataset = rg.Dataset(name=f"raw{batch}", workspace="raw", client=client, settings=rg.Settings(
    fields=[rg.ChatField(name="conversation", required=False),
            rg.TextField(name="reasons", required=False)],
    questions=[rg.LabelQuestion(name="verdict", labels=["keep", "bad"]),
               rg.LabelQuestion(name="criterion_1_a", labels=levels, required=False),
               rg.TextQuestion(name="correction", required=False)],
    metadata=[rg.FloatMetadataProperty(name="score"), rg.TermsMetadataProperty(name="row")]))
dataset.create()
records = [rg.Record(id=one["key"], fields=one["fields"], metadata=one["metadata"], suggestions=[
    rg.Suggestion(s["question"], s["value"], score=s["score"], agent=s["agent"])
    for s in one["suggestions"]]) for one in given]
started = time.perf_counter()
dataset.records.log(records, batch_size=int(batch))
print(json.dumps([time.perf_counter() - started, len(records)]))
"""


def record(number: int) -> FormRecord:
    """Make a record like those of a run."""
    draw = random.Random(number)  # noqa: S311 - a benchmark
    answer = " ".join(draw.choices(WORDS, k=80))
    turns = [
        {"role": "user", "content": f"Question {number}?"},
        {"role": "assistant", "content": answer},
    ]
    return FormRecord(
        key=f"{number:032x}",
        row=f"{number:016x}",
        fields={"conversation": turns, "reasons": "a: It is well put."},
        suggestions=(
            Suggestion("verdict", "keep", 0.8, "judge"),
            Suggestion("criterion_1_a", "3", 0.7, "judge"),
            Suggestion("correction", answer, None, "judge"),
        ),
        metadata={"score": 0.8, "row": f"{number:016x}"},
    )


@contextmanager
def serving() -> Iterator[ArgillaSettings]:
    """Start an empty server."""
    with tempfile.TemporaryDirectory(prefix="soupstock-bench-") as place:
        variables = {"ARGILLA_HOME": place, "ARGILLA_PORT": "0", "ARGILLA_DOCKER": "0"}
        environment = {n: v for n, v in os.environ.items() if not n.startswith("ARGILLA")}
        subprocess.run([ROOT / "review/up"], check=True, env=environment | variables)  # noqa: S603
        try:
            said = json.loads((Path(place) / "server.json").read_text())
            yield ArgillaSettings(said["url"], (Path(place) / "key").read_text())
        finally:
            subprocess.run([ROOT / "review/down"], check=True, env=environment | variables)  # noqa: S603


def sdk(
    python: str, settings: ArgillaSettings, what: str, batch: int, given: list[Any]
) -> tuple[float, int]:
    """Use Argilla's own client; return seconds and records."""
    command = [python, "-c", SDK, settings.url, settings.key, what, str(batch)]
    done = subprocess.run(  # noqa: S603 - our own words
        command, input=json.dumps(given), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    seconds, count = json.loads(done.stdout.splitlines()[-1])
    return seconds, count


def as_data(one: FormRecord) -> dict[str, Any]:
    """Write a record for another interpreter."""
    suggestions = [vars(each) for each in one.suggestions]
    return {**vars(one), "fields": dict(one.fields), "suggestions": suggestions}


async def answer_some(settings: ArgillaSettings, share: float) -> None:
    """Submit answers to some of the records, as people would."""
    async with Api(settings) as api:
        (dataset,) = (await api.get("me/datasets"))["items"]
        offset = 0
        while items := (
            await api.get(f"datasets/{dataset['id']}/records", limit=1000, offset=offset)
        )["items"]:
            offset += len(items)
            chosen = items[: int(len(items) * share)]
            for start in range(0, len(chosen), 100):
                bodies = [
                    {
                        "record_id": one["id"],
                        "values": {"verdict": {"value": "keep"}},
                        "status": "submitted",
                    }
                    for one in chosen[start : start + 100]
                ]
                await api.post("me/responses/bulk", {"items": bodies})


def pushing(python: str, count: int) -> None:
    """Compare the speed of sending."""
    records = [record(number) for number in range(count)]
    given = [as_data(one) for one in records]
    warming = [record(10**6 + number) for number in range(100)]
    with serving() as settings:
        sdk(python, settings, "log", 10, [as_data(one) for one in warming])
        raw = {batch: count / sdk(python, settings, "log", batch, given)[0] for batch in BATCHES}
    with serving() as settings:
        tool = Argilla(settings, "bench", print)
        # Argilla's client, too, begins with an existing dataset, on a server that has warmed up.
        asyncio.run(tool.push(FORM, warming))
        started = time.perf_counter()
        asyncio.run(tool.push(FORM, records))
        own = count / (time.perf_counter() - started)
    best = max(raw, key=lambda batch: raw[batch])
    tried = ", ".join(f"{batch}: {rate:.1f}" for batch, rate in raw.items())
    print(f"push {count:,}: {own:.1f} records/s; raw {raw[best]:.1f} (batches of {tried})")
    print(f"  ratio {own / raw[best]:.2f}")


def pulling(python: str, count: int) -> None:
    """Compare the speed of fetching, and of fetching again after no or few changes."""
    with serving() as settings:
        tool = Argilla(settings, "bench", print)
        # Without suggestions the records are made faster; fetching ignores them.
        bare = [
            FormRecord(one.key, one.row, one.fields, (), one.metadata)
            for one in (record(number) for number in range(count))
        ]
        asyncio.run(tool.push(FORM, bare))
        asyncio.run(answer_some(settings, 0.1))
        seconds, read = sdk(python, settings, "read", 0, [])
        started = time.perf_counter()
        pulled = asyncio.run(tool.pull(FORM, {}, {}))
        own = time.perf_counter() - started
        started = time.perf_counter()
        asyncio.run(tool.pull(FORM, {}, pulled.cursors))
        again = time.perf_counter() - started
    found = len(pulled.answers)
    print(
        f"pull {count:,}: {count / own:.0f} records/s ({found:,} answers); raw {read / seconds:.0f}"
    )
    print(f"  ratio {seconds / own:.2f}; again, nothing new: {again:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdk", required=True, help="a Python that has the package argilla")
    parser.add_argument("--push", type=int, default=400)
    parser.add_argument("--pull", type=int, default=10_000)
    chosen = parser.parse_args()
    pushing(chosen.sdk, chosen.push)
    pulling(chosen.sdk, chosen.pull)
