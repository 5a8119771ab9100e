"""Servers that answer for models: the embedded one, started and stopped by a run; and endpoints."""

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ValidationError

from soupstock.errors import MistakeError, ModelError, Place, hint, quoted, shown
from soupstock.inference.budget import Price
from soupstock.inference.servers.endpoint import Endpoint
from soupstock.inference.servers.vllm import (
    VLLM,
    Launch,
    Vllm,
    launch_of,
    missing,
    name_of,
    revision_of,
)
from soupstock.inference.servers.vllm_server import VllmServers
from soupstock.inference.servers.weights import SMOLLM2, fetched
from soupstock.inference.structured import Mode

EMBEDDED = "embedded"
SLOTS = 8
"""How many answers the embedded server writes at once.

With 16 the pipeline `chat` takes no less time, and half as much memory again.
"""

CONTEXT = 2048
"""How many tokens a question and its answer may have together."""

_NO_RUNTIME = "xllamacpp is not installed: pip install 'soupstock[embedded]'"
_START_SECONDS = 120.0
_STOP_SECONDS = 2.0
_MOST_RESTARTS = 3


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
    replicas: tuple[str, ...] = ()
    """Where else it answers."""
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    """The environment variable that the key is read from."""
    length_field: str = "max_tokens"
    """Which field of a request says how long an answer may be."""
    missing: str | None = None
    """What must be mended before it can be asked, in words."""
    mode: Literal["live", "batch", "batch_file"] = "live"
    """Whether calls are sent one by one, or handed in together."""
    poll: float = 60.0
    """Seconds between two looks at a batch that is under way."""
    concurrency: int | None = None
    timeout: float = 600.0
    attempts: int = 6
    input_price: float | None = None
    output_price: float | None = None
    """US dollars per million tokens."""
    cached_price: float | None = None
    """The same for those of a prompt that the server had computed before."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    structured_output: Mode | None = None
    """How its server holds it to a JSON Schema; None where that must be found out."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further fields of each request's body."""
    launch: Launch | None = None
    """How a run starts its server, where it is vLLM."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All base URLs; none for a server that the run starts."""
        return () if self.base_url is None else (self.base_url, *self.replicas)

    @property
    def price(self) -> Price:
        """What its tokens cost."""
        return Price(self.input_price, self.output_price, self.cached_price)


def resolve(
    reference: str,
    endpoints: Mapping[str, Endpoint | Vllm],
    place: Place | None = None,
    root: Path = Path(),
) -> Model:
    """Find what a reference stands for, in a project's folder; raises MistakeError."""
    if reference in endpoints:
        return _declared(reference, None, endpoints[reference], root)
    if reference == EMBEDDED:
        return Model(
            EMBEDDED,
            SMOLLM2.model,
            revision=SMOLLM2.revision,
            license=SMOLLM2.license,
            concurrency=SLOTS,
            input_price=0.0,
            output_price=0.0,
            structured_output="json_schema",
            missing=None if importlib.util.find_spec("xllamacpp") else _NO_RUNTIME,
        )
    server, slash, name = reference.partition("/")
    if name.startswith("-"):
        name = ""
    if slash and name and server in endpoints:
        return _declared(reference, name, endpoints[server], root)
    if slash and name and server == VLLM:
        return _from_vllm(reference, Vllm(vllm=name), root)
    if slash and name and server == "openai":
        return _from_endpoint(reference, name, _openai())
    known = [EMBEDDED, "openai/NAME", "vllm/NAME", *endpoints]
    raise MistakeError(
        f"no model is called {quoted(reference)}{hint(reference, known)}"
        " (further ones are declared in [tool.soupstock.models.NAME] of pyproject.toml)",
        place,
    )


def _declared(reference: str, name: str | None, entry: Endpoint | Vllm, root: Path) -> Model:
    """Return a model as the settings have it; `name` is another model of the same settings."""
    if isinstance(entry, Vllm):
        told = entry if name is None else entry.model_copy(update={"vllm": name})
        return _from_vllm(reference, told, root)
    return _from_endpoint(reference, name or entry.model or reference, entry)


def _from_vllm(reference: str, told: Vllm, root: Path) -> Model:
    shared = {"license", "concurrency", "timeout", "attempts", "input_price", "output_price"}
    return Model(
        reference,
        name_of(told, root),
        revision=revision_of(told, root),
        missing=missing(told, root),
        launch=launch_of(told, root),
        structured_output="json_schema",
        **told.model_dump(include=shared | {"extra"}),
    )


def _openai() -> Endpoint:
    base_url = os.environ.get("OPENAI_BASE_URL") or Endpoint().base_url
    try:
        return Endpoint(base_url=base_url, api_key_env="OPENAI_API_KEY")
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise MistakeError(f"OPENAI_BASE_URL cannot be used: {shown(reason)}") from error


def _from_endpoint(reference: str, name: str, endpoint: Endpoint) -> Model:
    variable = endpoint.api_key_env
    key = os.environ.get(variable) if variable else None
    missing = _missing(variable, key) if variable else None
    first, *further = endpoint.addresses
    # Where batches are files, nobody is there to be probed; what reads them is vLLM.
    assumed: Mode | None = "json_schema" if endpoint.mode == "batch_file" else None
    return Model(
        reference,
        name,
        base_url=first,
        replicas=tuple(further),
        api_key=key,
        missing=missing,
        structured_output=endpoint.structured_output or assumed,
        length_field=endpoint.length_field or _length_field(first),
        **endpoint.model_dump(exclude={"model", "base_url", "structured_output", "length_field"}),
    )


