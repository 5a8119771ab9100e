"""The dataset card, for readers on the Hub. It is made from the manifest and a few rows.

The text is in assets/card.md, and each `{{ blank }}` in it is filled in here with Markdown. All
text from a file, a model or a server is escaped; the template accepts nothing else. No number is
written by hand.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from soupstock import spec
from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.manifest import WRITING, Manifest, ModelRecord
from soupstock.inference.servers.weights import SMOLLM2
from soupstock.project import recorded
from soupstock.reports.card import tables
from soupstock.reports.card.excerpts import excerpt, to_yaml
from soupstock.reports.card.front_matter import front_matter
from soupstock.reports.card.judges import judge_paragraphs
from soupstock.reports.card.licences import licence_terms, unique
from soupstock.reports.card.narrative import source_sentence, step_list
from soupstock.reports.card.splits import splits_in_brief, splits_section
from soupstock.reports.card.tables import cell
from soupstock.rows.pii_scan import KIND_NAMES
from soupstock.rows.row import Row
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
_LONGEST_LABEL = 60


def render_card(manifest: Manifest, dataset: DatasetRecord, samples: Sequence[Row]) -> str:
    """Return the card, README.md: the same manifest and rows give the same bytes.

    Nothing in it depends on a run's time or payment, so a second run, with every answer in the
    cache, writes the same card.
    """
    body = fill_template(
        "card.md",
        name=prose(manifest.name, _LONGEST_NAME),
        description=prose(manifest.pipeline["description"], _LONGEST_DESCRIPTION),
        rows=tables.count(dataset.rows),
        rows_in=tables.count(manifest.rows),
        writers=joined([cell(model.model) for model in unique(_models_of(manifest, *WRITING))]),
        splits_in_brief=splits_in_brief(dataset),
        splits=splits_section(dataset),
        caution=_caution(manifest),
        reason=prose((manifest.reason or "").rstrip("."), _LONGEST_DESCRIPTION),
        loading=loading(dataset),
        columns=tables.columns(dataset),
        samples=[fenced(excerpt(row), "yaml") for row in samples],
        diagram=diagram(manifest),
        personal=_personal(dataset),
        citation=_citation(manifest, dataset),
        source=source_sentence(manifest),
        steps=step_list(manifest),
        models=tables.models(manifest),
        terms=licence_terms(_models_of(manifest)),
        parts=tables.parts(manifest),
        funnel=tables.funnel(manifest),
        failures=tables.failures(manifest),
        scores=tables.scores(manifest),
        criteria=listed(_criteria(manifest)),
        judges=paragraphs(judge_paragraphs(manifest)),
        diversity=tables.diversity(manifest),
        alarms=listed(_alarms(manifest)),
        topics=tables.topics(manifest),
        evaluations=tables.evaluations(manifest),
        recalls=tables.recalls(manifest),
        questions=tables.questions(manifest.decontamination),
        effort=tables.effort(manifest),
        limits=listed(_limits(manifest)),
        command=_command(manifest),
        provenance=tables.provenance(manifest),
        pipeline=_pipeline(manifest),
        licence=_licence(dataset),
    )
    return f"{front_matter(manifest, dataset)}\n{body.rstrip()}\n"


def fill_template(template: str, **blanks: object) -> str:
    """Fill in a template of assets/; raises TypeError for anything that is not Markdown."""
    return _template(template).render(blanks)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("soupstock.reports.card", "assets"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # The output is Markdown, not HTML; `_escaped` checks that it is escaped.
        autoescape=False,  # noqa: S701
        finalize=_escaped,
    )
    return environment.get_template(name)


def _escaped(value: object) -> Markdown:
    if not isinstance(value, Markdown):
        raise TypeError(f"this is not escaped: {value!r}")
    return value


def _models_of(manifest: Manifest, *verbs: str) -> list[ModelRecord]:
    """Return the models that steps of some verbs asked; without verbs, those of all steps."""
    steps = [step for step in manifest.steps if not verbs or step.verb in verbs]
    roles = {role for step in steps for role in step.models}
    return [model for model in manifest.models if model.role in roles]


def _caution(manifest: Manifest) -> Markdown:
    """Warn if the rows are only a demonstration."""
    if all(model.model != SMOLLM2.model for model in _models_of(manifest, *WRITING)):
        return Markdown()
    return Markdown(
        f"**A demonstration.** {cell(SMOLLM2.model)} is a very small model, fluent and often wrong."
        " These rows show how the pipeline works. Do not train a model on them."
    )


def loading(dataset: DatasetRecord) -> Markdown:
    """Show how to load each configuration."""
    lines = ["from datasets import load_dataset", ""]
    for number, config in enumerate(dataset.configs):
        named = f', "{config.name}"' if number else ""
        split = config.splits[0].name
        assigned = config.name if len(dataset.configs) > 1 else "rows"
        lines.append(f'{assigned} = load_dataset("{dataset.repository}"{named}, split="{split}")')
    return fenced("\n".join(lines), "python")


def _criteria(manifest: Manifest) -> Iterator[Markdown]:
    """Yield the judges' criteria."""
    for rubric in recorded.rubrics(manifest):
        for name, criterion in rubric.judged.items():
            yield Markdown(f"{cell(name)}: {prose(criterion.question, _LONGEST_DESCRIPTION)}")
        for name, rule in rubric.rules.items():
            yield Markdown(f"{cell(name)}: by the rule {filter_named(rule.rule)}")


