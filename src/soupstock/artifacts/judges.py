"""Records of a run's judges: part of the manifest."""

import math
from collections.abc import Sequence
from typing import Literal

from soupstock.spec.fields import Record
from soupstock.stats.intervals import Interval

SanityCheckResult = Literal["fit", "not fit", "cannot tell"]


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
    """How often a canary scores below the row that it was made from."""
    tells: Literal["apart", "not apart", "too few"] = "too few"
    """Whether the judge tells them apart; `too few` if this may be chance."""


class PaddingRecord(Record):
    """How padding an answer with empty phrases changes its score."""

    rows: int
    rises: int
    falls: int
    change: float
    """The mean change of the score."""
    is_biased: bool
    """Whether padding raises the score more often than by chance."""
    sentence: str


class SanityCheckRecord(Record):
    """The judge's sanity check: canaries made from its own rows."""

    verdict: SanityCheckResult
    sentence: str
    """The verdict in words, with its reason."""
    rows: int
    """How many rows were corrupted."""
    mean: float | None = None
    """The mean score of the originals; of judged criteria only, like all scores here."""
    bar: float | None = None
    auc: IntervalRecord | None = None
    """How often an original scores above a canary."""
    kinds: tuple[KindRecord, ...] = ()
    padding: PaddingRecord | None = None
    answers: int = 0
    """The answers that the check took; those of the steps do not include them."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """US dollars for those answers; null if a price is not known."""


class MemberRecord(Record):
    """One member of a jury."""

    role: str
    scores: int
    agreement: IntervalRecord | None = None
    """Krippendorff's alpha of its scores and the mean of the others'; null if nothing varies."""
    fit: SanityCheckResult = "cannot tell"
    auc: IntervalRecord | None = None
    """How often it scores an original above a canary."""


class JuryRecord(Record):
    """How far the judges of a jury agree."""

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
    """Quadratically weighted kappa with people's levels; if they gave none, how often a row that
    they keep scores higher than one that they drop."""
    value: IntervalRecord | None
    is_beyond_chance: bool
    sentence: str


class PromiseRecord(Record):
    """The threshold for which few bad rows are proven."""

    bad: float
    """The promise: at most this share of the kept rows is bad."""
    confidence: float
    threshold: float | None
    """Null if none is proven."""
    kept: IntervalRecord | None
    """The share of the rows that it keeps."""
    needed: int | None
    """How many more labels would probably prove it; null if no number would."""
    sentence: str


class RateRecord(Record):
    """The share of rows that people would keep."""

    method: str
    rate: IntervalRecord | None
    by_judge: float | None
    """The judge's own rate, without correction."""
    by_people: IntervalRecord | None
    """The rate among the labelled rows alone."""
    rows: int
    sentence: str


class CalibrationRecord(Record):
    """A judge compared with people."""

    column: str
    identity: dict[str, str]
    """Hashes of the judge's model, rubric, prompt and settings."""
    run: str
    """The fingerprint of the run whose rows were labelled."""
    labels_sha256: str
    labels: int
    """Rows with a label and a score."""
    unscored: int
    """Labelled rows that have no score or are not in the run."""
    annotators: int
    are_chosen: bool
    """Whether the labelled rows were selected, instead of drawn at random."""
    threshold: float
    """The lowest score with which the judge keeps a row here."""
    kappa: IntervalRecord | None = None
    accuracy: IntervalRecord | None = None
    base_rate: float | None = None
    """How often the most common label is right."""
    auc: IntervalRecord | None = None
    people: IntervalRecord | None = None
    """How far people agree with each other (Krippendorff's alpha)."""
    criteria: tuple[CriterionRecord, ...] = ()
    promise: PromiseRecord | None = None
    rate: RateRecord | None = None
    sentences: tuple[str, ...] = ()
    """The same in plain words."""
    void: tuple[str, ...] = ()
    """What has changed in the judge since; if anything has, the calibration is void."""

    @property
    def summary(self) -> str:
        """Say in a line how many labels it has, or why it is void."""
        over = f"{self.labels:,} {'label' if self.labels == 1 else 'labels'}"
        if self.void:
            is_one = len(self.void) == 1 and self.void[0] != "settings"
            changed = f"{' and '.join(self.void)} {'has' if is_one else 'have'}"
            return f"The judge's calibration ({over}) is void: its {changed} changed since."
        people = "1 person" if self.annotators == 1 else f"{self.annotators:,} people"
        return f"The judge was calibrated with {over} of {people}."


class OrderRecord(Record):
    """The verdicts on pairs of answers that were shown in both orders."""

    pairs: int
    """Pairs with a verdict in both orders."""
    same: IntervalRecord | None
    """The share with the same verdict in both."""
    flips: int
    """Pairs whose winner is the answer shown first, or second, both times; they count as ties."""
    wavers: int
    """Pairs with a winner in one order and a tie in the other; they count as ties, too."""
    bias: IntervalRecord | None
    """How much more often the order favours the answer shown first than the other."""
    is_biased: bool
    missing: int
    sentence: str


class JudgeRecord(Record):
    """The measurements of a judge step's judge."""

    column: str
    models: tuple[str, ...]
    """The roles."""
    rubric: str
    fitness: SanityCheckRecord | None = None
    """Null without a sanity check."""
    jury: JuryRecord | None = None
    orders: OrderRecord | None = None
    """For a judge that compares answers."""
    calibration: CalibrationRecord | None = None

    @property
    def is_measured(self) -> bool:
        """Whether anything was measured."""
        return bool(self.fitness or self.jury or self.orders or self.calibration)


DIGITS = 4


def interval(found: Interval) -> IntervalRecord | None:
    """Record an interval; null if it is unknown."""
    if not found.is_known:
        return None
    low, high = (round(value, DIGITS) for value in (found.low, found.high))
    return IntervalRecord(
        estimate=round(found.estimate, DIGITS), low=low, high=high, level=found.level
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not null; null if all are."""
    known = [value for value in values if value is not None]
    return round(math.fsum(known) / len(known), DIGITS) if known else None
