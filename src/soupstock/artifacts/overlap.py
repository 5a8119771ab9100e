"""What is said of datasets that were compared for what they have in common."""

from typing import Literal

from soupstock.spec.fields import Record


class SystemRecord(Record):
    """A system prompt, None where there is none, and how many rows have it."""

    text: str | None
    rows: int


class CorpusRecord(Record):
    """What one dataset is like."""

    name: str
    rows: int
    anchor: int
    """How many of them are in the anchor."""
    anchor_missing: int
    """How many different rows of the anchor it lacks that another dataset has."""
    system_prompts: int
    """How many system prompts there are; having none counts as one."""
    systems: tuple[SystemRecord, ...]
    """The most frequent of them."""
    shapes: dict[str, int]
    """How many rows have each shape."""
    within: float | None
    """The divergence between the words of two halves of its rows outside the anchor."""


class Example(Record):
    """A row and what it is like."""

    kind: Literal["same", "near", "meaning"]
    row: int
    """Which row of the dataset it is, from 1."""
    twin: int
    """Which row of the other dataset."""
    similarity: float
    text: str
    """How the row begins."""


class Crossing(Record):
    """Which of one dataset's rows outside the anchor are in another's, in what way."""

    of: str
    within: str
    rows: int
    """How many rows outside the anchor the first has."""
    same: int
    """Word for word, but for case and spacing, and for the system prompt."""
    near: int
    """Not the same, with a Jaccard similarity of their word 3-grams of at least 0.7."""
    meaning: int | None
    """Neither, with a cosine of their embeddings of at least 0.9; None where none were made."""
    prompts: int
    """With a first message that is the same."""
    overlapping: int
    """In any of these ways."""
    share: float
    """Which share of the rows that is."""
    examples: tuple[Example, ...] = ()


class Apart(Record):
    """What is there once for two datasets."""

    one: str
    other: str
    words: float | None
    """The divergence between their words: Jensen and Shannon's, in bits, 0 (none) to 1."""
    sources: int | None
    """How many source rows both have rows of; None where there is no telling."""
    held_out: int
    """How many rows are held out for testing in one and trained on in the other."""


class Overlap(Record):
    """What several datasets have in common."""

    datasets: tuple[CorpusRecord, ...]
    anchor: str | None
    """What the anchor's rows are; None where there are none."""
    anchor_rows: int
    """How many different rows of it the datasets have."""
    crossings: tuple[Crossing, ...]
    apart: tuple[Apart, ...]
    unmeasured: str | None = None
    """Why no meanings were compared."""
    most: float
    warnings: tuple[str, ...] = ()
