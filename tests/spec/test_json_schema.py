"""An editor that knows the JSON Schema says what the loader would."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conftest import CHAT
from soupstock.errors import MistakeError
from soupstock.spec.json_schema import pipeline_schema, schema_text
from soupstock.spec.loader import parse_yaml, validate
from soupstock.spec.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "pipeline.schema.json"
SHIPPED = sorted([*ROOT.glob("pipelines/**/*.yaml"), *ROOT.glob("src/**/pipelines/**/*.yaml")])
SCHEMA = pipeline_schema()


def test_the_file_is_what_the_models_say() -> None:
    assert FILE.read_text(encoding="utf-8") == schema_text(), (
        "the pipeline's models have changed: "
        "python -m soupstock.spec.json_schema > docs/pipeline.schema.json"
    )


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def described(schema: dict[str, Any], path: str) -> list[tuple[str, bool]]:
    """List a schema's properties, and whether each has a description."""
    found = []
    for name, value in schema.get("properties", {}).items():
        found.append((f"{path}.{name}", bool(value.get("description"))))
    return found


def test_every_key_is_described_for_the_editor() -> None:
    named = {"Pipeline": SCHEMA, **SCHEMA["$defs"]}
    found = [one for name, schema in named.items() for one in described(schema, name)]
    assert ("Pipeline.steps", True) in found
    assert ("Generate.temperature", True) in found
    assert [name for name, is_described in found if not is_described] == []
    named.pop("JsonValue")
    assert [name for name, schema in named.items() if not schema.get("description")] == []


def test_a_default_that_a_description_names_is_the_default() -> None:
    named = {"Pipeline": SCHEMA, **SCHEMA["$defs"]}
    said = [
        (f"{name}.{key}", " ".join(found[1].split()), field["default"])
        for name, schema in named.items()
        for key, field in schema.get("properties", {}).items()
        if isinstance(field.get("default"), str | int | float)
        if (found := re.search(r"Default: (.*?)\.$", field["description"], re.DOTALL))
    ]
    assert len(said) > 30
    assert [one for one in said if one[1] != as_yaml(one[2])] == []


def as_yaml(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}".removesuffix(".0")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_pipeline_passes_and_names_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert faults(text) == []
    name = text.split("\n", 1)[0].removeprefix("# yaml-language-server: $schema=")
    # What `init` writes beside its pipelines is no file here.
    assert (path.parent / name).resolve() == FILE or name == ".pipeline.schema.json"


def faults(text: str) -> list[str]:
    data = parse_yaml(text, Path("mine.yaml")).data
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(data)]


MISTAKES = {
    "an unknown key": ("prompt: ask", "promt: ask"),
    "an unknown key at the top": ("models:", "modles:"),
    "an unknown verb": ("generate: question", "generat: question"),
    "two verbs": ("generate: question", "generate: question\n    judge: quality"),
    "a wrong type": ("rows: 20", "rows: twenty"),
    "a limit": ("rows: 20", "rows: 0"),
    "a choice": ("- dataset", "- dedup: answer\n    method: fuzzy\n  - dataset"),
    "a name": ("generate: question", "generate: my question"),
    "no steps": (CHAT[CHAT.index("steps:") :], "steps: []\n"),
    "two filters in one": ("- score: {", "- length: {column: answer}\n        score: {"),
    "arguments that are a list": ("{column: quality, min: 0.5}", "[quality]"),
    "a source of no kind": ("  sample:", "  smaple:"),
}


def test_a_good_pipeline_has_no_faults() -> None:
    assert faults(CHAT) == []
    assert faults(CHAT.replace("- score: {column: quality, min: 0.5}", "- not_refusal")) == []
    assert faults(CHAT.replace("- score: {column: quality, min: 0.5}", "- own:")) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_the_loader_refuses_the_editor_marks(mistake: str) -> None:
    old, new = MISTAKES[mistake]
    assert old in CHAT
    text = CHAT.replace(old, new, 1)
    with pytest.raises(MistakeError):
        validate(parse_yaml(text, Path("mine.yaml")), Pipeline)
    assert faults(text)
