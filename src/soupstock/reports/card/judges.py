"""The card's section on what its scores are worth: canaries, juries, people. Empty for no judge."""

from collections.abc import Iterator

from soupstock.artifacts.judges import (
    CalibrationRecord,
    FitnessRecord,
    IntervalRecord,
    JudgeRecord,
    JuryRecord,
)
from soupstock.artifacts.manifest import Manifest, ModelRecord
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.reports.card.tables import cell, count
from soupstock.text.markdown import Markdown, listed, prose, table

SPOILED = {
    "empty": "left empty",
    "gibberish": "gibberish, as long",
    "truncated": "cut off after a third",
    "another": "the answer to another row",
    "echo": "the instruction in its place",
}
"""How each kind of canary was made."""

_LONGEST = 1000


def measured(said: Manifest) -> Iterator[Markdown]:
    """Say of each judge how far its scores can be believed."""
    for judge in said.judges:
        if judge.models:
            yield from _judge(judge, [m for m in said.models if m.role in judge.models])
        if judge.calibration is not None:
            yield from _calibration(judge.column, judge.calibration)


def _judge(judge: JudgeRecord, models: list[ModelRecord]) -> Iterator[Markdown]:
    if judge.fitness is not None:
        yield from _fitness(judge.column, judge.fitness)
    if judge.orders is not None:
        told = prose(judge.orders.sentence, _LONGEST)
        is_biased = judge.orders.is_biased
        yield Markdown(f"{cell(judge.column)}: {f'**{told}**' if is_biased else told}")
    if judge.jury is not None:
        yield from _jury(judge.column, judge.jury)
    is_measured = judge.calibration is not None and not judge.calibration.void
    for model in {one.model: one for one in models}.values():
        if model.model == SMOLLM2.model:
            yield Markdown(
                f"**{cell(model.model)} cannot judge.** It is so small that it does not tell a good"
                " answer from an empty one: its scores show that the pipeline works, and say"
                " nothing of how good a row is."
            )
        elif not is_measured:
            yield Markdown(
                f"**{cell(model.model)} has not been measured against people.** Its scores are one"
                " model's opinion."
            )


def _fitness(column: str, found: FitnessRecord) -> Iterator[Markdown]:
    told = prose(found.sentence, _LONGEST)
    yield Markdown(
        f"{cell(column)}: {told}" if found.verdict == "fit" else f"{cell(column)}: **{told}**"
    )
    if not found.kinds:
        return
    header = ("what was judged", "texts", "mean score", "told from the originals")
    rows = [(Markdown("the originals"), count(found.rows), _number(found.mean), Markdown())]
    rows += [
        (
            prose(SPOILED.get(one.kind, one.kind)),
            count(one.canaries),
            _number(one.mean),
            Markdown(f"{one.tells}: {_interval(one.auc)}"),
        )
        for one in found.kinds
    ]
    yield Markdown(
        "The judge was also given texts from these very rows that were spoiled on purpose. In the"
        " last column is how often an original has the higher score, where a coin has a half:"
    )
    yield table(header, rows, right=("texts", "mean score"))
    if found.padding is not None:
        yield prose(found.padding.sentence, _LONGEST)


def _jury(column: str, found: JuryRecord) -> Iterator[Markdown]:
    yield Markdown(
        f"{cell(column)} was judged by several models. How far they agree (Krippendorff's alpha,"
        f" where one is always and zero is chance): {_interval(found.agreement)}, over"
        f" {count(found.rows)} rows. Their scores are {_number(found.disagreement)} apart on"
        " average."
    )
    rows = [
        (
            cell(member.role),
            count(member.scores),
            Markdown(_interval(member.agreement)),
            Markdown(f"{member.fit}: {_interval(member.auc)}"),
        )
        for member in found.members
    ]
    header = ("judge", "scores", "agreement with the others", "tells originals from canaries")
    yield table(header, rows, right=("scores",))


def _calibration(column: str, found: CalibrationRecord) -> Iterator[Markdown]:
    told = prose(found.summary, _LONGEST)
    if found.void:
        yield Markdown(f"{cell(column)}: **{told}**")
        return
    yield Markdown(f"{cell(column)}: {told} A row passes from {_number(found.threshold)} up.")
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
        return Markdown("not known")
    text = f"{round(number, 2):,.2f}"
    return Markdown(text.rstrip("0").rstrip("."))


def _interval(found: IntervalRecord | None) -> str:
    if found is None:
        return "not known"
    return f"{_number(found.estimate)} ({_number(found.low)} to {_number(found.high)})"
