"""Turn the accounts of a flow and its client into the manifest."""

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
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
from soupstock.engine.canaries import CanaryCheck
from soupstock.engine.decontamination_canaries import DecontaminationCheck
from soupstock.engine.flow import FAILED_SANITY_CHECK, FlowAccount
from soupstock.engine.judge_canaries import JudgeCheck
from soupstock.engine.plan import Plan
from soupstock.inference.model_queue import Account, ModelAccount
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.judging.same_question import SameQuestion
from soupstock.rows.row import KEPT
from soupstock.rows.table import Table
from soupstock.runs.decontamination_records import (
    decontamination_record,
    decontamination_record_asked,
)
from soupstock.runs.diversity_records import diversities, topics
from soupstock.runs.judge_records import jury_record, order_record, sanity_check_record
from soupstock.runs.step_record import cost_at, cost_of, step_record
from soupstock.steps.compare import BoundCompare
from soupstock.steps.decontaminate import BoundDecontaminate
from soupstock.steps.judge import BoundJudge
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


def review_of(flow: FlowAccount) -> ReviewRecord | None:
    """Return the state of the review, if the pipeline has one."""
    return next((tally.review for tally in flow.tallies if tally.review), None)


def waits(plan: Plan, review: ReviewRecord | None) -> bool:
    """Tell whether the dataset waits for people's answers."""
    steps = [step.spec for step in plan.steps if isinstance(step.spec, spec.Review)]
    return bool(review and review.waiting and any(step.wait for step in steps))


def manifest_of(flow: FlowAccount, client: Account, timing: TimingRecord, table: Table) -> Manifest:
    """Put together a run's manifest, without its dataset and the hashes of its files."""
    plan, steps = flow.plan, _step_records(flow, table)
    reason = _shortfall(flow, client)
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
        source=_source(flow),
        outcome="partial" if reason else "complete",
        reason=reason,
        steps=steps,
        rows=flow.source_rows,
        kept=flow.tallies[-1].kept,
        scores=tuple(found for step in plan.steps for found in _scores(step, table)),
        judges=tuple(found for step in plan.steps for found in _judges(step, flow.checks, table)),
        review=review_of(flow),
        decontamination=tuple(_decontamination(flow, table)),
        diversity=tuple(diversities(plan, table)),
        topics=tuple(topics(plan, table)),
        versions=package_versions(),
        paid=_paid(flow, client),
        timing=timing,
        **_totals(steps),
    )


def _step_records(flow: FlowAccount, table: Table) -> tuple[StepRecord, ...]:
    failures = _failures(table)
    return tuple(
        step_record(number, tally, step, failures.get(tally.label, ()))
        for number, (tally, step) in enumerate(zip_longest(flow.tallies, flow.plan.steps), 1)
    )


def _source(flow: FlowAccount) -> SourceRecord:
    source = flow.plan.source
    return SourceRecord(kind=source.kind, rows=flow.source_rows, sha256=source.sha256)


def _totals(steps: Sequence[StepRecord]) -> dict[str, Any]:
    """Add up the tokens and costs of the steps' answers."""
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
    """Add the hash of the weights if the model is the embedded one."""
    if record.revision != SMOLLM2.revision:
        return record
    return record.model_copy(update={"sha256": SMOLLM2.sha256})


def _scores(step: Step, table: Table) -> Iterator[ScoreRecord]:
    """Record the distribution of a judge's scores."""
    match step.bound:
        case BoundJudge(column=column):
            name, field = column, "score"
        case BoundCompare(column=column):
            name, field = f"{column}.margin", "margin"
        case _:
            return
    score = pl.col(column).struct.field(field).alias("score")
    kept = KEPT.alias("kept")
    found = table.scan().select(score, kept).drop_nulls("score").collect()
    yield ScoreRecord(
        column=name,
        model=step.role or "",
        judged=_spread(found["score"]),
        kept=_spread(found.filter("kept")["score"]),
    )


def _judges(step: Step, checks: Mapping[str, CanaryCheck], table: Table) -> Iterator[JudgeRecord]:
    """Record what is known about the judge of a judge step."""
    if not isinstance(step.spec, spec.Judge):
        return
    known: dict[str, Any] = {}
    match step.bound:
        case BoundJudge() as judging:
            found = checks.get(judging.column)
            check = found if isinstance(found, JudgeCheck) else None
            if check is not None:
                known["fitness"] = sanity_check_record(check, cost_of(step.models, check.tally))
            known["jury"] = jury_record(judging, table, check)
        case BoundCompare() as comparing:
            known["orders"] = order_record(comparing, table)
        case _:
            pass
    yield JudgeRecord(
        column=step.spec.judge, models=step.spec.roles, rubric=step.spec.rubric, **known
    )


def _decontamination(flow: FlowAccount, table: Table) -> Iterator[DecontaminationRecord]:
    """Record for each decontaminate step what it found, and what its model said."""
    for step in flow.plan.steps:
        match step.bound:
            case BoundDecontaminate(question=None) as bound:
                yield decontamination_record(step.title, bound)
            case BoundDecontaminate(question=SameQuestion() as question) as bound:
                found = flow.checks.get(question.into)
                check = found if isinstance(found, DecontaminationCheck) else None
                cost = cost_of(step.models, check.tally) if check else None
                yield decontamination_record_asked(bound, question, table, check, cost)
            case _:
                pass


def _spread(numbers: pl.Series) -> SpreadRecord | None:
    if numbers.is_empty():
        return None
    names = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    quarters = [numbers.quantile(quarter / 4, "linear") or 0.0 for quarter in range(5)]
    # math.fsum gives the same bytes in whatever order the numbers are.
    mean = math.fsum(numbers) / len(numbers)
    rounded = {n: round(q, _DIGITS) for n, q in zip(names, quarters, strict=True)}
    return SpreadRecord(rows=len(numbers), mean=round(mean, _DIGITS), **rounded)


def _shortfall(flow: FlowAccount, client: Account) -> str | None:
    """Say why the dataset is less than what was asked for; None if it is complete."""
    if client.stopped is not None:
        is_unfit = client.stopped.cause == FAILED_SANITY_CHECK
        return client.stopped.message if is_unfit else f"stopped: {client.stopped.message}"
    review = review_of(flow)
    if review is not None and waits(flow.plan, review):
        texts = review.answered + review.waiting
        return (
            f"the dataset waits for people's answers: {review.waiting} of {texts} texts have none"
            f" (soupstock review {flow.plan.name})"
        )
    wanted = flow.plan.pipeline.target
    if wanted is None or flow.tallies[-1].kept >= wanted:
        return None
    return _missed_target(wanted, flow)


def _missed_target(wanted: int, flow: FlowAccount) -> str:
    """Say how far a target was missed, and which step drops most."""
    rows, kept = flow.source_rows, flow.tallies[-1].kept
    worst = max(flow.tallies[:-1], key=lambda tally: tally.dropped / max(1, tally.rows_in))
    need = f"about {-(-wanted * rows // kept)} would be needed" if kept else "none was kept"
    return (
        f"{rows} source rows gave {kept} of the {wanted} wanted rows; {need}."
        f" '{worst.label}' drops the most: {worst.dropped} of {worst.rows_in}"
    )


def _paid(flow: FlowAccount, client: Account) -> PaidRecord:
    usage = client.usage
    servers = tuple(_server(one) for one in client.models)
    canaries = [check.tally for check in flow.checks.values()]
    answers = sum(tally.spent.answers for tally in (*flow.tallies, *canaries))
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
    """Record the calls of each address, if the model has several."""
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
