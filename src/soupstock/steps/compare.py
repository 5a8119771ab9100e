"""Compare the answers of a row with each other, two at a time, in both orders."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import polars as pl

from soupstock import spec
from soupstock.errors import MistakeError
from soupstock.inference.call import Ask, Call, CallForm, Failure, Reply, read_reply
from soupstock.inference.servers.model import Model
from soupstock.judging.judge_input import COMPARE_VARIABLES, comparison_input
from soupstock.judging.pairs import (
    MOST_FOR_ALL_PAIRS,
    PairVerdicts,
    Preference,
    Standing,
    pairs,
    read_preference,
    standing,
)
from soupstock.judging.pairs import schema as preference_schema
from soupstock.judging.rubric import Rubric
from soupstock.rows.row import Columns, Row, failed, flatten, instance
from soupstock.spec.prompt import Prompt, PromptError
from soupstock.steps.chapter import Chapter, Pair
from soupstock.steps.columns import check_variables, comparison_type, type_at
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step

_OUTCOMES = {1: "the first is better", -1: "the second is better", 0: "neither is better"}


@dataclass(frozen=True)
class BoundCompare(RowWise):
    """A judge step that compares, bound."""

    is_stateless: ClassVar[bool] = True
    column: str
    of: str
    """The column of answers to compare."""
    members: tuple[tuple[str, CallForm], ...]
    """The judges' roles, and how each is asked."""
    prompt: Prompt
    rubric: Rubric
    retries: int = 2
    """How often to ask again, with another seed, after an unreadable verdict. Default: 2."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"judge: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield how each judge is asked."""
        yield from (form.identity() for _, form in self.members)

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Compare the answers of each row."""
        return Stage(step.title, step=lambda row, ask: compare(self, row, ask))

    def messages(self, row: Row, first: Any, second: Any) -> list[dict[str, str]]:
        """Render the messages that a judge is asked with about two answers; raises PromptError."""
        return self.prompt.messages(comparison_input(self.rubric, row, first, second))


def bind(step: spec.Judge, of: str, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's rubric, prompt and judges, and check its columns; raises MistakeError."""
    answers = type_at(of, columns, at("compare"))
    if not isinstance(answers, pl.List):
        problem = f"{of} is not a column of several answers: `n` of a generate step makes one"
        raise MistakeError(problem, at("compare"))
    rubric = context.project.rubric(step.rubric, at("rubric"))
    judges = find_judges(step, rubric.value, at, context)
    if not judges:
        raise MistakeError("a rubric of rules alone cannot compare two answers", at("rubric"))
    beside = [path for path in rubric.value.shown if path != rubric.value.subject]
    for path in beside:
        type_at(path, columns, at("rubric"), f" (the rubric {step.rubric} shows it)")
    prompt = context.project.prompt(rubric.value.compare_prompt, at("rubric"))
    check_variables(prompt, COMPARE_VARIABLES, at("rubric"))
    bound = BoundCompare(
        step.judge,
        of,
        tuple(
            (role, verdict_form(step, model, preference_schema(), context))
            for role, model in judges
        ),
        prompt.value.given({"rubric": rubric.value}),
        rubric.value,
        step.retries,
    )
    met = len(pairs(_answers(of, context.pipeline)))
    return Step(
        step,
        bound,
        title=bound.label,
        reads=(*beside, of),
        adds={step.judge: comparison_type(instance(answers.inner))},
        models=judges,
        parts=(("rubric", rubric.record), ("prompt", prompt.record)),
        calls=2 * met * len(judges),
    )


def _answers(of: str, pipeline: spec.Pipeline) -> int:
    """Return how many answers of a row are compared."""
    steps = (step for step in pipeline.steps if isinstance(step, spec.Generate))
    return {step.generate: step.n for step in steps}.get(of, MOST_FOR_ALL_PAIRS)


def find_judges(
    step: spec.Judge, rubric: Rubric, at: At, context: Context
) -> tuple[tuple[str, Model], ...]:
    """Find the models that judge, with their roles; none if the rubric has rules alone."""
    if not rubric.judged:
        if step.roles:
            problem = f"the rubric {step.rubric} has rules alone: it asks no model"
            raise MistakeError(problem, at("model"))
        return ()
    if not step.roles:
        raise MistakeError("the key 'model' is missing: name the model that judges", at("judge"))
    if repeated := [role for role in step.roles if step.roles.count(role) > 1]:
        raise MistakeError(f"the judge {repeated[0]!r} is named twice", at("model"))
    return tuple((role, context.model(role, at("model"))) for role in step.roles)


