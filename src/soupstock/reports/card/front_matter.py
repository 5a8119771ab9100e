"""The YAML at the head of a card, which the Hub reads. Knows no rows and no files."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import WRITING, Manifest
from soupstock.artifacts.mix import MixRecord
from soupstock.rows.shards import CONFIG
from soupstock.text.markdown import one_line

_LICENSES = Path(__file__).parent / "assets" / "licenses.txt"
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)
_LONGEST_NAME = 80

# Readers of YAML 1.1 and 1.2 agree that such a word is a text. Everything else is quoted.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.<>/-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def front_matter(manifest: Manifest, dataset: DatasetRecord) -> str:
    """Return the card's YAML, between its `---` lines."""
    return _head(manifest.name, dataset, _origin(manifest), _tags(manifest))


def mix_front_matter(record: MixRecord) -> str:
    """Return the YAML of a mix's card, between its `---` lines."""
    models = [model for one in record.ingredients for model in one.models]
    origin = {"language_creators": ["machine-generated"]} if models else {}
    tags = ["synthetic"] if models else []
    named = [tag for model in models if (tag := _tag(model.model))]
    return _head(record.name, record.dataset, origin, [*tags, "soupstock", *named])


def _head(
    name: str, dataset: DatasetRecord, origin: dict[str, list[str]], tags: Iterable[str]
) -> str:
    data = {
        "pretty_name": one_line(name, _LONGEST_NAME),
        **_license(dataset.license),
        **_languages(dataset.language),
        "task_categories": ["text-generation"],
        "size_categories": [size_category(dataset.rows)],
        **origin,
        "tags": list(dict.fromkeys(tags)),
        "configs": _configs(dataset),
        **dataset_info(dataset),
    }
    return f"---\n{_to_yaml(data)}---\n"


def size_category(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    return next((name for limit, name in _SIZES if rows < limit), "n>1B")


@cache
def licenses() -> frozenset[str]:
    """Return the licences that the Hub knows."""
    return frozenset(_LICENSES.read_text(encoding="utf-8").split())


def _license(name: str | None) -> dict[str, str]:
    """Return a licence as the Hub names it; an unknown one is `other`, with its name."""
    if name is None:
        return {"license": "unknown"}
    known = name.strip().lower()
    if known in licenses():
        return {"license": known}
    return {"license": "other", "license_name": _tag(name) or "unnamed"}


def _languages(codes: tuple[str, ...]) -> dict[str, list[str]]:
    """Separate ISO 639 codes, which the Hub checks, from finer ones such as `en-GB`."""
    plain = [code.lower() for code in codes if re.fullmatch(r"[A-Za-z]{2,3}", code)]
    finer = [one_line(code, _LONGEST_NAME) for code in codes if code.lower() not in plain]
    found = {"language": plain, "language_bcp47": finer}
    return {key: codes for key, codes in found.items() if codes}


def _origin(manifest: Manifest) -> dict[str, list[str]]:
    """Return who created the texts, and the dataset they came from."""
    found = {}
    if any(step.verb in WRITING for step in manifest.steps):
        found["language_creators"] = ["machine-generated"]
    if any(step.verb == "judge" for step in manifest.steps):
        found["annotations_creators"] = ["machine-generated"]
    name = str(manifest.pipeline["source"].get("dataset") or "")
    # A local path means nothing to others.
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        found["source_datasets"] = [name]
    return found


def _tags(manifest: Manifest) -> Iterator[str]:
    roles = {step.model for step in manifest.steps if step.verb in WRITING}
    if roles:
        yield "synthetic"
    yield "soupstock"
    yield from (
        tag for model in manifest.models if model.role in roles if (tag := _tag(model.model))
    )


def _tag(text: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-._")[:_LONGEST_NAME]


def _configs(dataset: DatasetRecord) -> list[dict[str, Any]]:
    """List the configurations and their files; the first of several is the default."""
    found: list[dict[str, Any]] = [
        {
            "config_name": config.name,
            "data_files": [
                {"split": split.name, "path": f"{config.folder}/{split.name}-*"}
                for split in config.splits
            ],
        }
        for config in dataset.configs
    ]
    if len(found) > 1:
        found[0]["default"] = True
    return found


def dataset_info(dataset: DatasetRecord) -> dict[str, Any]:
    """Return `dataset_info`, as the `datasets` library writes it."""
    infos = [
        {
            "config_name": config.name,
            "features": _columns(config.features),
            "splits": [
                {"name": split.name, "num_bytes": split.bytes, "num_examples": split.rows}
                for split in config.splits
            ],
            "download_size": config.download,
            "dataset_size": config.bytes,
        }
        for config in sorted(dataset.configs, key=lambda config: config.name)
    ]
    if len(infos) > 1:
        return {"dataset_info": infos}
    (info,) = infos
    if info["config_name"] == CONFIG:
        del info["config_name"]
    return {"dataset_info": info}


def _columns(features: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, **_column(feature)} for name, feature in features.items()]


def _column(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Write a feature as a card does: a list of plain values is only the name of their type."""
    match feature:
        case {"_type": "Value", "dtype": dtype}:
            return {"dtype": dtype}
        case {"_type": "List" | "LargeList" as kind, "feature": inner, **length}:
            found = _column(inner)
            (only,) = found.values() if found.keys() <= {"dtype", "struct"} else (found,)
            return {"list" if kind == "List" else "large_list": only, **length}
        case _:
            return {"struct": _columns(feature)}


def _to_yaml(data: dict[str, Any]) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.width = 1 << 20
    # Controls of the text direction must be visible.
    yaml.allow_unicode = False
    yaml.dump(_quote_ambiguous(data), text)
    return text.getvalue()


def _quote_ambiguous(value: Any) -> Any:
    """Quote texts that some YAML reader would take for another type."""
    match value:
        case dict():
            return {key: _quote_ambiguous(inner) for key, inner in value.items()}
        case list():
            return [_quote_ambiguous(inner) for inner in value]
        case str() if not _PLAIN.fullmatch(value) or value.lower() in _WORDS:
            return DoubleQuotedScalarString(value)
        case _:
            return value
