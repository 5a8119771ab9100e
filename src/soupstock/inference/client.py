"""Asks: every call goes through the cache, and what is not in it goes to its model's queue.

The same question, asked while it is under way, waits for that answer. Knows no rows, no steps and
no HTTP.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Self

from soupstock.inference.batch.batch_queue import BatchQueue
from soupstock.inference.batch.ledger import Ledger
from soupstock.inference.budget import Budget
from soupstock.inference.cache import Cache
from soupstock.inference.call import Answer, Call, Failure, Reply, decode, look_up
from soupstock.inference.live_queue import LiveQueue
from soupstock.inference.model_queue import (
    Account,
    AnswerWriter,
    Job,
    ModelQueue,
    QueueContext,
    Shutdown,
    Usage,
)
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.transport import Transport


class Client:
    """Answers calls from the cache or by asking their servers. Used within one event loop."""

    def __init__(
        self,
        cache: Cache,
        servers: Servers,
        budget: Budget | None = None,
        transport: Transport | None = None,
        *,
        is_live: bool = False,
    ) -> None:
        """Open a client; with `is_live` no call is left to a provider's batch API."""
        self._cache = cache
        self._servers = servers
        self._transport = transport or Transport()
        self._is_live = is_live
        self._loop = asyncio.get_running_loop()
        self._ledger = Ledger(cache.path)
        self._jobs: dict[bytes, Job] = {}
        self._queues: dict[Model, ModelQueue] = {}
        self._is_resting = False
        """Whether nothing more is asked before an answer comes."""
        self._shutdown = Shutdown(self._stop_queues)
        self._shared = QueueContext(
            servers,
            self._transport,
            budget or Budget(),
            AnswerWriter(cache, self._shutdown),
            self._shutdown,
            self._finish,
            self._hand_in,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(queue.close() for queue in self._queues.values()))
        await self._transport.close()

    @property
    def stopped(self) -> Failure | None:
        """Why nothing more is asked; the calls that wait get it as their reply."""
        return self._shutdown.why

    @property
    def broken(self) -> Exception | None:
        """The error that ended the run early, where it was one."""
        return self._shutdown.error

    @property
    def usage(self) -> Usage:
        """What calls to all models took."""
        return Usage.total(queue.account().usage for queue in list(self._queues.values()))

    def account(self) -> Account:
        """Say what was done so far, and is done now; complete when all servers have stopped."""
        models = [
            queue.account()._replace(prefix_hits=self._servers.prefix_hits(model))
            # The progress display asks from another thread.
            for model, queue in list(self._queues.items())
        ]
        return Account(models, self.usage, self.stopped)

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return those answers that the cache has, by the call's key."""
        cached = look_up(self._cache.get, calls)
        return {key: decode(one.answer) for key, one in cached.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Ask a server, and call `done` with the reply; higher ranks go first (`PriorityQueue`)."""
        if self.stopped is not None:
            done(self.stopped)
        elif job := self._jobs.get(call.key):
            job.done.append(done)
        else:
            self._is_resting = False
            queue = self._queues.get(call.model) or self._opened(call.model)
            job = self._jobs[call.key] = Job(call.key, call, [done], rank)
            queue.add(job)

    def rest(self) -> None:
        """Note that nothing more is asked before an answer comes: batches may be handed in."""
        self._is_resting = True
        self._hand_in()

    def forget_addresses(self) -> None:
        """Ask again where the servers are that a run starts."""
        for queue in self._queues.values():
            queue.forget_address()

    def is_unasked(self, cause: str) -> bool:
        """Tell whether a failure of this cause means that the call was never sent."""
        return self.stopped is not None and cause == self.stopped.cause

    def stop(self, why: Failure) -> None:
        """Ask nothing more: what waits gets `why`; what is under way is finished and kept."""
        self._shutdown.begin(why)

    def interrupt(self) -> None:
        """Stop because a person wants it; from any thread."""
        why = Failure("Interrupted", "the run was interrupted")
        self._loop.call_soon_threadsafe(self.stop, why)

    def _opened(self, model: Model) -> ModelQueue:
        """Open the queue for a model."""
        is_batched = model.mode == "batch_file" or (model.mode == "batch" and not self._is_live)
        queue: ModelQueue
        if is_batched:
            queue = BatchQueue(model, self._shared, self._ledger)
        else:
            queue = LiveQueue(model, self._shared)
        self._queues[model] = queue
        return queue

    def _finish(self, job: Job, reply: Reply) -> None:
        if self._jobs.pop(job.key, None) is not None:
            # Whoever waited for it may ask again.
            self._is_resting = False
        for done in job.done:
            done(reply)

    def _hand_in(self) -> None:
        """Let batches be handed in, if whoever asks waits and nothing is under way."""
        if self._is_resting and all(queue.is_idle for queue in self._queues.values()):
            for queue in self._queues.values():
                queue.rest()

    def _stop_queues(self, why: Failure) -> None:
        for queue in self._queues.values():
            queue.stop(why)
