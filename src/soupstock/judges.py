"""Bind a judge step: its rubric, rules, prompt and judges found, its columns checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.calls import Form
from soupstock.columns import check_new, check_variables, type_at, verdict_type
from soupstock.errors import MistakeError, Place, UnknownNameError
from soupstock.exhibits import JUDGED
from soupstock.manifest import PartRecord
from soupstock.measures import requires
from soupstock.project import Part, Project
from soupstock.records import Columns
from soupstock.rubrics import Rubric, verdict_schema
from soupstock.rules import BoundRule
from soupstock.servers import Model
from soupstock.steps.filter import bind
from soupstock.steps.judge import Judging, Member

MOST_LOGPROBS = 20
"""How many alternatives to a token servers tell at most."""

At = Callable[..., Place | None]
"""Finds the line of a key within a step."""


@dataclass(frozen=True)
class Planned:
    """A judge step with everything it needs."""

    bound: Judging
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

    def __init__(self, project: Project, models: Mapping[str, Model], seed: int) -> None:
        self._project = project
        self._models = models
        self._seed = seed

    def plan(self, step: spec.Judge, columns: Columns, at: At) -> Planned:
        """Bind a step to the columns that are there by then; raises MistakeError."""
        check_new(step.judge, columns, at("judge"))
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
        return Form(
            model,
            {"temperature": step.temperature, "max_tokens": step.max_tokens},
            verdict_schema(rubric),
            "verdict",
            # A level is one token or two: with a blank before it, and without.
            top_logprobs=min(MOST_LOGPROBS, 2 * levels) if step.logprobs else 0,
            seed=self._seed,
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
