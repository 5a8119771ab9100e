"""Frozen data that a person writes, and the kinds of names in it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints

MAX_ROWS = 1_000_000_000_000
"""How many rows may be asked for."""


MAX_TOKENS = 1024
"""How long an answer may be where a step does not say, in tokens."""


class Spec(BaseModel):
    """Frozen data, written by a person: unknown keys are mistakes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A default is written as the same value from a file would be: 0 is asked as 0.0.
        validate_default=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )


class Record(Spec):
    """Frozen data that soupstock writes itself."""

    # Only a JSON Schema for editors needs them, and reading them takes longer than all the rest.
    model_config = ConfigDict(use_attribute_docstrings=False)


RESERVED = frozenset({"id", "dropped_by", "failures", "twin", "similarity"})
"""Columns that the engine itself keeps."""


def _column(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"the column {name!r} is kept by soupstock itself; choose another name")
    return name


Column = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), AfterValidator(_column)
]
"""A column that a step makes: letters, digits and underscores."""


Path_ = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*$")
]
"""A column that is there, or a field of one: `answer`, `item.question`."""


Texts = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(::(user|assistant|system|tool))?$"
    ),
]
"""A column of texts, a field of one, or what one role says in a conversation: `messages::user`."""


Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")
]
"""The name of a prompt, rubric, schema, filter or pipeline; folders are set apart by `/`."""


Repository = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$", max_length=96
    ),
]
"""A dataset's id on the Hub: `my-org/chat`."""


Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""What a model is for in this pipeline: writer, judge."""


ModelName = Annotated[str, StringConstraints(pattern=r"^\S+$")]
"""Which model plays a role: `embedded`, `openai/NAME`, or one of `[tool.soupstock.models]`."""


Scalar = str | int | float | bool


Weight = Annotated[float, Field(gt=0, le=1e9)]


Rows = Annotated[int, Field(gt=0, le=MAX_ROWS)]


def told_by_key(*kinds: str) -> Discriminator:
    """Tell the cases of a union apart by which of `kinds` is a key (or an attribute)."""

    def which(value: object) -> str | None:
        if isinstance(value, Spec):
            return next((kind for kind in kinds if kind in type(value).model_fields), None)
        keys: list[object] = list(value) if isinstance(value, Mapping) else []
        return next((kind for kind in kinds if kind in keys), None)

    return Discriminator(which)


Share = Annotated[float, Field(gt=0, le=1)]
