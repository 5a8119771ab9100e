"""Where batches are handed in: what every backend does, and a folder for `vllm run-batch`.

`provider` has the other backend, a provider's batch API.
"""

import asyncio
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from soupstock.artifacts.files import written_whole
from soupstock.errors import shown
from soupstock.inference.batch.ledger import Batch, Result
from soupstock.inference.call import Failure
from soupstock.inference.retry import RequestError


class Progress(NamedTuple):
    """How far a batch is."""

    is_over: bool
    words: str
    """The same in words, for the person who waits."""
    files: tuple[str, ...] = ()
    """The files that hold its results."""


class Backend(Protocol):
    """Where batches are handed in and their results are fetched."""

    @property
    def name(self) -> str:
        """Its name in the ledger."""

    async def upload(self, name: str, content: bytes) -> str:
        """Put a batch's file there; returns the file's id. Nothing is paid for yet."""

    async def create(self, file: str, path: str) -> str:
        """Have a file of calls to a path worked on; returns the batch's id."""

    async def find(self, file: str) -> str | None:
        """Return the id of the batch that was made of a file; None where there is none."""

    async def progress(self, batch: Batch) -> Progress:
        """Say how far a batch is."""

    async def fetch(self, file: str) -> bytes:
        """Return the content of a file of results."""

    def trouble(self, result: Result) -> RequestError:
        """Say what a result without an answer means."""

    def advice(self, batch: Batch) -> str | None:
        """Say what a person has to do; None where waiting is all."""

    async def close(self) -> None:
        """Close its connections."""


@dataclass(frozen=True)
class Folder:
    """Files for `vllm run-batch`, which a person starts wherever the GPUs are."""

    folder: Path
    model: str
    name: str = "file"

    async def upload(self, name: str, content: bytes) -> str:
        """Write a batch's file, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        with written_whole(path) as file:
            file.write_bytes(content)
        return str(path)

    async def create(self, file: str, path: str) -> str:  # noqa: ARG002 - as a provider's
        """Leave the work to a person."""
        return file

    async def find(self, file: str) -> str | None:
        """Return the file itself: a person works on it."""
        return file

    async def progress(self, batch: Batch) -> Progress:
        """Count the results: vLLM writes all of them at the end."""
        out = _out(batch)
        count = len(out.read_bytes().splitlines()) if out.is_file() else 0
        words = f"{count:,} of {len(batch.keys):,} results are in {shown(out)}"
        return Progress(count >= len(batch.keys), words, (str(out),))

    async def fetch(self, file: str) -> bytes:
        """Return a file's content."""
        return await asyncio.to_thread(Path(file).read_bytes)

    def trouble(self, result: Result) -> RequestError:
        """Show what vLLM wrote instead of an answer."""
        return RequestError(
            Failure("BatchError", shown(result.body[:300].decode(errors="replace")))
        )

    def advice(self, batch: Batch) -> str | None:
        """Say what to run."""
        names = (shlex.quote(name) for name in (batch.file, str(_out(batch)), self.model))
        given, out, model = names
        return f"run `vllm run-batch -i {given} -o {out} --model {model}`, then run again"

    async def close(self) -> None:
        """Do nothing: a folder has no connections."""


def _out(batch: Batch) -> Path:
    return Path(batch.file).with_suffix(".out.jsonl")
