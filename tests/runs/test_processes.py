"""Runs that are killed, have company or no room keep what was paid for."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conftest import CHAT, Folder
from soupstock import testing
from soupstock.artifacts import manifest
from soupstock.testing import Server

SOUPSTOCK = [sys.executable, "-c", "from soupstock.cli.main import main; main()"]


def start(folder: Folder, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - our own command
        [*SOUPSTOCK, "run", *(arguments or ("mine",))],
        cwd=folder.root,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; returns its exit code, and what it said as one line."""
    output, _ = process.communicate()
    return process.returncode, " ".join(output.split())


def digest(folder: Folder, name: str = "mine") -> str:
    """Hash the rows and the dataset of a pipeline's last run."""
    latest, found = folder.root / "runs" / name / "latest", hashlib.sha256()
    for path in [latest / "rows.parquet", *sorted((latest / "dataset").rglob("*.parquet"))]:
        found.update(path.read_bytes())
    return found.hexdigest()


def forget_answers(folder: Folder) -> None:
    for path in (folder.root / "runs").glob("calls.sqlite*"):
        path.unlink()


def wait_for(server: Server, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until so many requests came in."""
    while server.count < count and process.poll() is None:
        time.sleep(0.001)
    assert process.poll() is None, process.communicate()[0]


def test_the_same_answers_give_the_same_bytes_under_any_hash_seed(
    folder: Folder, server: Server
) -> None:
    server.delay = testing.between(0.0, 0.02)
    digests = set()
    for seed in ("1", "2"):
        code, output = ended(start(folder, PYTHONHASHSEED=seed))
        assert code == 0, output
        digests.add(digest(folder))
        forget_answers(folder)
    assert server.count == 2 * 60
    assert len(digests) == 1


@pytest.mark.parametrize("moment", [25, 59])
def test_a_killed_run_continues_and_pays_twice_only_for_calls_in_flight(
    folder: Folder, server: Server, moment: int
) -> None:
    server.delay = testing.between(0.01, 0.03)
    folder.point_at(server.base_url, concurrency=8)
    folder.run()
    whole = digest(folder)
    forget_answers(folder)
    before = server.count
    process = start(folder)
    wait_for(server, before + moment, process)
    process.kill()
    ended(process)
    folder.run()
    assert digest(folder) == whole
    assert server.count - before <= 60 + 8


@pytest.mark.slow
def test_runs_of_two_pipelines_share_one_cache_at_the_same_time(
    folder: Folder, server: Server
) -> None:
    server.delay = 0.02
    folder.write("pipelines/yours.yaml", CHAT.replace("rows: 20", "rows: 30"))
    processes = [start(folder, "mine"), start(folder, "yours")]
    for process in processes:
        code, output = ended(process)
        assert code == 0, output
    first = digest(folder), digest(folder, "yours")
    server.forget()
    for name in ("mine", "yours"):
        folder.run(name)
    assert server.requests == []
    assert (digest(folder), digest(folder, "yours")) == first


@pytest.mark.slow
def test_a_second_run_of_the_same_plan_waits_and_then_asks_nothing(
    folder: Folder, server: Server
) -> None:
    folder.point_at(server.base_url, timeout=3, attempts=100)
    server.delay = 60
    first = start(folder)
    wait_for(server, 1, first)
    second = start(folder)
    assert second.stdout is not None
    assert any("another run is using" in line for line in second.stdout)
    server.delay = 0
    assert ended(first)[0] == 0
    assert ended(second)[0] == 0
    assert manifest.read(folder.root / "runs/mine/latest").paid.calls == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 12 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)):
        pytest.skip("mounting a small disk takes root")
    yield place
    subprocess.run(["/bin/umount", str(place)], check=True)  # noqa: S603


def mount(*arguments: str) -> int:
    command: Sequence[str] = ["/bin/mount", *arguments]
    return subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603


def project_on(disk: Path, server: Server) -> Folder:
    folder = Folder(disk / "project")
    steps = CHAT.index("  - judge:"), CHAT.index("  - dataset:")
    unjudged = CHAT[: steps[0]] + CHAT[steps[1] :]
    folder.write("pipelines/mine.yaml", unjudged.replace("rows: 20", "rows: 500"))
    folder.write("prompts/ask.md", "Ask about {{ topic }}, {{ style }}.")
    folder.write("prompts/reply.md", "{{ question }}")
    folder.point_at(server.base_url, concurrency=16)
    return folder


def test_a_full_disk_ends_a_run_in_one_line_and_loses_no_answer(small_disk: Path) -> None:
    def answer(request: testing.Request) -> str:
        draw = random.Random(request.raw)  # noqa: S311 - bytes that do not compress, no secret
        return draw.randbytes(25_000).hex()

    with Server(answer) as server:
        folder = project_on(small_disk, server)
        code, output = ended(start(folder))
        asked = {request.key for request in server.requests}
        server.forget()
        assert code == 1
        assert "Traceback" not in output
        assert "free some space and run again" in output
        assert 20 < len(asked) < 1000
        mount("-o", "remount,size=200m", str(small_disk))
        code, output = ended(start(folder))
        assert "Traceback" not in output
        assert not asked & {request.key for request in server.requests}


def test_rows_for_which_there_is_no_room_end_a_run_in_one_line(small_disk: Path) -> None:
    def answer(request: testing.Request) -> str:
        return random.Random(request.raw).randbytes(1000).hex()  # noqa: S311 - no secret

    with Server(answer) as server:
        folder = project_on(small_disk, server)
        process = start(folder)
        wait_for(server, 100, process)
        (small_disk / "else").write_bytes(bytes(free(small_disk) - 1_500_000))
        code, output = ended(process)
        assert code == 1
        assert "Traceback" not in output
        assert "No space left on device" in output or "out of room" in output


def free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_asked(
    small_disk: Path, server: Server
) -> None:
    folder = project_on(small_disk, server)
    mount("-o", "remount,ro", str(small_disk))
    code, output = ended(start(folder))
    assert code == 2
    assert "Traceback" not in output
    assert "Read-only file system" in output
    assert server.count == 0
