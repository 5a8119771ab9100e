"""Make a run's rows and dataset again from its manifest and the cache. Asks no model.

`python -m soupstock.runs.replay PROJECT RUN INTO` does it in a process of its own, and writes the
result beside the rows, as JSON. A call that failed in the run fails in the replay in the same way.
"""

import asyncio
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import Manifest
from soupstock.engine.flow import Flow
from soupstock.engine.plan import Plan, plan
from soupstock.engine.tally import Tally
from soupstock.errors import SoupstockError
from soupstock.inference.cache import Cache
from soupstock.inference.call import Call, Failure, Reply
from soupstock.project.recorded import RecordedProject
from soupstock.rows.row import Row
from soupstock.rows.table import Table
from soupstock.runs.coverage import UNASKED, CacheOnly
from soupstock.runs.run import first_rows, next_rows
from soupstock.runs.write_dataset import write_card, write_dataset
from soupstock.spec.fields import Record
from soupstock.steps.step import RowWise, Step

RESULT = "replay.json"
WINDOW = 64
"""How many rows may be in flight: fewer than in a run, which must make no difference."""

_FROM_ANSWERS = frozenset({"Unreadable", "PromptError", "Schema"})
"""Causes that follow from answers in the cache; all others came from servers."""

_MOST = 20
_UNKNOWN = Failure("Unknown", "the run did not record the failure")


class Missing(Record):
    """Answers of a step that the cache does not have."""

    step: str
    rows: int
    ids: tuple[str, ...]
    """Some of the rows that need them."""


class Replay(Record):
    """The result of a replay."""

    fingerprint: str
    """The fingerprint of the plan, as it is now."""
    source: str | None = None
    """The hash of the source, as it is now."""
    missing: tuple[Missing, ...] = ()
    steps: tuple[tuple[str, int, int, dict[str, int]], ...] = ()
    """For each step its label, rows in, rows kept, and rows dropped by reason."""
    error: str | None = None
    """Why the run could not be replayed."""


def main(arguments: Sequence[str]) -> None:
    """Replay the run in a folder into another one."""
    root, folder, into = map(Path, arguments)
    try:
        found = asyncio.run(_replay(root, manifest.read(folder), folder, into))
    except SoupstockError as error:
        found = Replay(fingerprint="", error=str(error))
    (into / RESULT).write_text(found.model_dump_json(), encoding="utf-8")


async def _replay(root: Path, run: Manifest, folder: Path, into: Path) -> Replay:
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        project = RecordedProject(root, run, Path(place))
        planned = plan(run.spec, project, name=run.name)
        if planned.fingerprint != run.fingerprint:
            return Replay(fingerprint=planned.fingerprint, source=planned.source.sha256)
        async with Cache(run_folder.runs_folder(root) / run_folder.CACHE) as cache:
            answers = CacheOnly(cache)
            answers.failures = await _failures(planned, folder, answers)
            table, flow = await _run_to_target(planned, answers, Path(place) / "rows")
            table.save(into / run_folder.ROWS)
            _write_dataset(planned, run, table, into / run_folder.DATASET)
            return Replay(
                fingerprint=planned.fingerprint,
                source=planned.source.sha256,
                missing=tuple(_missing(flow, table)),
                steps=tuple(
                    (t.label, t.rows_in, t.kept, dict(sorted(t.reasons.items())))
                    for t in flow.tallies
                ),
            )


async def _run_to_target(planned: Plan, answers: CacheOnly, work: Path) -> tuple[Table, Flow]:
    """Take the rows through the steps, in as many rounds as the run needed for its target."""
    rows, wanted = first_rows(planned), planned.pipeline.target
    while True:
        shutil.rmtree(work, ignore_errors=True)
        flow = Flow(planned, answers, work, rows, window=WINDOW)
        table = await flow.run()
        more = next_rows(flow)
        if more is None:
            return (table if wanted is None else flow.trimmed(table, wanted)), flow
        rows = more


