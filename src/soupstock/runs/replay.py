"""Make a run's rows and dataset again from its manifest and the store, asking nobody.

`python -m soupstock.runs.replay PROJECT RUN INTO` does it in a process of its own, and writes
beside the rows what came of it, as JSON. A call that failed in the run fails in the replay as it
did.
"""

import asyncio
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import Manifest
from soupstock.engine.flow import Flow
from soupstock.engine.plan import Plan, plan
from soupstock.engine.tally import Tally
from soupstock.errors import SoupstockError
from soupstock.inference.call import Call, Failure, Reply
from soupstock.inference.store import Store
from soupstock.project.recorded import RecordedProject
from soupstock.reports.card.card import render_card
from soupstock.rows.rows import Row
from soupstock.rows.shards import write_dataset
from soupstock.rows.table import Table
from soupstock.runs.dataset_record import record_of
from soupstock.runs.lookup import UNASKED, Lookup
from soupstock.runs.results import samples_of
from soupstock.runs.run import first_rows, next_rows
from soupstock.spec.fields import Record
from soupstock.steps.publish import Publication
from soupstock.steps.step import RowWise, Step

RESULT = "replay.json"
WINDOW = 64
"""How many rows are under way at once: fewer than in a run, and that must make no difference."""

_FROM_ANSWERS = frozenset({"Unreadable", "PromptError", "Schema"})
"""Causes that follow from what is known; all others came from outside."""

_MOST = 20
_UNTOLD = Failure("Unknown", "the run does not tell")


class Missing(Record):
    """Answers that the store does not have."""

    step: str
    rows: int
    ids: tuple[str, ...]
    """Some of the rows that need them."""


class Replay(Record):
    """What came of a replay."""

    fingerprint: str
    """The plan's, as it is now."""
    source: str | None = None
    """The source's hash, as it is now."""
    missing: tuple[Missing, ...] = ()
    steps: tuple[tuple[str, int, int, dict[str, int]], ...] = ()
    """For each step its label, rows in, rows kept, and rows dropped by reason."""
    error: str | None = None
    """Why there is no replay."""


def main(arguments: Sequence[str]) -> None:
    """Replay the run in a folder into another one."""
    root, run, into = map(Path, arguments)
    try:
        found = asyncio.run(_replay(root, manifest.read(run), run, into))
    except SoupstockError as error:
        found = Replay(fingerprint="", error=str(error))
    (into / RESULT).write_text(found.model_dump_json(), encoding="utf-8")


async def _replay(root: Path, said: Manifest, run: Path, into: Path) -> Replay:
    with tempfile.TemporaryDirectory(prefix="soupstock-") as place:
        project = RecordedProject(root, said, Path(place))
        pipeline = said.spec
        planned = plan(pipeline, project, name=said.name)
        if planned.fingerprint != said.fingerprint:
            return Replay(fingerprint=planned.fingerprint, source=planned.source.sha256)
        async with Store(run_folder.runs_folder(root) / run_folder.STORE) as store:
            lookup = Lookup(store)
            lookup.failures = await _failures(planned, run, lookup)
            table, flow = await _through(planned, lookup, Path(place) / "rows")
            table.save(into / run_folder.ROWS)
            _write(planned, said, table, into / run_folder.DATASET)
            return Replay(
                fingerprint=planned.fingerprint,
                source=planned.source.sha256,
                missing=tuple(_missing(flow, table)),
                steps=tuple(
                    (t.label, t.rows_in, t.kept, dict(sorted(t.reasons.items())))
                    for t in flow.tallies
                ),
            )


async def _through(planned: Plan, lookup: Lookup, work: Path) -> tuple[Table, Flow]:
    """Take the rows through, as often as the run did to meet its target."""
    rows, wanted = first_rows(planned), planned.pipeline.target
    while True:
        shutil.rmtree(work, ignore_errors=True)
        flow = Flow(planned, lookup, work, rows, window=WINDOW)
        table = await flow.run()
        more = next_rows(flow)
        if more is None:
            return (table if wanted is None else flow.trimmed(table, wanted)), flow
        rows = more


