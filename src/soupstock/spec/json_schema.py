"""The JSON Schema of a pipeline's file, for editors: hints, completion and warnings while typing.

`python -m soupstock.spec.json_schema` prints it; docs/pipeline.schema.json holds its output.
"""

import json
from typing import Any

from soupstock.spec.pipeline import Pipeline


def schema_text() -> str:
    """Return the JSON Schema as the text of a file."""
    return json.dumps(pipeline_schema(), indent=2, ensure_ascii=False) + "\n"


def pipeline_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline's file."""
    schema = Pipeline.model_json_schema(by_alias=True, mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A soupstock pipeline"
    schema["$defs"]["FilterUse"] = _as_written(schema["$defs"]["FilterUse"])
    return schema


def _as_written(use: dict[str, Any]) -> dict[str, Any]:
    """Describe a filter as YAML writes it: `not_refusal`, or `length: {column: response}`."""
    name = {"type": "string", "pattern": use["properties"]["name"]["pattern"]}
    with_arguments = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "propertyNames": name,
        "additionalProperties": {"anyOf": [use["properties"]["arguments"], {"type": "null"}]},
    }
    return {"description": use["description"], "anyOf": [name, with_arguments]}


if __name__ == "__main__":
    print(schema_text(), end="")  # noqa: T201 - the module is run for its output
