"""What the Hub reads of a dataset: the YAML at the head of its card. Knows no rows and no files."""

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

# Readers of YAML 1.1 and 1.2 agree that such a word is a text; all else is put in quotes.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.<>/-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def front_matter(said: Manifest, dataset: DatasetRecord) -> str:
    """Return the card's YAML, between its `---` lines."""
    return _head(said.name, dataset, _origin(said), _tags(said))


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
    return f"---\n{_written(data)}---\n"


def size_category(rows: int) -> str:
    """Return the Hub's name for about so many rows."""
    return next((name for limit, name in _SIZES if rows < limit), "n>1B")


@cache
def licenses() -> frozenset[str]:
    """Return the names of licences that the Hub knows."""
    return frozenset(_LICENSES.read_text(encoding="utf-8").split())


def _license(name: str | None) -> dict[str, str]:
    """Name a licence as the Hub does: one that it does not know is `other`, with its name."""
    if name is None:
        return {"license": "unknown"}
    known = name.strip().lower()
    if known in licenses():
        return {"license": known}
    return {"license": "other", "license_name": _tag(name) or "unnamed"}


def _languages(codes: tuple[str, ...]) -> dict[str, list[str]]:
    """Tell ISO 639 codes, which the Hub checks, from finer ones such as `en-GB`."""
    plain = [code.lower() for code in codes if re.fullmatch(r"[A-Za-z]{2,3}", code)]
    finer = [one_line(code, _LONGEST_NAME) for code in codes if code.lower() not in plain]
    found = {"language": plain, "language_bcp47": finer}
    return {key: codes for key, codes in found.items() if codes}


def _origin(said: Manifest) -> dict[str, list[str]]:
    """Say who wrote the texts and which dataset they came from."""
    found = {}
    if any(step.verb in WRITING for step in said.steps):
        found["language_creators"] = ["machine-generated"]
    if any(step.verb == "judge" for step in said.steps):
        found["annotations_creators"] = ["machine-generated"]
    name = str(said.pipeline["source"].get("dataset") or "")
    # A folder's path means nothing to others.
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        found["source_datasets"] = [name]
    return found


def _tags(said: Manifest) -> Iterator[str]:
    roles = {step.model for step in said.steps if step.verb in WRITING}
    if roles:
        yield "synthetic"
    yield "soupstock"
    yield from (tag for model in said.models if model.role in roles if (tag := _tag(model.model)))


def _tag(text: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-._")[:_LONGEST_NAME]


def _configs(dataset: DatasetRecord) -> list[dict[str, Any]]:
    """Say which files are which; the first of several configurations is the default one."""
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
    """Write a feature as a card does: a list of plain values is no more than their type's name."""
    match feature:
        case {"_type": "Value", "dtype": dtype}:
            return {"dtype": dtype}
        case {"_type": "List" | "LargeList" as kind, "feature": inner, **length}:
            found = _column(inner)
            (only,) = found.values() if found.keys() <= {"dtype", "struct"} else (found,)
            return {"list" if kind == "List" else "large_list": only, **length}
        case _:
            return {"struct": _columns(feature)}


def _written(data: dict[str, Any]) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.width = 1 << 20
    # What turns the direction of a text around must be seen.
    yaml.allow_unicode = False
    yaml.dump(_unmistakable(data), text)
    return text.getvalue()


def _unmistakable(value: Any) -> Any:
    """Put texts in quotes that some reader of YAML would take for something else."""
    match value:
        case dict():
            return {key: _unmistakable(inner) for key, inner in value.items()}
        case list():
            return [_unmistakable(inner) for inner in value]
        case str() if not _PLAIN.fullmatch(value) or value.lower() in _WORDS:
            return DoubleQuotedScalarString(value)
        case _:
            return value
