"""The polars types of a pydantic model's fields: columns have types before there are rows."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from soupstock.errors import MistakeError, shown

_PLAIN: Mapping[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "null": pl.Null(),
}


def columns_of(model: type[BaseModel]) -> dict[str, pl.DataType]:
    """Return the columns that a model's rows have, as `model_dump(mode="json")` writes them."""
    # Rows have the aliases only if the model says so.
    by_alias = bool(model.model_config.get("serialize_by_alias"))
    schema = json_schema_of(model, mode="serialization", by_alias=by_alias)
    reader = _Reader(model.__name__, schema.get("$defs", {}))
    if "$ref" in schema:
        _type(schema, reader, "")
    if not schema.get("properties"):
        raise reader.refuse("", "it has no fields")
    return _fields(schema, reader)


def struct_of(model: type[BaseModel]) -> pl.Struct:
    """Return the struct type of a column that holds a model."""
    return pl.Struct(columns_of(model))


def json_schema_of(
    model: type[BaseModel], mode: JsonSchemaMode = "validation", *, by_alias: bool = True
) -> dict[str, Any]:
    """Return a model's JSON Schema; raises MistakeError if it has none."""
    try:
        schema = model.model_json_schema(mode=mode, by_alias=by_alias)
    # A user's model may run its own code here.
    except Exception as error:
        reason = shown(str(error).split("\n", 1)[0])
        raise MistakeError(f"the schema {model.__name__} cannot be used: {reason}") from error
    return schema


class _Reader:
    """The definitions that a schema refers to, and those being read now."""

    def __init__(self, name: str, definitions: Mapping[str, Any]) -> None:
        self.name = name
        self.definitions = definitions
        self.open: list[str] = []

    def refuse(self, path: str, why: str) -> MistakeError:
        problem = f"{path.lstrip('.')} {why}".strip()
        return MistakeError(f"the schema {self.name} cannot be a table: {problem}")


def _fields(schema: Mapping[str, Any], reader: _Reader, path: str = "") -> dict[str, pl.DataType]:
    return {
        name: _type(field, reader, f"{path}{name}")
        for name, field in schema.get("properties", {}).items()
    }


def _type(schema: Mapping[str, Any], reader: _Reader, path: str) -> pl.DataType:
    if "$ref" in schema:
        return _referred(schema["$ref"].rsplit("/", 1)[-1], reader, path)
    if cases := schema.get("anyOf") or schema.get("oneOf"):
        return _union(cases, reader, path)
    if "const" in schema or "enum" in schema:
        return _type_of_values(schema.get("enum", [schema.get("const")]), reader, path)
    kind = str(schema.get("type"))
    if kind == "array" and "items" in schema:
        return pl.List(_type(schema["items"], reader, f"{path}[]"))
    if kind == "object" and schema.get("properties"):
        return pl.Struct(_fields(schema, reader, f"{path}."))
    if kind in _PLAIN:
        return _PLAIN[kind]
    raise reader.refuse(path, "has no fixed type; use text, numbers, lists and models")


def _referred(name: str, reader: _Reader, path: str) -> pl.DataType:
    if name in reader.open:
        raise reader.refuse(path, f"contains {name} itself")
    reader.open.append(name)
    dtype = _type(reader.definitions[name], reader, path)
    reader.open.pop()
    return dtype


def _union(cases: list[Mapping[str, Any]], reader: _Reader, path: str) -> pl.DataType:
    types = {_type(case, reader, path) for case in cases} - {pl.Null()}
    if types == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    if len(types) > 1:
        raise reader.refuse(path, "may be of several types")
    return types.pop() if types else pl.Null()


def _type_of_values(values: list[Any], reader: _Reader, path: str) -> pl.DataType:
    kinds = {type(value) for value in values} - {type(None)}
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    if len(kinds) != 1 or (kind := kinds.pop()) not in names:
        raise reader.refuse(path, "may be of several types")
    return _PLAIN[names[kind]]
