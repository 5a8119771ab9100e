"""Every row that is taken leaves the stream once, in any order, kept or with its reasons."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soupstock import testing
from soupstock.engine.flights import Indexed
from soupstock.engine.stream import BLOCK, Stream
from soupstock.engine.tally import Tally
from soupstock.inference.budget import Budget
from soupstock.inference.cache import Cache, connect
from soupstock.inference.call import Answer, Ask, CallForm, Failure
from soupstock.inference.client import Client
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.rows.row import Row, dropped, failed
from soupstock.steps.step import Stage
from soupstock.testing import Server


def asking(label: str, form: CallForm) -> Stage:
    """Return a stage that asks one question a row, and drops the rows without an answer."""

    async def step(row: Row, ask: Ask) -> Row:
        messages = [{"role": "user", "content": f"{label} {row['id']}"}]
        (reply,) = await ask([form.call(messages, f"{row['id']}/{label}")])
        if isinstance(reply, Failure):
            return dropped(failed(row, label, *reply), f"{label} failed")
        return row | {label: reply.text}

    return Stage(label, step=step)


def checking(label: str, share: float, blocks: list[int]) -> Stage:
    """Return a stage that drops a share of the rows, and notes how large its blocks are."""

    def check(rows: list[Row]) -> list[Row]:
        blocks.append(len(rows))
        keeps = [random.Random(f"{label}{row['id']}").random() >= share for row in rows]  # noqa: S311
        return [row if keep else dropped(row, label) for row, keep in zip(rows, keeps, strict=True)]

    return Stage(label, check=check)


def source(count: int, size: int = 64) -> Iterator[list[Indexed]]:
    rows: list[Indexed] = [
        (n, {"id": str(n), "failures": [], "dropped_by": []}) for n in range(count)
    ]
    for start in range(0, count, size):
        yield rows[start : start + size]


@dataclass
class Streamed:
    """What came out, and what the stream's own counters say."""

    tallies: list[Tally]
    rows: dict[int, Row] = field(default_factory=dict)
    stopped: Failure | None = None
    asked: int = 0

    def take(self, index: int, row: Row) -> None:
        assert index not in self.rows
        self.rows[index] = row

    def assert_accounted(self, count: int) -> None:
        expected = count
        for tally in self.tallies:
            assert tally.rows_in == expected
            assert tally.rows_in == tally.kept + tally.dropped
            assert tally.dropped == sum(tally.reasons.values())
            assert tally.waiting == 0
            expected = tally.kept
        assert sum(not row["dropped_by"] for row in self.rows.values()) == expected


async def streamed(
    folder: Path,
    stages: Sequence[Stage],
    rows: Iterator[list[Indexed]],
    budget: Budget | None = None,
    **options: Any,
) -> Streamed:
    done = Streamed([Tally(stage.label) for stage in stages])
    async with (
        Cache(folder / "calls.sqlite") as cache,
        Servers(folder, lambda _: None) as servers,
        Client(cache, servers, budget) as client,
    ):
        await Stream(stages, client, done.take, done.tallies, **options).run(rows)
        done.stopped, done.asked = client.stopped, client.usage.calls
    return done


def form_at(server: Server, **settings: Any) -> CallForm:
    model = Model("test", "tester", base_url=server.base_url, **{"concurrency": 32, **settings})
    return CallForm(model, {"max_tokens": 16})


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 150),
    concurrency=st.sampled_from([1, 5, 64]),
    faults=st.sampled_from([0.0, 0.3, 1.0]),
    share=st.sampled_from([0.0, 0.4, 1.0]),
    most=st.none() | st.integers(0, 200),
    window=st.integers(1, 200),
)
def test_rows_in_are_rows_kept_and_rows_dropped_by_reason_at_every_step(  # noqa: PLR0913 - each matters
    tmp_path: Path,
    *,
    count: int,
    concurrency: int,
    faults: float,
    share: float,
    most: int | None,
    window: int,
) -> None:
    (tmp_path / "calls.sqlite").unlink(missing_ok=True)
    with Server(delay=testing.between(0, 0.01)) as server:
        server.fail(testing.share(faults, testing.error(400)))
        form = form_at(server, concurrency=concurrency)
        stages = [
            asking("one", form),
            checking("sieve", share, []),
            asking("two", form),
            checking("end", 0.2, []),
        ]
        budget = Budget(max_calls=most)
        done = asyncio.run(streamed(tmp_path, stages, source(count), budget, window=window))
    done.assert_accounted(len(done.rows))
    if done.stopped is None:
        assert sorted(done.rows) == list(range(count))
    for row in done.rows.values():
        assert bool(row["failures"]) == any("failed" in reason for reason in row["dropped_by"])
    if most is not None:
        assert done.asked <= most


async def test_no_more_rows_are_under_way_than_the_window_and_a_block(tmp_path: Path) -> None:
    taken = ended = most = 0

    def rows() -> Iterator[list[Indexed]]:
        nonlocal taken, most
        for block in source(2000, 50):
            taken += len(block)
            most = max(most, taken - ended)
            yield block

    def count_check(rows: list[Row]) -> list[Row]:
        nonlocal ended
        ended += len(rows)
        return rows

    with Server() as server:
        stages = [asking("one", form_at(server)), Stage("end", check=count_check)]
        done = await streamed(tmp_path, stages, rows(), window=100)
    assert len(done.rows) == 2000
    assert most <= 100 + 2 * 50