def _alarms(manifest: Manifest) -> Iterator[Markdown]:
    """Yield the columns in which a model seems to have fallen into one way of answering."""
    for one in manifest.diversity:
        for alarm in one.alarms:
            yield Markdown(f"{cell(one.column)}: {prose(alarm, _LONGEST_DESCRIPTION)}")


def _limits(manifest: Manifest) -> Iterator[Markdown]:
    """Yield what was not done."""
    if _models_of(manifest, *WRITING):
        yield Markdown("The models' texts may be wrong, biased or offensive.")
    done = {step.verb for step in manifest.steps}
    if "review" not in done:
        yield Markdown("No person has reviewed the rows.")
    if "decontaminate" not in done:
        yield Markdown(
            "The rows were not compared with benchmarks; some may resemble benchmark items."
        )
    uses = {
        use
        for step in manifest.pipeline["steps"]
        for use in map(_filter_name, step.get("filter", ()))
    }
    if "mask" in done or "no_personal_data" in uses:
        yield Markdown(
            "Personal data was searched for by its form, such as numbers and addresses. This does"
            " not find names of people and places."
        )
    else:
        yield Markdown(
            "Personal data was only counted (see above): it was not masked, and no row was dropped"
            " for it."
        )


def _filter_name(use: str | Mapping[str, object]) -> str:
    return use if isinstance(use, str) else next(iter(use))


def _command(manifest: Manifest) -> Markdown:
    name = shlex.quote(one_line(manifest.name))
    return fenced(f"soupstock plan {name}\nsoupstock run {name}\nsoupstock reproduce {name}", "sh")


def _personal(dataset: DatasetRecord) -> Markdown:
    """Make the table of personal data and secrets in the dataset's texts."""
    if dataset.personal is None:
        return Markdown()
    found = {KIND_NAMES[kind]: dataset.personal.get(kind, 0) for kind in KIND_NAMES}
    rows = [(Markdown(name), tables.count(count)) for name, count in found.items()]
    return table(("kind", "found"), rows, right=("found",))


def _citation(manifest: Manifest, dataset: DatasetRecord) -> Markdown:
    key = re.sub(r"[^A-Za-z0-9]+", "-", one_line(manifest.name, _LONGEST_NAME)).strip("-")
    made = (
        f"Made with soupstock {_plain(manifest.soupstock)}, fingerprint {manifest.fingerprint[:12]}"
    )
    lines = [
        f"@misc{{{key or 'dataset'},",
        f"  title = {{{_plain(manifest.name)}}},",
        f"  howpublished = {{Hugging Face Hub, {_plain(dataset.repository)}}},",
        f"  note = {{{made}}}",
        "}",
    ]
    return fenced("\n".join(lines), "bibtex")


def _plain(text: str) -> str:
    """Remove the characters of a text that have a meaning in BibTeX."""
    return re.sub(r"[{}\\]", "", one_line(text, _LONGEST_NAME))


def _pipeline(manifest: Manifest) -> Markdown:
    pipeline = manifest.spec
    data = pipeline.model_dump(mode="json", exclude_defaults=True)
    steps = data["steps"]
    for part in (data["source"], *steps, *(one for s in steps for one in s.get("against", ()))):
        for kind in {"file", "dataset", "embedder"} & part.keys():
            part[kind] = public_path(part[kind])
    data["steps"] = [
        {verb: step[verb] for verb in spec.VERBS if verb in step} | step for step in data["steps"]
    ]
    return fenced(to_yaml(data), "yaml")


def _licence(dataset: DatasetRecord) -> Markdown:
    if dataset.license is None:
        return Markdown("No licence was chosen. Ask the dataset's author before you use it.")
    return Markdown(f"{cell(dataset.license)}, as far as the models' licences (see above) allow.")


def diagram(manifest: Manifest) -> Markdown:
    """Draw the source, each step and the dataset, from top to bottom."""
    lines = [f"{manifest.source.kind} source", f"│ {_rows(manifest.rows)}"]
    for step in manifest.steps:
        by = f"  by {one_line(step.model, _LONGEST_LABEL)}" if step.model else ""
        lines += [f"▼ {one_line(step.label, _LONGEST_LABEL)}{by}", f"│ {_rows(step.rows_kept)}"]
    if manifest.dataset is not None:
        lines.append(f"▼ {one_line(manifest.dataset.repository, _LONGEST_LABEL)}")
    return fenced("\n".join(lines), "text")


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
