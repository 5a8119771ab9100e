"""Take a plan through the store alone: what is answered already, and what would have to be asked.

Nothing is asked, and nothing is written but tables in a folder that is gone afterwards.
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
from soupstock.inference.call import Answer, Call, Failure, Reply, decode, look_up
from soupstock.inference.store import Store
from soupstock.runs.run import first_rows, next_rows

NOT_ASKED = Failure("Unasked", "nothing was asked")
UNASKED = f"stopped: {NOT_ASKED.cause}"
"""Why a row goes no further: the store has no answer for it."""


@dataclass
class Lookup:
    """Answers from the store, and from nowhere else; notes what it found."""

    store: Store
    keys: set[bytes] = field(default_factory=set)
    stopped: Failure | None = None
    failures: Mapping[bytes, Failure] = field(default_factory=dict)
    """Failures that are known of calls, by their keys."""

    def found(self, calls: Sequence[Call]) -> dict[bytes, Answer]:
        """Return what the store has."""
        stored = look_up(self.store.get, calls)
        self.keys.update(one.key for one in stored.values())
        return {key: decode(one.answer) for key, one in stored.items()}

    def ask(self, call: Call, rank: int, done: Callable[[Reply], None]) -> None:  # noqa: ARG002
        """Fail a call as is known of it, or say that nothing was asked."""
        done(self.failures.get(call.key, NOT_ASKED))

    def rest(self) -> None:
        """Go on: nothing was asked."""

    def is_unasked(self, cause: str) -> bool:
        """Tell whether the store had no answer."""
        return cause == NOT_ASKED.cause

    def stop(self, why: Failure) -> None:
        """Go on: a step that failed for nearly everybody is no reason to look no further."""


@dataclass(frozen=True)
class Found:
    """What the store has of a plan."""

    keys: frozenset[bytes]
    """The keys of the answers that the plan's rows rest on."""
    tallies: Sequence[Tally]
    """Each step's accounts; a row that lacks an answer is dropped there as UNASKED."""
    taken: int
    """How many source rows were looked at."""
    canaries: Mapping[str, int] = field(default_factory=dict)
    """How many answers there are to canaries, by the judge's column."""
    untried: Mapping[str, int] = field(default_factory=dict)
    """About how many known cases a decontaminate step's model is still asked, by its column."""

    @property
    def is_whole(self) -> bool:
        """Whether the store has every answer that the plan needs."""
        return not any(tally.reasons[UNASKED] for tally in self.tallies)


def _examined(flow: Flow) -> Mapping[str, int]:
    return {column: told.tally.spent.answers for column, told in flow.examinations.items()}


def _untried(flow: Flow) -> Mapping[str, int]:
    return {column: told.tally.reasons[UNASKED] for column, told in flow.detections.items()}


def look(plan: Plan) -> Found:
    """Take a plan's rows as far as the store goes."""
    return asyncio.run(_look(plan))


async def _look(plan: Plan) -> Found:
    path = run_folder.runs_folder(plan.project.root) / run_folder.STORE
    rows = first_rows(plan)
    async with Store(path) as store:
        lookup = Lookup(store)
        while True:
            with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
                flow = Flow(plan, lookup, Path(place), rows)
                await flow.run()
            keys = frozenset(lookup.keys)
            found = Found(keys, flow.tallies, flow.taken, _examined(flow), _untried(flow))
            more = next_rows(flow) if found.is_whole else None
            if more is None:
                return found
            rows = more
