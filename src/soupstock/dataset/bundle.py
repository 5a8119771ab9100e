"""Put together what is pushed: the dataset, its card with changes and images, and its lock.

The files that a run was made from are pushed too, and the card links to them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from soupstock.artifacts.files import sha256
from soupstock.artifacts.manifest import Manifest
from soupstock.dataset import changelog
from soupstock.dataset.release import CARD, LOCK, Release
from soupstock.reports.card.images import add_images, images
from soupstock.reports.card.tables import cell

MADE_FROM = "made_from"
"""The folder of prompts, rubrics, schemas and filters."""

_HEADING = "### Prompts, rubrics, schemas and filters"


def content_of(release: Release) -> str:
    """Hash the dataset's files, with the card as the run wrote it."""
    digest = hashlib.sha256()
    for name, path in release.paths().items():
        digest.update(f"{name}\0{sha256(path)}\0".encode())
    return digest.hexdigest()


def files_of(
    release: Release, version: str, entries: Sequence[Mapping[str, Any]]
) -> dict[str, bytes | Path]:
    """Put together every file that will be on the Hub, by path.

    `entries` are the entries of the changelog, the oldest first; without any it is the first
    version.
    """
    entries = entries or [changelog.entry(version, None)]
    files: dict[str, bytes | Path] = dict(release.paths())
    drawn = images(release.manifest) if release.manifest else {}
    files |= {name: image.encode() for name, image in drawn.items()}
    card = add_images((release.place / CARD).read_text(encoding="utf-8"), drawn)
    if release.manifest is not None:
        sources = _sources(release.manifest)
        files |= {path: text.encode() for path, text in sources.values()}
        card = _linked(card, {file: path for file, (path, _) in sources.items()})
    files[CARD] = (card + changelog.section(entries)).encode()
    return files | {LOCK: _lock(release, version, entries, files)}


def _lock(
    release: Release,
    version: str,
    entries: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes | Path],
) -> bytes:
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
    return (json.dumps(lock, indent=2, ensure_ascii=False) + "\n").encode()


def _sources(run: Manifest) -> dict[str, tuple[str, str]]:
    """Return path and text of each file that a run was made from, by the run's name of it."""
    return {
        part.file: (f"{MADE_FROM}/{part.file.replace('standard:', 'standard/')}", part.text)
        for part in chain(*run.parts.values())
    }


def _linked(card: str, paths: Mapping[str, str]) -> str:
    """Link to the files that a run was made from, in the card's table of them."""
    # Nothing quoted after the heading can span lines, so its last occurrence is the card's own.
    before, heading, after = card.rpartition(f"\n{_HEADING}\n\n")
    table, end, rest = after.partition("\n\n")
    for file, path in paths.items():
        table = table.replace(f" {cell(file)} |", f" [{cell(file)}]({quote(path)}) |")
    return f"{before}{heading}{table}{end}{rest}"
