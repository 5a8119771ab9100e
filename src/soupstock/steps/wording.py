"""Words that verbs share in their sentences for a dataset's card."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, assert_never

from soupstock import spec
from soupstock.artifacts.manifest import Manifest
from soupstock.text.markdown import Markdown, code, joined

LONGEST = 200
"""How many characters of a name are shown at most."""


def model_named(role: str, manifest: Manifest) -> Markdown:
    """Name a role's model."""
    found = next((model.model for model in manifest.models if model.role == role), role)
    return Markdown(f"{code(found, LONGEST)} ({code(role)})")


def models_named(roles: Sequence[str], manifest: Manifest) -> Markdown:
    """Name the models of several roles."""
    return joined([model_named(role, manifest) for role in roles])


def settings(step: spec.Sampling | spec.Judge) -> str:
    """Return the sampling parameters of a step, defaults included, in brackets."""
    names: Mapping[str, Any] = spec.Sampling.model_fields
    values = step.model_dump(include=set(names))
    given = [
        f"{name} {argument(values[name])}" for name in names if values.get(name) not in (None, ())
    ]
    return f" ({code(', '.join(given), LONGEST)})" if given else ""


def filter_named(use: spec.FilterUse) -> Markdown:
    """Write a filter and its arguments as a code span."""
    arguments = ", ".join(f"{name}: {argument(value)}" for name, value in use.arguments.items())
    return code(f"{use.name}({arguments})" if arguments else use.name, LONGEST)


def argument(value: Any) -> str:
    """Write an argument as YAML does."""
    match value:
        case list() | tuple():
            return f"[{', '.join(map(argument, value))}]"
        case float():
            return f"{value:g}"
        case str() if not value or value.strip() != value:
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def references(against: Iterable[spec.Reference]) -> Markdown:
    """Name the datasets that rows are compared with."""
    names = []
    for reference in against:
        match reference:
            case spec.FileReference(file=name) | spec.DatasetReference(dataset=name):
                name = public_path(name)
            case spec.RunReference(run=name):
                pass
            case _:
                assert_never(reference)
        names.append(code(name, LONGEST))
    return joined(names)


def public_path(path: str) -> str:
    """Return a path without its folders, for a public card does not say where a file is on disk."""
    return PurePath(path).name if path.startswith(("/", "~", ".")) else path
