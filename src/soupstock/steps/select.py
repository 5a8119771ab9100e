"""Select a number of rows by their quality, their diversity, or both."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.static_embeddings import StaticModel
from soupstock.project.project import Project
from soupstock.rows.marks import INDEX, MARKS, mark, read_kept, reasons_of
from soupstock.rows.row import Columns, column
from soupstock.rows.table import Table
from soupstock.similarity.coreset import Coreset, farthest_first, k_means, select_diverse
from soupstock.similarity.cosine import Embedder, Vectors, directions
from soupstock.similarity.minhash import Integers
from soupstock.similarity.tfidf import tfidf_vectors
from soupstock.stats.apportionment import even_shares
from soupstock.steps.chapter import Chapter, RowStep, likeness
from soupstock.steps.columns import check_quality, check_texts, type_at
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
from soupstock.steps.wording import LONGEST
from soupstock.text.markdown import code
from soupstock.text.measures import read_scores, read_texts

Flags = npt.NDArray[np.bool_]

ENOUGH, ALIKE = "select: enough", "select: alike"
"""Why a row is dropped: enough others are better, or a selected row is too similar."""


@dataclass(frozen=True)
class BoundSelect(SetWise):
    """A select step, bound."""

    rows: int | None = None
    """How many rows to keep; None keeps a `share` of them."""
    share: float = 1.0
    by: str | None = None
    """The column of the rows' quality."""
    method: Literal["best", "deita", "k_center"] = "best"
    column: str | None = None
    """The column of texts to compare."""
    threshold: float = 0.9
    """The cosine from which two texts are too similar, for `deita`."""
    per: str | None = None
    """The column whose values are groups of rows."""
    clusters: int | None = None
    """How many clusters of similar texts are groups of rows."""
    at_most: int | None = None
    """How many rows of a group are kept at most."""
    embedder: StaticModel | EmbeddingForm | None = None

    @property
    def reads(self) -> list[str]:
        """The columns that the step reads."""
        return [path for path in (self.by, self.column, self.per) if path]

    @property
    def compares(self) -> bool:
        """Whether the step compares texts."""
        return self.method != "best" or self.clusters is not None

    def identity(self) -> Iterable[bytes]:
        """Yield the embedder."""
        if self.embedder is not None:
            yield self.embedder.identity()

    def to_embed(self) -> ToEmbed | None:
        """Return the texts to embed, if a model server does it."""
        if self.column is None or not isinstance(self.embedder, EmbeddingForm):
            return None
        return ToEmbed(self.embedder, self.column)

    def whole(
        self, table: Table, folder: Path, account: Account, embedder: Embedder | None
    ) -> SetWiseResult:
        """Drop the rows that are not selected."""
        if isinstance(self.embedder, StaticModel):
            embedder = self.embedder.load()
        rows = read_kept(table, self.reads)
        marks = _unselected(self, rows, account, embedder)
        return SetWiseResult(mark(table, marks, folder), rows.height, reasons_of(marks))


def bind(step: spec.Select, columns: Columns, at: At, context: Context) -> Step:
    """Check a step's columns, and that its keys can be combined; raises MistakeError."""
    _check_select(step, at)
    if step.by is not None:
        check_quality(step.by, columns, at("by"))
    if step.column is not None:
        check_texts(step.column, columns, at("column"))
    if step.per is not None and not _is_groupable(type_at(step.per, columns, at("per"))):
        raise MistakeError("`per` takes a column of texts, whole numbers or booleans", at("per"))
    has_rows = isinstance(step.select, int)
    bound = BoundSelect(
        rows=int(step.select) if has_rows else None,
        share=1.0 if has_rows or step.select == "all" else float(str(step.select)[:-1]) / 100,
        by=step.by,
        method=step.method,
        column=step.column,
        threshold=step.threshold,
        per=step.per,
        clusters=step.clusters,
        at_most=step.at_most,
        embedder=context.embedder(step.embedder, at("embedder")) if step.embedder else None,
    )
    target = context.pipeline.target
    if target is not None and bound.rows is not None and bound.rows < target:
        problem = f"select keeps {bound.rows:,} rows, fewer than the target of {target:,}"
        raise MistakeError(problem, at("select"))
    return Step(
        step,
        bound,
        title=f"select: {step.select}",
        reads=tuple(bound.reads),
        models=context.embedding_models(bound.embedder),
        calls=int(isinstance(bound.embedder, EmbeddingForm)),
        texts=(step.column,) if step.column else (),
    )


