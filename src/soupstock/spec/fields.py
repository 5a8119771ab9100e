"""Frozen data that a person writes, and the kinds of names and numbers in it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints

MAX_ROWS = 1_000_000_000_000
"""The largest number of rows that a pipeline may ask for."""

MAX_TOKENS = 1024
"""The default limit of an answer's length, in tokens."""


class Spec(BaseModel):
    """Frozen data, written by a person: an unknown key is a mistake."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A default is dumped like the same value from a file: 0 of a float field as 0.0.
        validate_default=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )


class Record(Spec):
    """Frozen data that soupstock writes itself."""

    # Only the JSON Schema for editors needs them, and reading them takes most of the import time.
    model_config = ConfigDict(use_attribute_docstrings=False)


RESERVED = frozenset({"id", "dropped_by", "failures", "twin", "similarity"})
"""Names of the columns that the engine adds to every row."""


def _column(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"the column {name!r} is reserved by soupstock; choose another name")
    return name


Column = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), AfterValidator(_column)
]
"""The name of a column that a step makes: letters, digits and underscores."""


ColumnPath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*$")
]
"""An existing column, or a field of one: `answer`, `item.question`."""


TextPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(::(user|assistant|system|tool))?$"
    ),
]
"""A column of texts, a field of one, or one role's messages in a conversation: `messages::user`."""


Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")
]
"""The name of a prompt, rubric, schema, filter or pipeline, with `/` between folders."""


Repository = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$", max_length=96
    ),
]
"""A dataset's id on the Hub: `my-org/chat`."""


Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""What a model is used for in this pipeline: writer, judge."""


ModelName = Annotated[str, StringConstraints(pattern=r"^\S+$")]
"""The model that has a role: `embedded`, `openai/NAME`, or a name in `[tool.soupstock.models]`."""


Scalar = str | int | float | bool


Weight = Annotated[float, Field(gt=0, le=1e9)]


Rows = Annotated[int, Field(gt=0, le=MAX_ROWS)]


def discriminated_by_key(*kinds: str) -> Discriminator:
    """Select the case of a union by which of `kinds` is a key (or a field of the model)."""

    def which(value: object) -> str | None:
        if isinstance(value, Spec):
            return next((kind for kind in kinds if kind in type(value).model_fields), None)
        keys: list[object] = list(value) if isinstance(value, Mapping) else []
        return next((kind for kind in kinds if kind in keys), None)

    return Discriminator(which)


Share = Annotated[float, Field(gt=0, le=1)]
