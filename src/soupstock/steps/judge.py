"""Score rows against a rubric: with one model, with several, or by rules alone.

The judge's failure is null, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock.inference.call import Ask, Call, Failure, Form, Reply, taken
from soupstock.judging.judge_input import exhibits
from soupstock.judging.jury import Aggregate, aggregated, disagreement
from soupstock.judging.rubric import Rubric, Verdict, read_verdict, weighted
from soupstock.judging.rules import BoundRule, Ruled, apply
from soupstock.rows.table import Row, failed
from soupstock.spec.prompt import Prompt, PromptError


@dataclass(frozen=True)
class Member:
    """A judge: its role, and how it is asked."""

    role: str
    form: Form


@dataclass(frozen=True)
class Judging:
    """A judge step, bound."""

    column: str
    members: tuple[Member, ...]
    """The judges; none where the rubric has rules alone."""
    prompt: Prompt
    rubric: Rubric
    retries: int = 2
    """How often an unreadable verdict is asked for again, with another seed."""
    rules: tuple[BoundRule, ...] = ()
    aggregate: Aggregate = "mean"

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"judge: {self.column}"

    @property
    def is_jury(self) -> bool:
        """Whether several judges are asked."""
        return len(self.members) > 1

    def messages(self, row: Row) -> list[dict[str, str]]:
        """Render what the judges are asked about a row; raises PromptError."""
        return self.prompt.messages(exhibits(self.rubric, row))


def rule(step: Judging, rows: list[Row], frame: pl.DataFrame) -> list[Row]:
    """Apply the rules to a block of rows; `judge` finds what they say in the step's column.

    Where nobody is asked the column is whole then.
    """
    found = apply(step.rules, frame)
    if step.members:
        return [row | {step.column: one} for row, one in zip(rows, found, strict=True)]
    return [_ended(step, row, one, {}) for row, one in zip(rows, found, strict=True)]


async def judge(step: Judging, row: Row, ask: Ask) -> Row:
    """Add the column: a score from 0 to 1, and each criterion's level, score and reason.

    It is null where there is no verdict; why is among the row's failures.
    """
    ruled: Ruled = row.get(step.column) or {}
    if isinstance(ruled, Failure):
        return failed(row | {step.column: None}, step.label, *ruled)
    try:
        messages = step.messages(row)
    except PromptError as error:
        return failed(row | {step.column: None}, step.label, "PromptError", str(error))
    return _ended(step, row, ruled, await _verdicts(step, row["id"], messages, ask))


_NO_VERDICT = Failure("Unreadable", "no verdict")


@dataclass(slots=True)
class _Asking:
    """A judge who is asked until there is a verdict, or no hope of one."""

    form: Form
    attempt: int = 0
    reply: Verdict | Failure = _NO_VERDICT

    def call(self, messages: Sequence[Mapping[str, str]], purpose: str) -> Call:
        return self.form.call(messages, purpose, attempt=self.attempt)

    def take(self, step: Judging, reply: Reply) -> bool:
        """Read a reply; whether to ask again."""
        self.reply = taken(reply, lambda one: read_verdict(step.rubric, one.text, one.numbers))
        if isinstance(self.reply, Verdict) or self.reply.cause != "Unreadable":
            return False
        self.attempt += 1
        return self.attempt <= step.retries


async def _verdicts(
    step: Judging, row_id: str, messages: Sequence[Mapping[str, str]], ask: Ask
) -> dict[str, Verdict | Failure]:
    """Ask all judges at once, and again those whose verdict cannot be read."""
    purpose = f"{row_id}/{step.column}"
    waiting = asked = [_Asking(member.form) for member in step.members]
    while waiting:
        replies = await ask([one.call(messages, purpose) for one in waiting])
        waiting = [
            one for one, reply in zip(waiting, replies, strict=True) if one.take(step, reply)
        ]
    return {member.role: one.reply for member, one in zip(step.members, asked, strict=True)}


def _ended(step: Judging, row: Row, ruled: Ruled, found: Mapping[str, Verdict | Failure]) -> Row:
    """Put rules and judges together into the column, and keep why a verdict is missing."""
    if isinstance(ruled, Failure):
        return failed(row | {step.column: None}, step.label, *ruled)
    for role, reply in found.items():
        if isinstance(reply, Failure):
            who = f"{role}: " if step.is_jury else ""
            row = failed(row, step.label, reply.cause, f"{who}{reply.message}")
    members = {r: one if isinstance(one, Verdict) else None for r, one in found.items()}
    verdict = _together(step, members)
    if verdict is None:
        return row | {step.column: None}
    cell = written(weighted(step.rubric, {**verdict.criteria, **ruled}) if ruled else verdict)
    if step.is_jury:
        own = {role: one and written(one) for role, one in members.items()}
        cell |= {"disagreement": disagreement(members), "members": own}
    return row | {step.column: cell}


def _together(step: Judging, members: Mapping[str, Verdict | None]) -> Verdict | None:
    """Return what the judges say together; nothing at all where rules alone judge."""
    if not members:
        return Verdict(0.0, {})
    if step.is_jury:
        return aggregated(step.rubric, members, step.aggregate)
    (verdict,) = members.values()
    return verdict


def written(verdict: Verdict) -> dict[str, Any]:
    """Write a verdict as its column holds it."""
    criteria = {
        name: {
            "level": one.level,
            "score": one.score,
            "uncertainty": one.uncertainty,
            "reason": one.reason,
        }
        for name, one in verdict.criteria.items()
    }
    return {"score": verdict.score, "uncertainty": verdict.uncertainty, "criteria": criteria}
