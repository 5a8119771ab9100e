"""Static embedding models: find the one that a step means, and turn texts into vectors.

Knows no rows and no servers. model2vec is imported where a model is loaded, not before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from soupstock.artifacts.files import folder_hash
from soupstock.errors import MistakeError, Place, quoted, shown
from soupstock.rows.sources import find_path
from soupstock.similarity.cosine import Embedder, Vectors

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTALL = "pip install 'soupstock[semantic]'"


@dataclass(frozen=True)
class StaticModel:
    """A static embedding model of model2vec: a folder, or an id on the Hub."""

    name: str
    """As the step or the settings name it."""
    path: str
    content: str
    """What it is, for the plan's fingerprint."""

    def identity(self) -> bytes:
        """Say in bytes which model it is."""
        return self.content.encode()

    def load(self) -> Embedder:
        """Load the model; raises MistakeError."""
        return Embedder(_encoder(self.path, self.name))


def find_embedder(name: str | None, root: Path, place: Place | None) -> StaticModel:
    """Find the model that a step names; raises MistakeError."""
    if name is None:
        raise MistakeError(
            "no embedding model is named: set `embedder:` here, or for all steps in"
            " [tool.soupstock] of pyproject.toml, to a folder of model2vec or an id on the Hub",
            place,
        )
    path = find_path(name, root)
    is_folder = path is not None and path.is_dir()
    if name.startswith((".", "/", "~")) and not is_folder:
        raise MistakeError(f"there is no folder {quoted(name)} in {shown(root)}", place)
    _library(place)
    if path is not None and is_folder:
        return StaticModel(name, str(path), folder_hash(path))
    return StaticModel(name, name, name)


def _library(place: Place | None) -> Any:
    try:
        import model2vec
    except ImportError as error:
        raise MistakeError(f"embeddings need model2vec: {_INSTALL}", place) from error
    return model2vec


@cache
def _encoder(path: str, name: str) -> "Callable[[Sequence[str]], Vectors]":
    try:
        model = _library(None).StaticModel.from_pretrained(path, force_download=False)
    # Dozens of kinds of errors say that a model, or the way to it, is broken.
    except Exception as error:
        reason = shown(" ".join(str(error).split())[:300])
        raise MistakeError(f"the embedder {quoted(name)} cannot be loaded: {reason}") from error

    def encode(texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, model.dim), np.float32)
        # Each process of its own would load the model again.
        return np.asarray(model.encode(list(texts), use_multiprocessing=False), np.float32)

    return encode
