"""A client of its own, and calls for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from soupstock.inference.budget import Budget
from soupstock.inference.cache import Cache
from soupstock.inference.call import Call, CallForm, Reply
from soupstock.inference.client import Client
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.transport import Transport


def model_at(base_url: str | None, **settings: Any) -> Model:
    return Model("test", "tester", base_url=base_url, **{"concurrency": 8, **settings})


def calls_to(model: Model, count: int) -> list[Call]:
    form = CallForm(model, {"max_tokens": 32})
    return [form.call([{"role": "user", "content": f"question {n}"}], str(n)) for n in range(count)]


@asynccontextmanager
async def opened(
    folder: Path,
    budget: Budget | None = None,
    transport: Transport | None = None,
    servers: Servers | None = None,
) -> AsyncIterator[Client]:
    async with (
        Cache(folder / "calls.sqlite") as cache,
        servers or Servers(folder, lambda _: None) as servers_,
        Client(cache, servers_, budget, transport) as client,
    ):
        yield client


async def ask(client: Client, calls: Sequence[Call]) -> list[Reply]:
    """Ask all at once and wait for every reply, in the calls' order."""
    replies: dict[int, Reply] = {}
    done = asyncio.Event()

    def receiver(number: int) -> Callable[[Reply], None]:
        def receive(reply: Reply) -> None:
            assert number not in replies
            replies[number] = reply
            if len(replies) == len(calls):
                done.set()

        return receive

    for number, call in enumerate(calls):
        client.ask(call, 0, receiver(number))
    await done.wait()
    return [replies[number] for number in range(len(calls))]
