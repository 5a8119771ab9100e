"""Turns what a flow did, and what its client's calls took, into the manifest."""

import math
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import zip_longest
from typing import Any

import polars as pl

from soupstock import __version__, spec
from soupstock.artifacts.decontamination import DecontaminationRecord
from soupstock.artifacts.judges import JudgeRecord
from soupstock.artifacts.manifest import (
    AddressRecord,
    FailureRecord,
    Manifest,
    ModelRecord,
    PaidRecord,
    ScoreRecord,
    ServerRecord,
    SourceRecord,
    SpreadRecord,
    StepRecord,
    TimingRecord,
    TokenRecord,
)
from soupstock.artifacts.review import ReviewRecord
from soupstock.engine.flow import UNFIT, Flow
from soupstock.engine.plan import Plan
from soupstock.inference.model_queue import Account, ModelAccount
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.judging.same_question import SameQuestion
from soupstock.rows.table import Table
from soupstock.runs.decontamination_records import certificate, certificate_asked
from soupstock.runs.diversity_records import diversities, topics
from soupstock.runs.judge_records import fitness_record, jury_record, order_record
from soupstock.runs.step_record import cost_at, cost_of, step_record
from soupstock.steps.compare import Comparing
from soupstock.steps.decontaminate import Decontamination
from soupstock.steps.judge import Judging
from soupstock.steps.step import Step

PACKAGES = (
    "aiohttp",
    "datasets",
    "eldc",
    "jinja2",
    "numpy",
    "orjson",
    "polars",
    "pyarrow",
    "pydantic",
    "xllamacpp",
)
"""Packages that shape a result; their versions are in the manifest."""


_DIGITS = 4


def review_of(flow: Flow) -> ReviewRecord | None:
    """Return what people said, where the pipeline has a review."""
    return next((tally.review for tally in flow.tallies if tally.review), None)


def waits(plan: Plan, told: ReviewRecord | None) -> bool:
    """Tell whether publishing waits for answers."""
    steps = [step.spec for step in plan.steps if isinstance(step.spec, spec.Review)]
    return bool(told and told.waiting and any(step.wait for step in steps))


def manifest_of(flow: Flow, account: Account, timing: TimingRecord, table: Table) -> Manifest:
    """Put together what a run says of itself, but for its dataset and its files."""
    plan, tallies = flow.plan, flow.tallies
    failures = _failures(table)
    steps = tuple(
        step_record(number, tally, step, failures.get(tally.label, ()))
        for number, (tally, step) in enumerate(zip_longest(tallies, plan.steps), 1)
    )
    reason = _shortfall(flow, account)
    return Manifest(
        soupstock=__version__,
        name=plan.name,
        fingerprint=plan.fingerprint,
        seed=plan.pipeline.seed,
        pipeline=plan.pipeline.model_dump(mode="json"),
        prompts=plan.parts("prompt"),
        rubrics=plan.parts("rubric"),
        schemas=plan.parts("schema"),
        filters=plan.parts("filter"),
        models=tuple(_hashed(record) for record in plan.model_records()),
        source=SourceRecord(kind=plan.source.kind, rows=flow.taken, sha256=plan.source.sha256),
        outcome="partial" if reason else "complete",
        reason=reason,
        steps=steps,
        rows=flow.taken,
        kept=tallies[-1].kept,
        scores=tuple(found for step in plan.steps for found in _scores(step, table)),
        judges=tuple(found for step in plan.steps for found in _judges(step, flow, table)),
        review=review_of(flow),
        decontamination=tuple(_certificates(flow, table)),
        diversity=tuple(diversities(plan, table)),
        topics=tuple(topics(plan, table)),
        versions=package_versions(),
        paid=_paid(flow, account),
        timing=timing,
        **_totals(steps),
    )


def _totals(steps: Sequence[StepRecord]) -> dict[str, Any]:
    """Add up what the steps' answers took."""
    costs = [step.cost for step in steps if step.model]
    known = [cost for cost in costs if cost is not None]
    return {
        "answers": sum(step.answers for step in steps),
        "tokens": TokenRecord(
            prompt=sum(step.tokens.prompt for step in steps),
            cached=sum(step.tokens.cached for step in steps),
            completion=sum(step.tokens.completion for step in steps),
        ),
        "cost": round(math.fsum(known), 9) if len(known) == len(costs) else None,
    }


def _hashed(record: ModelRecord) -> ModelRecord:
    """Add the hash of the weights, where they are ours."""
    if record.revision != SMOLLM2.revision:
        return record
    return record.model_copy(update={"sha256": SMOLLM2.sha256})


def _scores(step: Step, table: Table) -> Iterator[ScoreRecord]:
    """Say how a judge's scores are spread."""
    match step.bound:
        case Judging(column=column):
            name, field = column, "score"
        case Comparing(column=column):
            name, field = f"{column}.margin", "margin"
        case _:
            return
    score = pl.col(column).struct.field(field).alias("score")
    kept = (pl.col("dropped_by").list.len() == 0).alias("kept")
    found = table.scan().select(score, kept).drop_nulls("score").collect()
    yield ScoreRecord(
        column=name,
        model=step.role or "",
        judged=_spread(found["score"]),
        kept=_spread(found.filter("kept")["score"]),
    )


