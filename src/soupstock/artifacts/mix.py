"""The record of a mix: `mix.json`, beside the mixed dataset."""

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
    """The share of each run, by name; shares are relative to their sum."""
    name: str
    rows: int | None = None
    """How many rows to take. Default: as many as the shares allow."""
    repository: str | None = None
    splits: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0


class IngredientRecord(Record):
    """The part of one run in a mix."""

    name: str
    run: str
    """The run's folder: `chat/3f2a1b0c9d8e`."""
    fingerprint: str
    files: dict[str, str]
    """The SHA-256 of each file of its dataset that was read."""
    share: float
    """Its requested share of the mix, from 0 to 1."""
    rows: int
    """The number of its rows."""
    contaminated: int = 0
    """How many of them resemble an item of an evaluation set."""
    repeats: int = 0
    """How many are near-duplicates of an earlier row, of this or another run."""
    taken: int
    """How many are in the mix."""
    license: str | None = None
    models: tuple[ModelRecord, ...] = ()
    """The models that wrote its texts."""
    others: tuple[ModelRecord, ...] = ()
    """Its other models, such as judges."""


class MixRecord(Record):
    """The complete record of a mix."""

    soupstock: str
    name: str
    fingerprint: str
    seed: int
    mixture: Mixture | None = None
    """The request, to make the mix again."""
    similar: float
    """The least Jaccard similarity of the word 3-grams of two near-duplicates."""
    ingredients: tuple[IngredientRecord, ...]
    decontamination: tuple[DecontaminationRecord, ...] = ()
    dataset: DatasetRecord
    files: dict[str, str] = {}
    """The SHA-256 of each file that was written, by its path in the folder."""
    versions: dict[str, str] = {}

    @property
    def asked(self) -> tuple[ModelRecord, ...]:
        """All models that were asked for any part."""
        return tuple(model for one in self.ingredients for model in (*one.models, *one.others))


def read(folder: Path) -> MixRecord:
    """Read a mix's record."""
    return MixRecord.model_validate_json((folder / MIX).read_bytes())
