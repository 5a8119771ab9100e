"""The embedded model as a process of its own, started and stopped."""

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

from soupstock.errors import ModelError, shown
from soupstock.inference.servers.model import SLOTS

CONTEXT = 2048
"""How many tokens a prompt and its answer may have together."""


_START_SECONDS = 120.0


_STOP_SECONDS = 2.0


class Embedded:
    """The embedded server's process. It ends when the pipe to it closes, for whatever reason."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, key: str) -> None:
        self._process = process
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.key = key

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    @property
    def ending(self) -> str:
        """How the process ended."""
        return _ending(self._process)

    @classmethod
    async def started(cls, weights: Path, log: Path) -> Self:
        """Start a process, and wait until it listens; raises ModelError."""
        key = secrets.token_urlsafe(24)
        settings = {"path": str(weights), "key": key, "slots": SLOTS, "context": CONTEXT}
        with _new_log(log) as sink:
            process = await _spawn(sink)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    port = await _port(process, settings)
            except BaseException as error:
                # If the pipe closed early, the process ends by itself.
                await _end(process, _STOP_SECONDS if isinstance(error, ValueError) else 0.0)
                if isinstance(error, (TimeoutError, OSError, ValueError)):
                    reason = f"{_error_in(sink) or _why(error, process)}; its log is {shown(log)}"
                    raise ModelError(f"the embedded model did not start: {reason}") from error
                raise
        return cls(process, port, key)

    async def stop(self) -> None:
        """End the process: by its pipe, or by force."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await _end(self._process, _STOP_SECONDS)


def _new_log(log: Path) -> IO[bytes]:
    """Open an empty log; another run that writes to a file of this name keeps its own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    return log.open("w+b")


async def _spawn(log: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "soupstock.inference.servers.embedded_process",
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        # A session of its own: Ctrl-C in the terminal reaches the run alone, which stops in order.
        start_new_session=True,
    )


async def _port(process: asyncio.subprocess.Process, settings: Mapping[str, object]) -> int:
    """Send the server its settings, and read the port that it answers with."""
    assert process.stdin and process.stdout  # noqa: S101, PT018 - both are pipes
    process.stdin.write(json.dumps(settings).encode() + b"\n")
    return int(await process.stdout.readline())


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Wait up to `patience` seconds for a process to end by itself, and then kill it."""
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _ending(process: asyncio.subprocess.Process) -> str:
    """Say how a process ended."""
    status = process.returncode
    if status is None or status >= 0:
        return f"exit status {status}"
    return signal.Signals(-status).name


def _why(error: BaseException, process: asyncio.subprocess.Process) -> str:
    """Say why a server that logged no error did not start."""
    is_late = isinstance(error, TimeoutError)
    return f"it was not ready after {_START_SECONDS:.0f} s" if is_late else _ending(process)


def _error_in(log: IO[bytes]) -> str:
    """Find the line of a log that says why: llama.cpp's first error, or else the last line."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    errors = [line.partition(" E ")[2] for line in lines if " E " in line]
    return shown((errors[:1] or lines[-1:] or [""])[0][:300])
