"""What a run says of its judges, as data: part of the manifest."""

import math
from collections.abc import Sequence
from typing import Literal

from soupstock.spec.fields import Record
from soupstock.stats.intervals import Interval

Fit = Literal["fit", "not fit", "cannot tell"]


class IntervalRecord(Record):
    """An estimate and its limits."""

    estimate: float
    low: float
    high: float
    level: float


class KindRecord(Record):
    """How a judge scores one kind of canary."""

    kind: str
    canaries: int
    mean: float | None
    """Their mean score."""
    auc: IntervalRecord | None = None
    """How often an original scores above a canary of this kind."""
    within: IntervalRecord | None = None
    """How often a canary scores below the very row that it was made from."""
    tells: Literal["apart", "not apart", "too few"] = "too few"
    """Whether the judge tells them apart; `too few` where it could be a coin."""


class PaddingRecord(Record):
    """What padding an answer with words that say nothing does to its score."""

    rows: int
    rises: int
    falls: int
    change: float
    """The mean change of the score."""
    is_biased: bool
    """Whether padding raises the score, beyond chance."""
    sentence: str


class FitnessRecord(Record):
    """Whether a judge is fit, by known cases made from its own rows."""

    verdict: Fit
    sentence: str
    """The same in plain words, with its reason."""
    rows: int
    """How many rows were spoiled."""
    mean: float | None = None
    """Their mean score, as they are; of the judged criteria alone, as all scores here."""
    bar: float | None = None
    auc: IntervalRecord | None = None
    """How often an original scores above a canary."""
    kinds: tuple[KindRecord, ...] = ()
    padding: PaddingRecord | None = None
    answers: int = 0
    """Answers that this took; they are not among those of the steps."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """US dollars for those answers; null where a price is not known."""


class MemberRecord(Record):
    """What one member of a jury is like."""

    role: str
    scores: int
    agreement: IntervalRecord | None = None
    """Krippendorff's alpha of its scores and the mean of the others'; null where nothing varies."""
    fit: Fit = "cannot tell"
    auc: IntervalRecord | None = None
    """How often it scores an original above a canary."""


class JuryRecord(Record):
    """How far several judges agree."""

    agreement: IntervalRecord | None = None
    """Krippendorff's alpha of all members' scores."""
    rows: int
    """Rows that at least two of them scored."""
    disagreement: float | None = None
    """How far apart their scores are, on average."""
    members: tuple[MemberRecord, ...]


class CriterionRecord(Record):
    """How well one criterion agrees with people."""

    name: str
    rows: int
    statistic: Literal["kappa", "AUC"]
    """Quadratically weighted kappa with people's levels; where they gave none, how often a row that
    they keep has the higher score than one that they drop."""
    value: IntervalRecord | None
    is_beyond_chance: bool
    sentence: str


class PromiseRecord(Record):
    """Which threshold keeps a promise of few bad rows."""

    bad: float
    """The promise: at most this share of the kept rows is bad."""
    confidence: float
    threshold: float | None
    """Null where none is proven."""
    kept: IntervalRecord | None
    """The share of the rows that it keeps."""
    needed: int | None
    """How many more labels would probably prove it; null where none would."""
    sentence: str


class RateRecord(Record):
    """How many rows people would keep."""

    method: str
    rate: IntervalRecord | None
    by_judge: float | None
    """The judge's own rate, uncorrected."""
    by_people: IntervalRecord | None
    """What the labelled rows say alone."""
    rows: int
    sentence: str


class CalibrationRecord(Record):
    """A judge beside people."""

    column: str
    identity: dict[str, str]
    """Hashes of what the judge was: its model, rubric, prompt and settings."""
    run: str
    """The fingerprint of the run whose rows were labelled."""
    labels_sha256: str
    labels: int
    """Rows with a label and a score."""
    unscored: int
    """Labelled rows without a score, or that are not in the run."""
    annotators: int
    are_chosen: bool
    """Whether the labelled rows were chosen, not drawn at random."""
    threshold: float
    """From which score on the judge keeps a row here."""
    kappa: IntervalRecord | None = None
    accuracy: IntervalRecord | None = None
    base_rate: float | None = None
    """How often somebody is right who always says what people say most."""
    auc: IntervalRecord | None = None
    people: IntervalRecord | None = None
    """How far people agree among themselves (Krippendorff's alpha)."""
    criteria: tuple[CriterionRecord, ...] = ()
    promise: PromiseRecord | None = None
    rate: RateRecord | None = None
    sentences: tuple[str, ...] = ()
    """The same in plain words."""
    void: tuple[str, ...] = ()
    """What of the judge has changed since; where anything has, the calibration is void."""

    @property
    def summary(self) -> str:
        """Say in a line on how many labels it rests, or why it is void."""
        over = f"{self.labels:,} {'label' if self.labels == 1 else 'labels'}"
        if self.void:
            is_one = len(self.void) == 1 and self.void[0] != "settings"
            changed = f"{' and '.join(self.void)} {'has' if is_one else 'have'}"
            return f"The judge's calibration ({over}) is void: its {changed} changed since."
        people = "1 person" if self.annotators == 1 else f"{self.annotators:,} people"
        return f"The judge was calibrated with {over} of {people}."


class OrderRecord(Record):
    """What became of pairs of answers that were shown in both orders."""

    pairs: int
    """Pairs with a verdict in both orders."""
    same: IntervalRecord | None
    """The share with the same verdict in both."""
    flips: int
    """Pairs whose winner is the one shown first, or second, both times; they count as ties."""
    wavers: int
    """Pairs with a winner in one order and a tie in the other; they count as ties, too."""
    bias: IntervalRecord | None
    """By how much more often the order favours the one shown first than the other."""
    is_biased: bool
    missing: int
    sentence: str


class JudgeRecord(Record):
    """What is known of a judge step's judge."""

    column: str
    models: tuple[str, ...]
    """The roles."""
    rubric: str
    fitness: FitnessRecord | None = None
    """Null where no canaries were asked for."""
    jury: JuryRecord | None = None
    orders: OrderRecord | None = None
    """Of a judge who compares answers."""
    calibration: CalibrationRecord | None = None

    @property
    def is_measured(self) -> bool:
        """Whether anything is known of it."""
        return bool(self.fitness or self.jury or self.orders or self.calibration)


DIGITS = 4


def interval(found: Interval) -> IntervalRecord | None:
    """Write an interval; null where it is unknown."""
    if not found.is_known:
        return None
    low, high = (round(value, DIGITS) for value in (found.low, found.high))
    return IntervalRecord(
        estimate=round(found.estimate, DIGITS), low=low, high=high, level=found.level
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is there."""
    there = [value for value in values if value is not None]
    return round(math.fsum(there) / len(there), DIGITS) if there else None
