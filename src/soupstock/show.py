"""Show plans, progress and results in a terminal, or as plain lines where there is none.

Generated text is hostile here too: it goes through `shown`, so no control character gets out.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soupstock.arrangement import vacancies
from soupstock.budget import PICO
from soupstock.canaries import FEWEST, copies
from soupstock.edits import EDITS
from soupstock.errors import SoupstockError, shown
from soupstock.folder import DATASET, REPORT
from soupstock.loader import load
from soupstock.manifest import UNASKED, Manifest, StepRecord
from soupstock.plan import Plan, Step
from soupstock.project import Project
from soupstock.spec import RESERVED, Decontaminate, Dedup, Judge, Pipeline, Select
from soupstock.steps.decontaminate import Decontamination
from soupstock.steps.judge import Judging

if TYPE_CHECKING:
    from soupstock.asked import Round
    from soupstock.calibration import Calibrated
    from soupstock.estimate import Estimate, Interval
    from soupstock.explain import Chapter, Life
    from soupstock.lanes import Lane
    from soupstock.manifest import DecontaminationRecord
    from soupstock.prune import Pruned
    from soupstock.review.exchange import Exchanged
    from soupstock.run import Progress, Run
    from soupstock.store import Size
    from soupstock.tasks import Entry

PLAIN_EVERY = 10.0
"""Seconds between progress lines where there is no terminal."""

_FILTER = "filter: "
_LONGEST_TEXT = 600


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def _table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _cell(value: object) -> Text:
    """Show a value with its own lines and without control characters."""
    return Text("\n".join(shown(line) for line in str(value).split("\n")))


def show_plan(plan: Plan) -> None:
    """Print what a run would do."""
    console = _console()
    rows = "as many rows as it takes" if plan.rows is None else f"{plan.rows:,} rows"
    columns = ", ".join(plan.source.columns)
    console.print(Text(f"{shown(plan.name)}: {rows} from a {plan.source.kind} source ({columns})"))
    if plan.pipeline.target:
        console.print(f"target: exactly {plan.pipeline.target:,} kept rows")
    console.print()
    for number, step in enumerate(plan.steps, 1):
        console.print(Text(f"{number}. {shown(step.title)}", style="bold"))
        for label, text in _details(step, plan.rows):
            console.print(Text(f"   {label:<10}{shown(text)}"), soft_wrap=True)
    console.print()
    for role, model in plan.models.items():
        revision = f", revision {model.revision}" if model.revision else ""
        where = f" at {model.base_url}" if model.base_url else ""
        console.print(_cell(f"{role}: {model.reference} ({model.name}{revision}){where}"))
        if model.launch:
            command = " ".join(model.launch.command)
            console.print(_cell(f"  started by the run: {command}"), soft_wrap=True)
        if model.missing:
            console.print(_cell(f"  missing: {model.missing}"), style="yellow")
    if crowding := plan.crowding():
        console.print(_cell(crowding), style="yellow", soft_wrap=True)
    if plan.rows is not None:
        total = plan.rows * sum(step.calls for step in plan.steps)
        console.print(f"calls: at most {total:,}, fewer as rows are dropped; none is asked twice")
    for told in _trials(plan.steps):
        console.print(told)
    console.print(f"fingerprint: {plan.fingerprint[:12]}")


def _trials(steps: Sequence[Step]) -> Iterator[str]:
    """Say how many calls it takes at most to try the models that judge."""
    if spoiled := sum(map(_spoiled_calls, steps)):
        yield f"calls about canaries, which show whether the judge is fit: at most {spoiled:,}"
    if edited := sum(map(_edited_calls, steps)):
        yield f"calls about known cases, which show what decontaminate finds: at most {edited:,}"


def _spoiled_calls(step: Step) -> int:
    """Say how many calls it takes at most to try a judge."""
    return len(step.members) * round(_spoiled_rows(step))


def _spoiled_rows(step: Step, rows: float = math.inf) -> float:
    """Say how many canaries a judge of so many rows is asked about at most."""
    if not (isinstance(step.bound, Judging) and isinstance(step.spec, Judge) and step.members):
        return 0
    taken = min(rows, step.spec.canaries or 0)
    return copies(step.bound.rubric) * taken if taken >= FEWEST else 0


def _edited_calls(step: Step) -> int:
    """Say how many calls it takes at most to try who is asked for the same question."""
    if not (isinstance(step.bound, Decontamination) and isinstance(step.spec, Decontaminate)):
        return 0
    items = sum(reference.rows for reference in step.bound.against)
    # Each item is edited in each way, and held against another one.
    return (len(EDITS) + 1) * min(items, step.spec.canaries or 0) if step.model else 0


def _details(step: Step, rows: int | None) -> Iterator[tuple[str, str]]:
    """Say what a step reads, asks and adds: labels and texts."""
    if step.reads:
        yield "reads", ", ".join(step.reads)
    if step.adds:
        yield "adds", ", ".join(f"{name} ({_type(dtype)})" for name, dtype in step.adds.items())
    if step.model:
        calls = f"{step.calls} a row" if rows is None else f"at most {rows * step.calls:,}"
        yield "asks", f"{step.role} = {step.model.reference}, calls: {calls}"
    for reference in getattr(step.bound, "against", ()):
        yield "against", f"{reference.label}, {reference.column}: {reference.rows:,} rows"
    if embedder := getattr(step.bound, "embedder", None):
        yield "embedder", embedder.name
    for kind, part in dict.fromkeys(step.parts):
        yield kind, part.file


def _type(dtype: Any) -> str:
    names = {"String": "text", "List(String)": "texts", "Int64": "integer", "Float64": "number"}
    text = str(dtype)
    return names.get(text, "score and reasons" if "criteria" in text else "fields")


def show_estimate(plan: Plan, told: "Estimate") -> None:
    """Print what is still to be done for a plan, each figure with its interval."""
    console = _console()
    table = _table("to come", "about", "nine in ten", right=("about", "nine in ten"))
    rows: list[tuple[str, Interval | None, Callable[[float], str]]] = [
        ("calls", told.calls, _whole),
        ("tokens asked", told.prompt_tokens, _whole),
        ("tokens answered", told.completion_tokens, _whole),
        ("cost", told.cost, lambda value: f"${value:.2f}"),
        ("time", told.seconds, _duration),
        ("rows in the dataset", told.kept, _whole),
    ]
    for label, interval, say in rows:
        if interval is None:
            table.add_row(label, "not known", "")
        else:
            table.add_row(
                label, say(interval.median), f"{say(interval.low)} to {say(interval.high)}"
            )
    console.print()
    console.print(f"{told.found:,} answers are in the store already")
    console.print(table)
    if told.cost is None:
        console.print("cost: set input_price and output_price in [tool.soupstock.models]")
    for title in told.unknown:
        unknown = f"no answer of '{title}' is known yet: its longest ones are counted"
        console.print(_cell(unknown))
    if any(isinstance(step.spec, Dedup | Select) for step in plan.steps):
        console.print(
            "dedup and select drop more the more rows there are: less than this is likely"
        )


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _duration(seconds: float) -> str:
    """Say a time: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def show_cache(sizes: "Sequence[Size]") -> None:
    """Print what the store holds, by model."""
    table = _table("model", "answers", "size", right=("answers", "size"))
    for size in sizes:
        table.add_row(_cell(size.model), f"{size.answers:,}", f"{size.bytes / 1e3:,.0f} kB")
    _console().print(table)


