"""Rubrics: criteria and levels, the verdict that a judge is asked for, and its score."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import mul
from typing import Annotated, Any, NamedTuple, Self

import orjson
from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from soupstock.errors import quoted
from soupstock.judging.logprobs import Numbers, entropy, token_probabilities
from soupstock.spec.fields import ColumnPath, Name, Spec
from soupstock.spec.pruning import FilterEntry

MAX_REASON = 200
"""The longest reason for one level, in characters."""

CriterionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Level = Annotated[str, StringConstraints(min_length=1)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class Criterion(Spec):
    """A criterion that a judge decides."""

    question: str
    """The question about a row: `Does the response answer the instruction?`"""

    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=10)]
    """The levels in words, the worst first."""

    weight: Weight = 1
    """How much it counts beside the other criteria."""


class Rule(Spec):
    """A criterion that a filter decides, without a model."""

    rule: FilterEntry
    """A filter and its arguments: true scores 1 and false 0; a number from 0 to 1 is the score."""

    weight: Weight = 1
    """How much it counts beside the other criteria."""


def _kind(value: object) -> str:
    is_rule = isinstance(value, Rule) or (isinstance(value, Mapping) and "rule" in value)
    return "rule" if is_rule else "question"


class Rubric(Spec):
    """What makes a row good."""

    description: str = ""
    """What is judged, in a sentence. The judge reads it, too."""

    columns: Annotated[tuple[ColumnPath, ...], Field(min_length=1, validate_default=False)] = ()
    """The columns that the judge is shown, in order. Of the rest it sees only `context`."""

    context: tuple[ColumnPath, ...] = ()
    """Columns that the judge is shown for comparison: a source, a reference."""

    answer: ColumnPath | None = None
    """The column that is judged. Default: the last of `columns`. Canaries corrupt it."""

    prompt: Name = "judge"
    """The prompt that shows the judge the rubric and the columns."""

    compare_prompt: Name = "compare"
    """The prompt that shows the judge the rubric and two answers, for a step that compares."""

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
        """The criteria that a judge decides."""
        return {n: one for n, one in self.criteria.items() if isinstance(one, Criterion)}

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """The criteria that a filter decides."""
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
    """The verdict on one criterion."""

    level: int | None
    """From 1, the worst; None for a rule or a jury."""
    score: float
    """From 0, the worst level, to 1: the mean over the levels' probabilities where they are known,
    else the chosen level."""
    reason: str | None = None
    uncertainty: float | None = None
    """The entropy of the levels' probabilities, from 0 (one level is certain) to 1 (all are equally
    likely). None where they are unknown."""


class Verdict(NamedTuple):
    """The verdict on a row."""

    score: float
    """The weighted mean of the criteria's scores, from 0 to 1."""
    criteria: Mapping[str, CriterionVerdict]
    uncertainty: float | None = None
    """The weighted mean of the criteria's uncertainty, where it is known."""


def verdict_schema(rubric: Rubric) -> dict[str, Any]:
    """Return the JSON Schema of a verdict: for each criterion first a reason, then a level.

    A model writes in the schema's order, so its level follows from its reason.
    """
    return object_schema(
        {
            name: object_schema(
                {
                    "reason": {"type": "string", "maxLength": MAX_REASON},
                    "level": {"type": "integer", "enum": list(range(1, len(one.levels) + 1))},
                }
            )
            for name, one in rubric.judged.items()
        }
    )


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_verdict(rubric: Rubric, text: str, numbers: Numbers = None) -> Verdict | str:
    """Read a judge's reply, or return a sentence that says why it cannot be read; never raises.

    The reply is JSON as in `verdict_schema`; a code fence or words around it are ignored. `numbers`
    are the probabilities of the reply's numbers, where the server returned them. The verdict covers
    the judged criteria alone.
    """
    found = json_object(text)
    if found is None:
        return f"the reply is no JSON object: {quoted(text)}" if text else "the reply is empty"
    known = token_probabilities(text, numbers) if numbers else {}
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
    """Combine the given criteria's verdicts, in the rubric's order."""
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
    # By type, not isinstance: true is not a level.
    if type(level) is not int or not 1 <= level <= levels:
        return f"the level of {name!r} is not a whole number from 1 to {levels}: {quoted(level)}"
    if not isinstance(reason, str):
        return f"the level of {name!r} has no reason"
    return CriterionVerdict(level, (level - 1) / (levels - 1), reason)


def _expected(
    verdict: CriterionVerdict, levels: int, probabilities: Mapping[str, float]
) -> CriterionVerdict:
    """Replace the score by the mean over the levels' probabilities, where they are known."""
    shares = [probabilities.get(str(level), 0.0) for level in range(1, levels + 1)]
    total = math.fsum(shares)
    # After a token `1`, a `0` may follow.
    is_complete = str(levels) in probabilities or levels < 10  # noqa: PLR2004 - two digits
    if not total or not is_complete:
        return verdict
    shares = [share / total for share in shares]
    score = math.fsum(n * share for n, share in enumerate(shares)) / (levels - 1)
    return CriterionVerdict(
        verdict.level, min(1.0, score), verdict.reason, entropy(shares) / math.log(levels)
    )


class Choice(NamedTuple):
    """The word that a judge chose, and why."""

    word: str
    reason: str


def read_choice(text: str, key: str, words: Sequence[str]) -> Choice | str:
    """Read a reply that chooses a word, or return a sentence that says why it cannot be read."""
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
    """Return the JSON object in a text: all of it, or else from its first `{` to its last `}`."""
    found = _object(text)
    return _object(text[text.find("{") : text.rfind("}") + 1]) if found is None else found


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
