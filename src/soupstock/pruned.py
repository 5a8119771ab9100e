"""What pruning steps did, in words: for the dataset card."""

from pathlib import PurePath
from typing import assert_never

from soupstock import spec
from soupstock.artifacts.manifest import StepRecord
from soupstock.text.markdown import code, joined

_LONGEST = 200


def preferred(step: spec.Dedup) -> str:
    """Say which of several twins stayed, and what was there before."""
    told = ""
    if isinstance(step.keep, spec.Best):
        told = f"; of twins the best by {code(step.keep.best, _LONGEST)} stayed"
    if step.against:
        told += f". Rows that repeat one of {_there(step.against)} were dropped too"
    return told


def _there(against: tuple[spec.There, ...]) -> str:
    names = []
    for there in against:
        match there:
            case spec.FileThere(file=name) | spec.DatasetThere(dataset=name):
                # Where on somebody's disk it lies is no stranger's business.
                name = PurePath(name).name if name.startswith(("/", "~", ".")) else name
            case spec.RunThere(run=name):
                pass
            case _:
                assert_never(there)
        names.append(code(name, _LONGEST))
    return joined(names)


def masked(step: spec.Mask, record: StepRecord) -> str:
    """Say what was masked."""
    counts = [f"{count:,} {kind}" for kind, count in record.masked.items()]
    found = ", ".join(counts) if counts else "none was found"
    return (
        f"{code(step.into)} is {code(step.mask, _LONGEST)} with placeholders for"
        f" {joined(list(map(code, step.kinds)))} ({found})"
    )


def decontaminated(step: spec.Decontaminate, model: str | None) -> str:
    """Say what rows were compared with, and how; `model` names who was asked."""
    like = (
        f"or a cosine of at least {step.threshold:g} of their character n-grams"
        if model is None
        else f"or the same question, as {model} says of those that have a cosine of at least"
        f" {step.ask_from:g} of their character n-grams, asked by the prompt"
        f" {code(step.prompt, _LONGEST)}"
    )
    return (
        f"rows were dropped whose {code(step.decontaminate, _LONGEST)} resembles an item of"
        f" {_there(step.against)}: the same text, a run of 13 words, {step.overlap:.0%} of its"
        f" runs of 8 words, {like}"
    )


def selected(step: spec.Select, record: StepRecord) -> str:
    """Say which rows were chosen."""
    by = f" by {code(step.by, _LONGEST)}" if step.by else ""
    match step.method:
        case "best":
            how = f"the best{by}" if by else "drawn by their content"
        case "deita":
            how = (
                f"the best{by}, leaving out those whose {code(step.column, _LONGEST)} is like a"
                f" selected one's (a cosine of at least {step.threshold:g})"
            )
        case "k_center":
            how = f"those whose {code(step.column, _LONGEST)} differs most from the others'"
        case _:
            assert_never(step.method)
    groups = ""
    if step.per or step.clusters:
        what = f"value of {code(step.per, _LONGEST)}" if step.per else "cluster of similar texts"
        groups = f"; of each {what} as many as of the others"
        if step.at_most:
            groups = f"; of each {what} {step.at_most:,} at most"
    return f"{record.rows_kept:,} rows were kept, {how}{groups}"