def show_pipelines(project: Project) -> None:
    """Print the pipelines by name, with what they make."""
    table = _table("pipeline", "what it makes", "where")
    for name, path in sorted(project.pipeline_names().items()):
        try:
            description = load(path, Pipeline).value.description
        except SoupstockError as error:
            description = f"(cannot be read: {error.message})"
        where = "standard" if path.is_relative_to(project.standard) else "project"
        if project.root == project.standard:
            where = "project"
        table.add_row(*map(_cell, (name, description, where)))
    _console().print(table)


def show_tasks(entries: "Iterable[Entry]") -> None:
    """Print the tasks that a task step can carry out: what each needs, makes and comes from."""
    table = _table("task", "inputs", "outputs", "paper")
    for entry in entries:
        needs = [name if is_needed else f"{name}?" for name, is_needed in entry.inputs.items()]
        paper = "\n".join(entry.paper) if entry.paper else ""
        outputs = "\n".join(entry.outputs)
        table.add_row(*map(_cell, (entry.name, "\n".join(needs), outputs, paper)))
    _console().print(table)


def show_run(run: "Run") -> None:
    """Print the accounts of a run: every row that came in, kept or dropped with its reason."""
    console, said = _console(), run.manifest
    console.print(steps_table(said.steps))
    console.print()
    for line in (*notes(said.steps), *_failures(said), *_alarms(said)):
        console.print(_cell(line), style="yellow")
    console.print(_cell(_summary(said)), soft_wrap=True)
    for line in _servers(said):
        console.print(_cell(line), soft_wrap=True)
    for line, style in _judges(said):
        console.print(_cell(line), style=style, soft_wrap=True)
    if said.outcome == "partial":
        console.print(_cell(f"partial: {said.reason}"), style="bold yellow", soft_wrap=True)
        if (said.reason or "").startswith("stopped"):
            console.print("every answer is kept; the same command goes on")
    if not said.kept and said.steps:
        worst = max(said.steps, key=lambda step: sum(step.dropped.values()))
        why = f"no row was kept, so there is no dataset; '{worst.label}' dropped most"
        console.print(_cell(why), style="bold yellow")
    for one in vacancies(said.dataset) if said.dataset else ():
        which = f" of {one.config}" if one.config else ""
        why = f"no row{which} is in the split {one.split}: too few groups of rows can be apart"
        console.print(_cell(why), style="yellow", soft_wrap=True)
    for name in (DATASET, REPORT):
        if (run.folder / name).exists():
            console.print(_cell(f"{name}: {run.folder / name}"), soft_wrap=True)


