"""The processes of servers that runs start, as Linux tells of them."""

import contextlib
import subprocess
import time
from pathlib import Path


def status(pid: int) -> tuple[str, int, int]:
    """Return a process's state, its parent and its session; state Z where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "Z", 0, 0
    return fields[0], int(fields[1]), int(fields[3])


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def server_of(run: int) -> int | None:
    """Return the server that a run started; its process id is its session's too."""
    for watchdog in processes():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{watchdog}/cmdline").read_bytes()
            if status(watchdog)[1] == run and b"soupstock.inference.servers.watchdog" in command:
                children = [pid for pid in processes() if status(pid)[1] == watchdog]
                return children[0] if children else None
    return None


def left_of(server: int) -> list[int]:
    """Return the processes of a server that live: itself, its engine and workers."""
    return [pid for pid in processes() if status(pid)[2] == server and status(pid)[0] != "Z"]


def wait_for_end(server: int) -> None:
    """Wait until nothing of a server lives."""
    while left_of(server):
        time.sleep(0.02)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; returns its exit code, and all that it said as one line."""
    said = " ".join(" ".join(process.communicate()).split())
    assert "Traceback" not in said
    return process.returncode, said
