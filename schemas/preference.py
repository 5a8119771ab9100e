"""Preferences, as DPO and reward models are trained on them."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class Said(BaseModel):
    """What somebody says."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class BestAndWorst(BaseModel):
    """The best and the worst of several answers, from `instruction` and a comparison `choice`.

    In the form that TRL reads: what is asked and each answer are messages.
    """

    prompt: list[Said] = Field(min_length=1)
    chosen: list[Said] = Field(min_length=1)
    rejected: list[Said] = Field(min_length=1)
    margin: float
    """By how much the best answer beats the worst: 0 a coin, 1 always."""

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "chosen" in row:
            return row
        choice = row.get("choice") or {}
        asked = [("system", row.get("system")), ("user", row.get("instruction"))]
        return {
            "prompt": [{"role": role, "content": text} for role, text in asked if text],
            "chosen": [{"role": "assistant", "content": choice.get("best")}],
            "rejected": [{"role": "assistant", "content": choice.get("worst")}],
            "margin": choice.get("margin"),
        }

    @model_validator(mode="after")
    def _differ(self) -> "BestAndWorst":
        if self.chosen == self.rejected:
            raise ValueError("the best answer and the worst one are the same")
        return self
