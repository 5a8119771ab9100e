"""What every verb offers: bind, and what is known of it before and after a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from soupstock import spec
from soupstock.errors import MistakeError, Place
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.model import Model
from soupstock.inference.static_embeddings import StaticModel, find_embedder
from soupstock.project.project import Project

Places = Callable[..., Place | None]
"""Finds the line of a key: `places("steps", 0, "prompt")`."""


@dataclass(frozen=True)
class At:
    """Finds lines within one step."""

    places: Places
    index: int

    def __call__(self, *keys: str | int) -> Place | None:
        """Find the line of a key of the step: `at("against", 0)`."""
        return self.places("steps", self.index, *keys)


def sampling(step: spec.Sampling) -> dict[str, Any]:
    """Return the sampling parameters that a step gives."""
    names = spec.Sampling.model_fields
    given = {name: getattr(step, name) for name in names}
    return {name: value for name, value in given.items() if value is not None and value != ()}


def located(place: Place | None, make: Callable[[Any], Any], value: Any) -> Any:
    """Give an error that knows no place the place."""
    try:
        return make(value)
    except MistakeError as error:
        raise MistakeError(error.message, error.place or place) from error


@dataclass(frozen=True)
class Within:
    """Where a step is: its project, and the name and models of its pipeline."""

    project: Project
    pipeline: str
    models: Mapping[str, Model]
    seed: int = 0
    asks: bool = True
    """Whether models are asked; a run does, and what prunes a file does not."""

    def embedder(self, name: str | None, place: Place | None) -> StaticModel | EmbeddingForm:
        """Find what turns texts into vectors: a model of the pipeline's, or a static one."""
        if name is not None and name in self.models:
            return EmbeddingForm(self.models[name])
        return find_embedder(name or self.project.embedder(), self.project.root, place)
