"""The card's section on how far its scores can be trusted: sanity checks, juries, people."""

from collections.abc import Iterator, Mapping

from soupstock.artifacts.judges import (
    CalibrationRecord,
    IntervalRecord,
    JudgeRecord,
    JuryRecord,
    MemberRecord,
    SanityCheckRecord,
    SanityCheckResult,
)
from soupstock.artifacts.manifest import Manifest
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.reports.card.tables import cell, count
from soupstock.text.markdown import Markdown, joined, listed, prose, table

CORRUPTIONS = {
    "empty": "an empty text",
    "gibberish": "gibberish of the same length",
    "truncated": "the text, cut off after a third",
    "another": "the text of another row",
    "echo": "the instruction instead of an answer",
}
"""What each kind of canary is."""

OUTCOMES: Mapping[SanityCheckResult, str] = {
    "fit": "passed",
    "not fit": "failed",
    "cannot tell": "cannot tell",
}
"""The outcomes of a judge's sanity check, in words."""

_DETECTED = {"apart": "detected", "not apart": "not detected", "too few": "too few to tell"}

_LONGEST = 1000


def judge_paragraphs(manifest: Manifest) -> Iterator[Markdown]:
    """Yield, for each judge, how far its scores can be trusted; nothing without a judge."""
    for judge in manifest.judges:
        if judge.models:
            yield from _judge(judge)
        if judge.calibration is not None:
            yield from _calibration(judge.column, judge.calibration)
    yield from _cautions(manifest)


def _judge(judge: JudgeRecord) -> Iterator[Markdown]:
    if judge.fitness is not None:
        yield from _fitness(judge.column, judge.fitness)
    if judge.orders is not None:
        bias = prose(judge.orders.sentence, _LONGEST)
        bias = Markdown(f"**{bias}**") if judge.orders.is_biased else bias
        yield Markdown(f"{cell(judge.column)}: {bias}")
    if judge.jury is not None:
        yield from _jury(judge.column, judge.jury)


def _cautions(manifest: Manifest) -> Iterator[Markdown]:
    """Warn of each model that cannot judge, or that was not compared with people."""
    columns: dict[str, list[Markdown]] = {}
    for judge in manifest.judges:
        is_measured = judge.calibration is not None and not judge.calibration.void
        names = {model.model for model in manifest.models if model.role in judge.models}
        for name in sorted(names):
            if name == SMOLLM2.model or not is_measured:
                columns.setdefault(name, []).append(cell(judge.column))
    for name, where in columns.items():
        if name == SMOLLM2.model:
            yield Markdown(
                f"**{cell(name)} cannot judge.** It is too small to distinguish a good answer from"
                " an empty one. Its scores show that the pipeline works; they do not measure"
                " quality."
            )
        else:
            yield Markdown(
                f"**{cell(name)} has not been measured against people.** Its scores in"
                f" {joined(where)} are one model's opinion."
            )


def _fitness(column: str, found: SanityCheckRecord) -> Iterator[Markdown]:
    result = prose(found.sentence, _LONGEST)
    result = result if found.verdict == "fit" else Markdown(f"**{result}**")
    yield Markdown(f"{cell(column)}: {result}")
    if not found.kinds:
        return
    header = ("judged text", "texts", "mean score", "the original ranks higher")
    rows = [(Markdown("original"), count(found.rows), _number(found.mean), Markdown())]
    rows += [
        (
            prose(CORRUPTIONS.get(one.kind, one.kind)),
            count(one.canaries),
            _number(one.mean),
            Markdown(f"{_DETECTED[one.tells]}: {_interval(one.auc)}"),
        )
        for one in found.kinds
    ]
    yield Markdown(
        "The judge also scored corrupted copies of these rows. The last column says how often the"
        " original ranks higher; by chance it would be half of the time:"
    )
    yield table(header, rows, right=("texts", "mean score"))
    if found.padding is not None:
        yield prose(found.padding.sentence, _LONGEST)


def _jury(column: str, found: JuryRecord) -> Iterator[Markdown]:
    yield Markdown(
        f"Several models judged {cell(column)}. Their agreement (Krippendorff's alpha; one is"
        f" perfect, zero is chance) is {_interval(found.agreement)}, over {count(found.rows)} rows."
        f" Their scores differ by {_number(found.disagreement)} on average."
    )
    rows = [
        (
            cell(member.role),
            count(member.scores),
            Markdown(_interval(member.agreement)),
            Markdown(_outcome(member)),
        )
        for member in found.members
    ]
    header = ("judge", "scores", "agreement with the others", "sanity check")
    yield table(header, rows, right=("scores",))


def _outcome(member: MemberRecord) -> str:
    outcome = OUTCOMES[member.fit]
    return f"{outcome}: {_interval(member.auc)}" if member.auc else outcome


def _calibration(column: str, found: CalibrationRecord) -> Iterator[Markdown]:
    summary = prose(found.summary, _LONGEST)
    if found.void:
        yield Markdown(f"{cell(column)}: **{summary}**")
        return
    passing = f"A row passes with a score of at least {_number(found.threshold)}."
    yield Markdown(f"{cell(column)}: {summary} {passing}")
    yield listed(prose(sentence, _LONGEST) for sentence in found.sentences)
    rows = [
        (
            cell(one.name),
            count(one.rows),
            Markdown(one.statistic),
            Markdown(_interval(one.value)),
            Markdown("yes" if one.is_beyond_chance else "no"),
        )
        for one in found.criteria
    ]
    header = ("criterion", "rows", "measure", "agreement with people", "beyond chance")
    yield table(header, rows, right=("rows",))


def _number(number: float | None) -> Markdown:
    if number is None:
        return Markdown("unknown")
    text = f"{round(number, 2):,.2f}"
    return Markdown(text.rstrip("0").rstrip("."))


def _interval(found: IntervalRecord | None) -> str:
    if found is None:
        return "unknown"
    return f"{_number(found.estimate)} ({_number(found.low)} to {_number(found.high)})"
