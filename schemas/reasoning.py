"""Problems and solutions that were checked."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class SolvingTurn(BaseModel):
    """One turn: the problem, or its solution."""

    role: Literal["user", "assistant"]
    content: str = Field(min_length=1)


class Solved(BaseModel):
    """A problem with a checked solution: the compressed one where one holds, else the shortest.

    Reads `problem`, `answer`, and what two verify steps say: `checked`, and `compressed` if there
    is one.
    """

    messages: list[SolvingTurn]
    problem: str
    answer: str
    solution: str
    """The shortest solution that is right, as it was first written."""
    compressed: str | None = None
    """A shorter version that is right."""
    saved: float | None = None
    """Which share of the solution's length the compressed one saves."""
    pass_rate: float
    """Which share of the solutions was right: 1 easy, near 0 hard."""

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "messages" in row:
            return row
        checked, compressed = row.get("checked") or {}, row.get("compressed") or {}
        solution, shorter = checked.get("shortest"), compressed.get("shortest")
        turns = [("user", row.get("problem")), ("assistant", shorter or solution)]
        return {
            "messages": [{"role": role, "content": text} for role, text in turns],
            "problem": row.get("problem"),
            "answer": str(row.get("answer")),
            "solution": solution,
            "compressed": shorter,
            "saved": compressed.get("saved"),
            "pass_rate": checked.get("pass_rate"),
        }
