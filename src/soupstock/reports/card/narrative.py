"""What a run did, step by step, in words: for the dataset card."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, assert_never

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.artifacts.review import ReviewRecord
from soupstock.text.markdown import Markdown, code, joined

_LONGEST = 200


def source_told(said: Manifest) -> Markdown:
    """Say where the rows came from."""
    source, rows = spec.Pipeline.model_validate(said.pipeline).source, f"{said.source.rows:,}"
    match source:
        case spec.SampleSource(sample=sample):
            names = joined([code(column) for column in sample])
            drawn = "were drawn at random, each" if len(sample) > 1 else "was drawn at random"
            return Markdown(f"For {rows} rows, {names} {drawn} from its values.")
        case spec.FileSource(file=file):
            name = code(public_path(file), _LONGEST)
            return Markdown(f"{rows} rows were read from the file {name}.")
        case spec.DocumentSource(documents=documents):
            name = code(public_path(documents), _LONGEST)
            return Markdown(f"{rows} chunks were read from the documents in {name}.")
        case spec.DatasetSource(dataset=dataset, split=split, config=config, revision=revision):
            chosen = {"split": split, "configuration": config, "revision": revision}
            told = [f"{what} {code(value)}" for what, value in chosen.items() if value]
            name = code(public_path(dataset), _LONGEST)
            return Markdown(f"{rows} rows were read from the dataset {name} ({', '.join(told)}).")
        case _:
            assert_never(source)


def public_path(path: str) -> str:
    """Leave of a path what is no stranger's business: where on somebody's disk the file lies."""
    return PurePath(path).name if path.startswith(("/", "~")) else path


def steps_told(said: Manifest) -> Markdown:
    """Say what each step did, as a numbered list."""
    pipeline = spec.Pipeline.model_validate(said.pipeline)
    lines = [
        f"{record.index}. {_told(step, record, said)}"
        for step, record in zip(pipeline.steps, said.steps, strict=False)
    ]
    return Markdown("\n".join([*lines, *_beyond(said.steps[len(pipeline.steps) :])]))


def _beyond(records: tuple[StepRecord, ...]) -> Iterator[str]:
    """Tell of what the engine did after the pipeline's own steps."""
    for record in records:
        yield (
            f"{record.index}. **{record.verb}**: as many rows were kept as were wanted, the first"
            " ones in the order of the source."
        )


def _told(  # noqa: C901, PLR0912 - a case for each verb
    step: spec.Step, record: StepRecord, said: Manifest
) -> str:
    match step:
        case spec.Generate():
            return f"**generate**: {_generated(step, said)}"
        case spec.Task():
            return f"**task**: {_carried_out(step, said)}"
        case spec.Judge():
            return f"**judge**: {_judged(step, said)}."
        case spec.Filter():
            passed = joined(list(map(filter_told, step.filter)))
            return f"**filter**: rows were kept that pass {passed}."
        case spec.Dedup():
            return f"**dedup**: {_deduplicated(step)}"
        case spec.Converse():
            return f"**converse**: {_conversed(step, said)}"
        case spec.Verify():
            return f"**verify**: {_verified(step, record)}"
        case spec.Mask():
            return f"**mask**: {masked(step, record)}."
        case spec.Decontaminate():
            model = _model(step.model, said) if step.model else None
            return f"**decontaminate**: {decontaminated(step, model)}."
        case spec.Select():
            return f"**select**: {selected(step, record)}."
        case spec.Review():
            return f"**review**: {reviewed(step, said.review)}."
        case spec.Publish():
            return f"**publish**: {_published(step)}"
        case _:
            assert_never(step)


def _generated(step: spec.Generate, said: Manifest) -> str:
    prompt, made = code(step.prompt, _LONGEST), code(step.generate)
    answers = f", {step.n:,} answers for each row" if step.n > 1 else ""
    shape = f", shaped by the schema {code(step.output_schema)}" if step.output_schema else ""
    return (
        f"{_model(step.model, said)} wrote {made}, asked by the prompt {prompt}{answers}{shape}"
        f"{_settings(step)}."
    )


def _carried_out(step: spec.Task, said: Manifest) -> str:
    made = joined([code(column) for column in step.outputs.values()])
    given = ", ".join(f"{name}: {_value(value)}" for name, value in step.parameters.items())
    told = f" with {code(given, _LONGEST)}" if given else ""
    return (
        f"{_model(step.model, said)} wrote {made}, asked as distilabel's task"
        f" {code(step.task)} asks{told}{_settings(step)}."
    )


def _conversed(step: spec.Converse, said: Manifest) -> str:
    sides = [
        f"{_model(side.model, said)} as the {name}, asked by the prompt"
        f" {code(side.prompt, _LONGEST)}{_settings(side)}"
        for name, side in (("user", step.user), ("assistant", step.assistant))
    ]
    return f"{joined(list(map(Markdown, sides)))} wrote {code(step.converse)}, {step.turns} turns."


