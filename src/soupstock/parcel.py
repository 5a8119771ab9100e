"""Put together what goes to the Hub: the dataset, its card with changes and images, its lock."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soupstock import changes
from soupstock.images import illustrated, images
from soupstock.release import CARD, LOCK, Release, sha256


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
    entries = entries or [changes.entry(version, None)]
    files: dict[str, bytes | Path] = dict(release.paths())
    drawn = images(release.said) if release.said else {}
    files |= {name: image.encode() for name, image in drawn.items()}
    card = illustrated((release.place / CARD).read_text(encoding="utf-8"), drawn)
    files[CARD] = (card + changes.told(entries)).encode()
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
