"""The tables of a dataset card: columns, models, files, the funnel, scores, tokens and cost.

A table without rows is empty text.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from soupstock.artifacts.dataset import DatasetRecord
from soupstock.artifacts.decontamination import UNASKED, DecontaminationRecord
from soupstock.artifacts.manifest import Manifest, SpreadRecord, StepRecord
from soupstock.text.markdown import Markdown, code, paragraphs, prose, table

_LONGEST_CELL = 120
_LONGEST_SENTENCE = 1000
_LONGEST_STEP = 60
_LONGEST_TYPE = 400
_HASH = 12


def cell(text: object) -> Markdown:
    """Write a text as a code span, cut to fit a table."""
    return code(text, _LONGEST_CELL)


def _step(step: StepRecord) -> Markdown:
    """Name a step by its number, as in the list of steps, and its label, cut."""
    return Markdown(f"{step.index}. {code(step.label, _LONGEST_STEP)}")


def count(number: int) -> Markdown:
    """Write a number of rows or tokens."""
    return Markdown(f"{number:,}")


def _decimal(number: float) -> Markdown:
    """Write a number without an exponent and without trailing zeros."""
    text = f"{Decimal(str(round(number, 6))):,f}"
    return Markdown(text.rstrip("0").rstrip(".") if "." in text else text)


def _cost(dollars: float | None) -> Markdown:
    return Markdown("unknown") if dollars is None else _decimal(dollars)


def columns(dataset: DatasetRecord) -> Markdown:
    """Make the table of the dataset's columns and their types."""
    rows = [
        (cell(name), code(_type(kind), _LONGEST_TYPE)) for name, kind in dataset.features.items()
    ]
    return table(("column", "type"), rows)


def _type(feature: Mapping[str, Any]) -> str:
    """Write a feature's type in words."""
    match feature.get("_type"):
        case "Value":
            return str(feature["dtype"])
        case "List" | "LargeList":
            return f"list of {_type(feature['feature'])}"
        case str() as kind:
            return kind
        case _:
            fields = (f"{name}: {_type(inner)}" for name, inner in feature.items())
            return f"{{{', '.join(fields)}}}"


def models(manifest: Manifest) -> Markdown:
    """Make the table of the models and their roles."""
    rows = [
        (
            cell(model.role),
            cell(model.model),
            cell(model.reference),
            cell(model.revision) if model.revision else Markdown("unknown"),
            cell(model.license) if model.license else Markdown("unknown"),
        )
        for model in manifest.models
    ]
    return table(("role", "model", "reference", "revision", "licence"), rows)


def parts(manifest: Manifest) -> Markdown:
    """Make the table of the files that the run was made from."""
    kinds = map(Markdown, ("prompt", "rubric", "schema", "filter"))
    rows = [
        (kind, cell(part.name), cell(part.file), cell(part.sha256[:_HASH]))
        for kind, records in zip(kinds, manifest.parts.values(), strict=True)
        for part in records
    ]
    return table(("kind", "name", "file", "SHA-256"), rows)


def funnel(manifest: Manifest) -> Markdown:
    """Make the table of rows in, kept and dropped, one step a line."""
    rows = [
        (
            _step(step),
            count(step.rows_in),
            count(step.rows_kept),
            Markdown("<br>".join(f"{n:,} {cell(reason)}" for reason, n in step.dropped.items())),
        )
        for step in manifest.steps
    ]
    header = ("step", "rows in", "rows kept", "dropped, by reason")
    return table(header, rows, right=("rows in", "rows kept"))


def diversity(manifest: Manifest) -> Markdown:
    """Make the table of the diversity of each column's texts."""
    rows = [
        (
            cell(one.column),
            count(one.texts),
            _decimal(one.distinct_1),
            _decimal(one.distinct_2),
            _decimal(one.distinct_3),
            _decimal(one.compression),
            _decimal(one.vendi),
            _decimal(one.opening_share),
            cell(one.opening),
            _decimal(one.repeats),
        )
        for one in manifest.diversity
    ]
    figures = (
        *("texts", "distinct words", "pairs", "triples", "compression", "Vendi score"),
        "most common opening",
    )
    last = "near-duplicates"
    return table(("column", *figures, "", last), rows, right=(*figures, last))


def topics(manifest: Manifest) -> Markdown:
    """Make the table of how evenly the source's values are distributed."""
    rows = [
        (cell(one.column), count(one.values), _decimal(one.drawn), _decimal(one.kept))
        for one in manifest.topics
    ]
    header = ("column", "values", "effective number in all rows", "in kept rows")
    return table(header, rows, right=header[1:])


