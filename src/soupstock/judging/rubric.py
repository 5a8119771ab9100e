"""Criteria and levels; what a judge is asked for, and its verdict as a score."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import mul
from typing import Annotated, Any, NamedTuple, Self

import orjson
from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from soupstock.errors import quoted
from soupstock.judging.logprobs import Numbers, chances, entropy
from soupstock.spec.fields import ColumnPath, Name, Spec
from soupstock.spec.pruning import Use

MAX_REASON = 200
"""How long a judge's reason for one level may be, in characters."""

CriterionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Level = Annotated[str, StringConstraints(min_length=1)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class Criterion(Spec):
    """One thing that a judge looks at."""

    question: str
    """What is asked about a row: `Does the response answer the instruction?`"""

    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=10)]
    """What the answers mean, in words, the worst first."""

    weight: Weight = 1
    """How much it counts beside the other criteria."""


class Rule(Spec):
    """One thing that a filter looks at, without a model."""

    rule: Use
    """A filter and its arguments: true is a score of 1 and false of 0; a number from 0 to 1 is the
    score itself."""

    weight: Weight = 1
    """How much it counts beside the other criteria."""


def _kind(value: object) -> str:
    is_rule = isinstance(value, Rule) or (isinstance(value, Mapping) and "rule" in value)
    return "rule" if is_rule else "question"


class Rubric(Spec):
    """What a good row is."""

    description: str = ""
    """What is judged, in a sentence; the judge reads it too."""

    columns: Annotated[tuple[ColumnPath, ...], Field(min_length=1, validate_default=False)] = ()
    """Which columns the judge is shown, in order; nothing else of the row but `context`."""

    context: tuple[ColumnPath, ...] = ()
    """Columns that the judge is shown to hold the others against: a source, a reference."""

    answer: ColumnPath | None = None
    """Which of the columns is judged: the last, where it is left out. Canaries spoil it."""

    prompt: Name = "judge"
    """The prompt that puts rubric and columns to the judge."""

    compare_prompt: Name = "compare"
    """The prompt that puts rubric and two answers to the judge, for a step that compares."""

    criteria: Annotated[
        dict[
            CriterionName,
            Annotated[
                Annotated[Criterion, Tag("question")] | Annotated[Rule, Tag("rule")],
                Discriminator(_kind),
            ],
        ],
        Field(min_length=1),
    ]
    """The criteria by name, in the order in which the judge answers them."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.judged and not self.columns:
            raise ValueError("a rubric with questions needs `columns`: what the judge is shown")
        if self.answer is not None and self.answer not in self.columns:
            raise ValueError(f"the answer {quoted(self.answer)} is not among the columns")
        if both := [path for path in self.context if path in self.columns]:
            raise ValueError(f"{quoted(both[0])} is among the columns and the context, too")
        return self

    @cached_property
    def judged(self) -> dict[str, Criterion]:
        """The criteria that a judge looks at."""
        return {n: one for n, one in self.criteria.items() if isinstance(one, Criterion)}

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """The criteria that need no judge."""
        return {n: one for n, one in self.criteria.items() if isinstance(one, Rule)}

    @property
    def shown(self) -> tuple[str, ...]:
        """All columns that the judge is shown."""
        return (*self.context, *self.columns)

    @property
    def subject(self) -> str | None:
        """The column that is judged."""
        return self.answer or (self.columns[-1] if self.columns else None)


class CriterionVerdict(NamedTuple):
    """What was found for one criterion."""

    level: int | None
    """From 1, the worst; None for a rule, or where several judges were asked."""
    score: float
    """From 0, the worst level, to 1: the mean over the levels' probabilities where they are known,
    else the level that was given."""
    reason: str | None = None
    uncertainty: float | None = None
    """The entropy of the levels' probabilities: 0 is sure of one, 1 finds all alike. None where
    they are not known."""


class Verdict(NamedTuple):
    """What was found for a row."""

    score: float
    """The criteria's scores, weighted: from 0 to 1."""
    criteria: Mapping[str, CriterionVerdict]
    uncertainty: float | None = None
    """That of the criteria where it is known, weighted."""


def verdict_schema(rubric: Rubric) -> dict[str, Any]:
    """Return the JSON Schema of a verdict: for each criterion a reason, and only then a level.

    A model writes in the schema's order, so its level follows from its reason.
    """
    return record_of(
        {
            name: record_of(
                {
                    "reason": {"type": "string", "maxLength": MAX_REASON},
                    "level": {"type": "integer", "enum": list(range(1, len(one.levels) + 1))},
                }
            )
            for name, one in rubric.judged.items()
        }
    )


