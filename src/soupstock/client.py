"""Asks: every call goes through the store, and what is not there goes to its server.

A lane stands before each server: calls wait in it, later steps first, and as many are under way as
the server's limit and the budget allow. A call that fails for a passing reason waits outside the
lane and comes back. Knows no rows and no steps.
"""

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import aiohttp
import orjson

from soupstock.budget import Budget, Price, prompt_bound
from soupstock.calls import Answer, Call, Failure, Reply, decode, encode, read_completion
from soupstock.errors import ModelError, shown
from soupstock.limits import Limit
from soupstock.servers import Model, Servers
from soupstock.store import Entry, Store

CAUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "APITimeoutError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""Failures are named as the openai library names its errors."""

FATAL = frozenset({401, 403, 404})
"""Statuses that mean every call would fail, when the server has answered none yet."""

REFUSALS = frozenset({429, 503})
"""Statuses by which a server says that it has too much to do; the call was not carried out."""

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that are worth another try."""

_MOST_REFUSALS = 40
_UNREACHABLE_AFTER = 3
_LONGEST_WAIT = 60.0


class _Trouble(Exception):  # noqa: N818 - never leaves this module
    """A request that brought no answer."""

    def __init__(
        self, failure: Failure, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status
        self.retry_after = retry_after

    @property
    def is_passing(self) -> bool:
        return self.status is None or self.status in PASSING or self.status >= 500  # noqa: PLR2004

    @property
    def is_refusal(self) -> bool:
        return self.status in REFUSALS

    @property
    def may_be_billed(self) -> bool:
        """Whether the server may have worked on the request although no answer came."""
        return self.status is None and self.failure.cause != "APIConnectionError"


@dataclass(slots=True)
class Usage:
    """What calls came to."""

    calls: int = 0
    found: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True)
class _Job:
    call: Call
    done: list[Callable[[Reply], None]]
    attempts: int = 0
    refusals: int = 0
    fails: str | None = None


@dataclass(eq=False)
class Lane:
    """The calls to one server: those that wait, and those under way."""

    model: Model
    limit: Limit
    waiting: list[tuple[int, int, _Job]] = field(default_factory=list)
    active: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    """Tokens asked and answered in this run."""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    timeout: aiohttp.ClientTimeout = field(default_factory=aiohttp.ClientTimeout)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    waking: asyncio.TimerHandle | None = None

    @property
    def price(self) -> Price:
        """What the server takes for tokens."""
        return Price(self.model.input_price, self.model.output_price)


class Client:
    """Answers calls from the store or by asking their servers. Used within one event loop."""

    def __init__(self, store: Store, servers: Servers, budget: Budget | None = None) -> None:
        self.store = store
        self.budget = budget or Budget()
        self.usage = Usage()
        self.lanes: dict[Model, Lane] = {}
        self.stopped: Failure | None = None
        """Why nothing more is asked; the calls that wait get it as their reply."""
        self.broken: Exception | None = None
        """The error that ended the run early, where it was one."""
        self._servers = servers
        self._jobs: dict[bytes, _Job] = {}
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delayed: dict[asyncio.TimerHandle, _Job] = {}
        self._starved: list[Lane] = []
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for timer in self._delayed:
            timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return those answers that the store has, by the call's key."""
        stored = self.store.get([call.key for call in calls])
        self.usage.found += len(stored)
        return {key: decode(answer) for key, answer in stored.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:
        """Ask a server, and call `done` with the reply; a higher rank goes first.

        The same question, asked while it is under way, waits for that answer.
        """
        if self.stopped is not None:
            done(self.stopped)
        elif job := self._jobs.get(call.key):
            job.done.append(done)
        else:
            job = self._jobs[call.key] = _Job(call, [done])
            lane = self._lane(call.model)
            heapq.heappush(lane.waiting, (-rank, next(self._order), job))
            self._pump(lane)

    def stop(self, why: Failure) -> None:
        """Ask nothing more: what waits gets `why`; what is under way is finished and kept."""
        if self.stopped is not None:
            return
        self.stopped = why
        for lane in self.lanes.values():
            while lane.waiting:
                self._finish(heapq.heappop(lane.waiting)[2], why)
        for timer, job in list(self._delayed.items()):
            timer.cancel()
            self._finish(job, why)
        self._delayed.clear()

    def fail(self, error: Exception) -> None:
        """Stop because going on makes no sense."""
        self.broken = self.broken or error
        self.stop(Failure(type(error).__name__, str(error)))

    def _lane(self, model: Model) -> Lane:
        if model not in self.lanes:
            self.lanes[model] = Lane(model, Limit(fixed=model.concurrency))
        return self.lanes[model]

    def _pump(self, lane: Lane) -> None:
        """Start workers while there are calls and room for them."""
        pause = lane.limit.resume_at - time.monotonic()
        if pause > 0:
            self._wake_later(lane, pause)
            return
        room = min(lane.limit.allowed - lane.active, len(lane.waiting))
        for _ in range(room):
            lane.active += 1
            task = asyncio.create_task(self._work(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _wake_later(self, lane: Lane, seconds: float) -> None:
        if lane.waking is None:

            def wake() -> None:
                lane.waking = None
                self._pump(lane)

            lane.waking = asyncio.get_running_loop().call_later(seconds, wake)

    async def _work(self, lane: Lane) -> None:
        """Carry out calls until none waits, or the limit, a pause or the budget says stop."""
        try:
            await self._open(lane)
            while lane.waiting and lane.active <= lane.limit.allowed:
                if lane.limit.resume_at > time.monotonic() or not await self._next(lane):
                    break
                self._pump(lane)
        except Exception as error:  # noqa: BLE001 - the run raises it, when all rows are kept
            self.fail(error)
        finally:
            lane.active -= 1
        if lane not in self._starved:
            self._pump(lane)

    async def _next(self, lane: Lane) -> bool:
        """Carry out the first call that waits; False where the budget has no room just now."""
        call = lane.waiting[0][2].call
        bound = prompt_bound(len(call.body), 1)
        reservation = self.budget.reserve(bound, call.max_tokens, lane.price)
        if reservation is None:
            if self.budget.exhausted(bound, call.max_tokens, lane.price):
                self.stop(Failure("Budget", "the budget is spent"))
            elif lane not in self._starved:
                self._starved.append(lane)
            return False
        job = heapq.heappop(lane.waiting)[2]
        job.attempts += 1
        try:
            answer = await self._post(lane, job.call)
        except _Trouble as trouble:
            if trouble.may_be_billed:
                self.budget.forfeit(reservation)
            else:
                self.budget.release(reservation)
            self._handle(lane, job, trouble)
        except BaseException as error:
            self.budget.forfeit(reservation)
            self._finish(job, self.stopped or Failure(type(error).__name__, str(error)))
            raise
        else:
            self.budget.settle(reservation, answer.prompt_tokens, answer.completion_tokens)
            await self._keep(lane, job, answer)
        self._feed()
        return True

    def _feed(self) -> None:
        """Let the lanes go on that waited for a reservation to come back."""
        starved, self._starved = self._starved, []
        for lane in starved:
            self._pump(lane)

    async def _keep(self, lane: Lane, job: _Job, answer: Answer) -> None:
        lane.answered += 1
        lane.prompt_tokens += answer.prompt_tokens
        lane.tokens += answer.completion_tokens
        self.usage.calls += 1
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.completion_tokens += answer.completion_tokens
        try:
            await self.store.put(Entry(job.call.key, lane.model.name, encode(answer)))
        finally:
            self._finish(job, answer)

    async def _post(self, lane: Lane, call: Call) -> Answer:
        """Send one request and read its answer; raises _Trouble."""
        started = time.monotonic()
        lane.limit.started(started)
        try:
            async with self._http.post(
                lane.url, data=call.body, headers=lane.headers, timeout=lane.timeout
            ) as response:
                status, headers, raw = response.status, response.headers, await response.read()
            if status == 200:  # noqa: PLR2004
                answer = read_completion(raw)
                now = time.monotonic()
                lane.limit.finished(now, now - started)
                return answer
        except TimeoutError:
            raise self._trouble(lane, "APITimeoutError", "no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            message = f"nothing answers at {lane.url} ({error.strerror or 'no connection'})"
            raise self._trouble(lane, "APIConnectionError", message) from None
        except (aiohttp.ClientError, OSError) as error:
            message = str(error) or type(error).__name__
            raise self._trouble(lane, "APIConnectionLost", message) from None
        except ValueError as error:
            raise self._trouble(lane, "APIResponseValidationError", str(error)) from None
        raise self._refusal(lane, status, headers, raw)

    async def _open(self, lane: Lane) -> None:
        async with lane.opening:
            if lane.url:
                return
            base_url, key = await self._servers.address(lane.model)
            headers = {"Content-Type": "application/json", **lane.model.headers}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            lane.headers, lane.timeout = headers, aiohttp.ClientTimeout(total=lane.model.timeout)
            lane.url = f"{base_url.rstrip('/')}/chat/completions"

    def _trouble(self, lane: Lane, cause: str, message: str) -> _Trouble:
        lane.limit.failed(time.monotonic())
        return _Trouble(Failure(cause, _told(lane, message)))

    def _refusal(self, lane: Lane, status: int, headers: Mapping[str, str], raw: bytes) -> _Trouble:
        now = time.monotonic()
        wait = _retry_after(headers.get("Retry-After"))
        if status in REFUSALS:
            lane.refused += 1
            lane.limit.refused(now, wait)
        else:
            lane.limit.failed(now)
        cause = CAUSES.get(status, "InternalServerError" if status >= 500 else "APIStatusError")  # noqa: PLR2004
        failure = Failure(cause, f"{status}: {_told(lane, _message(raw))}")
        return _Trouble(failure, status=status, retry_after=wait)

    def _handle(self, lane: Lane, job: _Job, trouble: _Trouble) -> None:
        """Try a call again, fail it, or stop the run where every call would fail."""
        if trouble.is_refusal:
            job.refusals += 1
            job.attempts -= 1
        is_unreachable = trouble.failure.cause == "APIConnectionError"
        if lane.answered == 0 and (
            trouble.status in FATAL or (is_unreachable and job.attempts >= _UNREACHABLE_AFTER)
        ):
            self.fail(ModelError(f"{shown(lane.model.reference)}: {trouble.failure.message}"))
        tried_enough = job.attempts >= lane.model.attempts or job.refusals >= _MOST_REFUSALS
        if self.stopped is not None or tried_enough or not trouble.is_passing:
            lane.failed += 1
            self._finish(job, trouble.failure)
        else:
            self.usage.retried += 1
            self._try_later(lane, job, trouble.retry_after)

    def _try_later(self, lane: Lane, job: _Job, retry_after: float | None) -> None:
        """Put a call back after a jittered, doubling pause ("full jitter", AWS 2015)."""
        tries = job.attempts + job.refusals
        longest = min(_LONGEST_WAIT, 0.5 * 2**tries)
        wait = (retry_after or 0.0) + random.uniform(0, longest)  # noqa: S311 - no secret

        def again() -> None:
            del self._delayed[timer]
            # Older calls first: a row that had bad luck should not wait for all others too.
            heapq.heappush(lane.waiting, (-(1 << 20), next(self._order), job))
            self._pump(lane)

        timer = asyncio.get_running_loop().call_later(wait, again)
        self._delayed[timer] = job

    def _finish(self, job: _Job, reply: Reply) -> None:
        self._jobs.pop(job.call.key, None)
        for done in job.done:
            done(reply)


def _retry_after(value: str | None) -> float | None:
    try:
        return min(max(float(value or ""), 0.0), 3600.0)
    except ValueError:
        return None


def _message(raw: bytes) -> str:
    """Find the sentence in an error's body; OpenAI, vLLM and llama.cpp each put it elsewhere."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw[:300].decode(errors="replace")
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return str(error)


def _told(lane: Lane, message: str) -> str:
    """Make a server's message fit to be shown and kept: one short line without the key."""
    for value in lane.headers.values():
        secret = value.removeprefix("Bearer ")
        if len(secret) >= 8:  # noqa: PLR2004 - shorter ones are words, not keys
            message = message.replace(secret, "[key]")
    line = " ".join(message.split())
    return shown(line if len(line) <= 300 else f"{line[:299]}…")  # noqa: PLR2004
