"""The dataset card: what a stranger on the Hub is told. Made from the manifest and a few rows.

The words are in assets/card.md, and each `{{ blank }}` in it is a section that is made here. A
section is Markdown in which everything that came from a file, a model or a server is escaped; the
template takes nothing else. No number is written by hand.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from soupstock import spec
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import WRITING, Manifest, ModelRecord
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.judging.rubric import Rubric
from soupstock.reports.card import tables
from soupstock.reports.card.excerpts import excerpt, written
from soupstock.reports.card.front_matter import front_matter
from soupstock.reports.card.judges import measured
from soupstock.reports.card.licences import licences_told, unique
from soupstock.reports.card.narrative import source_told, steps_told
from soupstock.reports.card.splits import arranged, arrangement
from soupstock.reports.card.tables import cell
from soupstock.rows.pii_scan import NAMES
from soupstock.rows.rows import Row
from soupstock.spec.loader import parse_yaml, validate
from soupstock.steps.wording import filter_named, public_path
from soupstock.text.markdown import (
    Markdown,
    fenced,
    joined,
    listed,
    one_line,
    paragraphs,
    prose,
    table,
)

_LONGEST_DESCRIPTION = 2000
_LONGEST_NAME = 120


def render_card(said: Manifest, dataset: DatasetRecord, samples: Sequence[Row]) -> str:
    """Return the card, README.md: the same manifest and rows give the same bytes.

    Nothing in it depends on when a run was or on what was paid in it, so that running again, with
    every answer in the store, writes the same card.
    """
    body = rendered(
        "card.md",
        name=prose(said.name, _LONGEST_NAME),
        description=prose(said.pipeline["description"], _LONGEST_DESCRIPTION),
        rows=tables.count(dataset.rows),
        taken=tables.count(said.rows),
        writers=joined([cell(model.model) for model in unique(_asked(said, *WRITING))]),
        arrangement=arrangement(dataset),
        arranged=arranged(dataset),
        caution=_caution(said),
        reason=prose((said.reason or "").rstrip("."), _LONGEST_DESCRIPTION),
        loading=loading_told(dataset),
        columns=tables.columns(dataset),
        samples=[fenced(excerpt(row), "yaml") for row in samples],
        drawing=drawn(said),
        personal=_personal(dataset),
        citation=_citation(said, dataset),
        source=source_told(said),
        steps=steps_told(said),
        models=tables.models(said),
        terms=licences_told(_asked(said)),
        parts=tables.parts(said),
        funnel=tables.funnel(said),
        failures=tables.failures(said),
        scores=tables.scores(said),
        criteria=listed(_criteria(said)),
        fitness=paragraphs(measured(said)),
        diversity=tables.diversity(said),
        alarms=listed(_alarms(said)),
        topics=tables.topics(said),
        evaluations=tables.evaluations(said),
        recalls=tables.recalls(said),
        questions=tables.questions(said.decontamination),
        effort=tables.effort(said),
        limits=listed(_limits(said)),
        command=_command(said),
        provenance=tables.provenance(said),
        pipeline=_pipeline(said),
        licence=_licence(dataset),
    )
    return f"{front_matter(said, dataset)}\n{body.rstrip()}\n"


def rendered(template: str, **blanks: object) -> str:
    """Fill in a template of assets/; all that goes into it is Markdown, or it is refused."""
    return _template(template).render(blanks)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("soupstock.reports.card", "assets"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # This is no HTML. What it is instead, `_escaped` watches over.
        autoescape=False,  # noqa: S701
        finalize=_escaped,
    )
    return environment.get_template(name)


def _escaped(value: object) -> Markdown:
    if not isinstance(value, Markdown):
        raise TypeError(f"this is not escaped: {value!r}")
    return value


def _asked(said: Manifest, *verbs: str) -> list[ModelRecord]:
    """Return the models that steps of some verbs asked; of all, where none is named."""
    steps = [step for step in said.steps if not verbs or step.verb in verbs]
    roles = {role for step in steps for role in step.models}
    return [model for model in said.models if model.role in roles]


def _caution(said: Manifest) -> Markdown:
    """Say at once where the rows are no more than a demonstration."""
    if all(model.model != SMOLLM2.model for model in _asked(said, *WRITING)):
        return Markdown()
    return Markdown(
        f"**A demonstration.** {cell(SMOLLM2.model)} is a very small model, fluent and often wrong."
        " These rows show how the pipeline works; a model should not learn from them."
    )


def loading_told(dataset: DatasetRecord) -> Markdown:
    """Say how to load each configuration."""
    lines = ["from datasets import load_dataset", ""]
    for number, config in enumerate(dataset.configs):
        named = f', "{config.name}"' if number else ""
        split = config.splits[0].name
        assigned = config.name if len(dataset.configs) > 1 else "rows"
        lines.append(f'{assigned} = load_dataset("{dataset.repository}"{named}, split="{split}")')
    return fenced("\n".join(lines), "python")


def _criteria(said: Manifest) -> Iterator[Markdown]:
    """Say what the judges looked at."""
    for part in said.rubrics:
        rubric = validate(parse_yaml(part.text, Path(part.file)), Rubric).value
        for name, criterion in rubric.judged.items():
            yield Markdown(f"{cell(name)}: {prose(criterion.question, _LONGEST_DESCRIPTION)}")
        for name, rule in rubric.rules.items():
            yield Markdown(f"{cell(name)}: by the rule {filter_named(rule.rule)}")


def _alarms(said: Manifest) -> Iterator[Markdown]:
    """Say which columns look as if a model had fallen into one way of answering."""
    for one in said.diversity:
        for alarm in one.alarms:
            yield Markdown(f"{cell(one.column)}: {prose(alarm, _LONGEST_DESCRIPTION)}")


def _limits(said: Manifest) -> Iterator[Markdown]:
    """Say what was not done, as plainly as what was."""
    if _asked(said, *WRITING):
        yield Markdown("What models wrote may be wrong, biased or offensive; nobody checked it.")
    done = {step.verb for step in said.steps}
    if "review" not in done:
        yield Markdown("No person has reviewed the rows.")
    if "decontaminate" not in done:
        yield Markdown("The rows were not compared with benchmarks: some may resemble their tests.")
    uses = {
        use for step in said.pipeline["steps"] for use in map(_filter_name, step.get("filter", ()))
    }
    if "mask" in done or "no_personal_data" in uses:
        yield Markdown(
            "Personal data was looked for by its form, as numbers and addresses have it; names of"
            " people and places are not found so."
        )
    else:
        yield Markdown("Personal data was counted, as above; none was masked, and no row dropped.")


def _filter_name(use: str | Mapping[str, object]) -> str:
    return use if isinstance(use, str) else next(iter(use))


def _command(said: Manifest) -> Markdown:
    name = shlex.quote(one_line(said.name))
    return fenced(f"soupstock plan {name}\nsoupstock run {name}\nsoupstock reproduce {name}", "sh")


def _personal(dataset: DatasetRecord) -> Markdown:
    """Say what was found in the published texts that names a person or opens a door."""
    if dataset.personal is None:
        return Markdown()
    told = {NAMES[kind]: dataset.personal.get(kind, 0) for kind in NAMES}
    rows = [(Markdown(name), tables.count(count)) for name, count in told.items()]
    return table(("what was looked for", "found"), rows, right=("found",))


def _citation(said: Manifest, dataset: DatasetRecord) -> Markdown:
    key = re.sub(r"[^A-Za-z0-9]+", "-", one_line(said.name, _LONGEST_NAME)).strip("-")
    made = f"Made with soupstock {_plain(said.soupstock)}, fingerprint {said.fingerprint[:12]}"
    lines = [
        f"@misc{{{key or 'dataset'},",
        f"  title = {{{_plain(said.name)}}},",
        f"  howpublished = {{Hugging Face Hub, {_plain(dataset.repository)}}},",
        f"  note = {{{made}}}",
        "}",
    ]
    return fenced("\n".join(lines), "bibtex")


def _plain(text: str) -> str:
    """Leave out of a text what BibTeX would act on."""
    return re.sub(r"[{}\\]", "", one_line(text, _LONGEST_NAME))


def _pipeline(said: Manifest) -> Markdown:
    pipeline = said.spec
    data = pipeline.model_dump(mode="json", exclude_defaults=True)
    steps = data["steps"]
    for part in (data["source"], *steps, *(one for s in steps for one in s.get("against", ()))):
        for kind in {"file", "dataset", "embedder"} & part.keys():
            part[kind] = public_path(part[kind])
    data["steps"] = [
        {verb: step[verb] for verb in spec.VERBS if verb in step} | step for step in data["steps"]
    ]
    return fenced(written(data), "yaml")


def _licence(dataset: DatasetRecord) -> Markdown:
    if dataset.license is None:
        return Markdown("No licence was chosen: ask the dataset's author before you use it.")
    return Markdown(f"{cell(dataset.license)}, as far as the models' licences above allow.")


_LONGEST = 60


def drawn(said: Manifest) -> Markdown:
    """Draw the source, each step and the dataset, one under the other."""
    lines = [f"{said.source.kind} source", f"│ {_rows(said.rows)}"]
    for step in said.steps:
        by = f"  by {one_line(step.model, _LONGEST)}" if step.model else ""
        lines += [f"▼ {one_line(step.label, _LONGEST)}{by}", f"│ {_rows(step.rows_kept)}"]
    if said.dataset is not None:
        lines.append(f"▼ {one_line(said.dataset.repository, _LONGEST)}")
    return fenced("\n".join(lines), "text")


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
