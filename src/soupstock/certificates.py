"""What a decontaminate step vouches for: what rows were compared with, and what that finds."""

from collections.abc import Iterable, Iterator

from soupstock.manifest import DecontaminationRecord, EvaluationRecord, RecallRecord
from soupstock.plan import Step
from soupstock.steps.decontaminate import Decontamination

_DIGITS = 4


def certificates(steps: Iterable[Step]) -> Iterator[DecontaminationRecord]:
    """Make the certificate of each decontaminate step; its canaries are looked for now."""
    for step in steps:
        if isinstance(step.bound, Decontamination):
            yield certificate(step.title, step.bound)


def certificate(title: str, bound: Decontamination) -> DecontaminationRecord:
    """Say what rows were compared with, and how much of it is found."""
    return DecontaminationRecord(
        step=title,
        column=bound.column,
        sets=tuple(
            EvaluationRecord(name=one.label, column=one.column, rows=one.rows, sha256=one.content)
            for one in bound.against
        ),
        canaries=tuple(_recalls(bound)),
    )


def _recalls(bound: Decontamination) -> Iterator[RecallRecord]:
    for recall in bound.recall:
        if recall.planted:
            yield RecallRecord(
                kind=recall.kind,
                planted=recall.planted,
                found=recall.found,
                share=round(recall.interval.estimate, _DIGITS),
                low=round(recall.interval.low, _DIGITS),
                high=round(recall.interval.high, _DIGITS),
            )
