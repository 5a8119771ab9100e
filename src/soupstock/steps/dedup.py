"""Find the rows that repeat another one, and name the twin that stays."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

import numpy as np
import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.static_embeddings import StaticModel
from soupstock.project.project import Project
from soupstock.rows.marks import INDEX, MARKS, mark, read_kept, reasons_of
from soupstock.rows.references import Reference, is_reference
from soupstock.rows.rows import Columns
from soupstock.rows.table import Table
from soupstock.similarity.buckets import (
    Compare,
    Found,
    Members,
    Similarities,
    first_of_each,
    shared_buckets,
)
from soupstock.similarity.cosine import Embedder, similar
from soupstock.similarity.minhash import (
    Bands,
    Counts,
    Shingles,
    Words,
    band_keys,
    cut,
    digest,
    distinct,
    folded,
    identities,
    jaccard,
    joined,
    shingles,
)
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import check_quality, check_texts, reference_to
from soupstock.steps.step import Account, At, Context, SetWise, Step, ToEmbed, Whole, column_of
from soupstock.steps.verb import Made, Verb
from soupstock.steps.wording import LONGEST, references
from soupstock.text.markdown import code
from soupstock.text.measures import read_scores, read_texts

_CHUNK_CHARACTERS = 1 << 19


@dataclass(frozen=True)
class Deduplication(SetWise):
    """A dedup step: the column whose texts are compared, and from when on two are twins."""

    column: str
    method: Literal["exact", "minhash", "semantic"] = "minhash"
    threshold: float = 0.7
    best: str | None = None
    """The column that says which of several twins is the best; the first stays without it."""
    against: tuple[Reference, ...] = ()
    """What was there before."""
    embedder: StaticModel | EmbeddingForm | None = None
    """What turns texts into vectors, for `semantic`."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"dedup: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield the hashes of what rows are compared with, and what embeds them."""
        yield from (reference.content.encode() for reference in self.against)
        if self.embedder is not None:
            yield self.embedder.identity()

    def to_embed(self) -> ToEmbed | None:
        """Say that a model server embeds the column's texts, if one does."""
        if not isinstance(self.embedder, EmbeddingForm):
            return None
        return ToEmbed(self.embedder, self.column, self.against)

    def whole(
        self,
        table: Table,
        folder: Path,
        account: Account,  # noqa: ARG002 - it counts nothing
        embedder: Embedder | None,
    ) -> Whole:
        """Drop the rows that repeat another one."""
        if isinstance(self.embedder, StaticModel):
            embedder = self.embedder.load()
        rows = read_kept(table, [self.column, self.best])
        marks = _repeats(self, rows, embedder)
        return Whole(mark(table, marks, folder), rows.height, reasons_of(marks))


class Duplicates(NamedTuple):
    """For each row its twin that stays; all null where the row itself stays."""

    twin: pl.Series
    """The index of the row that it repeats, which stays (UInt32); null where `against` is not."""

    similarity: pl.Series
    """How similar the two are, 0 to 1 (Float64)."""

    against: pl.Series
    """The index of the text it repeats of those that were there already (UInt32)."""


