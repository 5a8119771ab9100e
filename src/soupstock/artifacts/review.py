"""What a run says of its review, as data: part of the manifest."""

from collections.abc import Iterator
from typing import Literal

from soupstock.artifacts.judges import IntervalRecord
from soupstock.spec.fields import Record


class ShareRecord(Record):
    """A share of the rows, told from those of the sample that were answered."""

    rows: int
    """How many answered rows it rests on."""
    share: IntervalRecord | None = None
    """Each row counts as one over its chance of being drawn."""
    sentence: str


class AgreementRecord(Record):
    """How far people agree on which rows to keep."""

    statistic: str
    value: IntervalRecord | None = None
    rows: int
    sentence: str


class ReviewRecord(Record):
    """What came of a review so far."""

    tool: Literal["argilla", "file"]
    strategy: str
    rows: int
    """Rows that were there when they came to the review."""
    sampled: int
    dropped_sampled: int
    """Rows of the sample that filters had dropped."""
    answered: int
    """Texts of the sample that enough people have answered."""
    waiting: int
    """Those that they have not."""
    vetoed: dict[str, int] = {}
    """Rows that were dropped, by people's reason. Rows out of the sample have answers, too, where
    they hold the same text."""
    corrected: int = 0
    annotators: int = 0
    good: ShareRecord | None = None
    """The share of the rows that people keep."""
    false_drops: ShareRecord | None = None
    """The share of the rows that filters dropped which people would keep."""
    by_filter: dict[str, tuple[int, int]] = {}
    """For each filter: how many of its rows people would keep, of how many that they answered."""
    agreement: tuple[AgreementRecord, ...] = ()
    """Null where one person alone answered."""

    def sentences(self) -> Iterator[str]:
        """Say it for a summary."""
        told = f"{self.answered:,} of {self.answered + self.waiting:,} texts are answered"
        yield f"{told}; {self.waiting:,} wait" if self.waiting else told
        if self.corrected:
            yield f"{self.corrected:,} corrected"
        shares = (self.good, self.false_drops)
        yield from (share.sentence for share in shares if share is not None)
        yield from (one.sentence for one in self.agreement[:1])