def _judges(step: Step, flow: Flow, table: Table) -> Iterator[JudgeRecord]:
    """Say what is known of a judge step's judge."""
    if not isinstance(step.spec, spec.Judge):
        return
    known: dict[str, Any] = {}
    match step.bound:
        case Judging() as judging:
            told = flow.examinations.get(judging.column)
            if told is not None:
                known["fitness"] = fitness_record(told, cost_of(step.models, told.tally))
            known["jury"] = jury_record(judging, table, told)
        case Comparing() as comparing:
            known["orders"] = order_record(comparing, table)
        case _:
            pass
    yield JudgeRecord(
        column=step.spec.judge, models=step.spec.roles, rubric=step.spec.rubric, **known
    )


def _certificates(flow: Flow, table: Table) -> Iterator[DecontaminationRecord]:
    """Say of each decontaminate step what it found, and what a model said of it."""
    for step in flow.plan.steps:
        match step.bound:
            case Decontamination(question=None) as bound:
                yield certificate(step.title, bound)
            case Decontamination(question=SameQuestion() as question) as bound:
                told = flow.detections.get(question.into)
                cost = cost_of(step.models, told.tally) if told else None
                yield certificate_asked(bound, question, table, told, cost)
            case _:
                pass


def _spread(numbers: pl.Series) -> SpreadRecord | None:
    if numbers.is_empty():
        return None
    names = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    quarters = [numbers.quantile(quarter / 4, "linear") or 0.0 for quarter in range(5)]
    # fsum, because a sum in another order must not give other bytes.
    mean = math.fsum(numbers) / len(numbers)
    rounded = {n: round(q, _DIGITS) for n, q in zip(names, quarters, strict=True)}
    return SpreadRecord(rows=len(numbers), mean=round(mean, _DIGITS), **rounded)


def _shortfall(flow: Flow, account: Account) -> str | None:
    """Say why the dataset is not all that was asked for; None where it is."""
    wanted, tallies = flow.plan.pipeline.target, flow.tallies
    told = review_of(flow)
    if account.stopped is None and told is not None and waits(flow.plan, told):
        return (
            f"no dataset is written before people have answered: {told.waiting} of "
            f"{told.answered + told.waiting} texts wait (soupstock review {flow.plan.name})"
        )
    if account.stopped is not None and account.stopped.cause == UNFIT:
        return account.stopped.message
    if account.stopped is not None:
        return f"stopped: {account.stopped.message}"
    if wanted is None or tallies[-1].kept >= wanted:
        return None
    kept = tallies[-1].kept
    worst = max(tallies[:-1], key=lambda tally: tally.dropped / max(1, tally.rows_in))
    need = f"about {-(-wanted * flow.taken // kept)} would be needed" if kept else "none was kept"
    return (
        f"{kept} of the {wanted} wanted rows came of {flow.taken} source rows; {need}. "
        f"'{worst.label}' drops most: {worst.dropped} of {worst.rows_in}"
    )


def _paid(flow: Flow, account: Account) -> PaidRecord:
    usage = account.usage
    servers = tuple(_server(one) for one in account.models)
    examined = [told.tally for told in flow.examinations.values()]
    examined += [told.tally for told in flow.detections.values()]
    answers = sum(tally.spent.answers for tally in (*flow.tallies, *examined))
    known = [server.cost for server in servers if server.cost is not None]
    return PaidRecord(
        calls=usage.calls,
        found=max(0, answers - usage.calls + usage.probes),
        probes=usage.probes,
        retried=usage.retried,
        tokens=TokenRecord(
            prompt=usage.prompt_tokens,
            cached=usage.cached_tokens,
            completion=usage.completion_tokens,
        ),
        cost=sum(known) if len(known) == len(servers) and servers else None,
        servers=servers,
    )


def _server(account: ModelAccount) -> ServerRecord:
    model, usage, hits = account.model, account.usage, account.prefix_hits
    tokens = TokenRecord(
        prompt=usage.prompt_tokens, cached=usage.cached_tokens, completion=usage.completion_tokens
    )
    return ServerRecord(
        model=model.reference,
        served=tuple(sorted(usage.served)),
        calls=usage.calls,
        tokens=tokens,
        cost=cost_at(model, tokens),
        seconds=round(usage.seconds, 3),
        prefix_hits=None if hits is None else round(hits, _DIGITS),
        structured_output=None if model.structured_output else account.schema_mode,
        addresses=_addresses(account),
    )


def _addresses(account: ModelAccount) -> tuple[AddressRecord, ...]:
    """Say what each address did, where there are several."""
    if len(account.addresses) == 1:
        return ()
    return tuple(
        AddressRecord(base_url=one.base_url, calls=one.answered, failed=one.failed)
        for one in account.addresses
    )


def _failures(table: Table) -> dict[str, list[FailureRecord]]:
    """Group the rows' failures by step and cause, each with the first in source order."""
    found = (
        table.scan()
        .select(pl.col("failures").explode())
        .drop_nulls()
        .unnest("failures")
        .group_by("step", "cause", maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("message").first().alias("example"))
        .sort("step", "rows", "cause", descending=[False, True, False])
        .collect()
    )
    grouped: dict[str, list[FailureRecord]] = {}
    for row in found.to_dicts():
        grouped.setdefault(row.pop("step"), []).append(FailureRecord(**row))
    return grouped


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version(), "soupstock": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
