"""Workers take rows ahead if the cache has the answers, and change no result."""

import asyncio
import dataclasses
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import processes, status

from conftest import Folder
from soupstock.engine.flow import Flow
from soupstock.engine.plan import Plan
from soupstock.engine.tally import Tally
from soupstock.engine.worker import take
from soupstock.engine.workers import Block, Workers
from soupstock.inference.cache import Cache, Reader
from soupstock.inference.client import Client
from soupstock.inference.servers.pool import Servers
from soupstock.rows.row import Ids
from soupstock.rows.table import PART_ROWS
from soupstock.testing import Server

PIPELINE = "pipelines/mine.yaml"
ROWS = PART_ROWS + 700
KEY = "sk-not-for-files"
PATIENCE = 60


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Folder, Server]]:
    """Make a project whose rows fill more than one part, with all of their answers in the cache."""
    folder = Folder(tmp_path_factory.mktemp("cached"))
    folder.write(
        PIPELINE,
        f"models: {{writer: test}}\n"
        f"source: {{rows: {ROWS}, sample: {{topic: [tea, rice, rain], style: [short, long]}}}}\n"
        "steps:\n"
        "  - generate: question\n    model: writer\n    prompt: ask\n"
        "  - filter: [talks: {column: question}]\n"
        "  - dataset: me/mine\n",
    )
    folder.write("prompts/ask.md", "Ask about {{ topic }}, {{ style }}.")
    folder.write(
        "filters/talks.py",
        'import polars as pl\n\nprint("a filter that prints")\n\n\n'
        "def talks(column: str) -> pl.Expr:\n"
        '    """Keep what has an even length."""\n'
        "    return pl.col(column).str.len_chars() % 2 == 0\n",
    )
    with Server() as server:
        folder.point_at(server.base_url, concurrency=64)
        folder.run()
        yield folder, server


@dataclasses.dataclass
class Flowed:
    """The result of a flow."""

    rows: bytes
    tallies: list[Tally]
    asked: int
    returned: int
    """How many blocks the workers returned."""

    def accounts(self) -> list[tuple[object, ...]]:
        return [
            (t.label, t.rows_in, t.kept, t.dropped, t.failed, t.waiting, t.reasons, t.by_model)
            for t in self.tallies
        ]


async def flowed(plan: Plan, place: Path, most: int = 0, *, kills: bool = False) -> Flowed:
    """Take a plan's rows through, with workers that are there from the beginning."""
    async with (
        Cache(plan.project.root / "runs" / "calls.sqlite") as cache,
        Servers(place, lambda _: None) as servers,
        Client(cache, servers) as client,
        Workers(plan, place / "workers", most) as workers,
    ):
        if most:
            await until(workers.has_room)
        flow = Flow(plan, client, place / "rows", plan.rows, workers=workers)
        killing = asyncio.create_task(kill_one(workers)) if kills else None
        table = await flow.run()
        if killing is not None:
            await killing
        table.save(place / "rows.parquet")
        rows = (place / "rows.parquet").read_bytes()
        return Flowed(rows, flow.tallies, client.usage.calls, workers.returned)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what processes bring about."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.001)


async def kill_one(workers: Workers) -> None:
    """Kill a worker by force as soon as a block came back."""
    await until(lambda: workers.returned)
    os.kill(workers_of(os.getpid())[0], signal.SIGKILL)


def workers_of(parent: int) -> list[int]:
    return [pid for pid in processes() if status(pid)[1] == parent and is_worker(pid)]


def is_worker(pid: int) -> bool:
    try:
        return b"soupstock.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("most", [1, 3])
async def test_with_workers_rows_and_accounts_are_the_same(
    cached: tuple[Folder, Server], tmp_path: Path, most: int
) -> None:
    plan = cached[0].plan()
    alone = await flowed(plan, tmp_path / "alone")
    together = await flowed(plan, tmp_path / "together", most)
    assert together.returned > 0
    assert together.rows == alone.rows
    assert together.accounts() == alone.accounts()
    assert together.asked == alone.asked == 0


async def test_what_the_cache_lacks_is_asked_once_and_ends_where_it_would_have(
    cached: tuple[Folder, Server], tmp_path: Path
) -> None:
    folder, server = cached
    plan = folder.plan()
    alone = await flowed(plan, tmp_path / "alone")
    lacking = forget_some(folder, 40)
    server.forget()
    together = await flowed(plan, tmp_path / "together", 2)
    assert together.returned > 0
    assert together.asked == len(server.requests) == lacking
    assert together.rows == alone.rows
    assert together.accounts() == alone.accounts()


def forget_some(folder: Folder, count: int) -> int:
    """Forget answers that were given, chosen by lot."""
    with closing(sqlite3.connect(folder.root / "runs" / "calls.sqlite")) as db, db:
        keys = [key for (key,) in db.execute("SELECT key FROM calls ORDER BY key")]
        chosen = random.Random(3).sample(keys, count)  # noqa: S311 - a choice, no secret
        db.executemany("DELETE FROM calls WHERE key = ?", ((key,) for key in chosen))
    return len(chosen)


async def test_a_worker_that_is_killed_takes_no_row_along(
    cached: tuple[Folder, Server], tmp_path: Path
) -> None:
    plan = cached[0].plan()
    alone = await flowed(plan, tmp_path / "alone")
    together = await flowed(plan, tmp_path / "together", 1, kills=True)
    assert together.rows == alone.rows
    assert together.accounts() == alone.accounts()


async def test_a_worker_that_comes_to_another_plan_takes_nothing(
    folder: Folder, server: Server, tmp_path: Path
) -> None:
    plan = folder.plan()
    folder.replace("prompts/ask.md", "Ask", "Never ask")
    async with Workers(plan, tmp_path / "workers", 1) as workers:
        assert not workers.has_room()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=PATIENCE)
        assert not workers.has_room()
    assert not workers_of(os.getpid())
    assert server.count == 0


HELD = """\
import asyncio, sys
from pathlib import Path
from soupstock.engine.plan import plan_file
from soupstock.project.project import Project
from soupstock.engine.workers import Workers

async def hold():
    async with Workers(plan_file("mine", Project(Path(sys.argv[1]))), Path(sys.argv[2]), 2) as all_:
        while not all_.has_room():
            await asyncio.sleep(0.01)
        print("there", flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


def test_no_worker_outlives_a_run_that_is_killed(
    folder: Folder, server: Server, tmp_path: Path
) -> None:
    folder.run()
    command = [sys.executable, "-c", HELD, str(folder.root), str(tmp_path / "workers")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        workers = workers_of(process.pid)
        process.kill()
    assert len(workers) == 2
    until = time.monotonic() + PATIENCE
    while any(map(is_worker, workers)):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert server.count


async def test_what_workers_write_holds_no_key(
    cached: tuple[Folder, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, server = cached
    monkeypatch.setenv("TEST_KEY", KEY)
    folder.point_at(server.base_url, api_key_env="TEST_KEY")
    plan = folder.plan()
    content = next(plan.source.blocks())
    rows = [
        {"id": Ids().name(one), **one, "failures": [], "dropped_by": []} for one in content[:20]
    ]
    block = Block(0, 2, is_end=False, rows=list(enumerate(rows)))
    with closing(Reader(folder.root / "runs" / "calls.sqlite")) as reader:
        taken = await take(plan, reader, block)
    assert plan.models["writer"].api_key == KEY
    assert taken.spent[0][0].answers == 20
    for written in (plan.pipeline, block, taken):
        assert KEY.encode() not in pickle.dumps(written)
