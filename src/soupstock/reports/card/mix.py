"""The card of a mix. It is made from the mix's record and a few rows."""

import shlex
from collections.abc import Sequence

from soupstock.artifacts.mix import MixRecord
from soupstock.reports.card import tables
from soupstock.reports.card.card import fill_template, loading
from soupstock.reports.card.excerpts import excerpt
from soupstock.reports.card.front_matter import mix_front_matter
from soupstock.reports.card.licences import licence_terms
from soupstock.reports.card.splits import splits_in_brief, splits_section
from soupstock.reports.card.tables import cell, count
from soupstock.rows.row import Row
from soupstock.text.markdown import Markdown, fenced, one_line, prose, table

_LONGEST_NAME = 120
_HASH = 12


def render_mix_card(record: MixRecord, samples: Sequence[Row]) -> str:
    """Return the card, README.md; every number in it is from the record."""
    dataset = record.dataset
    body = fill_template(
        "mix.md",
        name=prose(record.name, _LONGEST_NAME),
        rows=count(dataset.rows),
        count=count(len(record.ingredients)),
        splits_in_brief=splits_in_brief(dataset),
        loading=loading(dataset),
        columns=tables.columns(dataset),
        splits=splits_section(dataset),
        samples=[fenced(excerpt(row), "yaml") for row in samples],
        ingredients=_ingredients(record),
        similar=Markdown(f"{record.similar:g}"),
        evaluations=tables.evaluations_of(record.decontamination),
        recalls=tables.recalls_of(record.decontamination),
        questions=tables.questions(record.decontamination),
        models=_models(record),
        terms=licence_terms(record.asked),
        command=_command(record),
        provenance=_provenance(record),
        licence=_licence(record),
    )
    return f"{mix_front_matter(record)}\n{body.rstrip()}\n"


def _ingredients(record: MixRecord) -> Markdown:
    numbers = ("rows", "contaminated", "duplicates", "taken")
    rows = [
        (
            cell(one.name),
            cell(one.run),
            Markdown(f"{one.share:g}"),
            *map(count, (one.rows, one.contaminated, one.repeats, one.taken)),
            cell(one.license) if one.license else Markdown("unknown"),
        )
        for one in record.ingredients
    ]
    header = ("from", "run", "share", *numbers, "licence")
    return table(header, rows, right=("share", *numbers))


def _models(record: MixRecord) -> Markdown:
    rows = [
        (
            cell(one.name),
            cell(model.model),
            cell(model.revision) if model.revision else Markdown("unknown"),
            cell(model.license) if model.license else Markdown("unknown"),
        )
        for one in record.ingredients
        for model in one.models
    ]
    return table(("from", "model", "revision", "licence"), rows)


def _command(record: MixRecord) -> Markdown:
    parts = [shlex.quote(f"{one_line(one.run)}:{one.share:g}") for one in record.ingredients]
    splits = record.dataset.splitting.shares if record.dataset.splitting else {}
    shares = [f"--split {name}={share:g}" for name, share in splits.items()]
    rows, name = record.dataset.rows, shlex.quote(one_line(record.name))
    return fenced(" ".join(["soupstock mix", *parts, f"-n {rows}", *shares, f"-o {name}"]), "sh")


def _provenance(record: MixRecord) -> Markdown:
    packages = ", ".join(cell(f"{name} {version}") for name, version in record.versions.items())
    rows = [
        (Markdown("seed"), cell(record.seed)),
        *(
            (Markdown(f"fingerprint of {cell(one.name)}"), cell(one.fingerprint[:_HASH]))
            for one in record.ingredients
        ),
        (Markdown("versions"), Markdown(packages)),
    ]
    return table(("what", "value"), rows)


def _licence(record: MixRecord) -> Markdown:
    if record.dataset.license is None:
        return Markdown("The parts have different licences, or none. Ask before you use it.")
    return Markdown(f"{cell(record.dataset.license)}, like all of its parts.")
