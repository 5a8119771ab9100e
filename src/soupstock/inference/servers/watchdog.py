"""Run a server that lives no longer than the run that started it.

`python -m soupstock.inference.servers.watchdog COMMAND…` runs it.

The command gets a process group of its own. Standard input is a pipe from the run: when it closes,
because the run is done or was killed, the whole group is ended, first by SIGTERM, then by SIGKILL.
The exit status is the command's, as a shell gives it (128 + the signal that ended it).
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

PATIENCE = 5.0
"""How long a command may take to end after SIGTERM, in seconds."""

GRACE = 3.0
"""How long processes that a command left may take to end, in seconds."""

NOT_FOUND = 127
"""The exit status if the command cannot be run at all."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NONE = 0
"""No signal at all: asks whether any process would get one."""


def main(command: Sequence[str]) -> int:
    """Run a command until it ends, standard input closes or a signal comes; returns its status."""
    woken = _signals()
    # Orphans become children of this process, which then learns when they end.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        process = subprocess.Popen(  # noqa: S603 - the run's own command
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no threads here
        )
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return NOT_FOUND
    try:
        while process.poll() is None:
            if _is_over(woken):
                _end(process)
    finally:
        _end_group(process)
    status = process.returncode
    return status if status >= 0 else 128 - status


def _die_with_parent() -> None:
    """Have Linux kill this process if the watchdog itself is killed."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(what: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def _signals() -> int:
    """Have signals written into a pipe; returns where they are read."""
    woken, waking = os.pipe()
    for end in (woken, waking):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    for number in (*_ENDING, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return woken


def _is_over(woken: int) -> bool:
    """Wait until something happens; tell whether the command should end."""
    stdin = sys.stdin.fileno()
    ready, _, _ = select.select([stdin, woken], [], [])
    came = os.read(woken, 64) if woken in ready else b""
    return any(number in came for number in _ENDING) or (
        stdin in ready and not os.read(stdin, 4096)
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    _signal(process, signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the processes that the command left, first by SIGTERM: some of them clean up."""
    deadline = time.monotonic() + GRACE
    _signal(process, signal.SIGTERM)
    while _is_any_left(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal(process, signal.SIGKILL)


def _is_any_left(process: "subprocess.Popen[bytes]") -> bool:
    """Reap processes that ended; tell whether any of the command's is left."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return _signal(process, _NONE)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to the command and all that it started; tell whether any process is left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