def duplicates(
    step: Deduplication,
    texts: pl.Series,
    scores: pl.Series | None = None,
    against: pl.Series | None = None,
    embedder: Embedder | None = None,
) -> Duplicates:
    """Go through texts in order, and drop each that is a twin of an earlier one that stayed.

    With `scores` the order is theirs, the highest first, and null and NaN last; among equal ones,
    and without scores, it is that of the rows. So whether a row stays depends only on those before
    it: the first of a kind always stays, and rows can be added at the end. `against` are texts
    that come before all others and stay in any case. A twin is the most similar of the texts that
    stayed, the first where several are; copies of one text share its twin. Null is nobody's twin.

    `exact` compares texts after NFKC, case folding and evening out of spaces. `minhash` compares
    the sets of their word 3-grams (of words, where there are fewer than three; of the whole text
    where there are none; in scripts without spaces a letter is a word). Which pairs are compared
    is found by MinHash bands (Broder 1997; 25 bands of 5 at the default threshold), and each is
    then compared exactly: no text is dropped below `threshold`, and of those at the threshold
    about one in a hundred is missed, of more similar ones hardly any. `semantic` compares the
    cosine of their embeddings, less what all embeddings have in common; where the embedder does not
    know that, it is the mean of those here, and rows added at the end can change it a little.

    Raises:
        MistakeError: The column does not hold texts.
        ValueError: `semantic` has no embedder, or it did not return a vector for each text.
    """
    own = _texts(texts, step.column)
    order = _order(own, scores)
    before = pl.Series(dtype=pl.String) if against is None else _texts(against, step.column)
    there = before.is_not_null().arg_true().to_numpy().astype(np.int64)
    settled = len(there)
    together = pl.concat([before.gather(there), own.gather(order)])
    match step.method:
        case "exact":
            found = _exact(together, settled)
        case "minhash":
            found = _near(together, settled, step.threshold)
        case "semantic":
            found = _semantic(together, settled, step.threshold, embedder)
        case _:
            assert_never(step.method)
    return _named(found, there, order, len(texts))


def _texts(texts: pl.Series, column: str) -> pl.Series:
    if texts.dtype not in (pl.String, pl.Null, pl.Categorical, pl.Enum):
        raise MistakeError(f"dedup compares texts, and {column} is {texts.dtype}")
    return texts.cast(pl.String).rename("")


def _order(texts: pl.Series, scores: pl.Series | None) -> Counts:
    """Return the indices of the texts that are there, the first to stay first."""
    there = texts.is_not_null().arg_true().to_numpy().astype(np.int64)
    if scores is None:
        return there
    keys = scores.cast(pl.Float64).fill_nan(None).fill_null(float("-inf")).to_numpy()[there]
    return there[np.argsort(-keys, kind="stable")]


def _named(found: Found, there: Counts, order: Counts, height: int) -> Duplicates:
    """Say it in the indices of the rows, and of the texts that were there before."""
    settled = len(there)
    own, similarity = found.twin[settled:], found.similarity[settled:]
    names = np.concatenate((there, order))
    columns = {
        "twin": (np.flatnonzero(own >= settled), pl.UInt32),
        "similarity": (np.flatnonzero(own >= 0), pl.Float64),
        "against": (np.flatnonzero((own >= 0) & (own < settled)), pl.UInt32),
    }
    made = {}
    for name, (rows, dtype) in columns.items():
        values = similarity[rows] if name == "similarity" else names[own[rows]]
        empty = pl.Series(name, [None], dtype=dtype).new_from_index(0, height)
        made[name] = empty.scatter(order[rows], pl.Series(values).cast(dtype))
    return Duplicates(**made)


def _exact(texts: pl.Series, settled: int) -> Found:
    first: dict[bytes, int] = {}
    stays = []
    for start, end in cut(_sizes(texts), _CHUNK_CHARACTERS):
        digests = map(digest, map(folded, texts[start:end].to_list()))
        stays += [first.setdefault(own, row) for row, own in enumerate(digests, start)]
    twin = np.array(stays, np.int64)
    twin[twin == np.arange(len(twin))] = -1
    twin[:settled] = -1
    return Found(twin, (twin >= 0).astype(np.float64))


def _sizes(texts: pl.Series) -> Counts:
    return texts.str.len_chars().to_numpy().astype(np.int64) + 1


