"""Run a server only as long as whoever started it lives: `python -m soupstock.watchdog COMMAND…`.

The command gets a process group of its own. Standard input is a pipe from the run: when it closes,
because the run is done or was killed, however, the whole group is ended, kindly and then by force.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

PATIENCE = 10.0
"""How long a server has to end by itself, in seconds."""


def main(command: Sequence[str]) -> int:
    """Run a command until it ends or standard input does; returns its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603

    def end(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=_end, args=(process,), daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=_end_with_input, args=(process,), daemon=True).start()
    status = process.wait()
    # What the command started may outlive it.
    _signal(process, signal.SIGKILL)
    return status


def _end_with_input(process: "subprocess.Popen[bytes]") -> None:
    while sys.stdin.buffer.read(4096):
        pass
    _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    _signal(process, signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