def record_of(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object with these properties, all of them and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_verdict(rubric: Rubric, text: str, numbers: Numbers = None) -> Verdict | str:
    """Read a judge's reply, or say in a sentence why it cannot be read; never raises.

    The reply is JSON as in `verdict_schema`; a code fence or words around it do no harm. `numbers`
    are the probabilities of the reply's numbers, where the server gave them. The verdict is that
    on the judged criteria alone.
    """
    found = json_object(text)
    if found is None:
        return f"the reply is no JSON object: {quoted(text)}" if text else "the reply is empty"
    known = chances(text, numbers) if numbers else {}
    criteria: dict[str, CriterionVerdict] = {}
    for name, criterion in rubric.judged.items():
        verdict = _criterion_verdict(name, len(criterion.levels), found.get(name))
        if isinstance(verdict, str):
            return verdict
        if there := known.get((name, "level")):
            verdict = _expected(verdict, len(criterion.levels), there)
        criteria[name] = verdict
    return weighted(rubric, criteria)


def weighted(rubric: Rubric, criteria: Mapping[str, CriterionVerdict]) -> Verdict:
    """Put criteria together, in the rubric's order: those that are there."""
    ordered: dict[str, CriterionVerdict] = {}
    scores: list[float] = []
    weights: list[float] = []
    known: list[float] = []
    known_weights: list[float] = []
    for name, criterion in rubric.criteria.items():
        if name not in criteria:
            continue
        one = ordered[name] = criteria[name]
        scores.append(one.score)
        weights.append(criterion.weight)
        if one.uncertainty is not None:
            known.append(one.uncertainty)
            known_weights.append(criterion.weight)
    return Verdict(_mean(scores, weights), ordered, _mean(known, known_weights) if known else None)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(map(mul, values, weights)) / math.fsum(weights)


def _criterion_verdict(name: str, levels: int, value: object) -> CriterionVerdict | str:
    if not isinstance(value, dict):
        return f"the reply has no verdict on {name!r}"
    level, reason = value.get("level"), value.get("reason")
    # By type, not isinstance: true is no level.
    if type(level) is not int or not 1 <= level <= levels:
        return f"the level of {name!r} is not a whole number from 1 to {levels}: {quoted(level)}"
    if not isinstance(reason, str):
        return f"the level of {name!r} has no reason"
    return CriterionVerdict(level, (level - 1) / (levels - 1), reason)


def _expected(
    verdict: CriterionVerdict, levels: int, chances: Mapping[str, float]
) -> CriterionVerdict:
    """Take the mean over the levels' probabilities for the score, where they are known."""
    shares = [chances.get(str(level), 0.0) for level in range(1, levels + 1)]
    total = math.fsum(shares)
    # In a token `1` one cannot see whether a 0 follows.
    is_told = str(levels) in chances or levels < 10  # noqa: PLR2004 - two digits
    if not total or not is_told:
        return verdict
    shares = [share / total for share in shares]
    score = math.fsum(n * share for n, share in enumerate(shares)) / (levels - 1)
    return CriterionVerdict(
        verdict.level, min(1.0, score), verdict.reason, entropy(shares) / math.log(levels)
    )


class Choice(NamedTuple):
    """One word of several that a judge chose, and why."""

    word: str
    reason: str


def read_choice(text: str, key: str, words: Sequence[str]) -> Choice | str:
    """Read a reply that chooses a word, or say in a sentence why it cannot be read."""
    found = json_object(text)
    if found is None:
        return f"the reply is no JSON object: {quoted(text)}" if text else "the reply is empty"
    word, reason = found.get(key), found.get("reason")
    if not isinstance(word, str) or word not in words:
        wanted = f"{', '.join(words[:-1])} or {words[-1]}"
        return f"the reply should say {wanted}, not {quoted(word)}"
    if not isinstance(reason, str):
        return "the reply has no reason"
    return Choice(word, reason)


def json_object(text: str) -> Mapping[str, Any] | None:
    """Find the JSON object that is the text, or else reaches from its first `{` to its last `}`."""
    found = _object(text)
    return _object(text[text.find("{") : text.rfind("}") + 1]) if found is None else found


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
