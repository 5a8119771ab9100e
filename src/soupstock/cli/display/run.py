"""Show the result of a run, in numbers."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from soupstock.artifacts.decontamination import UNASKED
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.artifacts.run_folder import DATASET, REPORT
from soupstock.cli.display.terminal import cell, new_console, new_table, short
from soupstock.reports.card.splits import empty_splits

if TYPE_CHECKING:
    from soupstock.artifacts.decontamination import DecontaminationRecord
    from soupstock.runs.prune import PruneResult
    from soupstock.runs.run import Run

_FILTER = "filter: "


def show_run(run: "Run") -> None:
    """Print what became of every row of a run: kept, or dropped with the reason."""
    console, manifest = new_console(), run.manifest
    console.print(steps_table(manifest.steps))
    console.print()
    for line in (*notes(manifest.steps), *failures(manifest), *_alarms(manifest)):
        console.print(cell(line), style="yellow")
    console.print(cell(summary(manifest)), soft_wrap=True)
    for line in _servers(manifest):
        console.print(cell(line), soft_wrap=True)
    for line, style in (*_judges(manifest), *_shortcomings(manifest)):
        console.print(cell(line), style=style, soft_wrap=True)
    for name in (DATASET, REPORT):
        if (run.folder / name).exists():
            console.print(cell(f"{name}: {run.folder / name}"), soft_wrap=True)


def _shortcomings(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Say what a run did not reach, with the style of the line."""
    if manifest.outcome == "partial":
        yield f"partial: {manifest.reason}", "bold yellow"
        if (manifest.reason or "").startswith("stopped"):
            yield "every answer is kept; run the same command again to continue", ""
    if not manifest.kept and manifest.steps:
        worst = max(manifest.steps, key=lambda step: sum(step.dropped.values()))
        why = f"no row was kept, so there is no dataset; '{worst.label}' dropped most"
        yield why, "bold yellow"
    for one in empty_splits(manifest.dataset) if manifest.dataset else ():
        which = f"{one.split} of {one.config}" if one.config else one.split
        yield f"the split {which} has no row: there are too few groups of rows to split", "yellow"


def show_pruned(pruned: "PruneResult") -> None:
    """Print what became of every row of a file that was pruned."""
    console, account = new_console(), pruned.account
    console.print(steps_table(account.steps))
    console.print()
    for line in (*notes(account.steps), *_canaries(account.decontamination)):
        console.print(cell(line), style="yellow")
    rate = f"{account.rows / max(account.seconds, 1e-9):,.0f} rows/s"
    dropped = account.rows - account.kept
    console.print(f"{account.rows:,} rows in, {account.kept:,} kept, {dropped:,} dropped; {rate}")
    for label, path in (("kept", pruned.kept), ("dropped", pruned.dropped)):
        console.print(cell(f"{label}: {path}"), soft_wrap=True)


def _canaries(records: "Sequence[DecontaminationRecord]") -> Iterator[str]:
    for record in records:
        if record.is_unasked:
            yield f"{record.step}: {UNASKED}"
        for one in record.canaries:
            yield (
                f"{record.step}: {one.found:,} of {one.planted:,} canaries found ({one.kind};"
                f" {one.low:.0%} to {one.high:.0%})"
            )


def steps_table(steps: Sequence[StepRecord]) -> Table:
    """Make the table of rows in, kept and dropped, with the reasons under each step."""
    columns = ("in", "kept", "dropped", "failed", "answers")
    table = new_table("step", *columns, right=columns)
    for step in steps:
        failed = sum(failure.rows for failure in step.failures)
        numbers = (step.rows_in, step.rows_kept, sum(step.dropped.values()), failed, step.answers)
        table.add_row(cell(short(step.label)), *(f"{n:,}" if n else "" for n in numbers))
        for reason, count in step.dropped.items():
            if reason != step.label:
                table.add_row(cell(f"  {reason.removeprefix(_FILTER)}"), "", "", f"{count:,}")
    return table


def notes(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Say what a person should know about each step."""
    for step in steps:
        yield from (f"{step.label}: {note}" for note in step.notes)
        if step.masked:
            masked = ", ".join(f"{count:,} {kind}" for kind, count in step.masked.items())
            yield f"{step.label}: {masked} masked"


def _alarms(manifest: Manifest) -> Iterator[str]:
    for one in manifest.diversity:
        yield from (f"{one.column} may have collapsed: {alarm}" for alarm in one.alarms)


def failures(manifest: Manifest) -> Iterator[str]:
    """Say what failed, by step and cause, with an example each."""
    for step in manifest.steps:
        for failure in step.failures:
            yield (
                f"{step.label}: {failure.rows:,} failed with {failure.cause}, "
                f"for example: {failure.example}"
            )


def _judges(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Say how far each model that judges can be trusted, with the style of the line."""
    for judge in manifest.judges:
        if (fitness := judge.fitness) is not None:
            is_fit = fitness.verdict == "fit"
            yield f"{judge.column}: {fitness.sentence}", "" if is_fit else "bold yellow"
            if fitness.padding is not None and fitness.padding.is_biased:
                yield f"{judge.column}: {fitness.padding.sentence}", "yellow"
        if (orders := judge.orders) is not None:
            yield f"{judge.column}: {orders.sentence}", "bold yellow" if orders.is_biased else ""
        if judge.calibration is not None:
            style = "bold yellow" if judge.calibration.void else ""
            yield f"{judge.column}: {judge.calibration.summary}", style
    for record in manifest.decontamination:
        if record.question is not None:
            style = "" if record.question.is_proven else "bold yellow"
            yield f"{record.step}: {record.question.sentence}", style


def summary(manifest: Manifest) -> str:
    """Say in one line what a run kept and what it cost."""
    paid = manifest.paid
    tokens = f"{paid.tokens.prompt + paid.tokens.completion:,} tokens"
    if paid.tokens.cached:
        tokens += f", {paid.tokens.cached:,} of them from the server's cache"
    cost = f", ${paid.cost:.4f}" if paid.cost else ""
    cost += f", {paid.probes:,} of them to probe a server" if paid.probes else ""
    dropped = manifest.rows - manifest.kept
    calls = "1 call" if paid.calls == 1 else f"{paid.calls:,} calls"
    return (
        f"{manifest.rows:,} rows in, {manifest.kept:,} kept, {dropped:,} dropped; "
        f"{calls} made ({tokens}{cost}), {paid.found:,} found in the cache; "
        f"{manifest.timing.seconds:.1f} s"
    )


def _servers(manifest: Manifest) -> Iterator[str]:
    """Say what is worth knowing about the servers: prefix caches, replicas, JSON Schemas."""
    for server in manifest.paid.servers:
        if server.prefix_hits is not None:
            share = f"{server.prefix_hits:.0%} of its prompt tokens were in its prefix cache"
            yield f"{server.model}: {share}"
        shares = [
            f"{one.base_url} {one.calls:,} calls" + (f" ({one.failed:,} failed)" * bool(one.failed))
            for one in server.addresses
        ]
        if shares:
            yield f"{server.model}: {', '.join(shares)}"
        if server.structured_output == "prompt":
            yield (
                f"{server.model}: its server does not enforce a JSON Schema; the prompt asked"
                " for it instead, and calls whose answers broke it were retried"
            )
