"""Interrupted once, a run stops in order; interrupted again, at once. Either way it keeps all."""

import signal
import subprocess
from pathlib import Path

import pytest

from conftest import Folder, running, until
from soupstock import testing
from soupstock.testing import Server

ROWS = 20
CALLS = 3 * ROWS


def is_pending(process: "subprocess.Popen[str]", number: signal.Signals) -> bool:
    """Tell whether a signal has not reached a process yet: one of its kind would be lost."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (pending,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd"))
    return bool(int(pending, 16) & 1 << number - 1)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; returns its exit code, and all that it said as one line."""
    said = " ".join(" ".join(process.communicate()).split())
    assert "Traceback" not in said
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_calls_end_that_are_under_way_and_sends_no_further_one(
    folder: Folder, server: Server, number: signal.Signals
) -> None:
    folder.point_at(server.base_url, concurrency=4)
    server.delay = 0.3
    with running(folder) as process:
        until(lambda: server.in_flight == 4, process)
        sent = server.count
        process.send_signal(number)
        code, said = ended(process)
    assert code == 1
    assert "partial: stopped: the run was interrupted" in said
    assert "run the same command again to continue" in said
    assert server.count == sent
    assert folder.run().manifest.paid.calls == CALLS - sent


def test_a_second_signal_waits_for_no_call(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, concurrency=4)
    server.fail(lambda request: testing.silence() if request.number > ROWS else None)
    with running(folder) as process:
        until(lambda: server.count == ROWS + 4, process)
        process.send_signal(signal.SIGINT)
        until(lambda: not is_pending(process, signal.SIGINT), process)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == 1
    assert said.endswith("soupstock: interrupted; every answer so far is kept")
    server.forget()
    assert folder.run().manifest.paid.calls == CALLS - ROWS


def test_a_signal_ends_the_wait_for_a_server_that_refuses(folder: Folder, server: Server) -> None:
    folder.point_at(server.base_url, concurrency=4)
    server.fail(lambda _: testing.refused(retry_after=600))
    with running(folder) as process:
        until(lambda: server.count == 4 and server.in_flight == 0, process)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == 1
    assert "partial: stopped: the run was interrupted" in said
    server.forget()
    assert folder.run().manifest.paid.calls == CALLS
