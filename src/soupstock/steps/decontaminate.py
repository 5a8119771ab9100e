"""Drop the rows that resemble an item of an evaluation set, and measure how well that works."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import polars as pl

from soupstock.contamination import Contamination, Detector
from soupstock.edits import planted
from soupstock.intervals import Interval
from soupstock.measures import read_texts
from soupstock.rates import proportion
from soupstock.records import Row, dropped, frame
from soupstock.references import Reference


@dataclass(frozen=True)
class Recall:
    """How many canaries of one kind were found."""

    kind: str
    planted: int
    found: int

    @property
    def interval(self) -> Interval:
        """The share that is found, with its interval (Jeffreys')."""
        return proportion(self.found, self.planted)


@dataclass(frozen=True)
class Decontamination:
    """A decontaminate step: the column that is compared, and the evaluation sets."""

    column: str
    against: tuple[Reference, ...]
    overlap: float = 0.5
    threshold: float = 0.6

    @cached_property
    def _items(self) -> list[pl.DataFrame]:
        return [reference.texts() for reference in self.against]

    @cached_property
    def detector(self) -> Detector:
        """What compares texts with the sets' items; it is made when it is first asked for."""
        texts = [text for part in self._items for text in part["text"]]
        return Detector(texts, self.overlap, self.threshold)

    @cached_property
    def recall(self) -> tuple[Recall, ...]:
        """How many canaries of each kind are found: items of the sets that were edited."""
        texts = [text for part in self._items for text in part["text"]]
        return tuple(
            Recall(kind, len(edited), sum(bool(one.stages) for one in self.detector.find(edited)))
            for kind, edited in planted(texts).items()
        )

    def name_item(self, place: int) -> str:
        """Name an item: `gsm8k.jsonl row 17`."""
        ends = list(accumulate(part.height for part in self._items))
        which = next(n for n, end in enumerate(ends) if place < end)
        part = self._items[which]
        number = part["number"][place - (ends[which] - part.height)]
        return self.against[which].name_row(number)


def find_items(step: Decontamination, rows: pl.DataFrame) -> Iterator[Contamination]:
    """Say of each row of a frame what it has of the items; of null, nothing."""
    texts = read_texts(rows, step.column)
    found = iter(step.detector.find(texts.drop_nulls().to_list()))
    for is_there in texts.is_not_null():
        yield next(found) if is_there else Contamination()


def reasons_of(found: Contamination) -> list[str]:
    """Name each stage that tells so."""
    return [f"decontaminate: {stage}" for stage in found.stages]


def decontaminate(
    step: Decontamination, rows: Sequence[Row], columns: dict[str, pl.DataType]
) -> list[Row]:
    """Drop rows; `columns` are those that the step reads, with their types."""
    done = []
    for row, found in zip(rows, find_items(step, frame(rows, columns)), strict=True):
        if found.stages:
            twin = {"twin": step.name_item(found.item), "similarity": found.similarity}
            done.append(dropped(row | twin, *reasons_of(found)))
        else:
            done.append(row)
    return done
