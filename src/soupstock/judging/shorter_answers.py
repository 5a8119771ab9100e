"""How much shorter an answer is than another one that is as right. Checks no answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Unit = Literal["tokens", "characters"]

ROWS = "rows"
"""The count of rows that were checked."""

SMALL_STUDENTS = (
    "small students may learn less from steps that are left out: compare with the long ones first"
)

_COUNTED: Mapping[Unit, str] = {"tokens": ", as the model's server counts them", "characters": ""}


class Saving(NamedTuple):
    """The lengths of an answer and of a shorter one."""

    unit: Unit
    before: int
    after: int

    @property
    def share(self) -> float:
        """What is saved, as a share of the length before."""
        return 1 - self.after / self.before


@dataclass(frozen=True)
class SizedText:
    """A text, and how many tokens it has, where that is known."""

    text: str
    tokens: int | None

    @property
    def size(self) -> tuple[int, int]:
        """The order of texts by length: by tokens, then by characters."""
        return (self.tokens or 0, len(self.text))

    def saving(self, shorter: "SizedText") -> Saving | None:
        """Return what another text saves, in tokens if both are known; None if it is no shorter."""
        if self.tokens and shorter.tokens:
            saving = Saving("tokens", self.tokens, shorter.tokens)
        else:
            saving = Saving("characters", len(self.text), len(shorter.text))
        return saving if saving.after < saving.before else None


class Savings(NamedTuple):
    """What shorter answers save in all rows that have one, in one unit."""

    unit: Unit
    rows: int
    before: int
    """The length of the answers, all together."""
    after: int


def counts_of(saving: Saving | None) -> Mapping[str, int]:
    """Count a row that was checked, and what is saved in it."""
    if saving is None:
        return {ROWS: 1}
    unit = saving.unit
    return {
        ROWS: 1,
        f"{unit} {ROWS}": 1,
        f"{unit} before": saving.before,
        f"{unit} after": saving.after,
    }


def savings_of(counts: Mapping[str, int]) -> list[Savings]:
    """Return what is saved, by unit, from the counts of all rows."""
    return [
        Savings(unit, rows, counts[f"{unit} before"], counts[f"{unit} after"])
        for unit in get_args(Unit)
        if (rows := counts.get(f"{unit} {ROWS}", 0))
    ]


def sentences(counts: Mapping[str, int]) -> list[str]:
    """Say in a sentence for each unit how much shorter the answers became."""
    return [
        f"{one.rows:,} of {counts[ROWS]:,} rows have a shorter answer that is right:"
        f" {one.after:,} {one.unit} in all instead of {one.before:,}, which saves"
        f" {1 - one.after / one.before:.0%}{_COUNTED[one.unit]} ({SMALL_STUDENTS})"
        for one in savings_of(counts)
    ]