def _near(texts: pl.Series, settled: int, threshold: float) -> Found:
    if texts.is_empty():
        return Found.nothing(0)
    keys, identity = _hashed(texts, Bands.finding(threshold))
    # Copies, however many, are found without a comparison.
    _, first, copies = np.unique(identity, return_index=True, return_inverse=True)
    originals = np.sort(first)
    members = shared_buckets(keys, originals)
    del keys
    # Only rows that share a bucket are looked at again.
    shares = np.zeros(len(originals), bool)
    shares[members.rows] = True
    candidates = originals[shares]
    members = Members(members.buckets, (np.cumsum(shares) - 1)[members.rows])
    compare = _comparison(_sets(texts.gather(candidates)), threshold)
    known = int(np.searchsorted(candidates, settled))
    among = first_of_each(members, len(candidates), known, compare)
    return among.with_copies(candidates, first[copies], settled)


def _semantic(texts: pl.Series, settled: int, threshold: float, embedder: Embedder | None) -> Found:
    if embedder is None:
        raise ValueError("semantic dedup needs an embedder")
    rows = pl.DataFrame({"text": texts}).with_row_index()
    first = rows.select(pl.col("index").min().over("text")).to_series().to_numpy().astype(np.int64)
    originals = np.flatnonzero(first == np.arange(len(first)))
    asked = texts.gather(originals).to_list()
    vectors = embedder.embed(asked) if asked else np.empty((0, 1), np.float32)
    if vectors.shape[:-1] != (len(asked),):
        raise ValueError(f"{len(asked)} texts got embeddings of the shape {vectors.shape}")
    known = int(np.searchsorted(originals, settled))
    among = similar(vectors, threshold, known, embedder.mean)
    return among.with_copies(originals, first, settled)


def _hashed(texts: pl.Series, bands: Bands) -> tuple[Words, Words]:
    """Hash each text's bands, and all its shingles together."""
    keys = np.empty((bands.number, len(texts)), np.uint64)
    identity = np.empty(len(texts), np.uint64)
    for start, end in cut(_sizes(texts), _CHUNK_CHARACTERS):
        sets = _shingles(texts, start, end)
        keys[:, start:end] = band_keys(sets, bands)
        identity[start:end] = identities(sets)
    return keys, identity


def _sets(texts: pl.Series) -> Shingles:
    """Hash each text's shingles, sorted and each once."""
    chunks = cut(_sizes(texts), _CHUNK_CHARACTERS)
    return joined([distinct(_shingles(texts, start, end)) for start, end in chunks])


def _shingles(texts: pl.Series, start: int, end: int) -> Shingles:
    return shingles([folded(text) for text in texts[start:end].to_list()])


def _comparison(sets: Shingles, threshold: float) -> Compare:
    sizes = sets.sizes

    def compare(one: Counts, other: Counts) -> Similarities:
        similarity = np.zeros(len(one))
        small, large = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
        # The smaller set holds too little of the larger to be like it.
        near = np.flatnonzero(small >= threshold * large)
        similarity[near] = jaccard(sets, one[near], other[near])
        similarity[similarity < threshold] = 0
        return similarity

    return compare


def _repeats(step: Deduplication, rows: pl.DataFrame, embedder: Embedder | None) -> pl.DataFrame:
    """Mark the rows that repeat another one."""
    there = [reference.texts() for reference in step.against]
    before = pl.concat([part["text"] for part in there]) if there else None
    found = duplicates(
        step,
        read_texts(rows, step.column),
        scores=None if step.best is None else read_scores(rows, step.best),
        against=before,
        embedder=embedder,
    )
    marks = pl.DataFrame(
        {
            INDEX: rows[INDEX],
            # Null takes no row: gathering with a null index gives null.
            "twin": rows["id"].gather(found.twin),
            "similarity": found.similarity,
            "why": pl.Series([step.label], dtype=pl.String).new_from_index(0, rows.height),
        },
        schema=MARKS,
    )
    return _with_references(step, there, found, marks).filter(pl.col("twin").is_not_null())


