"""Answers that rest on a document."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class GroundedTurn(BaseModel):
    """One turn of a conversation about a text."""

    role: Literal["user", "assistant"]
    content: str = Field(min_length=1)


class GroundedAnswer(BaseModel):
    """A question about a text, its answer, and the quote that bears it out.

    `messages` has the text before the question, as a model is asked that reads what was retrieved.
    """

    messages: list[GroundedTurn]
    question: str
    answer: str
    quote: str
    context: str
    document: str

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "messages" in row:
            return row
        asked = f"{row.get('chunk')}\n\n{row.get('question')}"
        turns = [("user", asked), ("assistant", row.get("answer"))]
        messages = [{"role": role, "content": text} for role, text in turns]
        return {**row, "context": row.get("chunk"), "messages": messages}
