"""Steps in which models write."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from soupstock.spec.fields import MAX_TOKENS, Column, ColumnPath, Name, Role, Spec


class Sampling(Spec):
    """Sampling parameters. The server decides on those that are not set."""

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """How random the answer is: 0 always takes the most likely token."""

    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw only from the most likely tokens that together have this probability."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """The maximum length of an answer, in tokens. Default: 1024."""

    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Texts that end the answer when the model writes one of them."""

    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """How strongly to avoid tokens in proportion to how often they occurred."""

    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """How strongly to avoid tokens that occurred at least once."""


class Generate(Sampling):
    """Ask a model, and keep its answer in a new column."""

    generate: Column
    """The column to make."""

    model: Role
    """Which of the pipeline's models to ask."""

    prompt: Name
    """The prompt: `chat/response` is prompts/chat/response.md."""

    n: Annotated[int, Field(gt=0, le=256)] = 1
    """How many answers to ask for. With more than one, the column holds lists. Default: 1."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that the answer must match. The column then holds its fields, typed."""

    reasoning: Column | None = None
    """A second column, for the model's reasoning before the answer; null if the server returns
    none. The answer itself never includes it."""

    tokens: Column | None = None
    """A further column, for the number of tokens of each answer as the server counts them,
    reasoning included; null if it does not say."""

    pre_query: Literal["chatml", "llama3"] | None = None
    """The model's kind of chat template, to let the model write the user's message (Magpie): the
    prompt's text is the system prompt, and the model completes the user's turn after it."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, if an answer is empty or breaks the schema.
    Default: 2."""


class Task(Sampling):
    """Run a distilabel task on each row, and keep its outputs in new columns."""

    task: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """The task's name: `EvolInstruct`. `soupstock tasks` lists them all."""

    model: Role
    """Which of the pipeline's models to ask."""

    parameters: Annotated[dict[str, JsonValue], Field(alias="with")] = {}
    """The task's own parameters: `{num_evolutions: 2}`."""

    inputs: dict[str, ColumnPath] = {}
    """The column that each of the task's inputs is read from: `{instruction: question}`. Default:
    the column with the input's own name."""

    outputs: Annotated[dict[str, Column], Field(min_length=1)]
    """The outputs to keep, each with the column to make: `{evolved_instruction: harder}`."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, if the task cannot parse an answer. Default: 2."""


class Side(Sampling):
    """One side of a conversation: its model, prompt and sampling parameters."""

    model: Role
    """Which of the pipeline's models speaks on this side."""

    prompt: Name
    """The prompt. It may use the columns, `conversation` (the messages so far) and `message` (the
    last of them)."""


class Converse(Spec):
    """Let two models talk, turn by turn, and keep what they say as a conversation."""

    converse: Column
    """The column to make: a list of messages."""

    user: Side
    """The side that speaks first. It sees the earlier messages only through its prompt."""

    assistant: Side
    """The side that answers. It gets the earlier messages as a chat: between the beginning of its
    prompt and the prompt's last message."""

    turns: Annotated[int, Field(gt=0, le=64)] = 2
    """How often each side speaks. Default: 2."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, if an answer is empty. Default: 2."""
