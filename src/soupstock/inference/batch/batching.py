"""Answers calls by the batch: collects them, hands them in when all is still, and waits.

What was handed in by an earlier run is picked up, whether this run asks for it or not. Knows no
rows and no steps; where answers are kept, the client knows.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from soupstock.errors import ModelError, shown
from soupstock.inference.batch.backends import Desk, State
from soupstock.inference.batch.ledger import Batch, Ledger, Result, groups, lines, read_results
from soupstock.inference.budget import Budget, Reservation, prompt_bound
from soupstock.inference.call import Answer, Call, Failure, Reply
from soupstock.inference.completion import READERS
from soupstock.inference.servers.model import Model
from soupstock.inference.transport import Trouble, refused

_PATIENCE = 10
"""How many looks in a row may fail before a batch is left for the next run."""


class Job(Protocol):
    """A call, and how often it was tried."""

    call: Call
    attempts: int


class House(Protocol):
    """What the client does for batches."""

    budget: Budget

    @property
    def stopped(self) -> Failure | None:
        """Why nothing more is asked, where that is so."""

    async def desk(self, model: Model) -> Desk:
        """Say where a model's batches are handed in; raises Trouble or ModelError."""

    async def keep(self, model: Model, key: bytes, answer: Answer) -> Answer:
        """Count and commit an answer; returns the one that the store holds."""

    def finish(self, key: bytes, reply: Reply) -> None:
        """Give a reply to whoever asked; nobody may have."""

    def fail(self, error: Exception) -> None:
        """End the run early."""

    def stop(self, why: Failure) -> None:
        """Ask nothing more."""

    def note(self, sentence: str) -> None:
        """Tell the person who waits."""


@dataclass
class _Office:
    """The calls to one model."""

    model: Model
    waiting: dict[bytes, Job] = field(default_factory=dict)
    reserved: dict[bytes, Reservation] = field(default_factory=dict)
    work: asyncio.Task[None] | None = None


