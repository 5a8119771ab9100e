"""What a run says of its judges, as data: part of the manifest."""

from typing import Literal

from soupstock.spec import Spec

Fit = Literal["fit", "not fit", "cannot tell"]


class IntervalRecord(Spec):
    """An estimate and its limits."""

    estimate: float
    low: float
    high: float
    level: float


class KindRecord(Spec):
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


class PaddingRecord(Spec):
    """What padding an answer with words that say nothing does to its score."""

    rows: int
    rises: int
    falls: int
    change: float
    """The mean change of the score."""
    is_biased: bool
    """Whether padding raises the score, beyond chance."""
    sentence: str


class FitnessRecord(Spec):
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


class MemberRecord(Spec):
    """What one member of a jury is like."""

    role: str
    scores: int
    agreement: IntervalRecord | None = None
    """Krippendorff's alpha of its scores and the mean of the others'; null where nothing varies."""
    fit: Fit = "cannot tell"
    auc: IntervalRecord | None = None
    """How often it scores an original above a canary."""


class JuryRecord(Spec):
    """How far several judges agree."""

    agreement: IntervalRecord | None = None
    """Krippendorff's alpha of all members' scores."""
    rows: int
    """Rows that at least two of them scored."""
    disagreement: float | None = None
    """How far apart their scores are, on average."""
    members: tuple[MemberRecord, ...]


class JudgeRecord(Spec):
    """What is known of a judge step's judge."""

    column: str
    models: tuple[str, ...]
    """The roles."""
    rubric: str
    fitness: FitnessRecord | None = None
    """Null where no canaries were asked for."""
    jury: JuryRecord | None = None