def _with_references(
    step: Deduplication, there: Sequence[pl.DataFrame], found: Duplicates, marks: pl.DataFrame
) -> pl.DataFrame:
    """Name the twins that were there before, and say in the reason where."""
    rows = found.against.is_not_null().arg_true()
    if rows.is_empty():
        return marks
    ends = list(itertools.accumulate(part.height for part in there))
    twins, reasons = [], []
    for place in found.against.gather(rows).to_list():
        which = next(n for n, end in enumerate(ends) if place < end)
        number = there[which]["number"][place - (ends[which] - there[which].height)]
        reference = step.against[which]
        twins.append(reference.name_row(number))
        reasons.append(f"{step.label} (in {reference.label})")
    return marks.with_columns(
        twin=marks["twin"].scatter(rows, twins), why=marks["why"].scatter(rows, reasons)
    )


def bind(step: spec.Dedup, columns: Columns, at: At, context: Context) -> Step:
    """Check a step's columns, and find what it compares with; raises MistakeError."""
    check_texts(step.dedup, columns, at("dedup"))
    best = step.keep.best if isinstance(step.keep, spec.Best) else None
    if best is not None:
        check_quality(best, columns, at("keep"))
    if step.method == "exact" and step.threshold is not None:
        raise MistakeError("exact needs no threshold: texts are the same or not", at("threshold"))
    against = tuple(
        reference_to(there, step.dedup, context.project, at("against", number), context.name)
        for number, there in enumerate(step.against)
    )
    embedder = None
    if step.method == "semantic":
        embedder = context.embedder(step.embedder, at("embedder"))
    elif step.embedder is not None:
        raise MistakeError("an embedder is for `method: semantic`", at("embedder"))
    bound = Deduplication(step.dedup, step.method, step.similar, best, against, embedder)
    return Step(
        step,
        bound,
        title=bound.label,
        reads=tuple(filter(None, (step.dedup, best))),
        models=context.embedding_models(embedder),
        calls=int(bound.to_embed() is not None),
        texts=(step.dedup,),
    )


def makes(step: spec.Dedup) -> Made:  # noqa: ARG001 - it drops rows
    """Name no column."""
    return Made()


def needs(step: spec.Dedup, project: Project) -> Iterator[frozenset[str]]:  # noqa: ARG001
    """Name the column that is compared, and the one that says which twin is best."""
    best = (step.keep.best,) if isinstance(step.keep, spec.Best) else ()
    yield frozenset(map(column_of, (step.dedup, *best)))


def describe(step: spec.Dedup, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Say which rows repeated another one, and which of them stayed."""
    stayed = ""
    if isinstance(step.keep, spec.Best):
        stayed = f"; of twins the best by {code(step.keep.best, LONGEST)} stayed"
    if step.against:
        stayed += f". Rows that repeat one of {references(step.against)} were dropped too"
    return f"rows were dropped {_how(step)}{stayed}."


def _how(step: spec.Dedup) -> str:
    column = code(step.dedup, LONGEST)
    match step.method:
        case "exact":
            return f"whose {column} is an earlier row's, but for case and spacing"
        case "minhash":
            return (
                f"whose {column} is nearly an earlier row's: a Jaccard similarity of their word"
                f" trigrams of at least {step.similar:g}"
            )
        case "semantic":
            return (
                f"whose {column} means nearly the same as an earlier row's: a cosine of their"
                f" embeddings of at least {step.similar:g}"
            )


def chapter(step: spec.Dedup, at: RowStep) -> Chapter:  # noqa: ARG001 - the row names its twin
    """Tell which row a dropped one repeats."""
    if not at.reasons:
        return Chapter()
    twin, similarity = at.row["twin"], at.row["similarity"]
    if is_reference(twin or ""):
        return Chapter(value={"there before": twin, "similarity": similarity})
    repeated = at.twin(at.reasons[0]) if twin else None
    return Chapter(value={"similarity": similarity}, twin=repeated)


VERB = Verb(spec.Dedup, bind, makes, needs, describe, chapter)
