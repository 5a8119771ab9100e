"""The records of decontaminate steps: what rows were compared with, and how much that finds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from soupstock.artifacts.decontamination import (
    DecontaminationRecord,
    EvaluationRecord,
    RecallRecord,
    SameQuestionRecord,
)
from soupstock.engine.decontamination_canaries import DecontaminationCheck
from soupstock.judging.same_question import SameQuestion
from soupstock.rows.table import Table
from soupstock.stats.intervals import Interval, counted
from soupstock.stats.proportions import proportion
from soupstock.steps.decontaminate import BoundDecontaminate, Recall
from soupstock.steps.step import Step

_DIGITS = 4


def decontamination_records(steps: Iterable[Step]) -> Iterator[DecontaminationRecord]:
    """Make the record of each decontaminate step, which searches for its canaries first."""
    for step in steps:
        if isinstance(step.bound, BoundDecontaminate):
            yield decontamination_record(step.title, step.bound)


def decontamination_record(title: str, bound: BoundDecontaminate) -> DecontaminationRecord:
    """Record what rows were compared with, and how many canaries are found without a model."""
    return _record(title, bound, bound.recall)


def decontamination_record_asked(
    bound: BoundDecontaminate,
    question: SameQuestion,
    table: Table,
    check: DecontaminationCheck | None,
    cost: float | None,
) -> DecontaminationRecord:
    """Record the same for a step that asked a model, and what the model said.

    `check` has the canaries and `cost` is what they cost; None if there were none.
    """
    canaries = check.canaries if check else {}
    recalls = [Recall(kind, cases.clear, cases.dropped) for kind, cases in canaries.items()]
    verdicts = _verdicts(table, question.into)
    record = SameQuestionRecord(
        role=question.role,
        model=question.form.model.name,
        revision=question.form.model.revision,
        ask_from=question.ask_from,
        asked=verdicts["yes"] + verdicts["no"] + verdicts["unclear"],
        same=verdicts["yes"],
        different=verdicts["no"],
        unclear=verdicts["unclear"],
        sentence="",
        **(_figures(check, cost) if check else {}),
    )
    record = record.model_copy(update={"sentence": sentence(record)})
    return _record(bound.label, bound, recalls).model_copy(update={"question": record})


def _record(
    title: str, bound: BoundDecontaminate, recalls: Sequence[Recall]
) -> DecontaminationRecord:
    return DecontaminationRecord(
        step=title,
        column=bound.column,
        sets=tuple(
            EvaluationRecord(name=one.label, column=one.column, rows=one.rows, sha256=one.content)
            for one in bound.against
        ),
        canaries=tuple(_recall(one) for one in recalls if one.planted),
        is_unasked=bound.is_unasked,
    )


def _recall(recall: Recall) -> RecallRecord:
    return RecallRecord(
        kind=recall.kind,
        planted=recall.planted,
        found=recall.found,
        share=round(recall.interval.estimate, _DIGITS),
        low=round(recall.interval.low, _DIGITS),
        high=round(recall.interval.high, _DIGITS),
    )


def _verdicts(table: Table, column: str) -> Counter[str]:
    """Count the verdicts on rows."""
    verdict = pl.col(column).struct.field("verdict")
    found = table.scan().select(verdict=verdict).group_by("verdict").len().collect()
    return Counter(dict(found.iter_rows()))


def _figures(check: DecontaminationCheck, cost: float | None) -> dict[str, Any]:
    """Return what the model said about canaries, as fields of the record."""
    canaries, pairs = check.canaries.values(), check.pairs
    count = sum(one.asked - one.unclear for one in canaries)
    missed = sum(one.missed for one in canaries)
    mistaken = proportion(pairs.dropped, pairs.clear) if pairs.clear else None
    caught = proportion(count - missed, count) if count else None
    return {
        "canaries": count,
        "missed": missed,
        "pairs": pairs.clear,
        "mistaken": pairs.dropped,
        "low": mistaken and round(mistaken.low, _DIGITS),
        "high": mistaken and round(mistaken.high, _DIGITS),
        "is_proven": bool(caught and mistaken and caught.low > mistaken.high),
        "untold": pairs.unclear + sum(one.unclear for one in canaries),
        "answers": check.tally.spent.answers,
        "cost": cost,
    }


def sentence(record: SameQuestionRecord) -> str:
    """Say in words what the model said, and how reliable it is."""
    revision = f", revision {record.revision}" if record.revision else ""
    asked = (
        f"{record.model}{revision} ({record.role}) was asked about {counted(record.asked, 'row')}"
        f" that resemble an item with a cosine of at least {record.ask_from:g}."
        f" {record.same:,} ask the same question, according to the model, and were dropped;"
        f" {record.different:,} ask another one and were kept."
    )
    parts = [asked]
    if record.unclear:
        parts.append(f"{record.unclear:,} were dropped because the reply was not readable.")
    if record.canaries:
        canaries = counted(record.canaries, "canary", "canaries")
        parts.append(f"It missed {record.missed:,} of {canaries}.")
    if record.pairs and record.low is not None and record.high is not None:
        share = Interval(record.mistaken / record.pairs, record.low, record.high)
        parts.append(
            f"It called {record.mistaken:,} of {counted(record.pairs, 'pair')} of different items"
            f" the same question: {share.percent()}."
        )
    if record.untold:
        parts.append(f"It gave no verdict on {counted(record.untold, 'canary', 'canaries')}.")
    if not record.is_proven:
        parts.append(
            "It is not proven that the model can tell the same question from another one: rows"
            " that it kept may ask an item's question."
        )
    return " ".join(parts)
