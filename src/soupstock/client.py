"""Asks: every call goes through the store, and what is not there goes to its server.

A lane stands before each server: calls wait in it by rank, and as many are under way as the
server's limit and the budget allow. A call that fails for a passing reason waits outside the
lane and comes back. Knows no rows, no steps and no HTTP.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from soupstock.batches import Ledger
from soupstock.batching import Batching
from soupstock.budget import Budget, Price, Reservation, prompt_bound
from soupstock.calls import Answer, Call, Failure, Reply, decode, encode
from soupstock.desks import Desk, Folder, Provider
from soupstock.errors import ModelError, shown
from soupstock.limits import Limit
from soupstock.servers import Model, Servers
from soupstock.store import Entry, Store, StoreError
from soupstock.transport import Address, Transport, Trouble
from soupstock.waiting import Waiting

REJECTED_AFTER = 8
"""Rejections on end, with no answer between, after which a server is given up."""

REFUSED_AFTER = 900.0
"""Seconds of refusals on end after which a server is given up."""

_UNREACHABLE_AFTER = 3
_LONGEST_WAIT = 60.0


@dataclass(slots=True)
class Usage:
    """What calls came to."""

    calls: int = 0
    found: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True)
class _Job:
    call: Call
    done: list[Callable[[Reply], None]]
    attempts: int = 0
    refusals: int = 0


@dataclass(eq=False)
class Lane:
    """The calls to one server: those that wait, and those under way."""

    model: Model
    limit: Limit
    price: Price
    """What the server takes for tokens."""
    waiting: Waiting[_Job] = field(default_factory=Waiting)
    active: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    """Tokens asked, those of them that the server had computed before, and tokens answered."""
    served: set[str] = field(default_factory=set)
    """The model's names as the server gives them."""
    began: float | None = None
    """When the first request was sent, in seconds of a clock that never goes back."""
    ended: float | None = None
    """When the last answer came."""
    rejected: int = 0
    """Rejections since the last answer."""
    prefix_hits: float | None = None
    """The share of prompt tokens that the server's prefix cache had, where that is known."""
    refused_since: float | None = None
    """When the first refusal since the last answer was."""
    address: Address | None = None
    """Where the server is; None where that must be asked (again)."""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    waking: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """How long the server was asked: from the first request to the last answer."""
        return 0.0 if self.began is None or self.ended is None else self.ended - self.began

    @property
    def cost(self) -> int:
        """What the answers cost, in pico-dollars."""
        return self.price.cost(self.prompt_tokens, self.tokens, self.cached_tokens)

    def has_room(self, now: float) -> bool:
        """Tell whether one more call may be sent."""
        return self.active < self.limit.allowed and self.limit.resume_at <= now


