"""The shapes of rows that trainers read as they are.

Each is taken from columns of its own names, or made of `system`, `instruction` and `response`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PROMPT = {"system": "system", "instruction": "user"}
TURNS = PROMPT | {"response": "assistant"}
SPEAKERS = {"user": "human", "assistant": "gpt"}


def _turns(row: dict[str, Any], columns: dict[str, str]) -> list[dict[str, Any]]:
    """Make a message of each column that is there: of the role that `columns` says."""
    return [
        {"role": role, "content": row[column]}
        for column, role in columns.items()
        if row.get(column) is not None
    ]


def _messages(value: Any, role: str) -> Any:
    """Make a message of a text."""
    return [{"role": role, "content": value}] if isinstance(value, str) else value


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
        return {"messages": _turns(row, TURNS)}


class PromptCompletion(BaseModel):
    """A prompt and how it goes on: for supervised fine-tuning without a chat template."""

    prompt: str = Field(min_length=1)
    completion: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        named = {"prompt": row.get("instruction"), "completion": row.get("response")}
        return named | {name: row[name] for name in named if row.get(name) is not None}


class Preference(BaseModel):
    """What is asked, a better answer and a worse one: for DPO and reward models.

    Texts become messages. Without a column `chosen` the better answer is `response`.
    """

    prompt: list[Message] = Field(min_length=1)
    chosen: list[Message] = Field(min_length=1)
    rejected: list[Message] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        asked = row.get("prompt")
        if not isinstance(asked, list):
            asked = _turns(row | {"instruction": asked or row.get("instruction")}, PROMPT)
        chosen = row["chosen"] if row.get("chosen") is not None else row.get("response")
        return {
            "prompt": asked,
            "chosen": _messages(chosen, "assistant"),
            "rejected": _messages(row.get("rejected"), "assistant"),
        }

    @model_validator(mode="after")
    def _differ(self) -> "Preference":
        if self.chosen == self.rejected:
            raise ValueError("the chosen answer and the rejected one are the same")
        return self


class Turn(BaseModel):
    """One turn of a conversation, as ShareGPT writes it."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    speaker: Literal["system", "human", "gpt"] = Field(alias="from")
    value: str = Field(min_length=1)


class ShareGPT(BaseModel):
    """A conversation as ShareGPT writes it: `conversations` with `from` and `value`."""

    model_config = ConfigDict(serialize_by_alias=True)

    conversations: list[Turn] = Field(min_length=2)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict) or "conversations" in row:
            return row
        turns = row["messages"] if row.get("messages") is not None else _turns(row, TURNS)
        return {
            "conversations": [
                {"from": SPEAKERS.get(turn["role"], turn["role"]), "value": turn["content"]}
                for turn in turns
            ]
        }


class Alpaca(BaseModel):
    """An instruction, what it is about, and the answer, as Alpaca writes them."""

    instruction: str = Field(min_length=1)
    input: str = ""
    output: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        output = row["output"] if row.get("output") is not None else row.get("response")
        return row | {"input": row.get("input") or "", "output": output}
