"""Answers the calls to one model by the batch: collects them, hands them in together, and waits.

Calls are handed in when nothing more is asked before an answer comes. Batches that an earlier run
handed in are taken over, whether this run asks for them or not. Knows no rows and no steps.
"""

import asyncio
from collections.abc import Sequence

from soupstock.errors import ModelError, shown
from soupstock.inference.batch.backends import Backend, Folder, Progress
from soupstock.inference.batch.ledger import Batch, Ledger, Result, groups, lines, read_results
from soupstock.inference.budget import Reservation, prompt_bound
from soupstock.inference.call import Answer, Call, Failure, Reply
from soupstock.inference.completion import READERS
from soupstock.inference.live_queue import LiveQueue
from soupstock.inference.model_queue import Job, ModelAccount, QueueContext
from soupstock.inference.retry import Decision, RequestError, Situation, decide
from soupstock.inference.servers.model import Model

_MOST_FAILED_LOOKS = 10
"""How many looks in a row may fail before a batch is left for the next run."""


class BatchQueue:
    """The calls to one model that are handed in together. Used within one event loop."""

    def __init__(self, model: Model, shared: QueueContext, ledger: Ledger) -> None:
        self._model = model
        self._shared = shared
        self._ledger = ledger
        self._live = LiveQueue(model, shared, self._collect)
        """Sends the probes, and knows the server."""
        self._waiting: dict[bytes, Job] = {}
        self._reserved: dict[bytes, Reservation] = {}
        self._is_starved = False
        """Whether calls wait for the budget that others have reserved."""
        self._work: asyncio.Task[None] | None = None
        self.add = self._live.add
        """Takes a call; the reply comes sooner or later."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing more happens until `rest` is called."""
        return self._live.is_idle

    def rest(self) -> None:
        """Hand in what was collected: nothing more is asked before an answer comes."""
        if self._waiting and self._work is None and self._shared.shutdown.why is None:
            self._work = asyncio.create_task(self._hand_in())

    def forget_address(self) -> None:
        """Go on: a run starts no server for batches."""

    def stop(self, why: Failure) -> None:
        """Answer every call with a reason, and leave what is under way to the next run."""
        self._live.stop(why)
        if self._work is not None:
            self._work.cancel()
        waiting, self._waiting = self._waiting, {}
        for job in waiting.values():
            self._shared.finish(job, why)

    async def close(self) -> None:
        """Leave what is under way to the next run."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._live.close()

    def account(self) -> ModelAccount:
        """Say what the queue did so far, and does now."""
        return self._live.account()

    def _collect(self, job: Job) -> None:
        self._waiting[job.call.key] = job

    async def _hand_in(self) -> None:
        """Hand in what was collected, and keep what comes of it and of earlier batches."""
        try:
            backend = await self._open()
            try:
                earlier = await self._taken_over(backend)
                known = frozenset().union(*(batch.keys for batch in earlier))
                fresh = [job.call for key, job in self._waiting.items() if key not in known]
                batches = [*earlier, *await self._created(backend, fresh)]
                await asyncio.gather(*(self._finish_batch(backend, batch) for batch in batches))
            finally:
                await backend.close()
        except RequestError as trouble:
            name = shown(self._model.reference)
            self._shared.shutdown.fail(ModelError(f"{name}: {trouble.failure.message}"))
        except Exception as error:  # noqa: BLE001 - the run raises it, when all rows are kept
            self._shared.shutdown.fail(error)
        finally:
            for reservation in self._reserved.values():
                self._shared.budget.release(reservation)
            self._reserved.clear()
            self._work = None
            self._shared.free_budget()
        # What failed for a passing reason waits for the next batch.
        if self._is_starved and self._shared.budget.reserved.calls:
            self._shared.wait_for_budget(self._shared.hand_in)
        else:
            self._shared.hand_in()

    async def _open(self) -> Backend:
        """Find where the model's batches are handed in; raises RequestError and ModelError."""
        if self._model.mode == "batch_file":
            return Folder(self._ledger.path.parent / "batches", self._model.name)
        # The openai library takes most of a second to import.
        from soupstock.inference.batch.provider import Provider

        return Provider(await self._live.open(self._live.replicas.first))

    async def _taken_over(self, backend: Backend) -> list[Batch]:
        """Return the batches of earlier runs that are under way.

        A run that was killed while it created a batch does not know its id. The batch is found by
        its file; where there is none, nothing was handed in, and its calls are asked anew.
        """
        batches = []
        for batch in self._ledger.claim(backend.name, self._model.name):
            if batch.batch is not None:
                batches.append(batch)
            elif (found := await backend.find(batch.file)) is not None:
                batches.append(batch.identified(found))
                self._ledger.note(batches[-1])
            else:
                self._ledger.settle(batch)
        return batches

    async def _created(self, backend: Backend, calls: Sequence[Call]) -> list[Batch]:
        """Hand in as many calls as the budget allows."""
        affordable = [call for call in calls if self._reserve(call)]
        self._is_starved = bool(calls) and not affordable
        if self._is_starved and self._is_spent(calls[0]):
            self._shared.shutdown.begin(Failure("Budget", "the budget is spent"))
        batches = []
        for group in groups(affordable):
            keys = frozenset(call.key for call in group)
            name = f"{min(keys).hex()[:12]}-{len(keys)}.jsonl"
            file = await backend.upload(name, lines(group))
            batch = Batch(file, None, backend.name, self._model.name, keys)
            # Noted before it is created: a run that is killed in between finds it by its file.
            self._ledger.note(batch)
            batch = batch.identified(await backend.create(file, group[0].path))
            self._ledger.note(batch)
            self._shared.servers.notify(
                f"{shown(self._model.reference)}: handed in a batch of {len(keys):,} calls "
                f"({shown(batch.batch)}); if you stop this run now, the next run fetches the"
                " answers"
            )
            batches.append(batch)
        return batches

    def _reserve(self, call: Call) -> bool:
        bound = prompt_bound(len(call.body), call.messages)
        reservation = self._shared.budget.reserve(bound, call.max_tokens, self._model.price)
        if reservation is not None:
            self._reserved[call.key] = reservation
        return reservation is not None

    def _is_spent(self, call: Call) -> bool:
        bound = prompt_bound(len(call.body), call.messages)
        return self._shared.budget.exhausted(bound, call.max_tokens, self._model.price)

    async def _finish_batch(self, backend: Backend, batch: Batch) -> None:
        """Look at a batch until it is over, and keep what came of it."""
        progress = await self._over(backend, batch)
        if progress is None:
            return
        seen = set()
        for file in progress.files:
            for result in read_results(await backend.fetch(file)):
                if result.key in batch.keys:
                    seen.add(result.key)
                    await self._take(backend, result)
        for key in batch.keys - seen:
            message = f"the batch gave no answer ({progress.words})"
            self._retry(key, RequestError(Failure("BatchError", message)))
        self._ledger.settle(batch)

    async def _over(self, backend: Backend, batch: Batch) -> Progress | None:
        """Wait until a batch is over; None where a person has to do something first."""
        last, failures = "", 0
        while True:
            try:
                progress = await backend.progress(batch)
                failures = 0
            except RequestError as trouble:
                failures += 1
                if not trouble.is_passing or failures > _MOST_FAILED_LOOKS:
                    raise
            else:
                if progress.is_over:
                    return progress
                if progress.words != last:
                    last = progress.words
                    self._shared.servers.notify(f"batch {shown(batch.batch)}: {shown(last)}")
                if (advice := backend.advice(batch)) is not None:
                    self._shared.shutdown.begin(Failure("Batch", advice))
                    return None
            await asyncio.sleep(self._model.poll)

    async def _take(self, backend: Backend, result: Result) -> None:
        """Keep a result that is an answer; ask again, or fail, a call without one."""
        if not result.is_answer:
            self._retry(result.key, backend.trouble(result))
            return
        job = self._waiting.get(result.key)
        try:
            answer = _read(result.body, job.call.path if job else None)
        except ValueError as error:
            trouble = RequestError(Failure("APIResponseValidationError", str(error)))
            self._retry(result.key, trouble)
            return
        self._settle(result.key, answer)
        self._live.usage.start(asyncio.get_running_loop().time())
        self._live.replicas.first.recover()
        kept = await self._shared.keeper.keep(self._live.usage, self._model, result.key, answer)
        self._finish(result.key, kept)

    def _settle(self, key: bytes, answer: Answer) -> None:
        tokens = (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)
        reservation = self._reserved.pop(key, None)
        if reservation is not None:
            self._shared.budget.settle(reservation, *tokens)
        else:
            self._shared.budget.charge(self._model.price, *tokens)
        self._shared.free_budget()

    def _retry(self, key: bytes, trouble: RequestError) -> None:
        """Let a call without an answer wait for the next batch, or fail it."""
        reservation = self._reserved.pop(key, None)
        if reservation is not None:
            self._shared.budget.release(reservation)
        job = self._waiting.get(key)
        if job is None:
            return
        job.attempts += 1
        can_drop_logprobs = job.call.has_logprobs and job.call.otherwise is not None
        situation = Situation(
            job.attempts, self._model.attempts, can_drop_logprobs=can_drop_logprobs
        )
        match decide(trouble, situation):
            case Decision.LATER:
                pass
            case Decision.WITHOUT_LOGPROBS:
                del self._waiting[key]
                self._live.gate.drop_logprobs(job)
                self._collect(job)
            case _:
                self._finish(key, trouble.failure)

    def _finish(self, key: bytes, reply: Reply) -> None:
        job = self._waiting.pop(key, None)
        if job is not None:
            self._shared.finish(job, reply)


def _read(body: bytes, path: str | None) -> Answer:
    """Read an answer; where no call waits for it, nothing says what was asked for."""
    if path is not None:
        return READERS[path](body)
    for reader in READERS.values():
        try:
            return reader(body)
        except ValueError:
            continue
    raise ValueError("the reply is neither a chat completion nor an embedding")
