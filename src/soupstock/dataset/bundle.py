"""Put together what goes to the Hub: the dataset, its card with changes and images, its lock.

The files that a run was made from go along, and the card links to them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from soupstock.artifacts.manifest import Manifest
from soupstock.dataset import changelog
from soupstock.dataset.release import CARD, LOCK, Release, sha256
from soupstock.reports.card.images import illustrated, images
from soupstock.reports.card.tables import cell

MADE_FROM = "made_from"
"""The folder of prompts, rubrics, schemas and filters."""

_HEADING = "### Prompts, rubrics, schemas and filters"


def content_of(release: Release) -> str:
    """Hash the dataset's files, the card as the run wrote it among them."""
    digest = hashlib.sha256()
    for name, path in release.paths().items():
        digest.update(f"{name}\0{sha256(path)}\0".encode())
    return digest.hexdigest()


def files_of(
    release: Release, version: str, entries: Sequence[Mapping[str, Any]]
) -> dict[str, bytes | Path]:
    """Put together what will be on the Hub: the dataset, its card with changes, and the lock."""
    entries = entries or [changelog.entry(version, None)]
    files: dict[str, bytes | Path] = dict(release.paths())
    drawn = images(release.said) if release.said else {}
    files |= {name: image.encode() for name, image in drawn.items()}
    card = illustrated((release.place / CARD).read_text(encoding="utf-8"), drawn)
    if release.said is not None:
        sources = _sources(release.said)
        files |= {path: text.encode() for path, text in sources.values()}
        card = _linked(card, {file: path for file, (path, _) in sources.items()})
    files[CARD] = (card + changelog.told(entries)).encode()
    hashes = {
        name: hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else sha256(file)
        for name, file in files.items()
    }
    lock = {
        **release.lock,
        "version": version,
        "content": content_of(release),
        "files": hashes,
        "changes": list(entries),
    }
    text = json.dumps(lock, indent=2, ensure_ascii=False) + "\n"
    return files | {LOCK: text.encode()}


def _sources(said: Manifest) -> dict[str, tuple[str, str]]:
    """Return the files that a run was made from, by what it calls them: path and text."""
    return {
        part.file: (f"{MADE_FROM}/{part.file.replace('standard:', 'standard/')}", part.text)
        for part in chain(*said.parts.values())
    }


def _linked(card: str, paths: Mapping[str, str]) -> str:
    """Let the table of a run's files link to them."""
    # No text after the heading has lines of its own, so that the last one is the card's.
    before, heading, after = card.rpartition(f"\n{_HEADING}\n\n")
    table, end, rest = after.partition("\n\n")
    for file, path in paths.items():
        table = table.replace(f" {cell(file)} |", f" [{cell(file)}]({quote(path)}) |")
    return f"{before}{heading}{table}{end}{rest}"