def show_pruned(pruned: "Pruned") -> None:
    """Print the accounts of a file that was pruned."""
    console, said = _console(), pruned.account
    console.print(steps_table(said.steps))
    console.print()
    for line in (*notes(said.steps), *_canaries(said.decontamination)):
        console.print(_cell(line), style="yellow")
    rate = f"{said.rows / max(said.seconds, 1e-9):,.0f} rows/s"
    dropped = said.rows - said.kept
    console.print(f"{said.rows:,} rows in, {said.kept:,} kept, {dropped:,} dropped; {rate}")
    for label, path in (("kept", pruned.kept), ("dropped", pruned.dropped)):
        console.print(_cell(f"{label}: {path}"), soft_wrap=True)


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
    table = _table("step", *columns, right=columns)
    for step in steps:
        failed = sum(failure.rows for failure in step.failures)
        numbers = (step.rows_in, step.rows_kept, sum(step.dropped.values()), failed, step.answers)
        table.add_row(_cell(_short(step.label)), *(f"{n:,}" if n else "" for n in numbers))
        for reason, count in step.dropped.items():
            if reason != step.label:
                table.add_row(_cell(f"  {reason.removeprefix(_FILTER)}"), "", "", f"{count:,}")
    return table


def _short(label: str) -> str:
    """Leave out what a step of many filters is called in full: it would fill the table."""
    return _FILTER.rstrip(": ") if label.startswith(_FILTER) and "," in label else label


