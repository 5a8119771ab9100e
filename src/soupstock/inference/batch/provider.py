"""A provider's batch API, `/v1/files` and `/v1/batches`, by the official openai client."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from soupstock.inference.batch.backends import Progress
from soupstock.inference.batch.ledger import Batch, Result
from soupstock.inference.call import CHAT, COMPLETIONS, EMBEDDINGS
from soupstock.inference.openai_client import client, field, troubles
from soupstock.inference.retry import RequestError
from soupstock.inference.transport import Address, status_trouble

if TYPE_CHECKING:
    from openai.types import BatchCreateParams

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_ENDPOINTS: Mapping[str, Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]] = {
    CHAT: "/v1/chat/completions",
    COMPLETIONS: "/v1/completions",
    EMBEDDINGS: "/v1/embeddings",
}
_PAGE = 100
"""How many batches the API lists at once, at most."""


class Provider:
    """The batch API of the server at an address."""

    def __init__(self, address: Address) -> None:
        self.name = str(address.base_url)
        self._address = address
        self._client = client(address)

    async def upload(self, name: str, content: bytes) -> str:
        """Put a batch's file there; returns the file's id."""
        file = (name, content, "application/jsonl")
        with troubles(self._address):
            made = await self._client.files.create(file=file, purpose="batch")
            return field(self._address, made, "id")

    async def create(self, file: str, path: str) -> str:
        """Create the batch of a file; returns its id."""
        asked: BatchCreateParams = {
            "input_file_id": file,
            "endpoint": _ENDPOINTS[path],
            "completion_window": "24h",
            "metadata": {"made_by": "soupstock"},
        }
        with troubles(self._address):
            made = await self._client.batches.create(**asked)
            return field(self._address, made, "id")

    async def find(self, file: str) -> str | None:
        """Look through all batches of the account for the one of a file."""
        with troubles(self._address):
            async for one in self._client.batches.list(limit=_PAGE):
                if getattr(one, "input_file_id", None) == file:
                    return field(self._address, one, "id")
        return None

    async def progress(self, batch: Batch) -> Progress:
        """Say how far a batch is."""
        with troubles(self._address):
            found = await self._client.batches.retrieve(batch.batch or "")
            status = field(self._address, found, "status")
        counts, errors = found.request_counts, found.errors
        done = (counts.completed or 0) + (counts.failed or 0) if counts else 0
        words = f"{status}, {done:,} of {len(batch.keys):,} done"
        if status == "failed" and errors and errors.data:
            words = f"failed: {self._address.redacted(str(errors.data[0].message))}"
        files = (found.output_file_id, found.error_file_id)
        return Progress(status in _ENDED, words, tuple(file for file in files if file))

    async def fetch(self, file: str) -> bytes:
        """Return a file's content."""
        with troubles(self._address):
            content = await self._client.files.content(file)
            return content.content

    def trouble(self, result: Result) -> RequestError:
        """Read the error that the provider gives in place of an answer."""
        return status_trouble(self._address, result.status, {}, result.body)

    def advice(self, batch: Batch) -> str | None:  # noqa: ARG002 - as a folder's
        """Say that waiting is all."""
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
