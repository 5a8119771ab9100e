"""The cache keeps what was answered, whatever happens to the process that asked."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from soupstock.inference.cache import Cache, CacheEntry, CacheError


def entries(count: int, start: int = 0) -> list[CacheEntry]:
    return [
        CacheEntry(number.to_bytes(20), "model", f"answer {number}".encode())
        for number in range(start, start + count)
    ]


async def put_all(cache: Cache, answers: Sequence[CacheEntry]) -> None:
    await asyncio.gather(*(cache.put(entry) for entry in answers))


async def test_an_answer_is_found_by_its_key_in_the_next_run(tmp_path: Path) -> None:
    wanted = entries(3000)
    async with Cache(tmp_path / "calls.sqlite") as cache:
        await put_all(cache, wanted)
    async with Cache(tmp_path / "calls.sqlite") as cache:
        found = cache.get([*(entry.key for entry in wanted), b"x" * 20])
    assert found == {entry.key: entry.answer for entry in wanted}


async def test_the_first_answer_to_a_question_stays(tmp_path: Path) -> None:
    async with Cache(tmp_path / "calls.sqlite") as cache:
        await cache.put(CacheEntry(b"key", "model", b"first"))
        await cache.put(CacheEntry(b"key", "model", b"second"))
        assert cache.get([b"key"]) == {b"key": b"first"}


async def test_whoever_comes_second_is_given_the_first_answer(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    async with Cache(path) as one, Cache(path) as other:
        first = [entry._replace(answer=b"first") for entry in entries(1000)]
        kept = await asyncio.gather(*(one.put(entry) for entry in first[::3]))
        later = await asyncio.gather(*(other.put(entry) for entry in entries(1000)))
    assert set(kept) == {b"first"}
    assert later[::3] == [b"first"] * len(kept)
    assert later[1::3] == [entry.answer for entry in entries(1000)[1::3]]


async def test_what_is_queued_is_committed_when_the_store_closes(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "calls.sqlite")
    futures = [cache.put(entry) for entry in entries(100)]
    await cache.close()
    await asyncio.gather(*futures)
    async with Cache(tmp_path / "calls.sqlite") as again:
        assert len(again.get([entry.key for entry in entries(100)])) == 100


async def test_two_runs_share_one_store(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    async with Cache(path) as one, Cache(path) as other:
        await asyncio.gather(put_all(one, entries(500)), put_all(other, entries(500, start=250)))
        assert len(one.get([entry.key for entry in entries(750)])) == 750
        assert len(other.get([entry.key for entry in entries(750)])) == 750


def write_until_killed(path: Path, pipe: int) -> None:
    async def forever() -> None:
        async with Cache(path) as cache:
            for start in range(0, 1 << 40, 10):
                await put_all(cache, entries(10, start))
                os.write(pipe, (start + 10).to_bytes(8))

    asyncio.run(forever())


@pytest.mark.parametrize("after", [1, 7, 40])
def test_what_was_reported_as_kept_survives_a_killed_process(tmp_path: Path, after: int) -> None:
    path = tmp_path / "calls.sqlite"
    reading, writing = os.pipe()
    process = multiprocessing.get_context("fork").Process(
        target=write_until_killed, args=(path, writing)
    )
    process.start()
    os.close(writing)
    reported = 0
    for _ in range(after):
        reported = int.from_bytes(os.read(reading, 8))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while rest := os.read(reading, 8):
        reported = int.from_bytes(rest)
    os.close(reading)

    async def kept() -> int:
        async with Cache(path) as cache:
            return len(cache.get([entry.key for entry in entries(reported)]))

    assert reported > 0
    assert asyncio.run(kept()) == reported


async def test_a_torn_write_ahead_log_loses_the_torn_answers_only(tmp_path: Path) -> None:
    path, log = tmp_path / "calls.sqlite", tmp_path / "calls.sqlite-wal"
    async with Cache(path) as cache:
        for entry in entries(50):
            await cache.put(entry)
        copy = tmp_path / "torn.sqlite"
        copy.write_bytes(path.read_bytes())
        whole = log.read_bytes()
    copy.with_name("torn.sqlite-wal").write_bytes(whole[: len(whole) - 1000])
    async with Cache(copy) as cache:
        found = cache.get([entry.key for entry in entries(50)])
        assert 40 <= len(found) < 50
        await put_all(cache, entries(50))
        assert len(cache.get([entry.key for entry in entries(50)])) == 50


async def test_a_folder_that_is_a_file_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(CacheError, match=r"calls\.sqlite cannot be kept: (File exists|Not a dir)"):
        Cache(tmp_path / "runs" / "calls.sqlite")


async def test_a_file_that_is_no_store_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(CacheError, match=r"calls\.sqlite cannot be opened"):
        Cache(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(  # noqa: S603
        ["/bin/mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["/bin/umount", str(folder)], check=True)  # noqa: S603


async def test_a_full_disk_keeps_the_answers_in_flight_and_asks_no_more(small_disk: Path) -> None:
    path = small_disk / "calls.sqlite"
    cache = Cache(path)
    answers = [CacheEntry(n.to_bytes(20), "model", os.urandom(50_000)) for n in range(200)]
    kept: list[CacheEntry] = []

    async def put_all() -> None:
        for entry in answers:
            kept.append(entry)
            await cache.put(entry)

    with pytest.raises(CacheError, match="free some space and run again"):
        await put_all()
    assert 10 < len(kept) < 200
    assert len(cache.get([entry.key for entry in kept])) == len(kept)
    await cache.close()


async def test_a_disk_that_is_full_from_the_start_is_named_in_one_line(small_disk: Path) -> None:
    (small_disk / "else").write_bytes(bytes(11 << 20))
    with pytest.raises(CacheError, match=r"calls\.sqlite cannot be kept: No space left on device"):
        Cache(small_disk / "calls.sqlite")
