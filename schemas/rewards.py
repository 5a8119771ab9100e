"""Prompts for reinforcement learning, with what their answers are rewarded by."""

import json
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class RewardCriterion(BaseModel):
    """Something that a good answer does."""

    criterion: str = Field(min_length=1, max_length=200)
    points: int = Field(ge=1, le=5)


class RewardRubric(BaseModel):
    """What a good answer does."""

    criteria: list[RewardCriterion] = Field(min_length=1, max_length=4)


class RewardPrompt(BaseModel):
    """One turn of a prompt."""

    role: Literal["system", "user"]
    content: str = Field(min_length=1)


class RewardTask(BaseModel):
    """A prompt with its answer, reference and rubric, as verifiers and TRL's GRPO read it.

    Each column but `prompt` is given to reward functions by its name. `info` is for verifiers: the
    rubric and the reference, as JSON.
    """

    prompt: list[RewardPrompt]
    answer: str
    reference: str
    rubric: list[RewardCriterion]
    pass_rate: float
    info: str

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "info" in row:
            return row
        checked, rubric = row.get("checked") or {}, (row.get("rubric") or {}).get("criteria")
        told = {"reference": checked.get("shortest"), "rubric": rubric}
        return {
            "prompt": [{"role": "user", "content": row.get("problem")}],
            "answer": str(row.get("answer")),
            "pass_rate": checked.get("pass_rate"),
            "info": json.dumps(told, ensure_ascii=False),
            **told,
        }
