"""The vLLM servers of a run: started on first need, shared, restarted once if they die, stopped.

Each runs under a watchdog in a process group of its own, so it lives no longer than the run.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple, Self

from soupstock.errors import ModelError, shown
from soupstock.inference.servers.vllm import ADVICE, VLLM, Launch
from soupstock.inference.servers.vllm_log import STAGES, Reason, last_line, reason, stage
from soupstock.inference.servers.watchdog import GRACE, PATIENCE
from soupstock.spec.pipeline import slug

Notify = Callable[[str], None]

_MOST_PORTS = 3
"""How many ports to try: another process may take one between its choice and its use."""

_EVERY = 0.1
"""Seconds between two looks at a server that starts or ends."""

_DYING = 15.0
"""How long a server that stopped answering may take to end, in seconds."""

_LOG_END = 20_000
"""How many characters at a log's end are searched for the reason why a server died."""

_ANSWER = 5.0
"""How long an answer about its health or its counters may take, in seconds."""

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""A run talks to model servers alone, so vLLM must not report how it is used."""

_COUNTER = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_OK = 200
_UNAVAILABLE = 503


class PrefixCache(NamedTuple):
    """Prompt tokens that a server looked up in its prefix cache, and those found in it."""

    queries: float = 0.0
    hits: float = 0.0


class VllmServers:
    """Starts servers on first need, shares them, and stops them."""

    def __init__(self, logs: Path, notify: Notify) -> None:
        self._logs = logs
        self._notify = notify
        self._running: dict[Launch, _Server] = {}
        self._files: dict[Launch, _LogFile] = {}
        self._deaths: Counter[Launch] = Counter()
        self._cached: dict[Launch, PrefixCache] = {}
        # One after the other: each measures how much of the GPUs' memory is free.
        self._starting = asyncio.Lock()

    async def address(self, launch: Launch) -> tuple[str, str]:
        """Return a server's base URL and key, with the server up; raises ModelError.

        If it is asked again because the server stopped answering, it restarts the server, once.
        """
        async with self._starting:
            server = self._running.get(launch)
            if server is not None and not await server.is_healthy():
                await self._note_death(launch, server)
                server = None
            if server is None:
                server = self._running[launch] = await self._started(launch)
        return server.base_url, server.key

    def prefix_hits(self, launch: Launch) -> float | None:
        """Return the share of prompt tokens that the prefix cache had, of servers that ended."""
        cached = self._cached.get(launch, PrefixCache())
        return cached.hits / cached.queries if cached.queries else None

    async def stop(self) -> None:
        """Stop all servers; each may be started again."""
        for launch, server in list(self._running.items()):
            queries, hits = self._cached.get(launch, PrefixCache())
            more = await server.cached()
            self._cached[launch] = PrefixCache(queries + more.queries, hits + more.hits)
            await server.stop()
            del self._running[launch]

    def close(self) -> None:
        """Close the logs."""
        for file in self._files.values():
            file.sink.close()

    async def _started(self, launch: Launch) -> "_Server":
        file, name, began = self._file(launch), _title(launch), time.monotonic()
        self._notify(f"{name}: starting vLLM; its log is {shown(file.path)}")
        for left in reversed(range(_MOST_PORTS)):
            server = _Server(launch, file)
            why = await self._wait_for(launch, server)
            if why is None:
                self._notify(f"{name}: ready after {time.monotonic() - began:.0f} s")
                return server
            if why.kind != "port" or not left:
                raise ModelError(f"{name} did not start: {self._with_advice(launch, why)}")
        raise AssertionError

    async def _wait_for(self, launch: Launch, server: "_Server") -> Reason | None:
        """Wait for a server; returns why it ended, if it did."""
        name, is_ready = _title(launch), False
        try:
            async with asyncio.timeout(launch.patience):
                why = await server.ready(lambda words: self._notify(f"{name}: {words}"))
            is_ready = why is None
        except TimeoutError:
            words = f"it was not ready after {launch.patience:g} s (startup_timeout)"
            return Reason("other", words)
        finally:
            if not is_ready:
                await server.stop()
        return why

    def _with_advice(self, launch: Launch, why: Reason) -> str:
        """Add to a reason what to do about memory, and where the log is."""
        beside = [shown(other.name) for other in self._running if other.gpus == launch.gpus]
        log = f"its log is {shown(self._files[launch].path)}"
        if why.kind != "memory":
            return f"{why.text}; {log}"
        if beside:
            return f"{why.text}; it does not fit beside {', '.join(beside)}: {ADVICE}; {log}"
        return (
            f"{why.text}; lower max_model_len, use more GPUs (tensor_parallel), or stop what else "
            f"runs on them; {log}"
        )

    def _file(self, launch: Launch) -> "_LogFile":
        """Return the log of a launch: one file for a run, however often the server is started."""
        if launch not in self._files:
            taken = {file.path for file in self._files.values()}
            stem, number = f"{VLLM}-{slug(launch.name).lower()}", 1
            while (path := self._logs / f"{stem}{f'-{number}' * (number > 1)}.log") in taken:
                number += 1
            self._files[launch] = _LogFile.fresh(path)
        return self._files[launch]

    async def _note_death(self, launch: Launch, server: "_Server") -> None:
        """Note that a server died; raises ModelError if it is not the first time."""
        how = server.ending
        await server.stop()
        self._deaths[launch] += 1
        # A killed server logs no reason, and earlier errors in its log are not the reason.
        why = None if how == "SIGKILL" else reason(server.log_text()[-_LOG_END:])
        cause = f"{how}: {why.text}" if why else how
        how = f"{_title(launch)}: the server ended early ({cause})"
        if self._deaths[launch] > 1:
            raise ModelError(f"{how} for the second time; its log is {shown(server.log)}")
        del self._running[launch]
        self._notify(f"{how}; starting it again")


def _title(launch: Launch) -> str:
    return shown(f"{VLLM}/{launch.name}")


class _LogFile(NamedTuple):
    path: Path
    sink: IO[bytes]

    @classmethod
    def fresh(cls, path: Path) -> Self:
        """Open an empty log; another run that writes to a file of this name keeps its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return cls(path, path.open("a+b", buffering=0))


