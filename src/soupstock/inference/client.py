"""Asks: every call goes through the store, and what is not there goes to its server.

A lane stands before each model's servers: calls wait in it by rank, and as many are under way as
the servers' limits and the budget allow. A call that fails for a passing reason waits outside the
lane and comes back. The first call with a JSON Schema waits until a probe has found how the server
takes one. Knows no rows, no steps and no HTTP.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from soupstock.errors import ModelError, shown
from soupstock.inference.batch.backends import Desk, Folder, Provider
from soupstock.inference.batch.batching import Batching
from soupstock.inference.batch.ledger import Ledger
from soupstock.inference.budget import Budget, Reservation, prompt_bound
from soupstock.inference.call import Answer, Call, Failure, Reply, Way, decode, encode, look_up
from soupstock.inference.model_queue import Job, Lane, Replica
from soupstock.inference.probe import Probe
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.store import Entry, Store, StoreError
from soupstock.inference.transport import Address, Transport, Trouble

REJECTED_AFTER = 8
"""Rejections on end, with no answer between, after which a server is given up."""

REFUSED_AFTER = 900.0
"""Seconds of refusals on end after which a server is given up."""

PROBES = 3
"""How often a probe is sent before its failure counts: some servers break over a schema."""

_UNREACHABLE_AFTER = 3
_LONGEST_WAIT = 60.0


@dataclass(slots=True)
class Usage:
    """What calls came to."""

    calls: int = 0
    retried: int = 0
    probes: int = 0
    """Calls among them that only asked what a server can do."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


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
        self._jobs: dict[bytes, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[Any] | None] = set()
        """Those tasks that wait for a server to start."""
        self._delayed: dict[asyncio.TimerHandle, Job] = {}
        self._starved: list[Lane] = []
        self._keeping: asyncio.Future[bytes] | None = None
        """The last answer that the store was given to keep."""
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
        stored = look_up(self.store.get, calls)
        return {key: decode(one.answer) for key, one in stored.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Ask a server, and call `done` with the reply; higher ranks go first (see `Waiting`).

        The same question, asked while it is under way, waits for that answer.
        """
        if self.stopped is not None:
            done(self.stopped)
        elif job := self._jobs.get(call.key):
            job.done.append(done)
        else:
            job = self._jobs[call.key] = Job(call.key, call, [done], rank)
            self._enter(self._lane(call.model), job)

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
                lane.replicas[0].address = None

    def is_unasked(self, cause: str) -> bool:
        """Tell whether a failure of this cause means that the call was never sent."""
        return self.stopped is not None and cause == self.stopped.cause

    def stop(self, why: Failure) -> None:
        """Ask nothing more: what waits gets `why`; what is under way is finished and kept."""
        if self.stopped is not None:
            return
        self.stopped = why
        for lane in self.lanes.values():
            parked, lane.parked = lane.parked, []
            for job in parked:
                self._finish(job, why)
            while lane.waiting:
                self._finish(lane.waiting.take(0), why)
        for timer, job in list(self._delayed.items()):
            timer.cancel()
            self._finish(job, why)
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
            lane = self.lanes[model] = Lane.to(model)
        return lane

    def _enter(self, lane: Lane, job: Job) -> None:
        """Let a call wait for its server; one with a schema until its mode is known, before."""
        if job.call.otherwise is not None:
            if lane.schema_mode is None:
                lane.parked.append(job)
                if lane.probe is None:
                    self._probe(lane, Probe(lane.model))
                return
            is_weighed = job.call.is_weighed and not lane.is_unweighed
            job.call = job.call.put(Way(lane.schema_mode, is_weighed))
        if self._is_batched(lane.model):
            self._jobs[job.call.key] = job
            self._batching.add(job)
            return
        lane.waiting.add(job, job.rank)
        self._pump(lane)

    def _probe(self, lane: Lane, probe: Probe) -> None:
        """Ask how the server takes a schema, before all that wait."""
        lane.probe, call = probe, probe.call
        done = [lambda reply: self._probed(lane, probe, reply)]
        lane.waiting.add_urgent(Job(call.key, call, done, is_probe=True))
        self._pump(lane)

    def _probed(self, lane: Lane, probe: Probe, reply: Reply) -> None:
        if self.stopped is not None:
            return
        probe.told(reply)
        if probe.mode is None and probe.failure is None:
            self._probe(lane, probe)
            return
        lane.probe, lane.schema_mode = None, probe.mode
        parked, lane.parked = lane.parked, []
        for job in parked:
            # The first of them may have spent the budget.
            if (why := self.stopped or probe.failure) is not None:
                self._finish(job, why)
            else:
                self._enter(lane, job)
        # Whoever asks waits already, and may say so no more.
        self.rest()

    def _pump(self, lane: Lane) -> None:
        """Send calls while some wait, and server, quota and budget have room."""
        now, ready = self._now(), None
        while lane.waiting and (replica := lane.free(now)) is not None:
            # When all that wait can be under way together, few are left.
            job = lane.waiting.first(lane.allowed)
            if lane.quota is not None:
                ready = lane.quota.ready_at(now, _tokens(job.call))
                if ready > now:
                    break
            reservation = self._reserve(lane, job.call)
            if reservation is None:
                return
            lane.waiting.take(lane.allowed)
            self._start(lane, replica, job, reservation)
        if lane.waiting:
            self._wake_at(lane, now, ready)

    def _start(self, lane: Lane, replica: Replica, job: Job, reservation: Reservation) -> None:
        replica.active += 1
        replica.sent += 1
        if lane.quota is not None:
            lane.quota.sent(self._now(), _tokens(job.call))
        task = asyncio.create_task(self._carry_out(lane, replica, job, reservation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _wake_at(self, lane: Lane, now: float, ready: float | None) -> None:
        """See to it that a lane goes on when a pause ends."""
        until = ready if ready is not None and ready > now else lane.resumes_at(now)
        if until is None:
            return
        if lane.waking is not None:
            if lane.waking.when() <= until:
                return
            lane.waking.cancel()
        lane.waking = self._loop.call_at(until, self._wake, lane)

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

    async def _carry_out(
        self, lane: Lane, replica: Replica, job: Job, reservation: Reservation
    ) -> None:
        """Send a call once; give its reply out, or put it back to be sent again."""
        reply: Reply | None
        try:
            address = replica.address or await self._open(lane, replica)
            answer = await self._send(lane, replica, address, job.call)
        except Trouble as trouble:
            end = self.budget.forfeit if trouble.may_be_billed else self.budget.release
            end(reservation)
            reply = self._troubled(lane, replica, job, trouble)
            if reply is not None:
                await self._answers_before()
        except Exception as error:  # noqa: BLE001 - the run raises it, when all rows are kept
            self.budget.forfeit(reservation)
            self.fail(error)
            reply = self.stopped
        else:
            self.budget.settle(
                reservation, answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens
            )
            self._settle(lane, job, answer)
            self._count(lane, replica, answer)
            reply = answer if job.is_probe else await self._keep(lane, job.call.key, answer)
        replica.active -= 1
        if reply is not None:
            self._finish(job, reply)
        starved, self._starved = self._starved, []
        for waiting in (*starved, lane):
            self._pump(waiting)

    async def _open(self, lane: Lane, replica: Replica) -> Address:
        """Ask where the server is; one that the run starts is started, or started again."""
        task = asyncio.current_task()
        self._opening.add(task)
        try:
            async with lane.opening:
                if replica.address is None:
                    base_url, key = await self._servers.address(lane.model)
                    where = replica.base_url or base_url
                    replica.address = Address.of(lane.model, where, key)
                return replica.address
        except asyncio.CancelledError:
            if self.stopped is None:
                raise
            raise Trouble(self.stopped, is_unreachable=True) from None
        finally:
            self._opening.discard(task)

    async def _send(self, lane: Lane, replica: Replica, address: Address, call: Call) -> Answer:
        """Send one request and read its answer; raises Trouble."""
        started, limit = self._now(), replica.limit
        limit.started(started)
        lane.began = started if lane.began is None else lane.began
        try:
            answer = await self._transport.post(address, call)
        except Trouble as trouble:
            now = self._now()
            if lane.quota is not None and not trouble.may_be_billed:
                lane.quota.settle(now, _tokens(call), 0)
            if trouble.is_refusal:
                lane.refused += 1
                limit.refused(now, trouble.retry_after)
            elif trouble.is_passing:
                limit.failed(now)
            else:
                limit.ended(now)
            raise
        now = lane.ended = self._now()
        limit.finished(now, now - started)
        return answer

    def _settle(self, lane: Lane, job: Job, answer: Answer) -> None:
        self.usage.probes += job.is_probe
        if lane.quota is not None:
            used = answer.prompt_tokens + answer.completion_tokens
            lane.quota.settle(self._now(), _tokens(job.call), used)

    def _count(self, lane: Lane, replica: Replica, answer: Answer) -> None:
        """Count an answer."""
        lane.answered += 1
        lane.rejected, lane.refused_since = 0, None
        lane.prompt_tokens += answer.prompt_tokens
        lane.cached_tokens += answer.cached_tokens
        lane.tokens += answer.completion_tokens
        if answer.served is not None:
            lane.served.add(answer.served)
        replica.answered += 1
        replica.recovered()
        self.usage.calls += 1
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.cached_tokens += answer.cached_tokens
        self.usage.completion_tokens += answer.completion_tokens

    async def _keep(self, lane: Lane, key: bytes, answer: Answer) -> Answer:
        """Have an answer committed; returns the one that the store holds."""
        entry = Entry(key, lane.model.name, encode(answer))
        keeping = self._keeping = self.store.put(entry)
        try:
            kept = await keeping
        except StoreError as error:
            self.fail(error)
            return answer
        # Another run may have had an answer first. With its own, this run could not be repeated.
        return answer if kept is entry.answer else decode(kept)

    async def _answers_before(self) -> None:
        """Wait for the answers that came first: told before them, failures would seem to be all."""
        if self._keeping is not None and not self._keeping.done():
            await asyncio.wait([self._keeping])

    def _troubled(self, lane: Lane, replica: Replica, job: Job, trouble: Trouble) -> Reply | None:
        """Say what a call that brought no answer ends with; None where it is tried again."""
        replica.failed += not trouble.is_refusal
        if trouble.status is None and lane.model.base_url is None:
            replica.address = None
        if lane.goes_elsewhere(replica, trouble, self._now()) and self.stopped is None:
            self.usage.retried += 1
            lane.waiting.add_urgent(job)
            return None
        if trouble.is_about_logprobs and job.call.is_weighed:
            # It may be asked without: that says nothing of the server, and no other need ask so.
            lane.is_unweighed = True
            if job.call.otherwise is None:
                return trouble.failure
            job.call = job.call.put(Way(job.call.ways[0].mode))
            lane.waiting.add_urgent(job)
            return None
        if trouble.is_refusal:
            job.refusals += 1
        else:
            job.attempts += 1
        if self._is_hopeless(lane, job, trouble):
            self.fail(ModelError(_despair(lane, trouble)))
        attempts = min(PROBES, lane.model.attempts) if job.is_probe else lane.model.attempts
        if not trouble.is_passing or job.attempts >= attempts:
            lane.failed += not job.is_probe
            return trouble.failure
        if self.stopped is None:
            self.usage.retried += 1
            self._try_later(lane, job, trouble.retry_after)
        return self.stopped

    def _is_hopeless(self, lane: Lane, job: Job, trouble: Trouble) -> bool:
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

    def _try_later(self, lane: Lane, job: Job, retry_after: float | None) -> None:
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

    def _finish(self, job: Job, reply: Reply) -> None:
        self._jobs.pop(job.key, None)
        self._jobs.pop(job.call.key, None)
        for done in job.done:
            done(reply)

    def _finish_by_key(self, key: bytes, reply: Reply) -> None:
        if (job := self._jobs.get(key)) is not None:
            self._finish(job, reply)


class _House:
    """What batches need of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.budget = client.budget
        self.stop = client.stop
        self.fail = client.fail
        self.finish = client._finish_by_key  # noqa: SLF001 - it is the client's own
        self.note = client._servers.notify  # noqa: SLF001 - likewise

    @property
    def stopped(self) -> Failure | None:
        return self._client.stopped

    async def desk(self, model: Model) -> Desk:
        client = self._client
        if model.mode == "batch_file":
            return Folder(client.store.path.parent / "batches", model.name)
        lane = client._lane(model)  # noqa: SLF001 - likewise
        address = await client._open(lane, lane.replicas[0])  # noqa: SLF001 - likewise
        return Provider(client._transport, address, str(address.base_url))  # noqa: SLF001 - likewise

    async def keep(self, model: Model, key: bytes, answer: Answer) -> Answer:
        lane, now = self._client._lane(model), self._client._now()  # noqa: SLF001 - likewise
        lane.began = now if lane.began is None else lane.began
        lane.ended = now
        self._client._count(lane, lane.replicas[0], answer)  # noqa: SLF001 - likewise
        return await self._client._keep(lane, key, answer)  # noqa: SLF001 - likewise


def _tokens(call: Call) -> int:
    """Guess how many tokens a call can come to, as servers do that count them beforehand."""
    return len(call.body) // 4 + call.max_tokens


def _despair(lane: Lane, trouble: Trouble) -> str:
    """Say why a model is given up."""
    count = len(lane.replicas)
    many = f"none of its {count} addresses is of use; the last: " if count > 1 else ""
    return f"{shown(lane.model.reference)}: {many}{trouble.failure.message}"
