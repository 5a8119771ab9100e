"""Criteria and levels; what a judge is asked for, and its verdict as a score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field, StringConstraints

from soupstock.errors import quoted
from soupstock.spec import Name, Path_, Spec

MAX_REASON = 200
"""How long a judge's reason for one level may be, in characters."""

CriterionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Level = Annotated[str, StringConstraints(min_length=1)]


class Criterion(Spec):
    """One thing that a judge looks at."""

    question: str
    """What is asked about a row: `Does the response answer the instruction?`"""

    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=10)]
    """What the answers mean, in words, the worst first."""

    weight: Annotated[float, Field(gt=0, le=1000)] = 1
    """How much it counts beside the other criteria."""


class Rubric(Spec):
    """What a good row is."""

    description: str = ""
    """What is judged, in a sentence; the judge reads it too."""

    columns: Annotated[tuple[Path_, ...], Field(min_length=1)]
    """Which columns the judge is shown, in order; nothing else of the row."""

    prompt: Name = "judge"
    """The prompt that puts rubric and columns to the judge."""

    criteria: Annotated[dict[CriterionName, Criterion], Field(min_length=1)]
    """The criteria by name, in the order in which the judge answers them."""


@dataclass(frozen=True, slots=True)
class CriterionVerdict:
    """What a judge found for one criterion."""

    level: int
    """From 1, the worst."""
    score: float
    """The level from 0, the worst, to 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge found for a row."""

    score: float
    """The criteria's scores, weighted: from 0 to 1."""
    criteria: dict[str, CriterionVerdict]


def verdict_schema(rubric: Rubric) -> dict[str, Any]:
    """Return the JSON Schema of a verdict: for each criterion a reason, and only then a level.

    A model writes in the schema's order, so its level follows from its reason.
    """
    return _object(
        {
            name: _object(
                {
                    "reason": {"type": "string", "maxLength": MAX_REASON},
                    "level": {"type": "integer", "enum": list(range(1, len(one.levels) + 1))},
                }
            )
            for name, one in rubric.criteria.items()
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_verdict(rubric: Rubric, text: str) -> Verdict | str:
    """Read a judge's reply, or say in a sentence why it cannot be read; never raises.

    The reply is JSON as in `verdict_schema`; a code fence or words around it do no harm.
    """
    found = _json_object(text)
    if found is None:
        return f"the reply is no JSON object: {quoted(text)}" if text else "the reply is empty"
    criteria: dict[str, CriterionVerdict] = {}
    total = weights = 0.0
    for name, criterion in rubric.criteria.items():
        verdict = _criterion_verdict(name, len(criterion.levels), found.get(name))
        if isinstance(verdict, str):
            return verdict
        criteria[name] = verdict
        total += criterion.weight * verdict.score
        weights += criterion.weight
    return Verdict(total / weights, criteria)


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


def _json_object(text: str) -> Mapping[str, Any] | None:
    """Find the JSON object that is the text, or else reaches from its first `{` to its last `}`."""
    for part in (text, text[text.find("{") : text.rfind("}") + 1]):
        try:
            value = orjson.loads(part)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            return value
    return None