def _check_select(step: spec.Select, at: At) -> None:
    compares = step.method != "best" or step.clusters is not None
    grouped = step.per is not None or step.clusters is not None
    if compares and step.column is None:
        what = step.method if step.method != "best" else "clusters"
        raise MistakeError(f"{what} compares texts: name their `column`", at("select"))
    if not compares and (step.column or step.embedder):
        raise MistakeError(
            "`column` and `embedder` are for `method: deita`, `method: k_center` and `clusters`",
            at("column"),
        )
    if step.per is not None and step.clusters is not None:
        raise MistakeError("rows are grouped by `per` or by `clusters`, not by both", at("per"))
    if step.at_most is not None and not grouped:
        raise MistakeError(
            "`at_most` needs groups: name a column with `per`, or set `clusters`", at("at_most")
        )
    if step.select == "all" and step.at_most is None and step.method != "deita":
        raise MistakeError("`select: all` needs `at_most` or `method: deita`", at("select"))


def _is_groupable(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


class Selected(NamedTuple):
    """For each row why it is dropped; null if it is selected."""

    reason: pl.Series
    twin: pl.Series
    """The index of the selected row that is too similar (UInt32), if that is the reason."""
    similarity: pl.Series
    notes: list[str]
    """What the user should know: that fewer rows are selected than wanted."""


def select(step: BoundSelect, rows: pl.DataFrame, embedder: Embedder | None = None) -> Selected:
    """Select rows of a frame with the columns `id` and those that the step reads.

    Rows are ordered by quality, the best first. Null and NaN come last, and ties are ordered by
    id, which is a hash of the row's content. So neither the order of the rows nor threads make a
    difference. Every method goes through the rows in this order:

    - `best` selects the first rows.
    - `deita` selects each row that is not too similar to one selected before: with a cosine below
      `threshold` (Liu et al. 2023, arXiv:2312.15685, which compares with the selected rows, too).
    - `k_center` selects the first row, and then always the one farthest from those selected
      (Gonzalez 1985; Sener and Savarese 2018, arXiv:1708.00489).

    With `per` or `clusters` each group gets the same number of rows; what one group lacks goes to
    the others. Texts are compared by `embedder`, and without one by their words.
    """
    vectors = _vectors(step, rows, embedder)
    order = _order(step, rows)
    near = None if vectors is None else directions(vectors)[order]
    groups = _groups(step, rows, order, near)
    sizes = np.bincount(groups)
    wanted = rows.height if step.rows is None else step.rows
    if step.rows is None:
        wanted = int(np.ceil(round(step.share * rows.height, 6)))
    caps = sizes if step.at_most is None else np.minimum(sizes, step.at_most)
    found = _chosen(step, groups, caps, wanted, near)
    return _by_index(step, rows, order, found, wanted)


def _vectors(step: BoundSelect, rows: pl.DataFrame, embedder: Embedder | None) -> Vectors | None:
    if not step.compares or step.column is None:
        return None
    texts = read_texts(rows, step.column).fill_null("").to_list()
    return tfidf_vectors(texts) if embedder is None else embedder.embed(texts)


def _order(step: BoundSelect, rows: pl.DataFrame) -> Integers:
    """Return the rows' indices, the best first."""
    # Row numbers, which replace ids in a file without them, are ordered as numbers.
    ids = rows["id"]
    names = (ids.str.len_chars().cast(pl.String).str.zfill(3) + ids).rank("ordinal").to_numpy()
    score = pl.Series([0.0]).new_from_index(0, rows.height)
    if step.by is not None:
        score = read_scores(rows, step.by).cast(pl.Float64).fill_nan(None)
    texts = pl.Series([True]).new_from_index(0, rows.height)
    if step.column is not None:
        texts = read_texts(rows, step.column).is_not_null()
    complete = (score.is_not_null() & texts).to_numpy()
    return np.lexsort(
        (names, -score.fill_null(0.0).to_numpy(), ~score.is_not_null().to_numpy(), ~complete)
    )


def _groups(
    step: BoundSelect, rows: pl.DataFrame, order: Integers, near: Vectors | None
) -> Integers:
    """Return the group of each row, in order; groups are numbered by their best rows."""
    if step.clusters is not None and near is not None:
        names = k_means(near, step.clusters)
    elif step.per is not None:
        values = rows.select(column(step.per)).to_series()
        names = values.rank("dense").fill_null(0).to_numpy().astype(np.int64)[order]
    else:
        return np.zeros(len(order), np.int64)
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def _chosen(
    step: BoundSelect, groups: Integers, caps: Integers, wanted: int, near: Vectors | None
) -> Coreset:
    """Select among the ordered rows, each group up to its quota."""
    if step.method == "best" or near is None:
        quotas = even_shares(wanted, caps)
        places = np.empty(len(groups), np.int64)
        by_group = np.argsort(groups, kind="stable")
        starts = np.cumsum(np.bincount(groups, minlength=len(caps))) - np.bincount(
            groups, minlength=len(caps)
        )
        places[by_group] = np.arange(len(groups)) - starts[groups[by_group]]
        return Coreset.of(places < quotas[groups])
    if step.method == "deita":
        return select_diverse(near, step.threshold, groups, caps, wanted)
    return farthest_first(near, groups, even_shares(wanted, caps))


def _by_index(
    step: BoundSelect, rows: pl.DataFrame, order: Integers, found: Coreset, wanted: int
) -> Selected:
    """Return what was selected in the indices of the frame's rows."""
    height = rows.height
    alike = np.flatnonzero(found.twin >= 0)
    reason = pl.Series([None], dtype=pl.String).new_from_index(0, height)
    reason = reason.scatter(order[~found.is_taken], ENOUGH).scatter(order[alike], ALIKE)
    twin = pl.Series([None], dtype=pl.UInt32).new_from_index(0, height)
    similarity = pl.Series([None], dtype=pl.Float64).new_from_index(0, height)
    taken = int(found.is_taken.sum())
    notes = []
    if step.rows is not None and taken < wanted:
        more = "there are no more rows"
        if alike.size or step.at_most is not None:
            more = (
                "no more of them differ enough"
                if alike.size
                else f"`at_most` allows {step.at_most:,} of each group"
            )
        notes = [f"{taken:,} of the {wanted:,} wanted rows are selected: {more}"]
    return Selected(
        reason,
        twin.scatter(order[alike], order[found.twin[alike]]),
        similarity.scatter(order[alike], found.similarity[alike]),
        notes,
    )


def _unselected(
    step: BoundSelect, rows: pl.DataFrame, account: Account, embedder: Embedder | None
) -> pl.DataFrame:
    """Mark the rows that are not selected."""
    found = select(step, rows, embedder)
    account.notes.extend(found.notes)
    marks = pl.DataFrame(
        {
            INDEX: rows[INDEX],
            "twin": rows["id"].gather(found.twin),
            "similarity": found.similarity,
            "why": found.reason,
        },
        schema=MARKS,
    )
    return marks.filter(pl.col("why").is_not_null())


def makes(step: spec.Select) -> Made:  # noqa: ARG001 - it drops rows
    """Name no column."""
    return Made()


def needs(step: spec.Select, project: Project) -> Iterator[frozenset[str]]:  # noqa: ARG001
    """Name the columns that the step reads."""
    yield frozenset(column_of(path) for path in (step.by, step.column, step.per) if path)


def describe(step: spec.Select, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe which rows were selected."""
    groups = ""
    if step.per or step.clusters:
        what = f"value of {code(step.per, LONGEST)}" if step.per else "cluster of similar texts"
        groups = f", the same number for each {what}"
        if step.at_most:
            groups = f", at most {step.at_most:,} for each {what}"
    return f"{record.rows_kept:,} rows were kept, {_how(step)}{groups}."


def _how(step: spec.Select) -> str:
    by = f" by {code(step.by, LONGEST)}" if step.by else ""
    match step.method:
        case "best":
            return f"the best{by}" if by else "chosen by a hash of their content"
        case "deita":
            return (
                f"the best{by}, without those whose {code(step.column, LONGEST)} is similar to a"
                f" selected row's (cosine: at least {step.threshold:g})"
            )
        case "k_center":
            return f"those whose {code(step.column, LONGEST)} differs most from the other rows'"


def chapter(step: spec.Select, row_step: RowStep) -> Chapter:  # noqa: ARG001 - the row says it
    """Tell which selected row a dropped row is too similar to."""
    return Chapter(value=likeness(row_step))


VERB = Verb(spec.Select, bind, makes, needs, describe, chapter)
