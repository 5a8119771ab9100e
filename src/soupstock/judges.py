"""Bind a judge step: its rubric, rules, prompt and judges found, its columns checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import PartRecord
from soupstock.errors import MistakeError, Place, UnknownNameError
from soupstock.inference.call import Form
from soupstock.inference.servers.pool import Model
from soupstock.judging import pairs
from soupstock.judging.judge_input import JUDGED, PAIRED
from soupstock.judging.rubric import Rubric, verdict_schema
from soupstock.judging.rules import BoundRule
from soupstock.project.project import Part, Project
from soupstock.rows.table import Columns, instance
from soupstock.steps.columns import (
    check_new,
    check_variables,
    comparison_type,
    type_at,
    verdict_type,
)
from soupstock.steps.compare import Comparing
from soupstock.steps.filter import bind
from soupstock.steps.judge import Judging, Member
from soupstock.text.measures import requires

MOST_LOGPROBS = 20
"""How many alternatives to a token servers tell at most."""

At = Callable[..., Place | None]
"""Finds the line of a key within a step."""


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