async def _failures(planned: Plan, run: Path, lookup: Lookup) -> dict[bytes, Failure]:
    """Find which calls failed in the run, by letting each row's step put its question again."""
    found: dict[bytes, Failure] = {}
    if not (run / run_folder.ROWS).is_file():
        return found
    rows = pl.scan_parquet(run / run_folder.ROWS, glob=False)
    for row in rows.filter(pl.col("failures").list.len() > 0).collect().to_dicts():
        for step in planned.steps:
            told = [
                Failure(failure["cause"], failure["message"])
                for failure in row["failures"]
                if failure["step"] == step.title
            ]
            if any(failure.cause not in _FROM_ANSWERS for failure in told):
                blanks = _Blanks(lookup)
                ended = await _asked(step, _before(row, step), blanks)
                found.update(blanks.filled(ended, told))
    return found


def _before(row: Row, step: Step) -> Row:
    """Return a row as it came to a step."""
    made = dict.fromkeys(step.adds)
    return {**row, **made, "failures": [], "dropped_by": []}


async def _asked(step: Step, row: Row, ask: "_Blanks") -> Row:
    """Let a step put its questions about a row once more."""
    if not isinstance(step.bound, RowWise):
        return row
    stage = step.bound.stage(step, Tally(step.title))
    if stage.step is None:
        return row
    if stage.check is not None:
        (row,) = stage.check([row])
    return await stage.step(row, ask)


class _Blanks:
    """Answers a row's questions from the store, and puts a blank where it has no answer.

    Which blank comes out at which place of the row's failures tells which question failed how.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._blanks: dict[str, bytes] = {}
        """The keys of calls that are not in the store, by the causes that their blanks tell."""

    async def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        answers = self._lookup.found(calls)
        return [answers.get(call.key) or self._blank(call) for call in calls]

    def _blank(self, call: Call) -> Failure:
        cause = f"blank {len(self._blanks)}"
        self._blanks[cause] = call.key
        return Failure(cause, "")

    def filled(self, ended: Row, told: Sequence[Failure]) -> Iterator[tuple[bytes, Failure]]:
        """Say how each question failed, by the failures that the run tells, in their order.

        What failed alike several times is told once, at its first place. So a blank is the next
        failure that is told; where that is one that comes out by itself, it is the last one again.
        """
        waiting, last = deque(told), _UNTOLD
        for one in ended["failures"]:
            if one["cause"] not in self._blanks:
                if waiting and waiting[0] == (one["cause"], one["message"]):
                    waiting.popleft()
                continue
            if waiting and waiting[0].cause not in _FROM_ANSWERS:
                last = waiting.popleft()
            # A jury puts the member's name before what its server said.
            message = last.message.removeprefix(one["message"])
            yield self._blanks.pop(one["cause"]), Failure(last.cause, message)
        yield from ((key, _UNTOLD) for key in self._blanks.values())


def _write(planned: Plan, said: Manifest, table: Table, place: Path) -> None:
    """Write the dataset and its card, which says what the manifest says."""
    step, bound = planned.steps[-1].spec, planned.steps[-1].bound
    if not (isinstance(step, spec.Publish) and isinstance(bound, Publication)):
        return
    written = write_dataset(bound.shapes, bound.splits, table, place)
    if written is None:
        return
    dataset = record_of(written, bound, place, license=step.license, language=step.language)
    again = said.model_copy(update={"dataset": dataset, "files": {}})
    card = render_card(again, dataset, samples_of(place, dataset))
    (place / "README.md").write_text(card, encoding="utf-8")


def _missing(flow: Flow, table: Table) -> Iterable[Missing]:
    """Name the rows that stopped because the store had no answer, step by step."""
    unanswered = table.scan().filter(pl.col("dropped_by").list.contains(UNASKED)).collect()
    rows = unanswered.to_dicts()
    for step, tally in zip(flow.plan.steps, flow.tallies, strict=False):
        count = tally.reasons[UNASKED]
        if count:
            stopped = [row["id"] for row in rows if _stopped_at(row, step)]
            yield Missing(step=step.title, rows=count, ids=tuple(stopped[:_MOST]))
            rows = [row for row in rows if not _stopped_at(row, step)]


def _stopped_at(row: Row, step: Step) -> bool:
    """Tell whether a row got no further than this step: what it makes is not there."""
    return bool(step.adds) and all(row[name] is None for name in step.adds)


if __name__ == "__main__":
    main(sys.argv[1:])