def _length_field(base_url: str) -> str:
    is_openai = urlsplit(base_url).hostname == "api.openai.com"
    return "max_completion_tokens" if is_openai else "max_tokens"


def _missing(variable: str, key: str | None) -> str | None:
    """Say what is wrong with a key; never what it is."""
    if not key:
        return f"the environment variable {variable} is not set"
    if not (key.isascii() and key.isprintable()) or " " in key:
        return (
            f"the environment variable {variable} holds no key: one is a line of plain "
            "characters, without spaces"
        )
    return None


class Servers:
    """Starts servers on first need, shares them, and stops them when the run ends."""

    def __init__(self, logs: Path, notify: Callable[[str], None]) -> None:
        self.notify = notify
        """Tells the person who waits."""
        self._log = logs / "embedded.log"
        self._starting = asyncio.Lock()
        self._crashes = 0
        self._embedded: _Embedded | None = None
        self._vllm = VllmServers(logs, notify)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._embedded is not None:
            await self._embedded.stop()
        await self._vllm.stop()
        self._vllm.close()

    async def stop_vllm(self) -> None:
        """Stop what takes GPUs; a model that is asked for again is started again."""
        await self._vllm.stop()

    def prefix_hits(self, model: Model) -> float | None:
        """Return the share of prompt tokens that a server's prefix cache had, once it ended."""
        return None if model.launch is None else self._vllm.prefix_hits(model.launch)

    async def address(self, model: Model) -> tuple[str, str | None]:
        """Return a model's base URL and key, with its server up; raises ModelError.

        A server that ended is started again, a few times, and then answers elsewhere.
        """
        if model.missing:
            raise ModelError(f"{shown(model.reference)}: {model.missing}")
        if model.base_url is not None:
            return model.base_url, model.api_key
        if model.launch is not None:
            return await self._vllm.address(model.launch)
        async with self._starting:
            if self._embedded is None or not self._embedded.is_alive:
                self._embedded = await self._started(self._embedded)
        return self._embedded.base_url, self._embedded.key

    async def _started(self, before: "_Embedded | None") -> "_Embedded":
        if before is not None:
            self._count(before)
        weights = await fetched(SMOLLM2, self.notify)
        return await _Embedded.started(weights, self._log)

    def _count(self, ended: "_Embedded") -> None:
        self._crashes += 1
        how = f"the embedded model's server ended early ({ended.ending})"
        if self._crashes > _MOST_RESTARTS:
            raise ModelError(f"{how} {self._crashes} times; its log is {shown(self._log)}")
        self.notify(f"{how}; starting it again")


class _Embedded:
    """The embedded server's process. It ends when the pipe to it closes, whoever closes it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, key: str) -> None:
        self._process = process
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.key = key

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def ending(self) -> str:
        return _ending(self._process)

    @classmethod
    async def started(cls, weights: Path, log: Path) -> Self:
        key = secrets.token_urlsafe(24)
        told = {"path": str(weights), "key": key, "slots": SLOTS, "context": CONTEXT}
        with _fresh(log) as sink:
            process = await _spawned(sink)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    port = await _port(process, told)
            except BaseException as error:
                # A pipe that closed early is the sign of a process that ends by itself.
                await _end(process, _STOP_SECONDS if isinstance(error, ValueError) else 0.0)
                if isinstance(error, (TimeoutError, OSError, ValueError)):
                    reason = f"{_complaint(sink) or _why(error, process)}; its log is {shown(log)}"
                    raise ModelError(f"the embedded model did not start: {reason}") from error
                raise
        return cls(process, port, key)

    async def stop(self) -> None:
        """End the process: by its pipe, or by force."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await _end(self._process, _STOP_SECONDS)


def _fresh(log: Path) -> IO[bytes]:
    """Open an empty log; another run that writes to one of this name keeps its own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    return log.open("w+b")


async def _spawned(log: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "soupstock.inference.servers.embedded_process",
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        # A session of its own: Ctrl-C in the terminal is for the run, which stops it in order.
        start_new_session=True,
    )


async def _port(process: asyncio.subprocess.Process, told: Mapping[str, object]) -> int:
    """Tell the server what to do, and read the port that it answers with."""
    assert process.stdin and process.stdout  # noqa: S101, PT018 - both are pipes
    process.stdin.write(json.dumps(told).encode() + b"\n")
    return int(await process.stdout.readline())


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Wait for a process to end by itself, so many seconds, and then end it."""
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
    """Say why a server without a last word did not start."""
    late = isinstance(error, TimeoutError)
    return f"it was not ready after {_START_SECONDS:.0f} s" if late else _ending(process)


def _complaint(log: IO[bytes]) -> str:
    """Find the line of a log that says why: llama.cpp's first error, or else the last line."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    errors = [line.partition(" E ")[2] for line in lines if " E " in line]
    return shown((errors[:1] or lines[-1:] or [""])[0][:300])
