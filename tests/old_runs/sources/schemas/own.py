"""The project's own shapes."""

from typing import Literal

from pydantic import BaseModel, Field


class Tag(BaseModel):
    """A word and how sure it is."""

    word: str
    sure: bool


class Item(BaseModel):
    """What an answer must be."""

    title: str = Field(min_length=3, max_length=60)
    kind: Literal["question", "task", "chat"]
    grade: int = Field(ge=0, le=5)
    share: float = Field(ge=0, le=1)
    tags: list[Tag] = Field(min_length=1, max_length=2)


class Answered(BaseModel):
    """What is kept of the batched rows."""

    instruction: str = Field(min_length=1)
    response: str = Field(min_length=40)
