"""A conversation about a document."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class ToldMessage(BaseModel):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Told(BaseModel):
    """A question and its answer."""

    messages: list[ToldMessage] = Field(min_length=2)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "messages" in row:
            return row
        said = [("user", row.get("question")), ("assistant", row.get("answer"))]
        return {"messages": [{"role": role, "content": text} for role, text in said]}