async def _failures(planned: Plan, folder: Path, answers: CacheOnly) -> dict[bytes, Failure]:
    """Find which calls failed in the run, by letting each failed row's step ask again."""
    found: dict[bytes, Failure] = {}
    if not (folder / run_folder.ROWS).is_file():
        return found
    rows = pl.scan_parquet(folder / run_folder.ROWS, glob=False)
    for row in rows.filter(pl.col("failures").list.len() > 0).collect().to_dicts():
        for step in planned.steps:
            recorded = [
                Failure(failure["cause"], failure["message"])
                for failure in row["failures"]
                if failure["step"] == step.title
            ]
            if any(failure.cause not in _FROM_ANSWERS for failure in recorded):
                blanks = _Blanks(answers)
                ended = await _ask_again(step, _before(row, step), blanks)
                found.update(blanks.fill(ended, recorded))
    return found


def _before(row: Row, step: Step) -> Row:
    """Return a row as it came to a step."""
    made = dict.fromkeys(step.adds)
    return {**row, **made, "failures": [], "dropped_by": []}


async def _ask_again(step: Step, row: Row, ask: "_Blanks") -> Row:
    """Let a step ask about a row once more."""
    if not isinstance(step.bound, RowWise):
        return row
    stage = step.bound.stage(step, Tally(step.title))
    if stage.step is None:
        return row
    if stage.check is not None:
        (row,) = stage.check([row])
    return await stage.step(row, ask)


class _Blanks:
    """Answers a row's calls from the cache; a call that has no answer gets a numbered failure.

    The place of that failure, the blank, among the row's failures tells which call failed how.
    """

    def __init__(self, answers: CacheOnly) -> None:
        self._answers = answers
        self._blanks: dict[str, bytes] = {}
        """The keys of calls that have no answer, by the causes of their blanks."""

    async def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        answers = self._answers.found(calls)
        return [answers.get(call.key) or self._blank(call) for call in calls]

    def _blank(self, call: Call) -> Failure:
        cause = f"blank {len(self._blanks)}"
        self._blanks[cause] = call.key
        return Failure(cause, "")

    def fill(self, ended: Row, recorded: Sequence[Failure]) -> Iterator[tuple[bytes, Failure]]:
        """Yield how each call failed, from the failures that the run recorded, in order.

        The run recorded equal failures of a row once, at the first place. So a blank stands for
        the next recorded failure; if that follows from cached answers, for the last one again.
        """
        waiting, last = deque(recorded), _UNKNOWN
        for one in ended["failures"]:
            if one["cause"] not in self._blanks:
                if waiting and waiting[0] == (one["cause"], one["message"]):
                    waiting.popleft()
                continue
            if waiting and waiting[0].cause not in _FROM_ANSWERS:
                last = waiting.popleft()
            # A jury puts the member's name before the server's message.
            message = last.message.removeprefix(one["message"])
            yield self._blanks.pop(one["cause"]), Failure(last.cause, message)
        yield from ((key, _UNKNOWN) for key in self._blanks.values())


def _write_dataset(planned: Plan, run: Manifest, table: Table, place: Path) -> None:
    """Write the dataset, and its card from the run's manifest."""
    dataset = write_dataset(planned, table, place)
    if dataset is not None:
        write_card(run.model_copy(update={"files": {}}), dataset, place)


def _missing(flow: Flow, table: Table) -> Iterable[Missing]:
    """Name the rows that stopped because the cache had no answer, step by step."""
    unanswered = table.scan().filter(pl.col("dropped_by").list.contains(UNASKED)).collect()
    rows = unanswered.to_dicts()
    for step, tally in zip(flow.plan.steps, flow.tallies, strict=False):
        count = tally.reasons[UNASKED]
        if count:
            stopped = [row["id"] for row in rows if _stopped_at(row, step)]
            yield Missing(step=step.title, rows=count, ids=tuple(stopped[:_MOST]))
            rows = [row for row in rows if not _stopped_at(row, step)]


def _stopped_at(row: Row, step: Step) -> bool:
    """Tell whether a row stopped at this step: all columns that it makes are null."""
    return bool(step.adds) and all(row[name] is None for name in step.adds)


if __name__ == "__main__":
    main(sys.argv[1:])
