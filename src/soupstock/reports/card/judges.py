"""The card's section on how far its scores can be trusted: sanity checks, juries, people."""

from collections.abc import Iterator, Mapping

from soupstock.artifacts.judges import (
    CalibrationRecord,
    Fit,
    FitnessRecord,
    IntervalRecord,
    JudgeRecord,
    JuryRecord,
)
from soupstock.artifacts.manifest import Manifest, ModelRecord
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.reports.card.tables import cell, count
from soupstock.text.markdown import Markdown, listed, prose, table

CORRUPTIONS = {
    "empty": "an empty text",
    "gibberish": "gibberish of the same length",
    "truncated": "the text, cut off after a third",
    "another": "the text of another row",
    "echo": "the instruction instead of an answer",
}
"""What each kind of canary is."""

OUTCOMES: Mapping[Fit, str] = {
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
            yield from _judge(judge, [m for m in manifest.models if m.role in judge.models])
        if judge.calibration is not None:
            yield from _calibration(judge.column, judge.calibration)


def _judge(judge: JudgeRecord, models: list[ModelRecord]) -> Iterator[Markdown]:
    if judge.fitness is not None:
        yield from _fitness(judge.column, judge.fitness)
    if judge.orders is not None:
        bias = prose(judge.orders.sentence, _LONGEST)
        bias = Markdown(f"**{bias}**") if judge.orders.is_biased else bias
        yield Markdown(f"{cell(judge.column)}: {bias}")
    if judge.jury is not None:
        yield from _jury(judge.column, judge.jury)
    is_measured = judge.calibration is not None and not judge.calibration.void
    for model in {one.model: one for one in models}.values():
        if model.model == SMOLLM2.model:
            yield Markdown(
                f"**{cell(model.model)} cannot judge.** It is too small to distinguish a good"
                " answer from an empty one. Its scores show that the pipeline works; they do not"
                " measure quality."
            )
        elif not is_measured:
            yield Markdown(
                f"**{cell(model.model)} has not been measured against people.** Its scores are one"
                " model's opinion."
            )


def _fitness(column: str, found: FitnessRecord) -> Iterator[Markdown]:
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
            Markdown(f"{OUTCOMES[member.fit]}: {_interval(member.auc)}"),
        )
        for member in found.members
    ]
    header = ("judge", "scores", "agreement with the others", "sanity check")
    yield table(header, rows, right=("scores",))


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
