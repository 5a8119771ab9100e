"""The servers of a run's models: those that it starts and stops, and those that run already."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

from soupstock.errors import ModelError, shown
from soupstock.inference.servers.embedded import Embedded
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.vllm_server import VllmServers
from soupstock.inference.servers.weights import SMOLLM2, fetch

_MOST_RESTARTS = 3


class Servers:
    """Starts servers on first need, shares them, and stops them when the run ends."""

    def __init__(self, logs: Path, notify: Callable[[str], None]) -> None:
        self.notify = notify
        """Shows a sentence to the person who waits."""
        self._log = logs / "embedded.log"
        self._starting = asyncio.Lock()
        self._crashes = 0
        self._embedded: Embedded | None = None
        self._vllm = VllmServers(logs, notify)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._embedded is not None:
            await self._embedded.stop()
        await self._vllm.stop()
        self._vllm.close()

    async def stop_vllm(self) -> None:
        """Stop all vLLM servers, to free the GPUs; each is started again when it is needed."""
        await self._vllm.stop()

    def prefix_hits(self, model: Model) -> float | None:
        """Return the share of prompt tokens that a stopped server had in its prefix cache."""
        return None if model.launch is None else self._vllm.prefix_hits(model.launch)

    async def address(self, model: Model) -> tuple[str, str | None]:
        """Return a model's base URL and key, with its server up; raises ModelError.

        A server that ended is started again, a few times, and may then have another address.
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

    async def _started(self, before: "Embedded | None") -> "Embedded":
        if before is not None:
            self._count(before)
        weights = await fetch(SMOLLM2, self.notify)
        return await Embedded.started(weights, self._log)

    def _count(self, ended: "Embedded") -> None:
        self._crashes += 1
        how = f"the embedded model's server ended early ({ended.ending})"
        if self._crashes > _MOST_RESTARTS:
            raise ModelError(f"{how} {self._crashes} times; its log is {shown(self._log)}")
        self.notify(f"{how}; starting it again")
