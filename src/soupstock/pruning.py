"""Bind the steps that prune: their columns checked, what they compare with found.

Knows no pipelines and no plans; `plan` gives it the project, and where to point at a mistake.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import PartRecord
from soupstock.errors import MistakeError, Place, UnknownNameError, shown
from soupstock.inference.call import Form
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.pool import Model
from soupstock.inference.static_embeddings import StaticModel, find_embedder
from soupstock.project.project import Project
from soupstock.rows.references import Reference, find_there
from soupstock.rows.table import Columns
from soupstock.steps.columns import check_new, check_quality, check_texts, check_variables, type_at
from soupstock.steps.decontaminate import Decontamination
from soupstock.steps.dedup import Deduplication
from soupstock.steps.mask import Masking
from soupstock.steps.same_question import COMPARED, SameQuestion, schema
from soupstock.steps.select import Selection

At = Callable[..., Place | None]
"""Finds the line of a key of the step: `at("against", 0)`."""


@dataclass(frozen=True)
class Within:
    """Where a step is: its project, and the name and models of its pipeline."""

    project: Project
    pipeline: str
    models: Mapping[str, Model]
    seed: int = 0
    asks: bool = True
    """Whether models are asked; a run does, and what prunes a file does not."""

    def embedder(self, name: str | None, place: Place | None) -> StaticModel | EmbeddingForm:
        """Find what turns texts into vectors: a model of the pipeline's, or a static one."""
        if name is not None and name in self.models:
            return EmbeddingForm(self.models[name])
        return find_embedder(name or self.project.embedder(), self.project.root, place)


def bind_mask(step: spec.Mask, columns: Columns, at: At) -> Masking:
    """Check a mask step's columns; raises MistakeError."""
    check_texts(step.mask, columns, at("mask"))
    check_new(step.into, columns, at("into"))
    dtype: Any = type_at(step.mask.partition("::")[0], columns, at("mask"))
    return Masking(step.mask, step.into, dtype, step.kinds)


def bind_dedup(step: spec.Dedup, columns: Columns, within: Within, at: At) -> Deduplication:
    """Check a dedup step's columns, and find what it compares with; raises MistakeError."""
    check_texts(step.dedup, columns, at("dedup"))
    best = step.keep.best if isinstance(step.keep, spec.Best) else None
    if best is not None:
        check_quality(best, columns, at("keep"))
    if step.method == "exact" and step.threshold is not None:
        raise MistakeError("exact needs no threshold: texts are the same or not", at("threshold"))
    against = tuple(
        _there(there, step.dedup, within.project, at("against", number), within.pipeline)
        for number, there in enumerate(step.against)
    )
    embedder = None
    if step.method == "semantic":
        embedder = within.embedder(step.embedder, at("embedder"))
    elif step.embedder is not None:
        raise MistakeError("an embedder is for `method: semantic`", at("embedder"))
    return Deduplication(step.dedup, step.method, step.similar, best, against, embedder)


def _there(
    there: spec.There, own: str, project: Project, place: Place | None, pipeline: str | None = None
) -> Reference:
    found = find_there(there, own, project.root, place, pipeline)
    columns = dict(found.frame.collect_schema())
    check_texts(found.column, columns, place, f" (in {shown(found.label)})")
    return found


def bind_decontaminate(
    step: spec.Decontaminate, columns: Columns, within: Within, at: At
) -> tuple[Decontamination, tuple[PartRecord, ...]]:
    """Check a decontaminate step's column, and find its evaluation sets and its prompt.

    Raises MistakeError.
    """
    check_texts(step.decontaminate, columns, at("decontaminate"))
    against = tuple(
        _there(there, step.decontaminate, within.project, at("against", number))
        for number, there in enumerate(step.against)
    )
    bound = Decontamination(step.decontaminate, against, step.overlap, step.threshold)
    if step.model is None:
        _check_unasked(step, at)
        return bound, ()
    if not within.asks:
        return replace(bound, is_unasked=True), ()
    question, part = _same_question(step, step.model, columns, within, at)
    return replace(bound, question=question), (part,)


_ASKING = ("ask_from", "prompt", "into", "canaries", "temperature", "max_tokens", "retries")


def _check_unasked(step: spec.Decontaminate, at: At) -> None:
    """Check that nothing is said of how a model is asked, where none is."""
    fields = spec.Decontaminate.model_fields
    for key in _ASKING:
        if getattr(step, key) != fields[key].default:
            problem = f"`{key}` says how a model is asked: name one with `model:`"
            raise MistakeError(problem, at(key))


def _same_question(
    step: spec.Decontaminate, role: str, columns: Columns, within: Within, at: At
) -> tuple[SameQuestion, PartRecord]:
    if role not in within.models:
        raise UnknownNameError("model", role, within.models, at("model"))
    check_new(step.into, columns, at("into") or at("decontaminate"))
    prompt = within.project.prompt(step.prompt, at("prompt"))
    check_variables(prompt, COMPARED, at("prompt") or at("model"))
    form = Form(
        within.models[role],
        {"temperature": step.temperature, "max_tokens": step.max_tokens},
        schema(),
        "same_question",
        seed=within.seed,
    )
    question = SameQuestion(role, form, prompt.value, step.into, step.ask_from, step.retries)
    return question, prompt.record


def bind_select(step: spec.Select, columns: Columns, within: Within, at: At) -> Selection:
    """Check a select step's columns, and that its keys go together; raises MistakeError."""
    _check_select(step, at)
    if step.by is not None:
        check_quality(step.by, columns, at("by"))
    if step.column is not None:
        check_texts(step.column, columns, at("column"))
    if step.per is not None and not _is_groupable(type_at(step.per, columns, at("per"))):
        raise MistakeError("rows are grouped by texts, whole numbers, true or false", at("per"))
    has_rows = isinstance(step.select, int)
    return Selection(
        rows=int(step.select) if has_rows else None,
        share=1.0 if has_rows or step.select == "all" else float(str(step.select)[:-1]) / 100,
        by=step.by,
        method=step.method,
        column=step.column,
        threshold=step.threshold,
        per=step.per,
        clusters=step.clusters,
        at_most=step.at_most,
        embedder=within.embedder(step.embedder, at("embedder")) if step.embedder else None,
    )


def _check_select(step: spec.Select, at: At) -> None:
    compares = step.method != "best" or step.clusters is not None
    grouped = step.per is not None or step.clusters is not None
    if compares and step.column is None:
        what = step.method if step.method != "best" else "clusters"
        raise MistakeError(f"{what} compares texts: name their `column`", at("select"))
    if not compares and (step.column or step.embedder):
        raise MistakeError(
            "texts are compared for `method: deita` or `k_center`, or for `clusters`", at("column")
        )
    if step.per is not None and step.clusters is not None:
        raise MistakeError("rows are grouped by `per` or by `clusters`, not by both", at("per"))
    if step.at_most is not None and not grouped:
        raise MistakeError("at most so many of what? Name a column with `per:`", at("at_most"))
    if step.select == "all" and step.at_most is None and step.method != "deita":
        raise MistakeError("`all` rows are selected only with `at_most` or deita", at("select"))


def _is_groupable(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


def contents(bound: Deduplication | Decontamination | Selection) -> Iterator[bytes]:
    """Yield the hashes of what a step compares with and by, for the plan's fingerprint."""
    if not isinstance(bound, Selection):
        yield from (reference.content.encode() for reference in bound.against)
    if isinstance(bound, Decontamination):
        if bound.question is not None:
            yield bound.question.form.identity()
    elif bound.embedder is not None:
        yield bound.embedder.identity()
