"""Servers that answer for models: the embedded one, started and stopped by a run; and endpoints."""

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from soupstock.errors import MistakeError, ModelError, Place, hint, quoted, shown
from soupstock.spec import Endpoint
from soupstock.weights import SMOLLM2, fetched

EMBEDDED = "embedded"
SLOTS = 16
"""How many answers the embedded server writes at once."""

CONTEXT = 2048
"""How many tokens a question and its answer may have together."""

_START_SECONDS = 120.0
_STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Model:
    """What a model's reference stands for, before anything runs."""

    reference: str
    name: str
    """The name that its server knows it by."""
    revision: str | None = None
    license: str | None = None
    base_url: str | None = None
    """Where it answers; None for a server that the run starts."""
    api_key: str | None = field(default=None, repr=False)
    missing: str | None = None
    """What must be mended before it can be asked, in words."""
    concurrency: int | None = None
    timeout: float = 600.0
    attempts: int = 6
    input_price: float | None = None
    output_price: float | None = None
    """US dollars per million tokens."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further fields of each request's body."""


def resolve(reference: str, endpoints: Mapping[str, Endpoint], place: Place | None = None) -> Model:
    """Find what a reference stands for; raises MistakeError."""
    if reference in endpoints:
        return _from_endpoint(reference, reference, endpoints[reference])
    if reference == EMBEDDED:
        return Model(
            EMBEDDED,
            SMOLLM2.model,
            revision=SMOLLM2.revision,
            license=SMOLLM2.license,
            concurrency=SLOTS,
            input_price=0.0,
            output_price=0.0,
        )
    server, slash, name = reference.partition("/")
    if slash and name and server in endpoints:
        return _from_endpoint(reference, name, endpoints[server])
    if slash and name and server == "openai":
        base_url = os.environ.get("OPENAI_BASE_URL") or Endpoint().base_url
        endpoint = Endpoint(base_url=base_url, api_key_env="OPENAI_API_KEY")
        return _from_endpoint(reference, name, endpoint)
    known = [EMBEDDED, "openai/NAME", *endpoints]
    raise MistakeError(
        f"no model is called {quoted(reference)}{hint(reference, known)}"
        " (further ones are declared in [tool.soupstock.models.NAME] of pyproject.toml)",
        place,
    )


def _from_endpoint(reference: str, name: str, endpoint: Endpoint) -> Model:
    variable = endpoint.api_key_env
    key = os.environ.get(variable) if variable else None
    missing = f"the environment variable {variable} is not set" if variable and not key else None
    return Model(
        reference,
        endpoint.model or name if "/" not in reference else name,
        api_key=key,
        missing=missing,
        **endpoint.model_dump(exclude={"model", "api_key_env"}),
    )


class Servers:
    """Starts servers on first need, shares them, and stops them when the run ends."""

    def __init__(self, logs: Path, notify: Callable[[str], None]) -> None:
        self._logs = logs
        self._notify = notify
        self._starting = asyncio.Lock()
        self._embedded: _Embedded | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._embedded is not None:
            await self._embedded.stop()

    async def address(self, model: Model) -> tuple[str, str | None]:
        """Return a model's base URL and key, with its server up; raises ModelError."""
        if model.missing:
            raise ModelError(f"{shown(model.reference)}: {model.missing}")
        if model.base_url is not None:
            return model.base_url, model.api_key
        async with self._starting:
            if self._embedded is None or not self._embedded.is_alive:
                self._embedded = await self._start()
        return self._embedded.base_url, self._embedded.key

    async def _start(self) -> "_Embedded":
        if importlib.util.find_spec("xllamacpp") is None:
            raise ModelError("the embedded model takes xllamacpp: install soupstock[embedded]")
        path = await asyncio.to_thread(fetched, SMOLLM2, self._notify)
        self._logs.mkdir(parents=True, exist_ok=True)
        return await _Embedded.started(path, self._logs / "embedded.log")


class _Embedded:
    """The embedded server's process. It ends when the pipe to it closes, whoever closes it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, key: str) -> None:
        self._process = process
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.key = key

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @classmethod
    async def started(cls, weights: Path, log: Path) -> Self:
        key = secrets.token_urlsafe(24)
        with log.open("wb") as sink:
            # A session of its own: Ctrl-C in the terminal is for the run, which stops it in order.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "soupstock.embedded",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                start_new_session=True,
            )
        told = {
            "path": str(weights),
            "key": key,
            "slots": SLOTS,
            "context": CONTEXT,
            "threads": len(os.sched_getaffinity(0)),
        }
        assert process.stdin and process.stdout  # noqa: S101, PT018 - both are pipes
        process.stdin.write(json.dumps(told).encode() + b"\n")
        try:
            async with asyncio.timeout(_START_SECONDS):
                port = await _port(process.stdout)
        except (TimeoutError, ValueError) as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise ModelError(f"the embedded model did not start: {_last_words(log)}") from error
        return cls(process, port, key)

    async def stop(self) -> None:
        """End the process: by its pipe, or by force."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def _port(stream: asyncio.StreamReader) -> int:
    """Read the port from the line of JSON that the server prints; its library prints others."""
    while line := await stream.readline():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return int(json.loads(line)["port"])
    raise ValueError("the process ended")


def _last_words(log: Path) -> str:
    """Find the line of a log that says why."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return shown((telling or lines or ["it said nothing"])[-1][:300])