class Batching:
    """Calls that wait to be handed in, and batches under way. Used within one event loop."""

    def __init__(self, house: House, ledger: Ledger) -> None:
        self._house = house
        self._ledger = ledger
        self._offices: dict[Model, _Office] = {}
        self._is_still = False
        """Whether nothing was asked and nothing was answered since all was still."""

    def add(self, job: Job) -> None:
        """Collect a call."""
        office = self._offices.setdefault(job.call.model, _Office(job.call.model))
        office.waiting[job.call.key] = job
        self._is_still = False

    def go(self) -> None:
        """Hand in what was collected: nothing more comes before an answer does."""
        self._is_still = True
        for office in self._offices.values():
            if office.waiting and office.work is None and self._house.stopped is None:
                office.work = asyncio.create_task(self._work(office))

    async def stop(self) -> None:
        """Leave what is under way to the next run."""
        tasks = [office.work for office in self._offices.values() if office.work is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def leave(self, why: Failure) -> None:
        """Answer every call with a reason, and leave what is under way to the next run."""
        for office in self._offices.values():
            if office.work is not None:
                office.work.cancel()
            jobs, office.waiting = office.waiting, {}
            for key in jobs:
                self._house.finish(key, why)

    async def _work(self, office: _Office) -> None:
        try:
            desk = await self._house.desk(office.model)
            earlier = self._ledger.under_way(desk.name, office.model.name)
            taken = frozenset().union(*(batch.keys for batch in earlier))
            fresh = [job for key, job in office.waiting.items() if key not in taken]
            batches = [*earlier, *await self._handed_in(office, desk, fresh)]
            await asyncio.gather(*(self._await(office, desk, batch) for batch in batches))
        except Trouble as trouble:
            name = shown(office.model.reference)
            self._house.fail(ModelError(f"{name}: {trouble.failure.message}"))
        except Exception as error:  # noqa: BLE001 - the run raises it, when all rows are kept
            self._house.fail(error)
        finally:
            for reservation in office.reserved.values():
                self._house.budget.release(reservation)
            office.reserved.clear()
            office.work = None
        if self._is_still:
            # Nobody will say it again.
            self.go()

    async def _handed_in(self, office: _Office, desk: Desk, jobs: Sequence[Job]) -> list[Batch]:
        """Hand in as many calls as the budget allows."""
        calls = [job.call for job in jobs if self._reserve(office, job.call)]
        if jobs and not calls and self._is_spent(office, jobs[0].call):
            self._house.stop(Failure("Budget", "the budget is spent"))
        batches = []
        for group in groups(calls):
            keys = frozenset(call.key for call in group)
            name = f"{min(keys).hex()[:12]}-{len(keys)}.jsonl"
            file = await desk.upload(name, lines(group))
            batch = Batch(file, None, desk.name, office.model.name, keys)
            # Noted before it is handed in: a run that is killed in between finds it by its file.
            self._ledger.note(batch)
            batch = await desk.hand_in(batch, group[0].path)
            self._ledger.note(batch)
            self._house.note(
                f"{shown(office.model.reference)}: a batch of {len(keys):,} calls is handed in "
                f"({shown(batch.batch)}); a run that is left now is picked up by the next one"
            )
            batches.append(batch)
        return batches

    def _reserve(self, office: _Office, call: Call) -> bool:
        bound = prompt_bound(len(call.body), call.messages)
        reservation = self._house.budget.reserve(bound, call.max_tokens, office.model.price)
        if reservation is not None:
            office.reserved[call.key] = reservation
        return reservation is not None

    def _is_spent(self, office: _Office, call: Call) -> bool:
        bound = prompt_bound(len(call.body), call.messages)
        return self._house.budget.exhausted(bound, call.max_tokens, office.model.price)

    async def _await(self, office: _Office, desk: Desk, batch: Batch) -> None:
        """Look at a batch until it is over, and keep what came of it."""
        if batch.batch is None:
            batch = await desk.hand_in(batch, _path(office, batch))
            self._ledger.note(batch)
        state = await self._over(office, desk, batch)
        if state is None:
            return
        seen = set()
        for file in state.files:
            for result in read_results(await desk.fetch(file)):
                if result.key in batch.keys:
                    seen.add(result.key)
                    await self._settle(office, result)
        for key in batch.keys - seen:
            trouble = Trouble(Failure("BatchError", f"the batch gave no answer ({state.told})"))
            self._troubled(office, key, trouble)
        self._ledger.settle(batch)

    async def _over(self, office: _Office, desk: Desk, batch: Batch) -> State | None:
        """Wait until a batch is over; None where a person has to do something first."""
        last, failures = "", 0
        while True:
            try:
                state = await desk.state(batch)
                failures = 0
            except Trouble as trouble:
                failures += 1
                if not trouble.is_passing or failures > _PATIENCE:
                    raise
            else:
                if state.is_over:
                    return state
                if state.told != last:
                    last = state.told
                    self._house.note(f"batch {shown(batch.batch)}: {shown(last)}")
                advice = desk.advice(batch)
                if advice is not None:
                    self._house.stop(Failure("Batch", advice))
                    return None
            await asyncio.sleep(office.model.poll)

    async def _settle(self, office: _Office, result: Result) -> None:
        job = office.waiting.get(result.key)
        path = job.call.path if job else None
        if not result.is_answer:
            self._troubled(office, result.key, await self._refusal(office, result))
            return
        try:
            answer = _read(result.body, path)
        except ValueError as error:
            trouble = Trouble(Failure("APIResponseValidationError", str(error)))
            self._troubled(office, result.key, trouble)
            return
        self._count(office, result.key, answer)
        kept = await self._house.keep(office.model, result.key, answer)
        self._finish(office, result.key, kept)

    async def _refusal(self, office: _Office, result: Result) -> Trouble:
        desk = await self._house.desk(office.model)
        if desk.address is None:
            return Trouble(Failure("BatchError", shown(result.body[:300].decode(errors="replace"))))
        return refused(desk.address, result.status, {}, result.body)

    def _count(self, office: _Office, key: bytes, answer: Answer) -> None:
        tokens = (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)
        reservation = office.reserved.pop(key, None)
        if reservation is not None:
            self._house.budget.settle(reservation, *tokens)
        else:
            self._house.budget.owe(office.model.price, *tokens)

    def _troubled(self, office: _Office, key: bytes, trouble: Trouble) -> None:
        """Let a call wait for the next batch, or fail it."""
        reservation = office.reserved.pop(key, None)
        if reservation is not None:
            self._house.budget.release(reservation)
        job = office.waiting.get(key)
        if job is None:
            return
        job.attempts += 1
        if trouble.is_passing and job.attempts < office.model.attempts:
            return
        self._finish(office, key, trouble.failure)

    def _finish(self, office: _Office, key: bytes, reply: Reply) -> None:
        if office.waiting.pop(key, None) is not None:
            self._is_still = False
            self._house.finish(key, reply)


def _path(office: _Office, batch: Batch) -> str:
    """Say what a batch's calls ask for; all of one batch ask for the same."""
    asked = (job.call.path for key, job in office.waiting.items() if key in batch.keys)
    return next(asked, "chat/completions")


def _read(body: bytes, path: str | None) -> Answer:
    """Read an answer; nobody may be left who knows what was asked for."""
    if path is not None:
        return READERS[path](body)
    for reader in READERS.values():
        try:
            return reader(body)
        except ValueError:
            continue
    raise ValueError("the reply is neither a chat completion nor an embedding")
