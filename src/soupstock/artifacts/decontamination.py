"""Records of a decontamination: the evaluation sets, and how well their items are found."""

from soupstock.spec.fields import Record


class EvaluationRecord(Record):
    """An evaluation set that rows were compared with."""

    name: str
    column: str
    rows: int
    sha256: str
    """The hash of its content."""


class RecallRecord(Record):
    """How many canaries of one kind were found; a canary is an edited item of a set."""

    kind: str
    planted: int
    found: int
    share: float
    low: float
    high: float
    """The 95 % interval of the share found."""


class SameQuestionRecord(Record):
    """What a model said of rows that resemble an item, and how reliable it is."""

    role: str
    model: str
    revision: str | None = None
    ask_from: float
    """The model was asked if the cosine was at least this."""
    asked: int
    """The number of rows it was asked about."""
    same: int
    """How many of them it considers the same question; they were dropped."""
    different: int
    """How many it considers another question; they were kept."""
    unclear: int
    """How many have no verdict; they were dropped."""
    canaries: int = 0
    """How many canaries have a verdict."""
    missed: int = 0
    """How many of these it considers another question."""
    pairs: int = 0
    """How many pairs of similar items have a verdict: each item with the most similar other one."""
    mistaken: int = 0
    """How many of these it considers the same question."""
    low: float | None = None
    high: float | None = None
    """The 95 % interval of the share considered the same."""
    is_proven: bool = False
    """Whether these prove that it can tell the same question from another one."""
    untold: int = 0
    """How many canaries and pairs have no verdict; they do not count."""
    answers: int = 0
    """The cost of this measurement: answers, and US dollars (null if a price is not known)."""
    cost: float | None = None
    sentence: str
    """All of this in words."""


UNASKED = (
    "no model was asked whether a row and the item that it resembles are the same question:"
    " such rows were dropped"
)
"""The note of a command that drops such rows, where a run would ask a model."""


class DecontaminationRecord(Record):
    """What rows were compared with, and how well this finds contaminated rows."""

    step: str
    column: str
    sets: tuple[EvaluationRecord, ...]
    canaries: tuple[RecallRecord, ...]
    question: SameQuestionRecord | None = None
    """Null if no model was asked."""
    is_unasked: bool = False
    """Whether a run would ask a model, but no model was asked here: similar rows are dropped."""
