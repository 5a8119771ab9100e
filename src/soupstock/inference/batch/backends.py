"""Where batches are handed in: a provider's batch API, or a folder for `vllm run-batch`."""

import asyncio
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiohttp
import orjson

from soupstock.artifacts.files import written_whole
from soupstock.errors import shown
from soupstock.inference.batch.ledger import Batch
from soupstock.inference.call import Failure
from soupstock.inference.transport import Address, Transport, Trouble

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_LISTED = 100


class State(NamedTuple):
    """How far a batch is."""

    is_over: bool
    told: str
    """In words, for whoever waits."""
    files: tuple[str, ...] = ()
    """What holds its results."""


class Desk(Protocol):
    """Where batches are handed in and their results are fetched."""

    @property
    def name(self) -> str:
        """What the ledger calls it."""

    @property
    def address(self) -> Address | None:
        """Where the server is asked; None where a person has files worked on."""

    async def upload(self, name: str, content: bytes) -> str:
        """Put a batch's file there; returns the file's id. Nothing is paid for yet."""

    async def hand_in(self, batch: Batch, path: str) -> Batch:
        """Have a file worked on, once: a batch that was handed in before is found again."""

    async def state(self, batch: Batch) -> State:
        """Say how far a batch is."""

    async def fetch(self, file: str) -> bytes:
        """Return the content of a file of results."""

    def advice(self, batch: Batch) -> str | None:
        """Say what a person has to do; None where waiting is all."""


@dataclass(frozen=True)
class Provider:
    """The batch API as OpenAI has it: `/v1/files` and `/v1/batches`."""

    transport: Transport
    address: Address
    name: str

    async def upload(self, name: str, content: bytes) -> str:
        """Put a batch's file there; returns the file's id."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", content, filename=name, content_type="application/jsonl")
        return str(self._read(await self._ask("POST", "files", form))["id"])

    async def hand_in(self, batch: Batch, path: str) -> Batch:
        """Create the batch of a file, unless there is one."""
        listed = self._read(await self._ask("GET", f"batches?limit={_LISTED}"))
        for one in listed.get("data") or ():
            if one.get("input_file_id") == batch.file:
                return replace(batch, batch=str(one["id"]))
        told = {
            "input_file_id": batch.file,
            "endpoint": f"/v1/{path}",
            "completion_window": "24h",
            "metadata": {"made_by": "soupstock"},
        }
        made = self._read(await self._ask("POST", "batches", orjson.dumps(told)))
        return replace(batch, batch=str(made["id"]))

    async def state(self, batch: Batch) -> State:
        """Say how far a batch is."""
        told = self._read(await self._ask("GET", f"batches/{batch.batch}"))
        status = str(told.get("status"))
        counts = told.get("request_counts") or {}
        done = int(counts.get("completed") or 0) + int(counts.get("failed") or 0)
        words = f"{status}, {done:,} of {len(batch.keys):,} done"
        errors = (told.get("errors") or {}).get("data") or ()
        if status == "failed" and errors:
            words = f"failed: {self.address.told(str(errors[0].get('message')))}"
        files = (told.get("output_file_id"), told.get("error_file_id"))
        return State(status in _ENDED, words, tuple(str(file) for file in files if file))

    async def fetch(self, file: str) -> bytes:
        """Return a file's content."""
        return await self._ask("GET", f"files/{file}/content")

    def advice(self, batch: Batch) -> str | None:  # noqa: ARG002 - as a folder's
        """Say that waiting is all."""
        return None

    async def _ask(
        self, method: str, path: str, data: aiohttp.FormData | bytes | None = None
    ) -> bytes:
        return await self.transport.request(self.address, method, path, data)

    def _read(self, raw: bytes) -> dict[str, Any]:
        try:
            told = orjson.loads(raw)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            message = f"{self.address.base_url}: the reply of the batch API is no JSON object"
            raise Trouble(Failure("APIResponseValidationError", self.address.told(message)))
        return told


@dataclass(frozen=True)
class Folder:
    """Files for `vllm run-batch`, which a person starts wherever the GPUs are."""

    folder: Path
    model: str
    name: str = "file"
    address: None = None

    async def upload(self, name: str, content: bytes) -> str:
        """Write a batch's file, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        with written_whole(path) as file:
            file.write_bytes(content)
        return str(path)

    async def hand_in(self, batch: Batch, path: str) -> Batch:  # noqa: ARG002 - as a provider's
        """Leave it to a person."""
        return replace(batch, batch=batch.file)

    async def state(self, batch: Batch) -> State:
        """Tell whether the results are there, whole: vLLM writes them at the end."""
        out = _out(batch)
        there = len(out.read_bytes().splitlines()) if out.is_file() else 0
        words = f"{there:,} of {len(batch.keys):,} results are in {shown(out)}"
        return State(there >= len(batch.keys), words, (str(out),))

    async def fetch(self, file: str) -> bytes:
        """Return a file's content."""
        return await asyncio.to_thread(Path(file).read_bytes)

    def advice(self, batch: Batch) -> str | None:
        """Say what to run."""
        names = (shlex.quote(name) for name in (batch.file, str(_out(batch)), self.model))
        given, out, model = names
        return f"run `vllm run-batch -i {given} -o {out} --model {model}`, then run again"


def _out(batch: Batch) -> Path:
    return Path(batch.file).with_suffix(".out.jsonl")
