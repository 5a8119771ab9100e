"""Steps by which models write."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from soupstock.spec.fields import MAX_TOKENS, Column, Name, Path_, Role, Spec


class Sampling(Spec):
    """How a model is asked. What is left out, the server decides."""

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """How freely to draw tokens: 0 takes the likeliest."""

    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the likeliest tokens that together have this probability."""

    max_tokens: Annotated[int, Field(gt=0)] = MAX_TOKENS
    """How long an answer may be, in tokens."""

    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Texts at which an answer ends."""

    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """How much to avoid tokens by how often they occurred."""

    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """How much to avoid tokens that occurred at all."""


class Generate(Sampling):
    """Ask a model, and keep its answer as a new column."""

    generate: Column
    """The column to make."""

    model: Role
    """Which of the pipeline's models to ask."""

    prompt: Name
    """Which prompt to ask with: `chat/response` is prompts/chat/response.md."""

    n: Annotated[int, Field(gt=0, le=256)] = 1
    """How many answers to ask for; more than one makes the column a list."""

    output_schema: Annotated[Name | None, Field(alias="schema")] = None
    """A schema that the answer must have: the column then holds its fields, typed."""

    reasoning: Column | None = None
    """A second column, for what the model thought before it answered; null where it told nothing.
    It never is in the answer itself."""

    tokens: Column | None = None
    """A further column, for how many tokens each answer took as the server counts them, thoughts
    included; null where it does not tell."""

    pre_query: Literal["chatml", "llama3"] | None = None
    """The model's kind of chat template, to have it write what a user would say (Magpie): the
    prompt's text is the system prompt, after which the model completes a user's turn."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when an answer is empty or breaks the schema."""


class Task(Sampling):
    """Run a task of distilabel's catalogue on each row, and keep its outputs as new columns."""

    task: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Which task: `EvolInstruct`. `soupstock tasks` lists them."""

    model: Role
    """Which of the pipeline's models to ask."""

    parameters: Annotated[dict[str, JsonValue], Field(alias="with")] = {}
    """The task's own parameters: `{num_evolutions: 2}`."""

    inputs: dict[str, Path_] = {}
    """The task's inputs, each with the column that it is read from: `{instruction: question}`. One
    that is left out is read from the column of its own name."""

    outputs: Annotated[dict[str, Column], Field(min_length=1)]
    """The task's outputs that are kept, each with the column to make:
    `{evolved_instruction: harder}`."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when the task can read nothing in an answer."""


class Side(Sampling):
    """One side of a conversation: who speaks, and how it is asked to."""

    model: Role
    """Which of the pipeline's models speaks."""

    prompt: Name
    """Which prompt to ask with. It may use the columns, `conversation` (the messages so far) and
    `message` (the last of them)."""


class Converse(Spec):
    """Let two sides talk, turn by turn, and keep what they say as a conversation."""

    converse: Column
    """The column to make: a list of messages."""

    user: Side
    """Who begins. It is shown what was said by its prompt."""

    assistant: Side
    """Who answers. What was said before stands between the head of its prompt and its last
    message, as a chat model is asked."""

    turns: Annotated[int, Field(gt=0, le=64)] = 2
    """How often each side speaks."""

    retries: Annotated[int, Field(ge=0, le=16)] = 2
    """How often to ask again, with another seed, when nothing is said."""
