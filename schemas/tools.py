"""Conversations in which an assistant calls functions."""

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, model_validator

_FENCE = re.compile(r"^```\w*\s*|\s*```$")


class CalledFunction(BaseModel):
    """A function's name and its arguments, as JSON."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call, as chat templates write it."""

    type: Literal["function"] = "function"
    function: CalledFunction


class ToolMessage(BaseModel):
    """One turn: `tool` is what a function returned."""

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    tool_calls: list[ToolCall] | None = None


class ToolConversation(BaseModel):
    """A request, the calls that were checked, what they returned, and the answer.

    Reads `instruction`, `response`, `tools`, and what the verify step `called` says.
    """

    messages: list[ToolMessage]
    tools: str
    """The functions that may be called, as JSON."""

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "messages" in row:
            return row
        found = row.get("called") or {}
        told = json.loads(_FENCE.sub("", found["shortest"].strip()))
        calls = told if isinstance(told, list) else [told]
        results = json.loads(found["results"][found["place"] - 1] or "[]")
        asked = [
            {"function": {"name": c["name"], "arguments": json.dumps(c.get("arguments") or {})}}
            for c in calls
        ]
        messages = [
            {"role": "user", "content": row.get("instruction")},
            {"role": "assistant", "tool_calls": asked},
            *({"role": "tool", "content": json.dumps(result)} for result in results),
            {"role": "assistant", "content": row.get("response")},
        ]
        return {"messages": messages, "tools": row.get("tools")}
