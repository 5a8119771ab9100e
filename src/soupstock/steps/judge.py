"""Score rows by a rubric: with one model, with a jury of several, or by rules alone.

A judge that fails gives null, never 0.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, PartRecord, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.call import Ask, Call, CallForm, Failure, Reply, read_reply
from soupstock.inference.servers.model import Model
from soupstock.judging.judge_input import JUDGE_VARIABLES, comparison_input, judge_input
from soupstock.judging.jury import Aggregate, aggregate, disagreement
from soupstock.judging.rubric import Rubric, Verdict, read_verdict, verdict_schema, weighted
from soupstock.judging.rules import BoundRule, Ruled, apply
from soupstock.project.project import Part
from soupstock.rows.filters import bind_filter
from soupstock.rows.row import Columns, Row, failed, flatten, frame
from soupstock.spec.prompt import Prompt, PromptError
from soupstock.steps.chapter import Chapter, CriterionResult, Opinion, Round, RowStep
from soupstock.steps.columns import check_new, check_variables, type_at, verdict_type
from soupstock.steps.compare import bind as bind_compare
from soupstock.steps.compare import chapter as compared_chapter
from soupstock.steps.compare import find_judges, verdict_form
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, typed
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST, models_named, settings
from soupstock.text.markdown import code
from soupstock.text.measures import requires

_NO_VERDICT = Failure("Unreadable", "no verdict")


MOST_LOGPROBS = 20
"""How many alternatives to a token servers return at most."""


@dataclass(frozen=True)
class Member:
    """A judge of the step."""

    role: str
    form: CallForm
    """How it is asked."""


@dataclass(frozen=True)
class BoundJudge(RowWise):
    """A judge step, bound."""

    is_stateless: ClassVar[bool] = True
    column: str
    members: tuple[Member, ...]
    """The judges; none if the rubric has rules alone."""
    prompt: Prompt | None
    """None if the rubric has rules alone."""
    rubric: Rubric
    retries: int = 2
    """How often to ask again, with another seed, after an unreadable verdict. Default: 2."""
    rules: tuple[BoundRule, ...] = ()
    aggregate: Aggregate = "mean"

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"judge: {self.column}"

    @property
    def is_jury(self) -> bool:
        """Whether there are several judges."""
        return len(self.members) > 1

    def messages(self, row: Row) -> list[dict[str, str]]:
        """Render the messages that the judges are asked with; raises PromptError."""
        if self.prompt is None:
            raise ValueError("rules alone ask no model")
        return self.prompt.messages(judge_input(self.rubric, row))

    def identity(self) -> Iterable[bytes]:
        """Yield how each judge is asked, and what the rules compute."""
        yield from (member.form.identity() for member in self.members)
        yield from (rule.expression.meta.serialize() for rule in self.rules)

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Apply the rules to blocks of rows, and ask the judges about each row."""

        def check(rows: list[Row]) -> list[Row]:
            return rule(self, rows, frame(rows, step.columns))

        return Stage(
            step.title,
            step=(lambda row, ask: judge(self, row, ask)) if self.members else None,
            check=check if self.rules else None,
        )


