"""What a mix says of itself: `mix.json`, beside the dataset that was mixed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.decontamination import DecontaminationRecord
from soupstock.artifacts.manifest import ModelRecord
from soupstock.spec.fields import Record

MIX = "mix.json"


@dataclass(frozen=True)
class Mixture:
    """What to mix."""

    shares: Mapping[str, float]
    """Runs by name, each with its share; shares are relative to their sum."""
    name: str
    rows: int | None = None
    """How many rows to take; as many as the shares allow where it is None."""
    repository: str | None = None
    splits: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0


class IngredientRecord(Record):
    """What one run gave to a mix."""

    name: str
    run: str
    """The run's folder: `chat/3f2a1b0c9d8e`."""
    fingerprint: str
    files: dict[str, str]
    """The SHA-256 of each of its dataset's files that was read."""
    share: float
    """The share of the mix that it was to be, as a part of 1."""
    rows: int
    """How many rows it has."""
    contaminated: int = 0
    """How many of them resemble an item of an evaluation set."""
    repeats: int = 0
    """How many are nearly the same as a row before them, its own or another run's."""
    taken: int
    """How many are in the mix."""
    license: str | None = None
    models: tuple[ModelRecord, ...] = ()
    """The models that wrote it."""
    others: tuple[ModelRecord, ...] = ()
    """The further ones that were asked: judges."""


class MixRecord(Record):
    """Everything a mix says of itself."""

    soupstock: str
    name: str
    fingerprint: str
    seed: int
    mixture: Mixture | None = None
    """What was asked for, to mix it again."""
    similar: float
    """From which Jaccard similarity of their word 3-grams on two rows were repeats."""
    ingredients: tuple[IngredientRecord, ...]
    decontamination: tuple[DecontaminationRecord, ...] = ()
    dataset: DatasetRecord
    files: dict[str, str] = {}
    """The SHA-256 of each file that was written, by its path in the folder."""
    versions: dict[str, str] = {}

    @property
    def asked(self) -> tuple[ModelRecord, ...]:
        """The models that were asked for any of it."""
        return tuple(model for one in self.ingredients for model in (*one.models, *one.others))


def read(folder: Path) -> MixRecord:
    """Read a mix's record."""
    return MixRecord.model_validate_json((folder / MIX).read_bytes())
