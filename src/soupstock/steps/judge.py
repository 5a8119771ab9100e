"""Score rows against a rubric: with one model, with several, or by rules alone.

The judge's failure is null, never 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import PartRecord
from soupstock.errors import MistakeError, UnknownNameError
from soupstock.inference.call import Ask, Call, Failure, Form, Reply, taken
from soupstock.inference.servers.model import Model
from soupstock.judging import pairs
from soupstock.judging.judge_input import JUDGED, PAIRED, exhibits
from soupstock.judging.jury import Aggregate, aggregated, disagreement
from soupstock.judging.rubric import Rubric, Verdict, read_verdict, verdict_schema, weighted
from soupstock.judging.rules import BoundRule, Ruled, apply
from soupstock.project.project import Part, Project
from soupstock.rows.filters import bind
from soupstock.rows.rows import Columns, Row, failed, instance
from soupstock.spec.prompt import Prompt, PromptError
from soupstock.steps.columns import (
    check_new,
    check_variables,
    comparison_type,
    type_at,
    verdict_type,
)
from soupstock.steps.compare import Comparing
from soupstock.steps.step import At
from soupstock.text.measures import requires


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


MOST_LOGPROBS = 20
"""How many alternatives to a token servers tell at most."""


@dataclass(frozen=True)
class Planned:
    """A judge step with everything it needs."""

    bound: Judging | Comparing
    reads: tuple[str, ...]
    adds: Columns
    members: tuple[tuple[str, Model], ...]
    """The judges: roles and models."""
    parts: tuple[tuple[str, PartRecord], ...]
    """The files it is made from, each with its kind."""
    calls: int
    """Calls for each row."""


class Judges:
    """Binds judge steps to a project and the models of a pipeline."""

    def __init__(
        self, project: Project, models: Mapping[str, Model], pipeline: spec.Pipeline
    ) -> None:
        self._project = project
        self._models = models
        self._seed = pipeline.seed
        steps = (step for step in pipeline.steps if isinstance(step, spec.Generate))
        self._answers = {step.generate: step.n for step in steps}

    def plan(self, step: spec.Judge, columns: Columns, at: At) -> Planned:
        """Bind a step to the columns that are there by then; raises MistakeError."""
        check_new(step.judge, columns, at("judge"))
        if step.compare is not None:
            return self._comparing(step, step.compare, columns, at)
        return self._judging(step, columns, at)

    def _judging(self, step: spec.Judge, columns: Columns, at: At) -> Planned:
        rubric = self._project.rubric(step.rubric, at("rubric"))
        members = self._members(step, rubric.value, at)
        for path in rubric.value.shown:
            type_at(path, columns, at("rubric"), f" (the rubric {step.rubric} shows it)")
        prompt = self._project.prompt(rubric.value.prompt, at("rubric"))
        check_variables(prompt, JUDGED, at("rubric"))
        rules, filters = self._rules(step.rubric, rubric.value, columns, at)
        bound = Judging(
            step.judge,
            tuple(Member(role, self._form(step, rubric.value, model)) for role, model in members),
            prompt.value.given({"rubric": rubric.value}),
            rubric.value,
            step.retries,
            rules,
            step.aggregate,
        )
        read = requires(rule.expression for rule in rules)
        asked = [("prompt", prompt.record)] if members else []
        return Planned(
            bound,
            reads=(*rubric.value.shown, *sorted(read - {*rubric.value.shown})),
            adds={step.judge: verdict_type(rubric.value, [role for role, _ in members])},
            members=members,
            parts=(("rubric", rubric.record), *asked, *filters),
            calls=len(members),
        )

    def _members(self, step: spec.Judge, rubric: Rubric, at: At) -> tuple[tuple[str, Model], ...]:
        if not rubric.judged:
            if step.roles:
                problem = f"the rubric {step.rubric} has rules alone: it asks no model"
                raise MistakeError(problem, at("model"))
            return ()
        if not step.roles:
            raise MistakeError("the key 'model' is missing: who is the judge?", at("judge"))
        if repeated := [role for role in step.roles if step.roles.count(role) > 1]:
            raise MistakeError(f"the judge {repeated[0]!r} is named twice", at("model"))
        for role in step.roles:
            if role not in self._models:
                raise UnknownNameError("model", role, self._models, at("model"))
        return tuple((role, self._models[role]) for role in step.roles)

    def _form(self, step: spec.Judge, rubric: Rubric, model: Model) -> Form:
        levels = max(len(one.levels) for one in rubric.judged.values())
        # A level is one token or two: with a blank before it, and without.
        alternatives = min(MOST_LOGPROBS, 2 * levels) if step.logprobs else 0
        return self._asking(step, model, verdict_schema(rubric), alternatives)

    def _asking(
        self, step: spec.Judge, model: Model, schema: Mapping[str, Any], alternatives: int = 0
    ) -> Form:
        return Form(
            model,
            {"temperature": step.temperature, "max_tokens": step.max_tokens},
            schema,
            "verdict",
            top_logprobs=alternatives,
            seed=self._seed,
        )

    def _comparing(self, step: spec.Judge, of: str, columns: Columns, at: At) -> Planned:
        answers = type_at(of, columns, at("compare"))
        if not isinstance(answers, pl.List):
            problem = f"{of} is no column of several answers; `n` of a generate step makes one"
            raise MistakeError(problem, at("compare"))
        rubric = self._project.rubric(step.rubric, at("rubric"))
        members = self._members(step, rubric.value, at)
        if not members:
            raise MistakeError("rules alone cannot compare two answers", at("rubric"))
        beside = [path for path in rubric.value.shown if path != rubric.value.subject]
        for path in beside:
            type_at(path, columns, at("rubric"), f" (the rubric {step.rubric} shows it)")
        prompt = self._project.prompt(rubric.value.compare_prompt, at("rubric"))
        check_variables(prompt, PAIRED, at("rubric"))
        bound = Comparing(
            step.judge,
            of,
            tuple((role, self._asking(step, model, pairs.schema())) for role, model in members),
            prompt.value.given({"rubric": rubric.value}),
            rubric.value,
            step.retries,
        )
        met = len(pairs.pairs(self._answers.get(of, pairs.MOST_TO_MEET_ALL)))
        return Planned(
            bound,
            reads=(*beside, of),
            adds={step.judge: comparison_type(instance(answers.inner))},
            members=members,
            parts=(("rubric", rubric.record), ("prompt", prompt.record)),
            calls=2 * met * len(members),
        )

    def _rules(
        self, name: str, rubric: Rubric, columns: Columns, at: At
    ) -> tuple[tuple[BoundRule, ...], list[tuple[str, PartRecord]]]:
        rules, parts = [], []
        for criterion, one in rubric.rules.items():
            found: Part[Callable[..., pl.Expr]] = self._project.filter(one.rule.name, at("rubric"))
            arguments: Mapping[str, Any] = one.rule.arguments
            try:
                bound = bind(one.rule.name, found.value, arguments, columns, is_score=True)
            except MistakeError as error:
                problem = f"the rule {criterion} of the rubric {name}: {error.message}"
                raise MistakeError(problem, at("rubric")) from error
            rules.append(BoundRule(criterion, bound.full_label, bound.expression))
            parts.append(("filter", found.record))
        return tuple(rules), parts
