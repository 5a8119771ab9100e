"""How a model is held to a JSON Schema: by its server, or else by words in the prompt.

Pure functions over a request's fields and messages. `probe` finds out which way a server takes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from soupstock.inference.servers.endpoint import Mode

if TYPE_CHECKING:
    from openai.types.shared_params import ResponseFormatJSONSchema

Message = Mapping[str, str]

_INSTRUCTION = "Answer with JSON alone, without any words around it, by this JSON Schema:\n"


def fields(mode: Mode, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the fields of a request by which its server holds the model to a schema."""
    match mode:
        case "json_schema":
            form: ResponseFormatJSONSchema = {
                "type": "json_schema",
                "json_schema": {"name": name, "strict": True, "schema": dict(schema)},
            }
            return {"response_format": form}
        case "structured_outputs":
            return {"structured_outputs": {"json": schema}}
        case "prompt":
            return {}


def instruction(schema: Mapping[str, Any]) -> str:
    """Put a schema in words, for a model whose server takes none."""
    return _INSTRUCTION + orjson.dumps(schema).decode()


def with_instruction(messages: Sequence[Message], words: str) -> list[Message]:
    """Add words to a system message that comes first, or else to the last message.

    Not as a further system message, which many chat templates refuse.
    """
    if not messages:
        return []
    place = 0 if messages[0]["role"] == "system" else len(messages) - 1
    said = dict(messages[place])
    said["content"] = f"{said['content']}\n\n{words}"
    return [*messages[:place], said, *messages[place + 1 :]]
