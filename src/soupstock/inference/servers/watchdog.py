"""Run a server no longer than whoever started it lives.

`python -m soupstock.inference.servers.watchdog COMMAND…` runs it.

The command gets a process group of its own. Standard input is a pipe from the run: when it closes,
because the run is done or was killed, however, the whole group is ended: kindly, then by force. The
exit status is the command's, as a shell gives it (128 and the signal's number where one ended it).
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
"""How long a command has to end by itself once it is told to, in seconds."""

GRACE = 3.0
"""How long what a command left has to end, in seconds."""

NOT_FOUND = 127
"""The exit status where the command cannot be run at all."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NONE = 0
"""No signal at all: asks whether there is anybody to get one."""


def main(command: Sequence[str]) -> int:
    """Run a command until it ends, standard input closes or a signal comes; returns its status."""
    woken = _signals()
    # Whoever loses its parent becomes a child of this process, which then knows of its end.
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
        _sweep(process)
    status = process.returncode
    return status if status >= 0 else 128 - status


def _die_with_parent() -> None:
    """Have Linux kill this process when the watchdog dies, itself killed by force."""
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
    """Wait until something happens; tell whether it means that the command should end."""
    stdin = sys.stdin.fileno()
    ready, _, _ = select.select([stdin, woken], [], [])
    came = os.read(woken, 64) if woken in ready else b""
    return any(number in came for number in _ENDING) or (
        stdin in ready and not os.read(stdin, 4096)
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    _tell(process, signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _tell(process, signal.SIGKILL)
        process.wait()


def _sweep(process: "subprocess.Popen[bytes]") -> None:
    """End what the command started and left: at first kindly, for some of it cleans up."""
    deadline = time.monotonic() + GRACE
    _tell(process, signal.SIGTERM)
    while _reaped(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    _tell(process, signal.SIGKILL)


def _reaped(process: "subprocess.Popen[bytes]") -> bool:
    """Take note of who ended; tell whether there is anybody left of the command."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return _tell(process, _NONE)


def _tell(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to the command and to all that it started; tell whether there is any of it."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
