"""Drop the rows that repeat another one, and name in each the row that it repeats."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.static_embeddings import StaticModel
from soupstock.project.project import Project
from soupstock.rows.marks import INDEX, MARKS, mark, read_kept, reasons_of
from soupstock.rows.references import ReferenceTexts, is_reference, locate
from soupstock.rows.row import Columns
from soupstock.rows.table import Table
from soupstock.similarity.cosine import Embedder
from soupstock.similarity.duplicates import Method, TextDuplicates, duplicates
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import check_quality, check_texts, reference_to
from soupstock.steps.step import (
    Account,
    At,
    Context,
    SetWise,
    SetWiseResult,
    Step,
    ToEmbed,
    column_of,
)
from soupstock.steps.verb import Made, Verb
from soupstock.steps.wording import LONGEST, references
from soupstock.text.markdown import code
from soupstock.text.measures import read_scores, read_texts


@dataclass(frozen=True)
class BoundDedup(SetWise):
    """A dedup step, bound."""

    column: str
    """The column of texts to compare."""
    method: Method = "minhash"
    threshold: float = 0.7
    best: str | None = None
    """The column that decides which duplicate is kept; None keeps the first."""
    against: tuple[ReferenceTexts, ...] = ()
    """Earlier datasets, whose texts rows must not repeat."""
    embedder: StaticModel | EmbeddingForm | None = None
    """The embedder, for `semantic`."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"dedup: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield the hashes of the datasets that rows are compared with, and the embedder."""
        yield from (reference.content.encode() for reference in self.against)
        if self.embedder is not None:
            yield self.embedder.identity()

    def to_embed(self) -> ToEmbed | None:
        """Return the texts to embed, if a model server does it."""
        if not isinstance(self.embedder, EmbeddingForm):
            return None
        return ToEmbed(self.embedder, self.column, self.against)

    def whole(
        self,
        table: Table,
        folder: Path,
        account: Account,  # noqa: ARG002 - it counts nothing
        embedder: Embedder | None,
    ) -> SetWiseResult:
        """Drop the rows that repeat another one."""
        if isinstance(self.embedder, StaticModel):
            embedder = self.embedder.load()
        rows = read_kept(table, [self.column, self.best])
        marks = _repeats(self, rows, embedder)
        return SetWiseResult(mark(table, marks, folder), rows.height, reasons_of(marks))


def bind(step: spec.Dedup, columns: Columns, at: At, context: Context) -> Step:
    """Check a step's columns, and find the datasets and the embedder; raises MistakeError."""
    check_texts(step.dedup, columns, at("dedup"))
    best = step.keep.best if isinstance(step.keep, spec.Best) else None
    if best is not None:
        check_quality(best, columns, at("keep"))
    if step.method == "exact" and step.threshold is not None:
        raise MistakeError(
            "`method: exact` takes no threshold: two texts are the same or not", at("threshold")
        )
    against = tuple(
        reference_to(one, step.dedup, context.project, at("against", number), context.name)
        for number, one in enumerate(step.against)
    )
    embedder = None
    if step.method == "semantic":
        embedder = context.embedder(step.embedder, at("embedder"))
    elif step.embedder is not None:
        raise MistakeError("`embedder` is for `method: semantic` alone", at("embedder"))
    bound = BoundDedup(step.dedup, step.method, step.similar, best, against, embedder)
    return Step(
        step,
        bound,
        title=bound.label,
        reads=tuple(filter(None, (step.dedup, best))),
        models=context.embedding_models(embedder),
        calls=int(bound.to_embed() is not None),
        texts=(step.dedup,),
    )


def _repeats(step: BoundDedup, rows: pl.DataFrame, embedder: Embedder | None) -> pl.DataFrame:
    """Mark the rows that repeat another one."""
    earlier = [reference.texts() for reference in step.against]
    found = duplicates(
        read_texts(rows, step.column),
        step.method,
        step.threshold,
        scores=None if step.best is None else read_scores(rows, step.best),
        against=pl.concat([part["text"] for part in earlier]) if earlier else None,
        embedder=embedder,
    )
    marks = pl.DataFrame(
        {
            INDEX: rows[INDEX],
            # Gathering with a null index gives null.
            "twin": rows["id"].gather(found.twin),
            "similarity": found.similarity,
            "why": pl.Series([step.label], dtype=pl.String).new_from_index(0, rows.height),
        },
        schema=MARKS,
    )
    return _with_references(step, earlier, found, marks).filter(pl.col("twin").is_not_null())


def _with_references(
    step: BoundDedup, earlier: Sequence[pl.DataFrame], found: TextDuplicates, marks: pl.DataFrame
) -> pl.DataFrame:
    """Name the twins that are in another dataset, and name that dataset in the reason."""
    rows = found.against.is_not_null().arg_true()
    if rows.is_empty():
        return marks
    twins, reasons = [], []
    for index in found.against.gather(rows).to_list():
        which, number = locate(index, earlier)
        reference = step.against[which]
        twins.append(reference.name_row(number))
        reasons.append(f"{step.label} (in {reference.label})")
    return marks.with_columns(
        twin=marks["twin"].scatter(rows, twins), why=marks["why"].scatter(rows, reasons)
    )


def makes(step: spec.Dedup) -> Made:  # noqa: ARG001 - it drops rows
    """Name no column."""
    return Made()


def needs(step: spec.Dedup, project: Project) -> Iterator[frozenset[str]]:  # noqa: ARG001
    """Name the column that is compared, and the one that decides which duplicate is kept."""
    best = (step.keep.best,) if isinstance(step.keep, spec.Best) else ()
    yield frozenset(map(column_of, (step.dedup, *best)))


def describe(step: spec.Dedup, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe which rows were dropped as duplicates, and which were kept."""
    stayed = ""
    if isinstance(step.keep, spec.Best):
        stayed = f"; of duplicates, the best by {code(step.keep.best, LONGEST)} was kept"
    if step.against:
        stayed += f". Rows that repeat a row of {references(step.against)} were dropped, too"
    return f"rows were dropped if their {_how(step)}{stayed}."


def _how(step: spec.Dedup) -> str:
    column = code(step.dedup, LONGEST)
    match step.method:
        case "exact":
            return f"{column} is the same as an earlier row's, apart from case and spacing"
        case "minhash":
            return (
                f"{column} is nearly the same as an earlier row's (Jaccard similarity of word"
                f" trigrams: at least {step.similar:g})"
            )
        case "semantic":
            return (
                f"{column} means nearly the same as an earlier row's (cosine of embeddings: at"
                f" least {step.similar:g})"
            )


def chapter(step: spec.Dedup, row_step: RowStep) -> Chapter:  # noqa: ARG001 - the row names its duplicate
    """Tell which row a dropped row repeats."""
    if not row_step.reasons:
        return Chapter()
    twin, similarity = row_step.row["twin"], row_step.row["similarity"]
    if is_reference(twin or ""):
        return Chapter(value={"there before": twin, "similarity": similarity})
    repeated = row_step.twin(row_step.reasons[0]) if twin else None
    return Chapter(value={"similarity": similarity}, twin=repeated)


VERB = Verb(spec.Dedup, bind, makes, needs, describe, chapter)
