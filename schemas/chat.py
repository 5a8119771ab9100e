"""Conversations: what a chat model is fine-tuned on."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Conversation(BaseModel):
    """A conversation, from its messages or from an instruction and its response."""

    messages: list[Message] = Field(min_length=2)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "messages" in row:
            return row
        columns = {"system": "system", "instruction": "user", "response": "assistant"}
        turns = [
            {"role": role, "content": row[column]}
            for column, role in columns.items()
            if row.get(column) is not None
        ]
        return {"messages": turns}