def bind(step: spec.Judge, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's rubric, prompt and judges, and check its columns; raises MistakeError."""
    check_new(step.judge, columns, at("judge"))
    if step.compare is not None:
        return bind_compare(step, step.compare, columns, at, context)
    rubric = context.project.rubric(step.rubric, at("rubric"))
    judges = find_judges(step, rubric.value, at, context)
    for path in rubric.value.shown:
        type_at(path, columns, at("rubric"), f" (the rubric {step.rubric} shows it)")
    prompt = _prompt(rubric.value, at, context) if judges else None
    rules, filters = _rules(step.rubric, rubric.value, columns, at, context)
    bound = BoundJudge(
        step.judge,
        tuple(Member(role, _form(step, rubric.value, model, context)) for role, model in judges),
        prompt.value.given({"rubric": rubric.value}) if prompt else None,
        rubric.value,
        step.retries,
        rules,
        step.aggregate,
    )
    read = requires(rule.expression for rule in rules)
    reads = (*rubric.value.shown, *sorted(read - {*rubric.value.shown}))
    asked = (("prompt", prompt.record),) if prompt else ()
    return Step(
        step,
        bound,
        title=bound.label,
        reads=reads,
        adds={step.judge: verdict_type(rubric.value, [role for role, _ in judges])},
        models=judges,
        parts=(("rubric", rubric.record), *asked, *filters),
        calls=len(judges),
        columns=typed([path.partition(".")[0] for path in reads], columns),
    )


def _prompt(rubric: Rubric, at: At, context: Context) -> Part[Prompt]:
    prompt = context.project.prompt(rubric.prompt, at("rubric"))
    check_variables(prompt, JUDGE_VARIABLES, at("rubric"))
    return prompt


def _form(step: spec.Judge, rubric: Rubric, model: Model, context: Context) -> CallForm:
    levels = max(len(one.levels) for one in rubric.judged.values())
    # Each level can be two tokens: with a space before it, and without.
    alternatives = min(MOST_LOGPROBS, 2 * levels) if step.logprobs else 0
    return verdict_form(step, model, verdict_schema(rubric), context, alternatives)


def _rules(
    name: str, rubric: Rubric, columns: Columns, at: At, context: Context
) -> tuple[tuple[BoundRule, ...], list[tuple[str, PartRecord]]]:
    rules, parts = [], []
    for criterion, one in rubric.rules.items():
        found: Part[Callable[..., pl.Expr]] = context.project.filter(one.rule.name, at("rubric"))
        arguments: Mapping[str, Any] = one.rule.arguments
        try:
            bound = bind_filter(one.rule.name, found.value, arguments, columns, is_score=True)
        except MistakeError as error:
            problem = f"the rule {criterion} of the rubric {name}: {error.message}"
            raise MistakeError(problem, at("rubric")) from error
        rules.append(BoundRule(criterion, bound.full_label, bound.expression))
        parts.append(("filter", found.record))
    return tuple(rules), parts


def rule(step: BoundJudge, rows: list[Row], values: pl.DataFrame) -> list[Row]:
    """Apply the rules to a block of rows, and keep their verdicts in the column for `judge`.

    If the rubric has rules alone, the column is complete then.
    """
    found = apply(step.rules, values)
    if step.members:
        return [row | {step.column: one} for row, one in zip(rows, found, strict=True)]
    return [_with_verdict(step, row, one, {}) for row, one in zip(rows, found, strict=True)]


async def judge(step: BoundJudge, row: Row, ask: Ask) -> Row:
    """Add the column: a score from 0 to 1, and each criterion's level, score and reason.

    Without a verdict it is null, and the row's failures say why.
    """
    ruled: Ruled = row.get(step.column) or {}
    if isinstance(ruled, Failure):
        return failed(row | {step.column: None}, step.label, *ruled)
    try:
        messages = step.messages(row)
    except PromptError as error:
        return failed(row | {step.column: None}, step.label, "PromptError", str(error))
    return _with_verdict(step, row, ruled, await _verdicts(step, row["id"], messages, ask))


@dataclass(slots=True)
class _Request:
    """A judge that is asked until it gives a verdict or has no attempts left."""

    form: CallForm
    attempt: int = 0
    reply: Verdict | Failure = _NO_VERDICT

    def call(self, messages: Sequence[Mapping[str, str]], purpose: str) -> Call:
        return self.form.call(messages, purpose, attempt=self.attempt)

    def read(self, step: BoundJudge, reply: Reply) -> bool:
        """Read a reply; return whether to ask again."""
        self.reply = read_reply(reply, lambda one: read_verdict(step.rubric, one.text, one.numbers))
        if isinstance(self.reply, Verdict) or self.reply.cause != "Unreadable":
            return False
        self.attempt += 1
        return self.attempt <= step.retries


async def _verdicts(
    step: BoundJudge, row_id: str, messages: Sequence[Mapping[str, str]], ask: Ask
) -> dict[str, Verdict | Failure]:
    """Ask all judges at once, and again those whose verdict is unreadable."""
    purpose = f"{row_id}/{step.column}"
    waiting = asked = [_Request(member.form) for member in step.members]
    while waiting:
        replies = await ask([one.call(messages, purpose) for one in waiting])
        waiting = [
            one for one, reply in zip(waiting, replies, strict=True) if one.read(step, reply)
        ]
    return {member.role: one.reply for member, one in zip(step.members, asked, strict=True)}


def _with_verdict(
    step: BoundJudge, row: Row, ruled: Ruled, found: Mapping[str, Verdict | Failure]
) -> Row:
    """Combine rules and judges in the column, and record why a verdict is missing."""
    if isinstance(ruled, Failure):
        return failed(row | {step.column: None}, step.label, *ruled)
    for role, reply in found.items():
        if isinstance(reply, Failure):
            who = f"{role}: " if step.is_jury else ""
            row = failed(row, step.label, reply.cause, f"{who}{reply.message}")
    members = {r: one if isinstance(one, Verdict) else None for r, one in found.items()}
    verdict = _combined(step, members)
    if verdict is None:
        return row | {step.column: None}
    cell = verdict_cell(weighted(step.rubric, {**verdict.criteria, **ruled}) if ruled else verdict)
    if step.is_jury:
        own = {role: one and verdict_cell(one) for role, one in members.items()}
        cell |= {"disagreement": disagreement(members), "members": own}
    return row | {step.column: cell}


def _combined(step: BoundJudge, members: Mapping[str, Verdict | None]) -> Verdict | None:
    """Combine the judges' verdicts; an empty verdict if the rubric has rules alone."""
    if not members:
        return Verdict(0.0, {})
    if step.is_jury:
        return aggregate(step.rubric, members, step.aggregate)
    (verdict,) = members.values()
    return verdict


def verdict_cell(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as its column holds it."""
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


def makes(step: spec.Judge) -> Made:
    """Name the column of verdicts."""
    return Made(beside=(step.judge,))


def describe(step: spec.Judge, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe the judges and the rubric."""
    rubric, made = code(step.rubric, LONGEST), code(step.judge)
    if not step.roles:
        return f"each row was scored by the rules of the rubric {rubric}: {made}."
    who = models_named(step.roles, manifest)
    if step.compare is not None:
        return (
            f"{who} compared the answers in {code(step.compare, LONGEST)} two at a time, in"
            f" both orders, by the rubric {rubric}: {made}{settings(step)}."
        )
    jury = f", combined by {step.aggregate}" if len(step.roles) > 1 else ""
    return f"{who} scored each row by the rubric {rubric}{jury}: {made}{settings(step)}."


def chapter(step: spec.Judge, row_step: RowStep) -> Chapter:
    """Tell what the judges were asked, and their verdicts."""
    verdict = row_step.row[step.judge]
    rubric = row_step.recorded.rubric(step.rubric)
    found = Chapter(rounds=list(_rounds(step, rubric, row_step)), value=verdict)
    if verdict is None:
        return found
    if "criteria" not in verdict:
        return compared_chapter(step.judge, verdict, found)
    opinions = [
        Opinion(role, own["score"], _findings(rubric, own))
        for role, own in (verdict.get("members") or {}).items()
        if own is not None
    ]
    findings = _findings(rubric, verdict)
    return replace(found, score=verdict["score"], findings=findings, opinions=opinions)


def _rounds(step: spec.Judge, rubric: Rubric | None, row_step: RowStep) -> Iterator[Round]:
    """Yield what the judges were asked; for a comparison, the first question."""
    if rubric is None or not rubric.judged or not row_step.has_questions:
        return
    if step.compare is None:
        yield from row_step.asked(rubric.prompt, judge_input(rubric, row_step.row))
        return
    answers = flatten(row_step.row, [step.compare])[step.compare] or []
    if len(answers) > 1:
        yield from row_step.asked(
            rubric.compare_prompt, comparison_input(rubric, row_step.row, *answers[:2])
        )


def _findings(rubric: Rubric | None, verdict: Mapping[str, Any]) -> list[CriterionResult]:
    """Return each criterion's verdict, with the words of its level."""
    findings = []
    for criterion, found in verdict["criteria"].items():
        asked = rubric.judged.get(criterion) if rubric else None
        levels = asked.levels if asked else ()
        level = found["level"]
        words = levels[level - 1] if level and 0 < level <= len(levels) else ""
        reason = found["reason"] or ""
        findings.append(
            CriterionResult(criterion, found["score"], level, len(levels), words, reason)
        )
    return findings


VERB = Verb(spec.Judge, bind, makes, not_for_files, describe, chapter)