def verdict_form(
    step: spec.Judge, model: Model, schema: Mapping[str, Any], context: Context, logprobs: int = 0
) -> CallForm:
    """Return how a judge is asked."""
    return CallForm(
        model,
        {"temperature": step.temperature, "max_tokens": step.max_tokens},
        schema,
        "verdict",
        top_logprobs=logprobs,
        seed=context.seed,
    )


async def compare(step: BoundCompare, row: Row, ask: Ask) -> Row:
    """Add the column: the best answer and the worst, the margin between them, and all ranks.

    Without verdicts to rank by it is null, and the row's failures say why.
    """
    answers = flatten(row, [step.of])[step.of] or []
    if len(answers) < 2:  # noqa: PLR2004 - a comparison takes two
        message = f"there is nothing to compare: {len(answers)} answers"
        return failed(row | {step.column: None}, step.label, "Single", message)
    try:
        asked = list(_questions(step, row, answers))
    except PromptError as error:
        return failed(row | {step.column: None}, step.label, "PromptError", str(error))
    await _ask_all(step, asked, ask)
    meetings = list(_meetings(asked))
    for failure in dict.fromkeys(q.reply for q in asked if isinstance(q.reply, Failure)):
        row = failed(row, step.label, *failure)
    found = standing(len(answers), meetings)
    return row | {step.column: found and _cell(answers, found, meetings)}


@dataclass
class _Question:
    """Two answers in one order, shown to one judge."""

    role: str
    form: CallForm
    pair: tuple[int, int]
    messages: Sequence[Mapping[str, str]]
    purpose: str
    attempt: int = 0
    reply: Preference | Failure = field(default_factory=lambda: Failure("Unreadable", "no verdict"))

    def call(self) -> Call:
        return self.form.call(self.messages, self.purpose, attempt=self.attempt)

    def read(self, reply: Reply, retries: int) -> bool:
        """Read a reply; return whether to ask again."""
        self.reply = read_reply(reply, lambda answer: read_preference(answer.text))
        if isinstance(self.reply, Preference) or self.reply.cause != "Unreadable":
            return False
        self.attempt += 1
        return self.attempt <= retries


def _questions(step: BoundCompare, row: Row, answers: Sequence[Any]) -> list[_Question]:
    """Return a question for each pair, judge and order; the two orders follow each other."""
    return [
        _Question(
            role,
            form,
            (a, b),
            step.messages(row, answers[a], answers[b]),
            f"{row['id']}/{step.column}/{a}/{b}",
        )
        for one, other in pairs(len(answers))
        for role, form in step.members
        for a, b in ((one, other), (other, one))
    ]


async def _ask_all(step: BoundCompare, asked: Sequence[_Question], ask: Ask) -> None:
    waiting = list(asked)
    while waiting:
        replies = await ask([question.call() for question in waiting])
        waiting = [
            question
            for question, reply in zip(waiting, replies, strict=True)
            if question.read(reply, step.retries)
        ]


def _meetings(asked: Sequence[_Question]) -> list[PairVerdicts]:
    """Join the verdicts on the two orders of each pair."""
    replies = [one.reply if isinstance(one.reply, Preference) else None for one in asked]
    return [
        PairVerdicts(asked[n].role, *asked[n].pair, replies[n], replies[n + 1])
        for n in range(0, len(asked), 2)
    ]


def _cell(
    answers: Sequence[Any], found: Standing, meetings: Sequence[PairVerdicts]
) -> dict[str, Any]:
    met = [
        {
            "judge": one.judge,
            "first": one.first + 1,
            "second": one.second + 1,
            "outcome": outcome,
            "reasons": [p.reason if p else None for p in (one.forward, one.backward)],
            "better": [None if v is None else int(v) for v in one.verdicts],
        }
        for one, outcome in zip(meetings, found.outcomes, strict=True)
    ]
    return {
        "best": answers[found.best],
        "worst": answers[found.worst],
        "margin": found.margin,
        "ranks": found.ranks,
        "flips": found.flips,
        "pairs": met,
    }


def chapter(column: str, verdict: Mapping[str, Any], found: Chapter) -> Chapter:
    """Tell which answer is best and worst, and the verdicts on each pair."""
    passages = {
        f"{column}: best, by a margin of {verdict['margin']:.2f}": verdict["best"],
        f"{column}: worst": verdict["worst"],
        f"{column}: ranks of the answers": ", ".join(map(str, verdict["ranks"])),
    }
    pairs_ = [
        Pair(
            one["judge"],
            (one["first"], one["second"]),
            _OUTCOMES.get(one["outcome"], "no verdict"),
            [reason or "" for reason in one["reasons"]],
        )
        for one in verdict["pairs"]
    ]
    return replace(found, passages=passages, pairs=pairs_)
