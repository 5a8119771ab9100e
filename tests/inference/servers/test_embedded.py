"""The embedded model, for real: one server for a run, which outlives the run in no case."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest

from conftest import Folder, running, until
from soupstock.errors import ModelError
from soupstock.inference.servers import embedded_process
from soupstock.inference.servers.embedded import CONTEXT
from soupstock.inference.servers.model import resolve
from soupstock.inference.servers.pool import Servers
from soupstock.inference.servers.weights import SMOLLM2, fetch
from soupstock.runs import run as runs
from soupstock.runs.run import Run

pytestmark = pytest.mark.embedded

MODEL = resolve("embedded", {})

PIPELINE = """\
models: {writer: embedded, judge: embedded}
source: {file: seeds.jsonl}
steps:
  - {generate: answer, model: writer, prompt: reply, max_tokens: 12}
  - {judge: quality, model: judge, rubric: plain, max_tokens: 300}
  - {dataset: me/mine}
"""
RUBRIC = """\
columns: [answer]
criteria:
  clear: {question: Is it clear?, levels: [It is not., It is.]}
"""


def project(root: Path, *questions: str) -> Folder:
    folder = Folder(root)
    folder.write("pipelines/mine.yaml", PIPELINE)
    folder.write("prompts/reply.md", "{{ question }}")
    folder.write("prompts/rubrics/plain.yaml", RUBRIC)
    folder.write("seeds.jsonl", "".join(json.dumps({"question": q}) + "\n" for q in questions))
    return folder


@pytest.fixture
def stories(tmp_path: Path) -> Folder:
    """Make a project whose run takes a while: forty answers of 24 tokens."""
    folder = project(tmp_path / "stories", *(f"Tell me of {n} cats." for n in range(40)))
    steps = PIPELINE.replace("12", "24").splitlines()
    folder.write("pipelines/mine.yaml", "\n".join([*steps[:4], steps[-1]]))
    return folder


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    asyncio.run(fetch(SMOLLM2, lambda _: None))


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; returns its exit code, and all that it said as one line."""
    said = " ".join(" ".join(process.communicate()).split())
    assert "Traceback" not in said
    return process.returncode, said


def servers_of(parent: int) -> list[int]:
    """Return the embedded servers that a process started and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            is_server = (
                b"soupstock.inference.servers.embedded_process" in (entry / "cmdline").read_bytes()
            )
            if is_server and int(ppid) == parent and state != "Z":
                found.append(int(entry.name))
    return found


def is_gone(pid: int) -> bool:
    """Tell whether a process ended, even if nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_answering(folder: Folder) -> bool:
    """Tell whether a run's cache has an answer."""
    path = folder.root / "runs" / "calls.sqlite"
    if not path.is_file():
        return False
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error):
        return bool(db.execute("SELECT count(*) FROM calls").fetchone()[0])
    return False


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Run]:
    """Run three rows; the second question is longer than the model's context."""
    questions = ("What is rain?", "Why? " * CONTEXT, "What is snow?")
    folder = project(tmp_path_factory.mktemp("embedded") / "project", *questions)
    return folder, folder.run()


def test_writer_and_judge_answer_in_one_run(ran: tuple[Folder, Run]) -> None:
    _, run = ran
    rows = run.rows.filter(run.rows["dropped_by"].list.len() == 0).to_dicts()
    assert [row["question"] for row in rows] == ["What is rain?", "What is snow?"]
    assert all(row["answer"] for row in rows)
    # Scores are means over the levels' probabilities, which the embedded server tells.
    assert all(0 < row["quality"]["score"] < 1 for row in rows)
    assert all(0 < row["quality"]["uncertainty"] <= 1 for row in rows)
    assert run.manifest.paid.calls == 4
    assert run.manifest.paid.tokens.completion > 10
    assert servers_of(os.getpid()) == []


def test_a_prompt_longer_than_the_context_fails_its_row_alone(ran: tuple[Folder, Run]) -> None:
    _, run = ran
    (failure,) = run.manifest.steps[0].failures
    assert (failure.cause, failure.rows) == ("BadRequestError", 1)
    assert "exceeds the available context size (2048 tokens)" in failure.example
    assert run.manifest.outcome == "complete"


def test_the_shipped_pipeline_chat_makes_rows_and_readable_verdicts(tmp_path: Path) -> None:
    run = runs.run(Folder(tmp_path).plan("chat", rows=4))
    judged = run.manifest.steps[5]
    assert (judged.label, judged.failures) == ("judge: quality", ())
    assert judged.answers == judged.rows_in > 0
    assert run.manifest.kept > 0


