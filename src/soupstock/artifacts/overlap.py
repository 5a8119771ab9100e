"""Records of the overlap of several datasets."""

from typing import Literal

from soupstock.spec.fields import Record


class SystemRecord(Record):
    """A system prompt (None if there is none), and the number of rows with it."""

    text: str | None
    rows: int


class CorpusRecord(Record):
    """One of the compared datasets."""

    name: str
    rows: int
    anchor: int
    """The number of its rows in the anchor."""
    anchor_missing: int
    """How many distinct rows of the anchor it lacks, though another dataset has them."""
    system_prompts: int
    """The number of system prompts; no system prompt counts as one."""
    systems: tuple[SystemRecord, ...]
    """The most frequent of them."""
    shapes: dict[str, int]
    """How many rows have each shape."""
    within: float | None
    """The divergence between the words of two halves of its rows outside the anchor."""


class SharedRowRecord(Record):
    """A row, and a row of another dataset that is similar to it."""

    kind: Literal["same", "near", "meaning"]
    row: int
    """The number of the row in its dataset, from 1."""
    twin: int
    """The number of the row in the other dataset."""
    similarity: float
    text: str
    """The beginning of the row."""


class SharedRowsRecord(Record):
    """The rows of one dataset, outside the anchor, that are also in another."""

    of: str
    within: str
    rows: int
    """The number of rows of the first dataset outside the anchor."""
    same: int
    """The same text, ignoring case, spacing and the system prompt."""
    near: int
    """Not the same, but the Jaccard similarity of their word 3-grams is at least 0.7."""
    meaning: int | None
    """Neither, but the cosine of their embeddings is at least 0.9; None without embeddings."""
    prompts: int
    """The first message is the same."""
    overlapping: int
    """In any of these ways."""
    share: float
    """Their share of the rows."""
    examples: tuple[SharedRowRecord, ...] = ()


class PairRecord(Record):
    """Figures of a pair of datasets."""

    one: str
    other: str
    words: float | None
    """The Jensen-Shannon divergence between their words, in bits, from 0 to 1."""
    sources: int | None
    """How many source rows both have rows from; None if this is not known."""
    held_out: int
    """How many rows are in a test split of one and in the training split of the other."""


class OverlapRecord(Record):
    """The overlap of several datasets."""

    datasets: tuple[CorpusRecord, ...]
    anchor: str | None
    """A description of the anchor's rows; None if there are none."""
    anchor_rows: int
    """The number of distinct rows in the anchor."""
    crossings: tuple[SharedRowsRecord, ...]
    apart: tuple[PairRecord, ...]
    unmeasured: str | None = None
    """Why meanings were not compared."""
    most: float
    warnings: tuple[str, ...] = ()
