"""Records of a run's review: part of the manifest."""

from collections.abc import Iterator
from typing import Literal

from soupstock.artifacts.judges import IntervalRecord
from soupstock.spec.fields import Record


class ShareRecord(Record):
    """A share of the rows, estimated from the answered rows of the sample."""

    rows: int
    """The number of answered rows that it is estimated from."""
    share: IntervalRecord | None = None
    """Each row is weighted by the inverse of its probability to be drawn."""
    sentence: str


class AgreementRecord(Record):
    """How far people agree on which rows to keep."""

    statistic: str
    value: IntervalRecord | None = None
    rows: int
    sentence: str


class ReviewRecord(Record):
    """The results of a review so far."""

    tool: Literal["argilla", "file"]
    strategy: str
    rows: int
    """Rows that reached the review."""
    sampled: int
    dropped_sampled: int
    """Rows of the sample that filters had dropped."""
    answered: int
    """Texts of the sample with enough answers."""
    waiting: int
    """Texts of the sample without enough answers."""
    vetoed: dict[str, int] = {}
    """Rows that people dropped, by reason. A row outside the sample counts too if it has the same
    text as one in it."""
    corrected: int = 0
    annotators: int = 0
    good: ShareRecord | None = None
    """The share of the rows that people keep."""
    false_drops: ShareRecord | None = None
    """Of the rows that filters dropped, the share that people would keep."""
    by_filter: dict[str, tuple[int, int]] = {}
    """For each filter: how many of its rows people would keep, and how many they answered."""
    agreement: tuple[AgreementRecord, ...] = ()
    """Empty if only one person answered."""

    def sentences(self) -> Iterator[str]:
        """Say it for a summary."""
        answered = f"{self.answered:,} of {self.answered + self.waiting:,} texts are answered"
        yield f"{answered}; {self.waiting:,} wait" if self.waiting else answered
        if self.corrected:
            yield f"{self.corrected:,} corrected"
        shares = (self.good, self.false_drops)
        yield from (share.sentence for share in shares if share is not None)
        yield from (one.sentence for one in self.agreement[:1])
