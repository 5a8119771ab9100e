"""Run with budgets on a simulated server that keeps its own accounts, in virtual time.

The server bills each request on arrival, whatever happens to the answer. So its bill is the truth,
and the budget holds if the bill never exceeds the limits.
"""

import asyncio
import random
import selectors
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soupstock.inference.budget import Amount, Budget
from soupstock.inference.cache import Cache
from soupstock.inference.call import Answer, Call, CallForm, Failure, Reply
from soupstock.inference.client import Client
from soupstock.inference.retry import RequestError
from soupstock.inference.servers.endpoint import Price
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.transport import Address, Transport

CALLS = 400


class _Selector(selectors.DefaultSelector):
    """Lets time jump to the next timer when nothing else is to do."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes as fast as it can."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now


class Books(Transport):
    """A server that randomly answers, refuses, fails or does not answer, and bills."""

    def __init__(self, draw: random.Random, price: Price) -> None:
        super().__init__()
        self.draw, self.price = draw, price
        self.billed = Amount()
        self.most = 0
        self._under_way = 0

    async def post(self, address: Address, call: Call) -> Answer:  # noqa: ARG002 - as the real one
        """Answer after a delay, or never."""
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._answer(call.body)
        finally:
            self._under_way -= 1

    async def _answer(self, body: bytes) -> Answer:
        fate = self.draw.choices(["answer", "429", "500", "silence", "lost"], [80, 8, 4, 4, 4])[0]
        if fate == "429":
            raise RequestError(Failure("RateLimitError", "429: slower"), status=429)
        if fate == "500":
            raise RequestError(Failure("InternalServerError", "500: broken"), status=500)
        asked, answered = self.draw.randint(1, len(body)), self.draw.randint(0, 64)
        cost = self.price.cost(asked, answered)
        self.billed = self.billed.plus(Amount(1, asked, answered, cost))
        await asyncio.sleep(self.draw.expovariate(5))
        if fate == "silence":
            raise RequestError(Failure("APITimeoutError", "no answer in time"))
        if fate == "lost":
            raise RequestError(Failure("APIConnectionError", "connection lost"))
        return Answer("text", "stop", asked, answered)


@dataclass(frozen=True)
class Outcome:
    """The result of one run."""

    is_within: bool
    share: float
    """The billed share of the tightest limit."""
    in_flight: int


def _limits(draw: random.Random) -> dict[str, Any]:
    return {
        "max_calls": draw.choice([None, draw.randrange(CALLS)]),
        "max_tokens": draw.choice([None, draw.randrange(CALLS * 100)]),
        "max_cost": draw.choice([None, draw.random() * CALLS * 1e-5]),
    }


async def _run(seed: int, folder: Path) -> Outcome:
    draw = random.Random(seed)  # noqa: S311 - seeded, to be repeatable
    price = Price(0.15, 0.6)
    model = Model(
        "sim",
        "sim",
        base_url="http://sim/v1",
        concurrency=256,
        input_price=price.input,
        output_price=price.output,
    )
    form = CallForm(model, {"max_tokens": 64}, seed=seed)
    limits, books = _limits(draw), Books(draw, price)
    budget = Budget(**limits)
    async with (
        Cache(folder / f"{seed}.sqlite") as cache,
        Servers(folder, lambda _: None) as servers,
        Client(cache, servers, budget, books) as client,
    ):
        replies: list[Reply] = []
        calls = [form.call([{"role": "user", "content": "x" * 40}], str(n)) for n in range(CALLS)]
        await _all(client, calls, replies)
    shares = [
        used / limit
        for used, limit in (
            (books.billed.calls, limits["max_calls"]),
            (books.billed.tokens, limits["max_tokens"]),
            (books.billed.cost, limits["max_cost"]),
        )
        if limit
    ]
    within = all(share <= 1 for share in shares)
    return Outcome(within, max(shares, default=0.0), books.most)


async def _all(client: Client, calls: Sequence[Call], replies: list[Reply]) -> None:
    done = asyncio.Event()

    def receive(reply: Reply) -> None:
        replies.append(reply)
        if len(replies) == len(calls):
            done.set()

    for call in calls:
        client.ask(call, 0, receive)
    await done.wait()


def run(seed: int, folder: Path) -> Outcome:
    """Do one run with random limits."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_run(seed, folder))