class Client:
    """Answers calls from the store or by asking their servers. Used within one event loop."""

    def __init__(
        self,
        store: Store,
        servers: Servers,
        budget: Budget | None = None,
        transport: Transport | None = None,
        *,
        is_live: bool = False,
    ) -> None:
        """Open a client; with `is_live` no call is left to a provider's batch API."""
        self.store = store
        self.budget = budget or Budget()
        self.usage = Usage()
        self.lanes: dict[Model, Lane] = {}
        self.stopped: Failure | None = None
        """Why nothing more is asked; the calls that wait get it as their reply."""
        self.broken: Exception | None = None
        """The error that ended the run early, where it was one."""
        self._servers = servers
        self._transport = transport or Transport()
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._jobs: dict[bytes, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[Any] | None] = set()
        """Those tasks that wait for a server to start."""
        self._delayed: dict[asyncio.TimerHandle, _Job] = {}
        self._starved: list[Lane] = []
        self._is_live = is_live
        self._batching = Batching(_House(self), Ledger(store.path))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batching.stop()
        for task in self._tasks:
            task.cancel()
        for timer in (*self._delayed, *(lane.waking for lane in self.lanes.values())):
            if timer is not None:
                timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return those answers that the store has, by the call's key."""
        stored = self.store.get([call.key for call in calls])
        self.usage.found += len(stored)
        return {key: decode(answer) for key, answer in stored.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Ask a server, and call `done` with the reply; higher ranks go first (see `Waiting`).

        The same question, asked while it is under way, waits for that answer.
        """
        if self.stopped is not None:
            done(self.stopped)
        elif job := self._jobs.get(call.key):
            job.done.append(done)
        else:
            job = self._jobs[call.key] = _Job(call, [done])
            if self._is_batched(call.model):
                self._batching.add(job)
                return
            lane = self._lane(call.model)
            lane.waiting.add(job, rank)
            self._pump(lane)

    def rest(self) -> None:
        """Hear that nothing more is asked before an answer comes: batches may be handed in."""
        lanes = self.lanes.values()
        if not self._delayed and not any(lane.active or lane.waiting for lane in lanes):
            self._batching.go()

    def _is_batched(self, model: Model) -> bool:
        return model.mode == "batch_file" or (model.mode == "batch" and not self._is_live)

    def forget_addresses(self) -> None:
        """Ask again where the servers are that a run starts."""
        for lane in self.lanes.values():
            if lane.model.base_url is None:
                lane.address = None

    def is_unasked(self, cause: str) -> bool:
        """Tell whether a failure of this cause means that the call was never sent."""
        return self.stopped is not None and cause == self.stopped.cause

    def stop(self, why: Failure) -> None:
        """Ask nothing more: what waits gets `why`; what is under way is finished and kept."""
        if self.stopped is not None:
            return
        self.stopped = why
        for lane in self.lanes.values():
            while lane.waiting:
                self._finish(lane.waiting.take(0).call.key, why)
        for timer, job in list(self._delayed.items()):
            timer.cancel()
            self._finish(job.call.key, why)
        self._delayed.clear()
        self._batching.leave(why)
        for task in self._opening:
            if task is not None:
                task.cancel()

    def interrupt(self) -> None:
        """Stop because a person wants it; from any thread."""
        why = Failure("Interrupted", "the run was interrupted")
        self._loop.call_soon_threadsafe(self.stop, why)

    def fail(self, error: Exception) -> None:
        """Stop because going on makes no sense."""
        self.broken = self.broken or error
        self.stop(Failure(type(error).__name__, str(error)))

    def _lane(self, model: Model) -> Lane:
        lane = self.lanes.get(model)
        if lane is None:
            price = Price(model.input_price, model.output_price, model.cached_price)
            lane = self.lanes[model] = Lane(model, Limit(fixed=model.concurrency), price)
        return lane

    def _pump(self, lane: Lane) -> None:
        """Send calls while some wait, and server and budget have room."""
        while lane.waiting and lane.has_room(self._now()):
            # When all that wait can be under way together, few are left.
            job = lane.waiting.first(lane.limit.allowed)
            reservation = self._reserve(lane, job.call)
            if reservation is None:
                return
            lane.waiting.take(lane.limit.allowed)
            lane.active += 1
            task = asyncio.create_task(self._carry_out(lane, job, reservation))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if lane.waiting and lane.waking is None and lane.limit.resume_at > self._now():
            lane.waking = self._loop.call_at(lane.limit.resume_at, self._wake, lane)

    def _wake(self, lane: Lane) -> None:
        lane.waking = None
        self._pump(lane)

    def _reserve(self, lane: Lane, call: Call) -> Reservation | None:
        """Make room in the budget; where there is none, wait for what is in flight, or stop."""
        bound = prompt_bound(len(call.body), call.messages)
        reservation = self.budget.reserve(bound, call.max_tokens, lane.price)
        if reservation is None:
            if self.budget.exhausted(bound, call.max_tokens, lane.price):
                self.stop(Failure("Budget", "the budget is spent"))
            elif lane not in self._starved:
                self._starved.append(lane)
        return reservation

    async def _carry_out(self, lane: Lane, job: _Job, reservation: Reservation) -> None:
        """Send a call once; give its reply out, or put it back to be sent again."""
        reply: Reply | None
        try:
            address = lane.address or await self._open(lane)
            answer = await self._send(lane, address, job.call)
        except Trouble as trouble:
            end = self.budget.forfeit if trouble.may_be_billed else self.budget.release
            end(reservation)
            reply = self._troubled(lane, job, trouble)
        except Exception as error:  # noqa: BLE001 - the run raises it, when all rows are kept
            self.budget.forfeit(reservation)
            self.fail(error)
            reply = self.stopped
        else:
            self.budget.settle(
                reservation, answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens
            )
            reply = await self._keep(lane, job.call.key, answer)
        lane.active -= 1
        if reply is not None:
            self._finish(job.call.key, reply)
        starved, self._starved = self._starved, []
        for waiting in (*starved, lane):
            self._pump(waiting)

    async def _open(self, lane: Lane) -> Address:
        """Ask where the server is; one that the run starts is started, or started again."""
        task = asyncio.current_task()
        self._opening.add(task)
        try:
            async with lane.opening:
                if lane.address is None:
                    base_url, key = await self._servers.address(lane.model)
                    lane.address = Address.of(lane.model, base_url, key)
                return lane.address
        except asyncio.CancelledError:
            if self.stopped is None:
                raise
            raise Trouble(self.stopped, is_unreachable=True) from None
        finally:
            self._opening.discard(task)

    async def _send(self, lane: Lane, address: Address, call: Call) -> Answer:
        """Send one request and read its answer; raises Trouble."""
        started = self._now()
        lane.limit.started(started)
        lane.began = started if lane.began is None else lane.began
        try:
            answer = await self._transport.post(address, call)
        except Trouble as trouble:
            now = self._now()
            if trouble.is_refusal:
                lane.refused += 1
                lane.limit.refused(now, trouble.retry_after)
            elif trouble.is_passing:
                lane.limit.failed(now)
            else:
                lane.limit.ended(now)
            raise
        now = lane.ended = self._now()
        lane.limit.finished(now, now - started)
        return answer

    async def _keep(self, lane: Lane, key: bytes, answer: Answer) -> Answer:
        """Count an answer and have it committed; returns the one that the store holds."""
        lane.answered += 1
        lane.rejected, lane.refused_since = 0, None
        lane.prompt_tokens += answer.prompt_tokens
        lane.cached_tokens += answer.cached_tokens
        lane.tokens += answer.completion_tokens
        if answer.served is not None:
            lane.served.add(answer.served)
        self.usage.calls += 1
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.cached_tokens += answer.cached_tokens
        self.usage.completion_tokens += answer.completion_tokens
        entry = Entry(key, lane.model.name, encode(answer))
        try:
            kept = await self.store.put(entry)
        except StoreError as error:
            self.fail(error)
            return answer
        # Another run may have had an answer first. With its own, this run could not be repeated.
        return answer if kept is entry.answer else decode(kept)

    def _troubled(self, lane: Lane, job: _Job, trouble: Trouble) -> Reply | None:
        """Say what a call that brought no answer ends with; None where it is tried again."""
        if trouble.status is None and lane.model.base_url is None:
            lane.address = None
        if trouble.is_refusal:
            job.refusals += 1
        else:
            job.attempts += 1
        if self._is_hopeless(lane, job, trouble):
            self.fail(ModelError(f"{shown(lane.model.reference)}: {trouble.failure.message}"))
        if not trouble.is_passing or job.attempts >= lane.model.attempts:
            lane.failed += 1
            return trouble.failure
        if self.stopped is None:
            self.usage.retried += 1
            self._try_later(lane, job, trouble.retry_after)
        return self.stopped

    def _is_hopeless(self, lane: Lane, job: _Job, trouble: Trouble) -> bool:
        """Tell whether a server, as it seems, will answer no call at all."""
        if trouble.is_refusal:
            now = self._now()
            lane.refused_since = lane.refused_since or now
            return now - lane.refused_since > REFUSED_AFTER
        if trouble.is_rejection:
            lane.rejected += 1
            # A 403 may be about what this one call asks.
            is_first = lane.answered == 0 and trouble.status != 403  # noqa: PLR2004
            return is_first or lane.rejected >= REJECTED_AFTER
        return trouble.is_unreachable and lane.answered == 0 and job.attempts >= _UNREACHABLE_AFTER

    def _try_later(self, lane: Lane, job: _Job, retry_after: float | None) -> None:
        """Put a call back after a jittered, doubling pause ("full jitter", AWS 2015)."""
        longest = min(_LONGEST_WAIT, 0.5 * 2 ** (job.attempts + job.refusals))
        wait = (retry_after or 0.0) + random.uniform(0, longest)  # noqa: S311 - no secret

        def again() -> None:
            del self._delayed[timer]
            # A row that had bad luck should not wait for all others too.
            lane.waiting.add_urgent(job)
            self._pump(lane)

        timer = self._loop.call_later(wait, again)
        self._delayed[timer] = job

    def _finish(self, key: bytes, reply: Reply) -> None:
        job = self._jobs.pop(key, None)
        for done in job.done if job else ():
            done(reply)


class _House:
    """What batches need of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.budget = client.budget
        self.stop = client.stop
        self.fail = client.fail
        self.finish = client._finish  # noqa: SLF001 - it is the client's own
        self.note = client._servers.notify  # noqa: SLF001 - likewise

    @property
    def stopped(self) -> Failure | None:
        return self._client.stopped

    async def desk(self, model: Model) -> Desk:
        client = self._client
        if model.mode == "batch_file":
            return Folder(client.store.path.parent / "batches", model.name)
        address = await client._open(client._lane(model))  # noqa: SLF001 - it is the client's own
        return Provider(client._transport, address, str(address.base_url))  # noqa: SLF001 - likewise

    async def keep(self, model: Model, key: bytes, answer: Answer) -> Answer:
        lane, now = self._client._lane(model), self._client._now()  # noqa: SLF001 - likewise
        lane.began = now if lane.began is None else lane.began
        lane.ended = now
        return await self._client._keep(lane, key, answer)  # noqa: SLF001 - likewise
