"""A schema's fields become typed columns, or one line that says which cannot."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from soupstock.errors import MistakeError
from soupstock.rows.schema_types import columns_of, json_schema_of


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


class Aliased(BaseModel):
    text: str = Field(alias="Text")
    inner: list["Aliased2"] = Field(serialization_alias="Inner")


class Aliased2(BaseModel):
    number: int = Field(alias="Number")


class ByAlias(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    text: str = Field(alias="Text")


def test_columns_are_called_as_the_values_are_written_and_asked_for_by_their_aliases() -> None:
    data = {"Text": "a", "inner": [{"Number": 1}]}
    for model in (Aliased, ByAlias):
        written = model.model_validate(data).model_dump(mode="json")
        assert list(columns_of(model)) == list(written)
        assert "Text" in json_schema_of(model)["properties"]
    assert columns_of(Aliased)["inner"] == pl.List(pl.Struct({"number": pl.Int64()}))


class Dates(BaseModel):
    day: dt.date
    price: Decimal
    tags: set[str]
    kind: Literal[1, 2] | None


def test_what_json_writes_as_text_is_text() -> None:
    value = Dates(day=dt.date(2026, 1, 2), price=Decimal("1.50"), tags={"a"}, kind=2)
    frame = pl.DataFrame([value.model_dump(mode="json")], schema=columns_of(Dates))
    assert frame.to_dicts() == [{"day": "2026-01-02", "price": "1.50", "tags": ["a"], "kind": 2}]


class Tree(BaseModel):
    children: list["Tree"]


class Either(BaseModel):
    value: str | int


class Anything(BaseModel):
    data: dict[str, int]


class Nothing(BaseModel):
    pass


class Bare(RootModel[list[str]]):
    pass


class Called(BaseModel):
    function: Callable[[], int]


class Pair(BaseModel):
    both: tuple[int, str]


class Undefined(BaseModel):
    other: "NoSuchClass"  # type: ignore[name-defined]  # noqa: F821 - the mistake that is meant


class Raising(BaseModel):
    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        raise RuntimeError("not\x1b today\nor ever")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Tree, r"the schema Tree cannot be a table: children\[\] contains Tree itself"),
        (Either, "value may be of several types"),
        (Anything, "data has no fixed type"),
        (Pair, "both has no fixed type"),
        (Nothing, "the schema Nothing cannot be a table: it has no fields"),
        (Bare, "the schema Bare cannot be a table: it has no fields"),
        (Called, "the schema Called cannot be used: Cannot generate a JsonSchema"),
        (Undefined, "the schema Undefined cannot be used: `Undefined` is not fully defined"),
        (Raising, r"the schema Raising cannot be used: not\\x1b today$"),
    ],
)
def test_a_field_without_one_type_is_named(model: type[BaseModel], message: str) -> None:
    with pytest.raises(MistakeError, match=message):
        columns_of(model)