def evaluations(manifest: Manifest) -> Markdown:
    """Make the table of the evaluation sets that rows were compared with."""
    return evaluations_of(manifest.decontamination)


def evaluations_of(records: Sequence[DecontaminationRecord]) -> Markdown:
    """Make the table of the evaluation sets in records."""
    rows = [
        (cell(one.name), cell(one.column), count(one.rows), cell(one.sha256[:_HASH]))
        for record in records
        for one in record.sets
    ]
    return table(("evaluation set", "column", "items", "SHA-256"), rows, right=("items",))


def recalls(manifest: Manifest) -> Markdown:
    """Make the table of the canaries that were found, by edit."""
    return recalls_of(manifest.decontamination)


def recalls_of(records: Sequence[DecontaminationRecord]) -> Markdown:
    """Make the table of the canaries in records."""
    several = len(records) > 1
    rows = [
        (
            Markdown(f"{code(record.column)}: {one.kind}" if several else one.kind),
            count(one.planted),
            count(one.found),
            _decimal(one.share),
            Markdown(f"{_decimal(one.low)} to {_decimal(one.high)}"),
        )
        for record in records
        for one in record.canaries
    ]
    header = ("edit", "canaries", "found", "share", "interval")
    return table(header, rows, right=header[1:])


def questions(records: Sequence[DecontaminationRecord]) -> Markdown:
    """Say what models judged of rows that only resemble an item, or that no model was asked."""
    found: list[Markdown] = []
    for record in records:
        if record.question is not None:
            sentence = prose(record.question.sentence, _LONGEST_SENTENCE)
            sentence = sentence if record.question.is_proven else Markdown(f"**{sentence}**")
            found.append(Markdown(f"{cell(record.column)}: {sentence}"))
        elif record.is_unasked:
            found.append(Markdown(f"{cell(record.column)}: {UNASKED}."))
    return paragraphs(dict.fromkeys(found))


def failures(manifest: Manifest) -> Markdown:
    """Count failures by cause. Messages of servers may be private: only the manifest has them."""
    rows = [
        (_step(step), cell(failure.cause), count(failure.rows))
        for step in manifest.steps
        for failure in step.failures
    ]
    return table(("step", "cause", "rows"), rows, right=("rows",))


def scores(manifest: Manifest) -> Markdown:
    """Make the table of the distribution of the judges' scores."""
    names = ("lowest", "lower quartile", "median", "upper quartile", "highest", "mean")
    rows = [
        (cell(score.column), Markdown(which), count(spread.rows), *_spread(spread))
        for score in manifest.scores
        for which, spread in (
            ("all judged rows", score.judged),
            ("rows of the dataset", score.kept),
        )
        if spread is not None
    ]
    return table(("score", "of", "rows", *names), rows, right=("rows", *names))


def _spread(spread: SpreadRecord) -> list[Markdown]:
    numbers = (
        spread.lowest,
        spread.lower_quartile,
        spread.median,
        spread.upper_quartile,
        spread.highest,
        spread.mean,
    )
    return [_decimal(round(number, 2)) for number in numbers]


def effort(manifest: Manifest) -> Markdown:
    """Make the table of answers, tokens and cost: one line a step, and the sum."""
    cached = ("cached prompt tokens",) if manifest.tokens.cached else ()
    names = ("answers", "prompt tokens", *cached, "completion tokens", "US dollars")

    def line(name: Markdown, of: StepRecord | Manifest) -> tuple[Markdown, ...]:
        hits = (of.tokens.cached,) if cached else ()
        counts = (of.answers, of.tokens.prompt, *hits, of.tokens.completion)
        return name, *map(count, counts), _cost(of.cost)

    rows = [line(_step(step), step) for step in manifest.steps if step.model]
    last = line(Markdown("all"), manifest)
    return table(("step", *names), [*rows, last] if rows else [], right=names)


def provenance(manifest: Manifest) -> Markdown:
    """Make the table of what identifies the run: fingerprint, seed, source, versions."""
    packages = [cell(f"{name} {version}") for name, version in manifest.versions.items()]
    facts = {
        "fingerprint": cell(manifest.fingerprint[:_HASH]),
        "seed": cell(manifest.seed),
        "source, SHA-256": cell(manifest.source.sha256) if manifest.source.sha256 else None,
        "versions": Markdown(", ".join(packages)),
    }
    rows = [(Markdown(what), which) for what, which in facts.items() if which is not None]
    return table(("what", "value"), rows)
