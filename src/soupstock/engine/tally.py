"""Count what each step did: rows in, kept and dropped by reason, and the tokens of answers."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from soupstock.artifacts.review import ReviewRecord
from soupstock.inference.call import Answer
from soupstock.inference.servers.model import Model

_HOPELESS_AFTER = 50
_HOPELESS_SHARE = 0.98
_RECENT = 100


@dataclass(slots=True)
class TokenCounts:
    """The tokens of answers and of their prompts."""

    answers: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def add(self, answer: Answer) -> None:
        """Add the tokens of an answer."""
        self.answers += 1
        self.prompt += answer.prompt_tokens
        self.cached += answer.cached_tokens
        self.completion += answer.completion_tokens

    def add_all(self, other: "TokenCounts") -> None:
        """Add the tokens of other answers."""
        self.answers += other.answers
        self.prompt += other.prompt
        self.cached += other.cached
        self.completion += other.completion


@dataclass
class Tally:
    """What one step did so far, for the progress display and for the manifest."""

    label: str
    rows_in: int = 0
    kept: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    """Rows in the step that wait for answers."""
    by_model: dict[Model, TokenCounts] = field(default_factory=dict)
    """The tokens of each model's answers."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Rows dropped, by the first of their reasons."""
    flagged: Counter[str] = field(default_factory=Counter)
    """Rows dropped, under each of their reasons."""
    notes: list[str] = field(default_factory=list)
    """What a person should know about the step, in sentences."""
    counts: Counter[str] = field(default_factory=Counter)
    """What the step counts besides rows, under names that its verb chooses."""
    review: ReviewRecord | None = None
    """The state of the review, if the step has people review rows."""
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """Whether each of the last rows that asked has failed."""
    first: float | None = None
    last: float | None = None
    """When the first row came and when the last row left, in seconds of the loop's clock."""

    @property
    def spent(self) -> TokenCounts:
        """The tokens of all answers together."""
        whole = TokenCounts()
        for one in self.by_model.values():
            whole.add_all(one)
        return whole

    @property
    def ended(self) -> int:
        """How many rows left the step."""
        return self.kept + self.dropped

    @property
    def is_hopeless(self) -> bool:
        """Whether nearly all of the last rows failed."""
        count = len(self.recent)
        return count >= _HOPELESS_AFTER and sum(self.recent) >= _HOPELESS_SHARE * count

    def spent_by(self, model: Model) -> TokenCounts:
        """Return the tokens of a model's answers, to add to them."""
        spent = self.by_model.get(model)
        if spent is None:
            spent = self.by_model[model] = TokenCounts()
        return spent

    def add(self, other: "Tally") -> None:
        """Add another tally's counts of other rows in the same step."""
        self.rows_in += other.rows_in
        self.kept += other.kept
        self.dropped += other.dropped
        self.failed += other.failed
        self.reasons.update(other.reasons)
        self.flagged.update(other.flagged)
        self.counts.update(other.counts)
        self.add_spent(other)

    def add_spent(self, other: "Tally") -> None:
        """Add the tokens of another tally's answers."""
        for model, spent in other.by_model.items():
            self.spent_by(model).add_all(spent)

    def take_spent(self) -> dict[Model, TokenCounts]:
        """Remove the tokens of answers from the tally, and return them."""
        spent, self.by_model = self.by_model, {}
        return spent

    def add_dropped(self, other: "Tally") -> None:
        """Add the rows that another tally counted as dropped."""
        self.rows_in += other.dropped
        self.failed += other.failed
        self.dropped += other.dropped
        self.reasons.update(other.reasons)
        self.flagged.update(other.flagged)

    def count(self, reasons: Sequence[str]) -> None:
        """Count a row that leaves the step: kept, or dropped for reasons."""
        if reasons:
            self.dropped += 1
            self.reasons[reasons[0]] += 1
            self.flagged.update(set(reasons))
        else:
            self.kept += 1

    def count_many(self, kept: int, dropped: int, reason: str) -> None:
        """Count rows that leave the step together, the dropped ones for one reason."""
        self.kept += kept
        self.dropped += dropped
        if dropped:
            self.reasons[reason] += dropped
            self.flagged[reason] += dropped
