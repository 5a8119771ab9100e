"""Sends the calls to one model one by one, as many at once as its servers and the budget allow.

Calls wait by rank. One that fails for a passing reason waits outside the queue and comes back.
Knows no rows, no steps and no HTTP.
"""

import asyncio
from collections.abc import Callable

from soupstock.errors import ModelError, shown
from soupstock.inference.budget import Reservation, prompt_bound
from soupstock.inference.call import Answer, Call, Failure, Reply
from soupstock.inference.model_queue import (
    AddressAccount,
    Job,
    ModelAccount,
    PriorityQueue,
    QueueContext,
    Usage,
)
from soupstock.inference.probe import SchemaGate
from soupstock.inference.quota import Quota
from soupstock.inference.replicas import Replica, Replicas
from soupstock.inference.retry import Decision, RequestError, Situation, decide, pause
from soupstock.inference.servers.model import Model
from soupstock.inference.transport import Address

PROBES = 3
"""How often a probe is sent before its failure counts: some servers break over a schema."""


class LiveQueue:
    """The calls to one model that are sent one by one. Used within one event loop."""

    def __init__(
        self, model: Model, shared: QueueContext, admit: Callable[[Job], None] | None = None
    ) -> None:
        """Make an empty queue; `admit` takes the calls, where only probes are sent from here."""
        self.model = model
        self.usage = Usage()
        self.replicas = Replicas(model)
        self.gate = SchemaGate(model, shared, self._add_urgent, admit or self._add)
        self.add = self.gate.add
        """Takes a call; the reply comes sooner or later."""
        self._shared = shared
        self._quota = _quota(model)
        self._waiting: PriorityQueue[Job] = PriorityQueue()
        self._delayed: dict[asyncio.TimerHandle, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        """Those tasks that wait for a server to start."""
        self._lock = asyncio.Lock()
        self._waking: asyncio.TimerHandle | None = None
        self._rejections = 0
        """Rejections since the last answer."""
        self._refused_since: float | None = None
        """When the first refusal since the last answer was."""
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time

    @property
    def is_idle(self) -> bool:
        """Whether no call waits or is under way."""
        return not (self._delayed or self._waiting or self.replicas.active)

    def rest(self) -> None:
        """Go on: every call is sent as soon as there is room."""

    def forget_address(self) -> None:
        """Ask again where the server is, if the run starts it."""
        if self.model.base_url is None:
            self.replicas.first.address = None

    def stop(self, why: Failure) -> None:
        """Answer all that wait with a reason; what is under way is finished and kept."""
        self.gate.stop(why)
        while self._waiting:
            self._shared.finish(self._waiting.take(0), why)
        delayed, self._delayed = self._delayed, {}
        for timer, job in delayed.items():
            timer.cancel()
            self._shared.finish(job, why)
        for task in self._opening:
            task.cancel()

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        for timer in (*self._delayed, self._waking):
            if timer is not None:
                timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def account(self) -> ModelAccount:
        """Say what the queue did so far, and does now."""
        return ModelAccount(
            self.model,
            self.usage,
            active=self.replicas.active,
            allowed=self.replicas.allowed,
            schema_mode=self.gate.mode,
            addresses=[
                AddressAccount(one.base_url or "", one.answered, one.failed)
                for one in self.replicas.all
            ],
        )

    async def open(self, replica: Replica) -> Address:
        """Ask where the server is; one that the run starts is started, or started again.

        Raises RequestError and ModelError.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._opening.add(task)
        try:
            async with self._lock:
                if replica.address is None:
                    base_url, key = await self._shared.servers.address(self.model)
                    where = replica.base_url or base_url
                    replica.address = Address.of(self.model, where, key)
                return replica.address
        except asyncio.CancelledError:
            if (why := self._shared.shutdown.why) is None:
                raise
            raise RequestError(why, is_unreachable=True) from None
        finally:
            self._opening.discard(task)

    def _add(self, job: Job) -> None:
        self._waiting.add(job, job.rank)
        self._pump()

    def _add_urgent(self, job: Job) -> None:
        self._waiting.add_urgent(job)
        self._pump()

    def _pump(self) -> None:
        """Send calls while some wait, and server, quota and budget have room."""
        now, ready = self._now(), None
        while self._waiting and (replica := self.replicas.free(now)) is not None:
            # When all that wait can be under way together, few are left.
            few = self.replicas.allowed
            job = self._waiting.first(few)
            if self._quota is not None:
                ready = self._quota.ready_at(now, _tokens(job.call))
                if ready > now:
                    break
            reservation = self._reserve(job.call)
            if reservation is None:
                return
            self._waiting.take(few)
            self._start(replica, job, reservation)
        if self._waiting:
            self._wake_at(now, ready)

    def _start(self, replica: Replica, job: Job, reservation: Reservation) -> None:
        replica.active += 1
        replica.sent += 1
        if self._quota is not None:
            self._quota.sent(self._now(), _tokens(job.call))
        task = asyncio.create_task(self._carry_out(replica, job, reservation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _wake_at(self, now: float, ready: float | None) -> None:
        """See to it that the queue goes on when a pause ends."""
        until = ready if ready is not None and ready > now else self.replicas.resumes_at(now)
        if until is None:
            return
        if self._waking is not None:
            if self._waking.when() <= until:
                return
            self._waking.cancel()
        self._waking = self._loop.call_at(until, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._pump()

    def _reserve(self, call: Call) -> Reservation | None:
        """Make room in the budget; where there is none, wait for what is in flight, or stop."""
        bound, budget = prompt_bound(len(call.body), call.messages), self._shared.budget
        reservation = budget.reserve(bound, call.max_tokens, self.model.price)
        if reservation is None:
            if budget.exhausted(bound, call.max_tokens, self.model.price):
                self._shared.shutdown.begin(Failure("Budget", "the budget is spent"))
            else:
                self._shared.wait_for_budget(self._pump)
        return reservation

    async def _carry_out(self, replica: Replica, job: Job, reservation: Reservation) -> None:
        """Send a call once; give its reply out, or put it back to be sent again."""
        reply: Reply | None
        shared = self._shared
        try:
            address = replica.address or await self.open(replica)
            answer = await self._send(replica, address, job.call)
        except RequestError as trouble:
            end = shared.budget.forfeit if trouble.may_be_billed else shared.budget.release
            end(reservation)
            reply = self._retry(replica, job, trouble)
            if reply is not None:
                await shared.keeper.wait()
        except Exception as error:  # noqa: BLE001 - the run raises it, when all rows are kept
            shared.budget.forfeit(reservation)
            shared.shutdown.fail(error)
            reply = shared.shutdown.why
        else:
            shared.budget.settle(
                reservation, answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens
            )
            self._note_answer(replica, job, answer)
            if job.is_probe:
                self.usage.probes += 1
                shared.keeper.count(self.usage, answer)
                reply = answer
            else:
                reply = await shared.keeper.keep(self.usage, self.model, job.call.key, answer)
        replica.active -= 1
        if reply is not None:
            shared.finish(job, reply)
        shared.free_budget()
        self._pump()

    async def _send(self, replica: Replica, address: Address, call: Call) -> Answer:
        """Send one request and read its answer; raises RequestError."""
        started, limit = self._now(), replica.limit
        limit.started(started)
        self.usage.start(started)
        try:
            answer = await self._shared.transport.post(address, call)
        except RequestError as trouble:
            now = self._now()
            if self._quota is not None and not trouble.may_be_billed:
                self._quota.settle(now, _tokens(call), 0)
            if trouble.is_refusal:
                self.usage.refused += 1
                limit.refused(now, trouble.retry_after)
            elif trouble.is_passing:
                limit.failed(now)
            else:
                limit.ended(now)
            raise
        now = self._now()
        limit.finished(now, now - started)
        return answer

    def _note_answer(self, replica: Replica, job: Job, answer: Answer) -> None:
        self._rejections, self._refused_since = 0, None
        replica.recover()
        if self._quota is not None:
            used = answer.prompt_tokens + answer.completion_tokens
            self._quota.settle(self._now(), _tokens(job.call), used)

    def _retry(self, replica: Replica, job: Job, trouble: RequestError) -> Reply | None:
        """Ask a call again that brought no answer, and return None, or else return its reply."""
        self.replicas.note_trouble(replica, trouble, self._now())
        if trouble.status is None and self.model.base_url is None:
            replica.address = None
        situation = self._situation(replica, job, trouble)
        decision = decide(trouble, situation)
        if decision not in {Decision.ELSEWHERE, Decision.WITHOUT_LOGPROBS}:
            self._count(job, trouble)
        if decision is Decision.GIVE_UP:
            self._shared.shutdown.fail(ModelError(self._despair(trouble)))
        if decision is Decision.FAIL or (decision is Decision.GIVE_UP and trouble.is_rejection):
            self.usage.failed += not job.is_probe
            return trouble.failure
        if (why := self._shared.shutdown.why) is not None:
            return why
        self._again(job, trouble, decision)
        return None

    def _count(self, job: Job, trouble: RequestError) -> None:
        self._rejections += trouble.is_rejection
        if not trouble.is_refusal:
            job.attempts += 1
            return
        job.refusals += 1
        if self._refused_since is None:
            self._refused_since = self._now()

    def _situation(self, replica: Replica, job: Job, trouble: RequestError) -> Situation:
        now, most, since = self._now(), self.model.attempts, self._refused_since
        return Situation(
            attempts=job.attempts + (not trouble.is_refusal),
            most_attempts=min(PROBES, most) if job.is_probe else most,
            is_other_address_free=self.replicas.is_other_free(replica, trouble, now),
            can_drop_logprobs=job.call.has_logprobs and job.call.otherwise is not None,
            has_answered=self.usage.calls > 0,
            rejections=self._rejections + trouble.is_rejection,
            refused_for=0.0 if since is None else now - since,
        )

    def _again(self, job: Job, trouble: RequestError, decision: Decision) -> None:
        if decision is Decision.LATER:
            self.usage.retried += 1
            self._try_later(job, trouble.retry_after)
            return
        if decision is Decision.WITHOUT_LOGPROBS:
            self.gate.drop_logprobs(job)
        else:
            self.usage.retried += 1
        self._waiting.add_urgent(job)

    def _try_later(self, job: Job, retry_after: float | None) -> None:
        """Put a call back after a pause."""

        def again() -> None:
            del self._delayed[timer]
            # A row that had bad luck should not wait for all others too.
            self._add_urgent(job)

        timer = self._loop.call_later(pause(job.attempts + job.refusals, retry_after), again)
        self._delayed[timer] = job

    def _despair(self, trouble: RequestError) -> str:
        """Say why the model is given up."""
        count = len(self.replicas.all)
        many = f"none of its {count} addresses is of use; the last: " if count > 1 else ""
        return f"{shown(self.model.reference)}: {many}{trouble.failure.message}"


def _quota(model: Model) -> Quota | None:
    if model.requests_per_minute or model.tokens_per_minute:
        return Quota(model.requests_per_minute, model.tokens_per_minute)
    return None


def _tokens(call: Call) -> int:
    """Guess how many tokens a call can come to, as servers do that count them beforehand."""
    return len(call.body) // 4 + call.max_tokens