def test_a_second_run_starts_no_server_and_writes_the_same(
    ran: tuple[Folder, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = ran
    # The failed row would be asked again.
    folder.write("seeds.jsonl", '{"question": "What is rain?"}\n{"question": "What is snow?"}\n')
    log = folder.root / "runs" / "logs" / "embedded.log"
    log.unlink()
    # Without weights no server could start.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    again = folder.run()
    assert again.manifest.paid.calls == 0
    assert not log.exists()
    assert again.rows.to_dicts() == [row for row in run.rows.to_dicts() if row["answer"]]


async def test_a_server_is_shared_and_ends_with_its_run(tmp_path: Path) -> None:
    async with Servers(tmp_path, pytest.fail) as running:
        addresses = await asyncio.gather(*(running.address(MODEL) for _ in range(3)))
        assert len(set(addresses)) == 1
        (pid,) = servers_of(os.getpid())
    assert is_gone(pid)


def read(name: str) -> bytes:
    return Path(name).read_bytes()


async def test_the_key_is_asked_for_and_kept_from_logs_and_process_lists(tmp_path: Path) -> None:
    async with Servers(tmp_path, pytest.fail) as running, aiohttp.ClientSession() as http:
        url, key = await running.address(MODEL)
        assert key is not None
        body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}
        async with http.post(f"{url}/chat/completions", json=body) as response:
            assert response.status == 401
        bearer = {"Authorization": f"Bearer {key}"}
        async with http.post(f"{url}/chat/completions", json=body, headers=bearer) as response:
            assert response.status == 200
        (pid,) = servers_of(os.getpid())
        for name in (f"/proc/{pid}/cmdline", f"/proc/{pid}/environ", f"{tmp_path}/embedded.log"):
            assert key.encode() not in read(name)


async def crash(running: Servers) -> None:
    assert running._embedded is not None
    running._embedded._process.kill()
    await running._embedded._process.wait()


async def test_a_server_that_keeps_crashing_is_given_up_in_one_line(tmp_path: Path) -> None:
    notes: list[str] = []
    async with Servers(tmp_path, notes.append) as running:
        for _ in range(4):
            await running.address(MODEL)
            await crash(running)
        with pytest.raises(ModelError) as caught:
            await running.address(MODEL)
    how = "the embedded model's server ended early (SIGKILL)"
    assert notes == [f"{how}; starting it again"] * 3
    assert str(caught.value) == f"{how} 4 times; its log is {tmp_path / 'embedded.log'}"


@pytest.mark.slow
def test_a_server_that_crashes_is_started_again_and_no_row_is_lost(stories: Folder) -> None:
    with running(stories, "--rows=12") as process:
        until(lambda: is_answering(stories), process)
        for pid in servers_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        code, said = ended(process)
    assert code == 0
    assert "the embedded model's server ended early (SIGKILL); starting it again" in said
    assert "12 rows in, 12 kept, 0 dropped; 12 calls made" in said


@pytest.mark.slow
def test_an_interrupted_run_stops_its_server_and_goes_on_from_there(stories: Folder) -> None:
    with running(stories) as process:
        until(lambda: is_answering(stories), process)
        (server,) = servers_of(process.pid)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert is_gone(server)
    assert code == 1
    assert "partial: stopped: the run was interrupted" in said
    with running(stories, "--max-calls=1") as process:
        code, said = ended(process)
    assert "1 call made" in said
    assert " 0 found in the cache" not in said


def test_an_interrupt_does_not_wait_for_a_server_that_is_starting(stories: Folder) -> None:
    with running(stories) as process:
        until(lambda: servers_of(process.pid), process)
        (server,) = servers_of(process.pid)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert is_gone(server)
    assert code == 1
    assert "0 calls made" in said


def test_a_run_that_is_interrupted_twice_leaves_no_server(stories: Folder) -> None:
    with running(stories) as process:
        until(lambda: is_answering(stories), process)
        (server,) = servers_of(process.pid)
        while process.poll() is None and not is_gone(server):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        code, said = ended(process)
    assert is_gone(server)
    assert code == 1
    assert "interrupted; every answer so far is kept" in said


def test_a_run_that_is_killed_leaves_no_server(stories: Folder) -> None:
    with running(stories) as process:
        until(lambda: is_answering(stories), process)
        (server,) = servers_of(process.pid)
        process.kill()
        process.wait()
    while not is_gone(server):
        time.sleep(0.01)


@pytest.mark.slow
def test_two_projects_run_at_once_with_a_server_each(tmp_path: Path) -> None:
    first, second = (project(tmp_path / name, "What is rain?") for name in ("a", "b"))
    with running(first) as one, running(second) as other:
        assert ended(one)[0] == 0
        assert ended(other)[0] == 0


def test_no_more_threads_are_taken_than_there_are_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = os.sched_getaffinity(0)
    assert embedded_process._threads() == min(len(cores), 8)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert embedded_process._threads() == 1
    finally:
        os.sched_setaffinity(0, cores)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(embedded_process, "_QUOTA", quota)
    for said, expected in (("max 100000\n", min(len(cores), 8)), ("50000 100000\n", 1)):
        quota.write_text(said)
        assert embedded_process._threads() == expected
