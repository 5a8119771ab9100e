"""Conversations of specialists that are to be merged: one shape and one system prompt for all.

A merged model is asked in one way, and so must be all that it was merged from: change `SYSTEM`
here, and it is another one in every specialist and in their anchor.
"""

import json
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

SYSTEM = "You are a helpful assistant. You are brief, and make nothing up."


class SpecialistTurn(BaseModel):
    """One turn of a conversation with a specialist."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Specialist(BaseModel):
    """The system prompt that all share, an instruction and its response."""

    messages: list[SpecialistTurn] = Field(min_length=3)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "messages" in row:
            return row
        turns = {"system": SYSTEM, "user": cls.asked(row), "assistant": cls.answered(row)}
        return {"messages": [{"role": role, "content": text} for role, text in turns.items()]}

    @classmethod
    def asked(cls, row: dict[str, Any]) -> Any:
        """Take what is asked."""
        return row.get("instruction")

    @classmethod
    def answered(cls, row: dict[str, Any]) -> Any:
        """Take the answer."""
        return row.get("response")


class Summarised(Specialist):
    """A text to be summarised, in the words of `ask`, and its `summary`."""

    @classmethod
    def asked(cls, row: dict[str, Any]) -> Any:
        """Put the text below what is asked."""
        return f"{row['ask']}\n\n{row['passage']}"

    @classmethod
    def answered(cls, row: dict[str, Any]) -> Any:
        """Take the summary, with a full stop."""
        return f"{row['summary'].strip().rstrip('.')}."


class Extracted(Specialist):
    """A message from which data are taken, and the data as JSON: those that it was written from."""

    fields: ClassVar = ("name", "item", "number", "day")

    @classmethod
    def asked(cls, row: dict[str, Any]) -> Any:
        """Put the message below what is asked."""
        return f"{row['ask']}\n\n{row['note']}"

    @classmethod
    def answered(cls, row: dict[str, Any]) -> Any:
        """Write the data as JSON."""
        found = {name: row[name] for name in cls.fields} | {"number": int(row["number"])}
        return json.dumps(found, ensure_ascii=False)


class Calculated(Specialist):
    """A problem and its shortest solution that is right."""

    @classmethod
    def asked(cls, row: dict[str, Any]) -> Any:
        """Take the problem."""
        return row["problem"]

    @classmethod
    def answered(cls, row: dict[str, Any]) -> Any:
        """Take the solution."""
        return row["checked"]["shortest"]
