"""The manifest's records of a run's judges: sanity checks, order bias and juries."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from soupstock.artifacts.judges import (
    DIGITS,
    IntervalRecord,
    JuryRecord,
    KindRecord,
    MemberRecord,
    OrderRecord,
    PaddingRecord,
    SanityCheckRecord,
    interval,
    mean,
)
from soupstock.engine.judge_canaries import CanaryScores, JudgeCheck
from soupstock.judging.sanity_check import CanaryKind, LengthBias
from soupstock.rows.table import Table
from soupstock.stats.agreement import alpha
from soupstock.stats.ranking import both_orders
from soupstock.steps.compare import BoundCompare
from soupstock.steps.judge import BoundJudge


def sanity_check_record(check: JudgeCheck, cost: float | None) -> SanityCheckRecord:
    """Return the record of a judge's sanity check."""
    spent, overall = check.tally.spent, check.overall
    paid = {
        "answers": spent.answers,
        "prompt_tokens": spent.prompt,
        "completion_tokens": spent.completion,
        "cost": cost,
    }
    rows, sentence = len(check.originals), check.sentence()
    if overall is None:
        return SanityCheckRecord(verdict=check.verdict, sentence=sentence, rows=rows, **paid)
    found = overall.sanity_check
    return SanityCheckRecord(
        verdict=check.verdict,
        sentence=sentence,
        rows=rows,
        mean=mean(overall.originals),
        bar=found.bar,
        auc=interval(found.overall.auc),
        kinds=tuple(
            _kind(kind, found.kinds[kind], scores, found.bar)
            for kind, scores in overall.canaries.items()
        ),
        padding=_padding(overall.length_bias),
        **paid,
    )


def _kind(name: str, found: CanaryKind, scores: Sequence[float | None], bar: float) -> KindRecord:
    tells: Literal["apart", "not apart", "too few"] = "too few"
    if found.is_blind(bar):
        tells = "not apart"
    elif found.is_beyond_chance:
        tells = "apart"
    return KindRecord(
        kind=name,
        canaries=sum(score is not None for score in scores),
        mean=mean(scores),
        auc=interval(found.apart.auc),
        within=interval(found.within),
        tells=tells,
    )


def _padding(found: LengthBias) -> PaddingRecord | None:
    if not found.rows:
        return None
    return PaddingRecord(
        rows=found.rows,
        rises=found.rises,
        falls=found.falls,
        change=round(found.change, DIGITS),
        is_biased=found.is_biased,
        sentence=found.sentence(),
    )


def order_record(step: BoundCompare, table: Table) -> OrderRecord:
    """Return how the order in which answers are shown changes a judge's verdicts."""
    better = pl.col("pairs").struct.field("better").list
    found = (
        table.scan()
        .select(pairs=pl.col(step.column).struct.field("pairs"))
        .explode("pairs")
        .drop_nulls("pairs")
        .select(better.get(0).alias("forward"), better.get(1).alias("backward"))
        .collect()
    )
    orders = both_orders(found["forward"].to_list(), found["backward"].to_list())
    return OrderRecord(
        pairs=orders.pairs,
        same=interval(orders.same),
        flips=orders.flips,
        wavers=orders.wavers,
        bias=interval(orders.bias),
        is_biased=orders.is_biased,
        missing=orders.missing,
        sentence=orders.sentence(),
    )


def jury_record(step: BoundJudge, table: Table, check: JudgeCheck | None) -> JuryRecord | None:
    """Return how far a jury's members agree, each with the others."""
    if not step.is_jury:
        return None
    members = pl.col(step.column).struct.field("members")
    roles = [member.role for member in step.members]
    found = (
        table.scan()
        .select(
            *(
                members.struct.field(role).struct.field("score").alias(f"{n}")
                for n, role in enumerate(roles)
            ),
            pl.col(step.column).struct.field("disagreement"),
        )
        .collect()
    )
    scores = np.array([found[f"{n}"].cast(pl.Float64).to_numpy() for n in range(len(roles))])
    apart = found["disagreement"].drop_nulls().to_list()
    checked: Mapping[str, CanaryScores] = check.members if check else {}
    return JuryRecord(
        agreement=_alpha(scores),
        rows=len(apart),
        disagreement=mean(apart),
        members=tuple(_member(role, n, scores, checked.get(role)) for n, role in enumerate(roles)),
    )


def _member(role: str, place: int, scores: Any, canaries: CanaryScores | None) -> MemberRecord:
    others = np.delete(scores, place, axis=0)
    is_known = ~np.isnan(others)
    counts = is_known.sum(axis=0)
    sums = np.where(is_known, others, 0.0).sum(axis=0)
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return MemberRecord(
        role=role,
        scores=int((~np.isnan(scores[place])).sum()),
        agreement=_alpha(np.stack([scores[place], means])),
        fit=canaries.verdict if canaries else "cannot tell",
        auc=interval(canaries.sanity_check.overall.auc) if canaries else None,
    )


def _alpha(scores: Any) -> IntervalRecord | None:
    if not (np.sum(~np.isnan(scores), axis=0) > 1).any():
        return None
    return interval(alpha(scores, metric="interval").interval)
