"""A server that the watchdog runs ends with whoever started it, with all that it started itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from soupstock.inference.servers import watchdog

# A command that starts a process of its own, and tells both process ids.
PAIR = """
import os, signal, subprocess, sys, time
{before}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
{after}
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
WAIT = "time.sleep(600)"


@contextmanager
def watched(before: str = "", after: str = WAIT) -> Iterator["subprocess.Popen[bytes]"]:
    code = PAIR.format(before=before, after=after)
    with subprocess.Popen(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-m", "soupstock.inference.servers.watchdog", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def started(process: "subprocess.Popen[bytes]") -> list[int]:
    """Return the ids of the command and of what it started."""
    assert process.stdout is not None
    return [int(pid) for pid in process.stdout.readline().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for_end(pids: list[int]) -> None:
    while not all(is_gone(pid) for pid in pids):
        time.sleep(0.01)


def test_all_that_a_command_started_ends_when_the_pipe_closes() -> None:
    with watched() as process:
        pids = started(process)
        assert not any(is_gone(pid) for pid in pids)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 128 + signal.SIGTERM
        wait_for_end(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_all_that_a_command_started_ends_when_a_signal_comes(number: signal.Signals) -> None:
    with watched() as process:
        pids = started(process)
        process.send_signal(number)
        assert process.wait() == 128 + signal.SIGTERM
        wait_for_end(pids)


def test_what_a_command_started_ends_with_it() -> None:
    with watched(after="sys.exit(3)") as process:
        pids = started(process)
        assert process.wait() == 3
        wait_for_end(pids)


def test_what_a_command_left_may_clean_up_before_it_ends(tmp_path: Path) -> None:
    note = tmp_path / "cleaned"
    child = (
        "import signal, sys, time\n"
        "def clean(*_):\n"
        "    time.sleep(0.2)\n"
        f"    open({str(note)!r}, 'w').close()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, clean)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    code = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [
        sys.executable,
        "-m",
        "soupstock.inference.servers.watchdog",
        sys.executable,
        "-c",
        code,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:  # noqa: S603 - our own words
        assert process.wait() == 128 + signal.SIGKILL
    assert note.exists()


def test_a_command_that_ends_by_a_signal_gives_its_number_as_a_shell_does() -> None:
    with watched() as process:
        pids = started(process)
        os.kill(pids[0], signal.SIGKILL)
        assert process.wait() == 128 + signal.SIGKILL
        wait_for_end(pids)


def test_a_command_ends_with_a_watchdog_that_is_killed() -> None:
    with watched() as process:
        pids = started(process)
        process.kill()
        wait_for_end(pids[:1])
        os.kill(pids[1], signal.SIGKILL)


def test_a_command_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PATIENCE", 0.1)
    code = PAIR.format(before=DEAF, after=WAIT)
    with subprocess.Popen(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        pids = started(process)
        watchdog._end(process)
        assert process.returncode == -signal.SIGKILL
        wait_for_end(pids)


def test_a_command_that_is_not_there_is_named() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "soupstock.inference.servers.watchdog", "/no/such/vllm", "serve"],
        input=b"",
        capture_output=True,
        check=False,
    )
    assert ended.returncode == watchdog.NOT_FOUND
    assert ended.stderr == b"/no/such/vllm: No such file or directory\n"


def test_a_run_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    code = PAIR.format(before="", after=WAIT).replace(
        "flush=True", f"file=open({str(note)!r}, 'w')"
    )
    run = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'soupstock.inference.servers.watchdog', sys.executable]\n"
        f"command += ['-c', {code!r}]\n"
        "subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", run]) as process:  # noqa: S603 - our own words
        while not (note.exists() and len(note.read_text().split()) == 2):
            time.sleep(0.01)
        process.kill()
    wait_for_end([int(pid) for pid in note.read_text().split()])
