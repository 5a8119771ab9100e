"""What a decontaminate step vouches for: what rows were compared with, and what that finds."""

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
from soupstock.engine.decontamination_canaries import Detection
from soupstock.judging.same_question import SameQuestion
from soupstock.rows.table import Table
from soupstock.stats.intervals import Interval, times
from soupstock.stats.proportions import proportion
from soupstock.steps.decontaminate import Decontamination, Recall
from soupstock.steps.step import Step

_DIGITS = 4


def certificates(steps: Iterable[Step]) -> Iterator[DecontaminationRecord]:
    """Make the certificate of each decontaminate step; its canaries are looked for now."""
    for step in steps:
        if isinstance(step.bound, Decontamination):
            yield certificate(step.title, step.bound)


def certificate(title: str, bound: Decontamination) -> DecontaminationRecord:
    """Say what rows were compared with, and how much of it is found where no model is asked."""
    return _certificate(title, bound, bound.recall)


def certificate_asked(
    bound: Decontamination,
    question: SameQuestion,
    table: Table,
    told: Detection | None,
    cost: float | None,
) -> DecontaminationRecord:
    """Say the same of a step that asked a model, and what the model said of rows and known cases.

    `told` is what came of these, and `cost` what they took; None where there were none.
    """
    canaries = told.canaries if told else {}
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
        **(_tried(told, cost) if told else {}),
    )
    record = record.model_copy(update={"sentence": sentence(record)})
    return _certificate(bound.label, bound, recalls).model_copy(update={"question": record})


def _certificate(
    title: str, bound: Decontamination, recalls: Sequence[Recall]
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
    """Count what is said of rows."""
    verdict = pl.col(column).struct.field("verdict")
    found = table.scan().select(verdict=verdict).group_by("verdict").len().collect()
    return Counter(dict(found.iter_rows()))


def _tried(told: Detection, cost: float | None) -> dict[str, Any]:
    """Say what the model makes of known cases."""
    canaries, pairs = told.canaries.values(), told.pairs
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
        "answers": told.tally.spent.answers,
        "cost": cost,
    }


def sentence(record: SameQuestionRecord) -> str:
    """Say in words what a model said, and what its word is worth."""
    of = f", revision {record.revision}" if record.revision else ""
    told = (
        f"{record.model}{of} ({record.role}) was asked about {times(record.asked, 'row')} that"
        f" resemble an item from a cosine of {record.ask_from:g} on. It takes {record.same:,} for"
        f" the same question, which were dropped, and {record.different:,} for another one, which"
        " were kept."
    )
    if record.unclear:
        told += f" On {record.unclear:,} it gave no verdict that can be read: they were dropped."
    if record.canaries:
        told += f" Of {times(record.canaries, 'canary', 'canaries')} it missed {record.missed:,}."
    if record.pairs and record.low is not None and record.high is not None:
        share = record.mistaken / record.pairs
        told += (
            f" Of {times(record.pairs, 'pair')} of different items it takes {record.mistaken:,}"
            f" for the same: {Interval(share, record.low, record.high).percent()}."
        )
    if record.untold:
        told += f" On {times(record.untold, 'known case')} it gave none."
    if not record.is_proven:
        told += (
            " It is not shown that it tells the same question from another one: what was kept on"
            " its word may well put an item's question."
        )
    return told