async def test_no_rows_are_taken_while_too_many_wait_for_an_earlier_one(
    tmp_path: Path,
) -> None:
    ended: list[int] = []

    def answer(request: testing.Request) -> testing.Reply:
        # The first row's answer comes when all that may overtake it have.
        return testing.Reply("late", after=0.5 if request.prompt == "one 0" else 0.0)

    def note(rows: list[Row]) -> list[Row]:
        ended.extend(int(row["id"]) for row in rows)
        return rows

    with Server(answer) as server:
        done = await streamed(
            tmp_path,
            [asking("one", form_at(server)), Stage("end", check=note)],
            source(1000, 10),
            is_full=lambda: 0 not in ended and len(ended) > 100,
            window=40,
        )
    assert len(done.rows) == 1000
    assert 100 < ended.index(0) < 200


async def test_rows_that_come_one_by_one_are_checked_in_blocks(tmp_path: Path) -> None:
    blocks: list[int] = []
    with Server(delay=testing.between(0.05, 0.15)) as server:
        stages = [asking("one", form_at(server, concurrency=300)), checking("end", 0.0, blocks)]
        done = await streamed(tmp_path, stages, source(300))
    assert len(done.rows) == sum(blocks) == 300
    assert len(blocks) < 30
    assert max(blocks) <= BLOCK


async def test_a_step_that_fails_for_everybody_from_the_start_stops_the_run(
    tmp_path: Path,
) -> None:
    with Server() as server:
        server.fail(lambda _: testing.error(400, "no such parameter"))
        stages = [asking("one", form_at(server))]
        done = await streamed(tmp_path, stages, source(5000))
        assert server.count < 200
    assert done.stopped == Failure(
        "Hopeless",
        "one failed for 50 of the last 50 rows (BadRequestError: 400: no such parameter)",
    )
    done.assert_accounted(len(done.rows))


async def test_a_step_that_fails_for_everybody_after_thousands_of_answers_stops_the_run(
    tmp_path: Path,
) -> None:
    with Server() as server:
        server.fail(lambda request: testing.error(400) if request.number > 2000 else None)
        done = await streamed(tmp_path, [asking("one", form_at(server))], source(5000))
        assert server.count < 2300
    assert done.stopped is not None
    assert done.stopped.cause == "Hopeless"
    assert done.tallies[0].kept == 2000


async def test_a_step_that_fails_for_four_in_five_goes_on(tmp_path: Path) -> None:
    with Server() as server:
        server.fail(lambda request: testing.error(400) if request.number % 5 else None)
        done = await streamed(tmp_path, [asking("one", form_at(server))], source(600))
    assert done.stopped is None
    assert (done.tallies[0].kept, done.tallies[0].failed) == (120, 480)


async def test_failures_do_not_overtake_answers_that_wait_to_be_kept(tmp_path: Path) -> None:
    with Server() as server, closing(connect(tmp_path / "calls.sqlite")) as other:
        server.fail(lambda request: testing.error(400) if request.number % 5 else None)
        stages = [asking("one", form_at(server, concurrency=64))]
        other.execute("BEGIN IMMEDIATE")
        streaming = asyncio.create_task(streamed(tmp_path, stages, source(600)))
        async with asyncio.timeout(30):
            while server.count < 64:  # noqa: ASYNC110 - the server is a thread
                await asyncio.sleep(0.001)
        other.execute("ROLLBACK")
        done = await streaming
        assert done.stopped is None
        done.assert_accounted(600)


async def test_later_steps_go_first(tmp_path: Path) -> None:
    with Server(delay=0.001) as server:
        form = form_at(server, concurrency=1)
        await streamed(tmp_path, [asking("one", form), asking("two", form)], source(20))
        asked = [request.prompt.split() for request in server.requests]
    # While a row's answer is read, one more row's first question is under way already.
    for row in range(20):
        first, second = asked.index(["one", str(row)]), asked.index(["two", str(row)])
        assert 0 < second - first <= 3


async def test_a_step_may_ask_several_times_and_gets_its_replies_in_order(tmp_path: Path) -> None:
    def answer(request: testing.Request) -> str:
        return request.prompt.upper()

    with Server(answer, delay=testing.between(0, 0.02)) as server:
        form = form_at(server)

        async def step(row: Row, ask: Ask) -> Row:
            said: list[str] = []
            for turn in range(3):
                calls = [
                    form.call([{"role": "user", "content": f"{turn}{letter}"}], row["id"])
                    for letter in "abc"
                ]
                said += [reply.text for reply in await ask(calls) if isinstance(reply, Answer)]
            return row | {"said": said}

        done = await streamed(tmp_path, [Stage("talk", step=step)], source(30))
    expected = [f"{turn}{letter}" for turn in range(3) for letter in "ABC"]
    assert all(row["said"] == expected for row in done.rows.values())


async def test_a_stream_that_has_no_room_for_its_last_rows_loses_none_silently(
    tmp_path: Path,
) -> None:
    stages = [checking("one", 0, [])]
    with pytest.raises(RuntimeError, match="no room"):
        await streamed(tmp_path, stages, source(100), is_full=lambda: True)
