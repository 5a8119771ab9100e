"""Take a plan through the cache alone: which answers there are, and which would have to be asked.

Asks no model, and writes only tables in a temporary folder.
"""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soupstock.artifacts import run_folder
from soupstock.engine.flow import Flow
from soupstock.engine.plan import Plan
from soupstock.engine.tally import Tally
from soupstock.inference.cache import Cache
from soupstock.inference.call import Answer, Call, Failure, Reply, decode, look_up
from soupstock.runs.run import first_rows, next_rows

NOT_ASKED = Failure("Unasked", "nothing was asked")
UNASKED = f"stopped: {NOT_ASKED.cause}"
"""The reason of rows that the cache has no answer for."""


@dataclass
class CacheOnly:
    """Answers calls from the cache and from nowhere else; notes which answers it used."""

    cache: Cache
    keys: set[bytes] = field(default_factory=set)
    """The keys of the answers that were used."""
    stopped: Failure | None = None
    failures: Mapping[bytes, Failure] = field(default_factory=dict)
    """Known failures of calls, by their keys."""

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return the answers that the cache has."""
        cached = look_up(self.cache.get, calls)
        self.keys.update(one.key for one in cached.values())
        return {key: decode(one.answer) for key, one in cached.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:  # noqa: ARG002
        """Reply with the call's known failure, or that no model was asked."""
        done(self.failures.get(call.key, NOT_ASKED))

    def rest(self) -> None:
        """Do nothing: no call was sent."""

    def is_unasked(self, cause: str) -> bool:
        """Tell whether the cache had no answer."""
        return cause == NOT_ASKED.cause

    def stop(self, why: Failure) -> None:
        """Do nothing: other rows may have answers although a step fails for nearly all."""


@dataclass(frozen=True)
class Coverage:
    """What the cache has of the answers that a plan needs."""

    keys: frozenset[bytes]
    """The keys of the answers that the plan's rows use."""
    tallies: Sequence[Tally]
    """Each step's tally; a row that lacks an answer is dropped there as UNASKED."""
    source_rows: int
    """How many source rows were looked at."""
    canaries: Mapping[str, Tally] = field(default_factory=dict)
    """The tallies of canaries, by the column that the checked models fill."""

    @property
    def is_complete(self) -> bool:
        """Whether the cache has every answer that the plan needs."""
        return not any(tally.reasons[UNASKED] for tally in self.tallies)


def coverage_of(plan: Plan) -> Coverage:
    """Take a plan's rows as far as the cache reaches."""
    return asyncio.run(_coverage_of(plan))


async def _coverage_of(plan: Plan) -> Coverage:
    path = run_folder.runs_folder(plan.project.root) / run_folder.CACHE
    rows = first_rows(plan)
    async with Cache(path) as cache:
        answers = CacheOnly(cache)
        while True:
            with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
                flow = Flow(plan, answers, Path(place), rows)
                await flow.run()
            canaries = {column: check.tally for column, check in flow.checks.items()}
            covered = Coverage(frozenset(answers.keys), flow.tallies, flow.source_rows, canaries)
            more = next_rows(flow) if covered.is_complete else None
            if more is None:
                return covered
            rows = more