def _verified(step: spec.Verify, record: StepRecord) -> str:
    column = code(step.column, _LONGEST)
    match step.by:
        case "number":
            how = f"by whether its last number is worth {code(step.answer or '')}"
        case "math":
            how = (
                f"by whether its last number or formula is worth {code(step.answer or '')}, as"
                " math-verify computes it"
            )
        case "exact":
            how = f"by whether its last line is {code(step.answer or '')}"
        case "tests":
            how = f"by running its Python code against the tests in {code(step.tests or '')}"
        case "call":
            how = f"by whether it calls functions of {code(step.tools or '')} as they are declared"
        case _:
            assert_never(step.by)
    told = " ".join(record.notes)
    return f"each of {column} was checked {how}: {code(step.verify)}. {told}".rstrip()


def _judged(step: spec.Judge, said: Manifest) -> str:
    rubric, made = code(step.rubric, _LONGEST), code(step.judge)
    if not step.roles:
        return f"each row was scored by the rules of the rubric {rubric}: {made}"
    if step.compare is not None:
        who = joined([Markdown(_model(role, said)) for role in step.roles])
        return (
            f"{who} compared the answers in {code(step.compare, _LONGEST)} two at a time, each"
            f" shown first once, by the rubric {rubric}: {made}{_settings(step)}"
        )
    who = joined([Markdown(_model(role, said)) for role in step.roles])
    jury = f", put together by {step.aggregate}" if len(step.roles) > 1 else ""
    return f"{who} scored each row by the rubric {rubric}{jury}: {made}{_settings(step)}"


def _deduplicated(step: spec.Dedup) -> str:
    column = code(step.dedup, _LONGEST)
    match step.method:
        case "exact":
            same = f"whose {column} is an earlier row's, but for case and spacing"
        case "minhash":
            same = (
                f"whose {column} is nearly an earlier row's: a Jaccard similarity of their word"
                f" trigrams of at least {step.similar:g}"
            )
        case "semantic":
            same = (
                f"whose {column} means nearly the same as an earlier row's: a cosine of their"
                f" embeddings of at least {step.similar:g}"
            )
        case _:
            assert_never(step.method)
    return f"rows were dropped {same}{preferred(step)}."


def _published(step: spec.Publish) -> str:
    if step.configs:
        shaped = {name: c.output_schema for name, c in step.configs.items() if c.output_schema}
        told = joined([Markdown(f"{code(n)} by the schema {code(s)}") for n, s in shaped.items()])
        if not told:
            return "all columns were written as they are."
        return f"rows were shaped as {told}; those that no schema takes were dropped."
    if step.output_schema is None:
        return "all columns were written as they are."
    schema = code(step.output_schema, _LONGEST)
    return f"rows were shaped by the schema {schema}; those that break it were dropped."


def _model(role: str, said: Manifest) -> str:
    """Name a role's model."""
    found = next((model.model for model in said.models if model.role == role), role)
    return f"{code(found, _LONGEST)} ({code(role)})"


def filter_told(use: spec.FilterUse) -> Markdown:
    """Write a filter and its arguments as a code span."""
    arguments = ", ".join(f"{name}: {_value(value)}" for name, value in use.arguments.items())
    return code(f"{use.name}({arguments})" if arguments else use.name, _LONGEST)


def _value(value: Any) -> str:
    match value:
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case float():
            return f"{value:g}"
        case str() if not value or value.strip() != value:
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def _settings(step: spec.Sampling | spec.Judge) -> str:
    """Say how the model was asked: what the pipeline says, its defaults included."""
    names: Mapping[str, Any] = spec.Sampling.model_fields
    values = step.model_dump(include=set(names))
    told = [
        f"{name} {_value(values[name])}" for name in names if values.get(name) not in (None, ())
    ]
    return f" ({code(', '.join(told), _LONGEST)})" if told else ""


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


def reviewed(step: spec.Review, told: ReviewRecord | None) -> str:
    """Say which rows people read, and what came of it."""
    if told is None or not told.answered:
        return "nobody has read the rows yet"
    how = {
        "random": "drawn at random",
        "uncertain": "drawn the likelier the less sure the judge was",
    }.get(str(step.strategy), "drawn from each kind alike")
    people = "one person" if told.annotators == 1 else f"{told.annotators:,} people"
    parts = [f"{people} answered for {told.answered:,} of {told.sampled:,} rows, {how}"]
    if told.vetoed:
        vetoes = [Markdown(f"{count:,} as {code(veto, 40)}") for veto, count in told.vetoed.items()]
        parts.append(f"they dropped {joined(vetoes)}")
    if told.corrected:
        parts.append(f"they corrected {told.corrected:,}")
    return "; ".join(parts)
