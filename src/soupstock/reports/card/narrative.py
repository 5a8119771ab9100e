"""What a run did, step by step, in words, for the dataset card."""

from collections.abc import Iterator, Sequence
from typing import assert_never

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.steps import VERBS
from soupstock.steps.wording import LONGEST, public_path
from soupstock.text.markdown import Markdown, code, joined


def source_sentence(manifest: Manifest) -> Markdown:
    """Say where the rows came from."""
    source, rows = manifest.spec.source, f"{manifest.source.rows:,}"
    match source:
        case spec.SampleSource(sample=sample):
            names = joined([code(column) for column in sample])
            drawn = "were drawn at random, each" if len(sample) > 1 else "was drawn at random"
            return Markdown(f"For {rows} rows, {names} {drawn} from its values.")
        case spec.FileSource(file=file):
            name = code(public_path(file), LONGEST)
            return Markdown(f"{rows} rows were read from the file {name}.")
        case spec.DocumentSource(documents=documents):
            name = code(public_path(documents), LONGEST)
            return Markdown(f"{rows} chunks were read from the documents in {name}.")
        case spec.DatasetSource(dataset=dataset, split=split, config=config, revision=revision):
            chosen = {"split": split, "configuration": config, "revision": revision}
            parts = [f"{what} {code(value)}" for what, value in chosen.items() if value]
            name = code(public_path(dataset), LONGEST)
            return Markdown(f"{rows} rows were read from the dataset {name} ({', '.join(parts)}).")
        case _:
            assert_never(source)


def step_list(manifest: Manifest) -> Markdown:
    """Say what each step did, as a numbered list."""
    pipeline = manifest.spec
    lines = [
        f"{record.index}. {_described(step, record, manifest)}"
        for step, record in zip(pipeline.steps, manifest.steps, strict=False)
    ]
    return Markdown("\n".join([*lines, *_engine_steps(manifest.steps[len(pipeline.steps) :])]))


def _engine_steps(records: Sequence[StepRecord]) -> Iterator[str]:
    """Say what the engine did after the pipeline's steps."""
    for record in records:
        yield (
            f"{record.index}. **{record.verb}**: the wanted number of rows was kept, in source"
            " order."
        )


def _described(step: spec.Step, record: StepRecord, manifest: Manifest) -> str:
    return f"**{spec.verb_of(step)}**: {VERBS[type(step)].describe(step, record, manifest)}"