class _Server:
    """One `vllm serve` under its watchdog."""

    def __init__(self, launch: Launch, file: _LogFile) -> None:
        self.log = file.path
        self.key = secrets.token_urlsafe(24)
        self._sink = file.sink
        self._from = file.sink.seek(0, os.SEEK_END)
        self._port = _free_port()
        # vLLM's processes talk over sockets in a folder, and do not remove them.
        self._sockets = tempfile.mkdtemp(prefix="soupstock-")
        own = {"VLLM_API_KEY": self.key, "VLLM_RPC_BASE_PATH": self._sockets}
        self._process = _start(launch, self._port, own, file.sink)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def ending(self) -> str:
        """How the server ended."""
        status = self._process.poll()
        if status is not None and status > 128:  # noqa: PLR2004 - as a shell tells a signal
            with contextlib.suppress(ValueError):
                return signal.Signals(status - 128).name
        return "it answered no more" if status is None else f"exit status {status}"

    def log_text(self) -> str:
        """Return what the server wrote into its log, without its key."""
        size = self._sink.seek(0, os.SEEK_END)
        raw = os.pread(self._sink.fileno(), size - self._from, self._from)
        return raw.decode(errors="replace").replace(self.key, "[key]")

    async def ready(self, notify: Notify) -> Reason | None:
        """Wait until the server answers, and report each stage; returns why it ended, if it did."""
        reached, read = -1, self._from
        while self._process.poll() is None:
            chunk = os.pread(self._sink.fileno(), 1 << 20, read)
            whole = chunk[: chunk.rfind(b"\n") + 1]
            read += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                if (now := stage(line, reached)) > reached:
                    reached = now
                    notify(STAGES[now][1])
            if await _status(self._port) == _OK:
                return None
            await asyncio.sleep(_EVERY)
        text = self.log_text()
        return reason(text) or Reason("other", last_line(text) or self.ending)

    async def is_healthy(self) -> bool:
        """Tell whether the server can answer; one that is dying gets the time to end."""
        deadline = time.monotonic() + _DYING
        while self._process.poll() is None:
            status = await _status(self._port)
            # A server that takes long to answer about its health is busy.
            if status not in (None, _UNAVAILABLE):
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_EVERY)
        return False

    async def cached(self) -> PrefixCache:
        """Ask the server how many prompt tokens it found in its prefix cache."""
        _, body = await _get(self._port, "/metrics") if self._process.poll() is None else (0, "")
        return read_prefix_cache(body)

    async def stop(self) -> None:
        """End the server with all that it started; returns when they are gone."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            for _ in range(round((PATIENCE + GRACE + _ANSWER) / _EVERY)):
                if process.poll() is not None:
                    return
                await asyncio.sleep(_EVERY)
            process.kill()
            process.wait()
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)


def _start(
    launch: Launch, port: int, own: Mapping[str, str], log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start a server; its key goes into the environment, as command lines are visible to all."""
    # -P: no file in the current folder can stand in for one of Python's modules.
    watchdog = (sys.executable, "-P", "-m", "soupstock.inference.servers.watchdog")
    environment = {**_QUIET, **os.environ, **dict(launch.env), **own}
    return subprocess.Popen(  # noqa: S603 - the command of the user's own settings
        [*watchdog, *launch.command, "--port", str(port)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        # A session of its own: Ctrl-C in the terminal reaches the run alone, which stops in order.
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _status(port: int) -> int | None:
    """Return the status of a server's health; None without a connection, 0 without an answer."""
    return (await _get(port, "/health"))[0]


async def _get(port: int, path: str) -> tuple[int | None, str]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_ANSWER)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"http://127.0.0.1:{port}{path}") as response,
        ):
            return response.status, await response.text()
    except TimeoutError:
        return 0, ""
    except (aiohttp.ClientError, OSError, ValueError):
        return None, ""


def read_prefix_cache(metrics: str) -> PrefixCache:
    """Read a server's counters, of all its engines together."""
    sums = Counter[str]()
    for name, value in _COUNTER.findall(metrics):
        with contextlib.suppress(ValueError):
            sums[name] += float(value)  # type: ignore[assignment]  # a Counter holds any number
    return PrefixCache(sums["queries"], sums["hits"])