def notes(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Say what a person should know of each step."""
    for step in steps:
        yield from (f"{step.label}: {note}" for note in step.notes)
        if step.masked:
            masked = ", ".join(f"{count:,} {kind}" for kind, count in step.masked.items())
            yield f"{step.label}: {masked} masked"


def _alarms(said: Manifest) -> Iterator[str]:
    for one in said.diversity:
        yield from (f"{one.column} may have collapsed: {alarm}" for alarm in one.alarms)


def _failures(said: Manifest) -> Iterator[str]:
    for step in said.steps:
        for failure in step.failures:
            yield (
                f"{step.label}: {failure.rows:,} failed with {failure.cause}, "
                f"for example: {failure.example}"
            )


def _judges(said: Manifest) -> Iterator[tuple[str, str]]:
    """Say of each model that judges what it is worth, with the style that this takes."""
    for judge in said.judges:
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
    for record in said.decontamination:
        if record.question is not None:
            style = "" if record.question.is_proven else "bold yellow"
            yield f"{record.step}: {record.question.sentence}", style


def show_calibration(found: "Calibrated") -> None:
    """Print how a judge compares with people."""
    console, record = _console(), found.record
    console.print(_cell(f"{record.column}: {record.summary}"), soft_wrap=True)
    for sentence in record.sentences:
        console.print(_cell(sentence), soft_wrap=True)
    table = _table("criterion", "rows", "measure", "value", "interval", right=("rows", "value"))
    for one in record.criteria:
        value, limits = "unknown", ""
        if one.value is not None:
            value = f"{one.value.estimate:.2f}"
            limits = f"{one.value.low:.2f} to {one.value.high:.2f}"
        style = "" if one.is_beyond_chance else "yellow"
        table.add_row(_cell(one.name), f"{one.rows:,}", one.statistic, value, limits, style=style)
    console.print(table)
    if record.unscored:
        rest = f"{record.unscored:,} labelled rows have no score in the last run"
        console.print(_cell(rest), style="yellow")
    if found.ignored:
        console.print(_cell(f"no labels, so left out: {', '.join(found.ignored)}"), style="yellow")
    told = f"kept in {found.path}; run again to have it in card and report"
    console.print(_cell(told), soft_wrap=True)


def show_review(done: "Exchanged") -> None:
    """Print what was fetched and sent, and where people go to answer."""
    console = _console()
    for note in done.notes:
        console.print(_cell(note), style="yellow", soft_wrap=True)
    console.print(_cell(f"review at {done.place.where}"), soft_wrap=True)
    for label, text in done.place.details.items():
        console.print(_cell(f"  {label}: {text}"), soft_wrap=True)
    pushed = done.pushed
    console.print(f"sent: {pushed.sent:,} new; {pushed.there:,} were there")
    for row, why in pushed.refused.items():
        console.print(_cell(f"  row {row} was refused: {why}"), style="red", soft_wrap=True)
    console.print(f"waiting: {done.waiting:,} of {done.wanted:,} texts")
    more = f", and {done.others:,} to texts out of the sample" if done.others else ""
    console.print(f"answers: {done.answers:,}{more}; {done.fresh:,} new or changed")
    if done.fresh:
        again = f"run it again to use them: soupstock run {done.name}"
        console.print(_cell(again), soft_wrap=True)


def _summary(said: Manifest) -> str:
    paid = said.paid
    tokens = f"{paid.tokens.prompt + paid.tokens.completion:,} tokens"
    if paid.tokens.cached:
        tokens += f", {paid.tokens.cached:,} of them from the server's cache"
    cost = f", ${paid.cost:.4f}" if paid.cost else ""
    cost += f", {paid.probes:,} of them to probe a server" if paid.probes else ""
    calls = "1 call" if paid.calls == 1 else f"{paid.calls:,} calls"
    return (
        f"{said.rows:,} rows in, {said.kept:,} kept, {said.rows - said.kept:,} dropped; "
        f"{calls} made ({tokens}{cost}), {paid.found:,} found in the store; "
        f"{said.timing.seconds:.1f} s"
    )


def _servers(said: Manifest) -> Iterator[str]:
    """Say what is worth knowing of the servers: shares of addresses, and schemas not kept to."""
    for server in said.paid.servers:
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
                f"{server.model}: its server holds answers to no JSON Schema; the prompt asks for "
                "it instead, and what breaks it was asked for again"
            )


def show_preview(plan: Plan, run: "Run") -> None:
    """Print each row with its columns, scores and reasons."""
    console = _console()
    for number, row in enumerate(run.rows.to_dicts(), 1):
        dropped = ", ".join(row["dropped_by"])
        console.rule(
            _cell(f"row {number} {row['id']}: " + (f"dropped by {dropped}" if dropped else "kept"))
        )
        for name in plan.columns:
            if name not in {"id", "dropped_by"} and row[name] not in (None, []):
                console.print(Text(f"{name}: ", style="bold").append_text(_value(row[name])))
    console.rule()
    console.print(_cell(_summary(run.manifest)))
    for line in _failures(run.manifest):
        console.print(_cell(line), style="yellow")


def show_life(life: "Life") -> None:
    """Print a row's life, chapter by chapter."""
    console = _console()
    reasons = ", ".join(life.row["dropped_by"])
    ending = f"dropped by {reasons}" if reasons else "kept"
    console.print(Text(f"row {life.row['id']}: {shown(ending)}", style="bold"))
    console.print(Text("source", style="bold"))
    for name, value in life.source.items():
        console.print(_labelled(name, _value(value)), soft_wrap=True)
    for chapter in life.chapters:
        _show_chapter(console, chapter)
    if life.twin is not None:
        console.print(Text(f"its twin, row {life.twin['id']}", style="bold"))
        for name, value in life.twin.items():
            if name not in RESERVED and value is not None:
                console.print(_labelled(name, _value(value)), soft_wrap=True)


def _show_chapter(console: Console, chapter: "Chapter") -> None:
    asked = f" (asked {shown(chapter.model)})" if chapter.model else ""
    console.print(Text(shown(chapter.title), style="bold").append(asked, style="not bold"))
    lines = [line for one in chapter.rounds for line in _round(one)]
    if isinstance(chapter.value, dict) and "criteria" not in chapter.value:
        lines += [(name, _value(value)) for name, value in chapter.value.items()]
    elif chapter.value is not None:
        lines.append(("answer", _value(chapter.value)))
    for label, text in lines:
        console.print(_labelled(label, text), soft_wrap=True)
    for label, texts in (("failed", chapter.failures), ("dropped", chapter.reasons)):
        for said in texts:
            console.print(_labelled(label, _cell(said)), style="yellow", soft_wrap=True)


def _round(one: "Round") -> Iterator[tuple[str, Text]]:
    """Show a question and its answer, each line under the question's title."""
    title = f"{one.title}, " if one.title else ""
    for message in one.messages:
        yield (
            f"{title}asked as {message['role']}" if title else message["role"],
            _value(message["content"]),
        )
    if one.answer is not None:
        yield f"{title}answered", _value(one.answer)


def _labelled(label: str, text: Text) -> Text:
    """Put a label before a text, whose further lines are set in as far."""
    indent = " " * 4
    body = Text(f"\n{indent}  ").join(text.split("\n", allow_blank=True))
    return Text(f"{indent}{shown(label)}: ", style="dim").append_text(body)


def _value(value: Any) -> Text:
    """Show a cell: texts keep their lines, a verdict shows its criteria."""
    if isinstance(value, dict) and "criteria" in value:
        lines = [f"{value['score']:.2f}"]
        lines += [
            f"  {name} {_level(verdict)}: {verdict['reason'] or ''}".rstrip(": ")
            for name, verdict in value["criteria"].items()
        ]
        return Text("\n".join(shown(line) for line in lines))
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"
        return Text("\n".join(shown(line) for line in text.splitlines()))
    return _cell(value)


def _level(verdict: dict[str, Any]) -> str:
    """Say a level, or the score where there is none: of a rule, or of several judges."""
    level, score = verdict["level"], verdict["score"]
    return f"{score:.2f}" if level is None else f"{level}"


@contextmanager
def watch(progress: "Progress") -> Iterator[None]:
    """Show a run's progress: a live table in a terminal, else a line now and then."""
    console = _console(stderr=True)
    shower = _live if console.is_terminal else _lines
    with shower(progress, console):
        yield


@contextmanager
def _live(progress: "Progress", console: Console) -> Iterator[None]:
    board = _Board(progress)
    with Live(get_renderable=board.render, console=console, refresh_per_second=4, transient=True):
        yield


@contextmanager
def _lines(progress: "Progress", console: Console) -> Iterator[None]:
    board, stop = _Board(progress), threading.Event()

    def tell() -> None:
        last = ""
        while not stop.wait(PLAIN_EVERY):
            if (line := board.line()) != last:
                console.print(_cell(line), soft_wrap=True)
                last = line

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    progress.listener = lambda note: console.print(_cell(note), soft_wrap=True)
    try:
        yield
    finally:
        stop.set()
        thread.join()


class _Board:
    """What the live table shows, from the run's own counters."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._started = time.monotonic()

    def render(self) -> RenderableType:
        """Make the table of steps and of servers."""
        parts: list[RenderableType] = [_cell(note) for note in self._progress.notes[-3:]]
        if (flow := self._progress.flow) is None:
            return Group(*parts, Text("starting"))
        right = ("in", "kept", "dropped", "failed", "waiting")
        steps = _table("step", *right, right=right)
        for tally in (*flow.tallies, *flow.examined):
            numbers = (tally.rows_in, tally.kept, tally.dropped, tally.failed, tally.waiting)
            steps.add_row(_cell(_short(tally.label)), *(f"{n:,}" if n else "" for n in numbers))
        parts += [steps, self._servers(), Text(self._closing(), style="dim")]
        return Group(*parts)

    def line(self) -> str:
        """Say the same in one line."""
        if (flow := self._progress.flow) is None:
            return "starting"
        asking = [
            tally for tally, step in zip(flow.tallies, flow.plan.steps, strict=False) if step.calls
        ]
        told = (*asking, *flow.examined)
        steps = (f"{t.label} {t.ended:,} of {t.rows_in:,}" for t in told if t.rows_in)
        return f"{', '.join(steps)}; {self._closing()}"

    def _lanes(self) -> "list[Lane]":
        client = self._progress.client
        return list(client.lanes.values()) if client else []

    def _servers(self) -> Table:
        right = ("in flight", "allowed", "answered", "tokens/s", "refused", "failed")
        table = _table("server", *right, right=right)
        for lane in self._lanes():
            numbers = (lane.active, lane.allowed, lane.answered, round(self._rate(lane)))
            cells = (*numbers, lane.refused, lane.failed)
            table.add_row(_cell(lane.model.reference), *(f"{n:,}" if n else "" for n in cells))
        return table

    def _rate(self, lane: "Lane") -> float:
        return lane.tokens / max(1.0, time.monotonic() - self._started)

    def _closing(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = sum(self._rate(lane) for lane in self._lanes())
        share = self._share()
        parts = [f"{elapsed:.0f} s", f"{rate:.0f} tokens/s", *self._costs(share), *self._yield()]
        if share is not None:
            parts.append(f"about {_duration(elapsed * (1 - share) / share)} left")
        client = self._progress.client
        if client is not None and client.stopped is not None:
            parts.append("stopping: what is under way is finished and kept")
        return ", ".join(parts)

    def _costs(self, share: float | None) -> Iterator[str]:
        """Say what was paid in this run, and what it will come to."""
        lanes = self._lanes()
        cost = sum(lane.cost for lane in lanes) / PICO
        if cost:
            yield f"${cost:.4f} so far" + (f", about ${cost / share:.2f} in all" if share else "")

    def _yield(self) -> Iterator[str]:
        """Say how many rows will be kept, or how many it takes to keep as many as are wanted."""
        flow, needed = self._progress.flow, self._progress.needed
        if needed is not None:
            yield f"the target takes about {needed:,} source rows"
        elif flow is not None and flow.rows and flow.survival is not None:
            yield f"about {flow.rows * flow.survival:,.0f} rows will be kept"

    def _canaries(self, step: Step, expected: float) -> float:
        """Guess how many canaries a judge is asked about, as soon as it is known how many."""
        flow = self._progress.flow
        if flow is None or not flow.are_models_tried:
            return 0
        for tally in flow.examined:
            if tally.label.startswith(f"{step.title}:"):
                return tally.rows_in
        return _spoiled_rows(step, expected)

    def _share(self) -> float | None:
        """Guess which share of the work is done, from the rows that steps still expect."""
        flow = self._progress.flow
        if flow is None or not flow.rows:
            return None
        expected, due = float(flow.rows), 0.0
        done = float(sum(tally.ended for tally in flow.examined))
        for tally, step in zip(flow.tallies, flow.plan.steps, strict=False):
            if step.calls:
                done += tally.ended
                due += max(expected, tally.rows_in)
            due += self._canaries(step, expected)
            expected *= tally.kept / tally.ended if tally.ended else 1.0
        share = done / due if due else 0.0
        return share if 0 < share < 1 else None
