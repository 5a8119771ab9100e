"""Show rows: a preview of a few, and the history of one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from soupstock.cli.display.run import failures, summary
from soupstock.cli.display.terminal import cell, new_console
from soupstock.engine.plan import Plan
from soupstock.errors import shown
from soupstock.spec.fields import RESERVED

if TYPE_CHECKING:
    from soupstock.reports.life import Life
    from soupstock.runs.run import Run
    from soupstock.steps.chapter import Chapter, Round

_LONGEST_TEXT = 600


def show_preview(plan: Plan, run: "Run") -> None:
    """Print each row with its columns, scores and reasons."""
    console = new_console()
    for number, row in enumerate(run.rows.to_dicts(), 1):
        dropped = ", ".join(row["dropped_by"])
        console.rule(
            cell(f"row {number} {row['id']}: " + (f"dropped by {dropped}" if dropped else "kept"))
        )
        for name in plan.columns:
            if name not in {"id", "dropped_by"} and row[name] not in (None, []):
                console.print(Text(f"{name}: ", style="bold").append_text(_value(row[name])))
    console.rule()
    console.print(cell(summary(run.manifest)))
    for line in failures(run.manifest):
        console.print(cell(line), style="yellow")


def show_life(life: "Life") -> None:
    """Print a row's history, chapter by chapter."""
    console = new_console()
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
    failures = [f"{cause}: {message}" for cause, message in chapter.failures]
    for label, texts in (("failed", failures), ("dropped", chapter.reasons)):
        for reason in texts:
            console.print(_labelled(label, cell(reason)), style="yellow", soft_wrap=True)


def _round(one: "Round") -> Iterator[tuple[str, Text]]:
    """Show what was asked and answered in one call, each line with the call's title."""
    title = f"{one.title}, " if one.title else ""
    for message in one.messages:
        yield (
            f"{title}asked as {message['role']}" if title else message["role"],
            _value(message["content"]),
        )
    if one.answer is not None:
        yield f"{title}answered", _value(one.answer)


def _labelled(label: str, text: Text) -> Text:
    """Put a label before a text, and indent the text's further lines."""
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
    return cell(value)


def _level(verdict: dict[str, Any]) -> str:
    """Return the level, or the score of a rule or a jury, which give no level."""
    level, score = verdict["level"], verdict["score"]
    return f"{score:.2f}" if level is None else f"{level}"
