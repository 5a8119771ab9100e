"""Rows and pipelines as readable YAML: texts are folded, and long ones are cut."""

import io
import math
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import LiteralScalarString

from soupstock.rows.row import Row

WIDTH = 88
"""The width at which lines are folded, in characters."""

_LONGEST_TEXT = 600
_LONGEST_LIST = 8
_LONGEST_EXCERPT = 4000


class _Representer(RoundTripRepresenter):
    """Writes null as `null`; by default it would be empty."""

    def represent_null(self, _: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_null)


def to_yaml(value: Any) -> str:
    """Write plain data as YAML."""
    yaml, text = YAML(), io.StringIO()
    yaml.Representer = _Representer
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(value, text)
    return text.getvalue()


def excerpt(row: Row) -> str:
    """Write a row as YAML; long texts and lists are cut."""
    lines = to_yaml({name: _cut(value) for name, value in row.items()}).split("\n")
    text = "\n".join(line.rstrip() for line in lines)
    return text if len(text) <= _LONGEST_EXCERPT else f"{text[:_LONGEST_EXCERPT].rstrip()}…"


def _cut(value: Any) -> Any:
    match value:
        case str():
            return _text(value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…")
        case dict():
            return {str(name): _cut(inner) for name, inner in value.items()}
        case list():
            cut = ["…"] if len(value) > _LONGEST_LIST else []
            return [*map(_cut, value[:_LONGEST_LIST]), *cut]
        case bytes():
            return "(binary)"
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float():
            return value
        case _:
            return str(value)


def _text(text: str) -> str:
    """Write a text of several lines as a block, so that its lines are kept."""
    return LiteralScalarString(text) if "\n" in text.strip() else text
