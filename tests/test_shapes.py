"""A schema's fields become typed columns, or one line that says which cannot."""

from enum import StrEnum
from typing import Literal

import polars as pl
import pytest
from pydantic import BaseModel

from soupstock.errors import MistakeError
from soupstock.shapes import columns_of


class Kind(StrEnum):
    ONE = "one"
    TWO = "two"


class Inner(BaseModel):
    role: Literal["user", "assistant"]
    kind: Kind


class Outer(BaseModel):
    text: str
    count: int | None = None
    share: float = 0.0
    likely: bool | None
    parts: list[Inner]
    mixed: int | float = 0


def test_fields_have_the_types_that_their_values_are_written_as() -> None:
    inner = pl.Struct({"role": pl.String(), "kind": pl.String()})
    assert columns_of(Outer) == {
        "text": pl.String(),
        "count": pl.Int64(),
        "share": pl.Float64(),
        "likely": pl.Boolean(),
        "parts": pl.List(inner),
        "mixed": pl.Float64(),
    }
    value = Outer(text="a", likely=None, parts=[Inner(role="user", kind=Kind.TWO)])
    frame = pl.DataFrame([value.model_dump(mode="json")], schema=columns_of(Outer))
    assert frame.to_dicts() == [value.model_dump(mode="json")]


class Tree(BaseModel):
    children: list["Tree"]


class Either(BaseModel):
    value: str | int


class Anything(BaseModel):
    data: dict[str, int]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Tree, r"children\[\] holds Tree within itself"),
        (Either, "value may be of several types"),
        (Anything, "data has no fixed type"),
    ],
)
def test_a_field_without_one_type_is_named(model: type[BaseModel], message: str) -> None:
    with pytest.raises(MistakeError, match=message):
        columns_of(model)
