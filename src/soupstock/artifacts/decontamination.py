"""What rows were compared with, as records."""

from soupstock.spec.fields import Record


class EvaluationRecord(Record):
    """A set of texts that rows were compared with."""

    name: str
    column: str
    rows: int
    sha256: str
    """The hash of its content."""


class RecallRecord(Record):
    """How many canaries of a kind were found: items of the sets, edited."""

    kind: str
    planted: int
    found: int
    share: float
    low: float
    high: float
    """The interval of the share that is found, for nineteen in twenty."""


class SameQuestionRecord(Record):
    """What a model said of rows that only resemble an item, and what its word is worth."""

    role: str
    model: str
    revision: str | None = None
    ask_from: float
    """From which cosine on it was asked."""
    asked: int
    """About how many rows it was asked."""
    same: int
    """How many of them it takes for the same question; they were dropped."""
    different: int
    """How many it takes for another; they were kept."""
    unclear: int
    """How many have no verdict; they were dropped."""
    canaries: int = 0
    """How many canaries it told of."""
    missed: int = 0
    """How many of these it takes for another question."""
    pairs: int = 0
    """How many pairs of items it told of: each with the other one that is most like it."""
    mistaken: int = 0
    """How many of these it takes for the same question."""
    low: float | None = None
    high: float | None = None
    """The interval of the share that it takes for the same, for nineteen in twenty."""
    is_proven: bool = False
    """Whether these show that it tells the same question from another one."""
    untold: int = 0
    """How many canaries and pairs have no verdict; they count for nothing."""
    answers: int = 0
    """What it took to learn that: answers, and US dollars; null where a price is not known."""
    cost: float | None = None
    sentence: str
    """All of it in words."""


UNASKED = (
    "no model was asked here whether a row puts the same question as the item that it resembles:"
    " it was dropped"
)
"""What is said where a run asks a model, and something else does not."""


class DecontaminationRecord(Record):
    """What rows were compared with, and how well that finds what it looks for."""

    step: str
    column: str
    sets: tuple[EvaluationRecord, ...]
    canaries: tuple[RecallRecord, ...]
    question: SameQuestionRecord | None = None
    """Null where no model was asked."""
    is_unasked: bool = False
    """Whether a run asks a model, and here nobody was asked: what resembles an item is dropped."""
