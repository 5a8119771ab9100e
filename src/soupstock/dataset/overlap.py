"""Compare datasets whose fine-tunes are to be merged: what they share, and how they differ.

Rows that all of them have (the anchor) are counted apart from rows that two share by accident.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import numpy as np
import polars as pl

from soupstock.artifacts.overlap import (
    CorpusRecord,
    OverlapRecord,
    PairRecord,
    SharedRowRecord,
    SharedRowsRecord,
    SystemRecord,
)
from soupstock.dataset.corpus import Corpus
from soupstock.dataset.overlap_warnings import warnings_of
from soupstock.errors import MistakeError
from soupstock.similarity.cosine import Embedder
from soupstock.similarity.cross_duplicates import (
    CrossMatches,
    Flags,
    cosine_matches,
    minhash_matches,
)
from soupstock.similarity.minhash import Integers, digest, normalized
from soupstock.similarity.vocabulary import Vocabulary, divergence, vocabulary
from soupstock.spec.pruning import DEFAULT_THRESHOLDS

MOST = 0.01
"""The largest share of a dataset's rows that may overlap without a warning."""

FEWEST_WITH_ANCHOR = 3
"""The number of datasets from which the rows that all have count as an anchor."""

_EXAMPLES = 3
_EXCERPT = 160
_DIGITS = 6
_LISTED = 5


@dataclass(frozen=True)
class _Pool:
    """The different texts of all datasets."""

    texts: pl.Series
    first: Integers
    """Each text's first row in each dataset (texts by datasets); -1 if it has none."""
    own: Sequence[Integers]
    """For each dataset the texts of its rows; -1 if a row has none."""
    prompts: Sequence[Integers]
    """For each dataset the prompts of its rows; -1 if a row has none."""
    halves: Flags
    """Which half each text is in if a dataset is split in two: by its content."""
    anchor: Flags
    """Which texts are in the anchor."""

    def skill(self, which: int) -> Flags:
        """Say which rows of a dataset are outside the anchor."""
        texts = self.own[which]
        is_skill = np.ones(len(texts), bool)
        is_skill[texts >= 0] = ~self.anchor[texts[texts >= 0]]
        return is_skill


@dataclass(frozen=True)
class _Similar:
    """Which texts outside the anchor are similar."""

    near: CrossMatches
    meaning: CrossMatches | None


def overlap(
    corpora: Sequence[Corpus],
    *,
    anchor: Corpus | None = None,
    embedder: Embedder | None = None,
    most: float = MOST,
) -> OverlapRecord:
    """Compare datasets; raises MistakeError.

    The anchor is the rows of `anchor` that any of them has; without it, the rows that three or more
    datasets all have.
    """
    if len(corpora) < 2:  # noqa: PLR2004
        raise MistakeError("an overlap is between two datasets or more")
    pool = _pool(corpora, anchor)
    similar = _similar(pool, embedder)
    words = [_words(pool, which) for which in range(len(corpora))]
    pairs = list(combinations(range(len(corpora)), 2))
    ways = [way for pair in pairs for way in (pair, pair[::-1])]
    found = OverlapRecord(
        datasets=tuple(
            _corpus_record(one, which, pool, words) for which, one in enumerate(corpora)
        ),
        anchor=_named(anchor, pool),
        anchor_rows=int(pool.anchor.sum()),
        crossings=tuple(_crossing(corpora, pool, similar, *way) for way in ways),
        apart=tuple(_apart(corpora, pool, words, *pair) for pair in pairs),
        most=most,
    )
    return found.model_copy(update={"warnings": tuple(warnings_of(found))})


def _pool(corpora: Sequence[Corpus], anchor: Corpus | None) -> _Pool:
    names: dict[bytes, int] = {}
    prompts: dict[bytes, int] = {}
    texts: list[str] = []
    own = [_numbered(corpus.texts, names, texts) for corpus in corpora]
    numbers = [_numbered(corpus.prompts, prompts, []) for corpus in corpora]
    first = np.full((len(texts), len(corpora)), -1, np.int64)
    for which, of_rows in enumerate(own):
        rows = np.flatnonzero(of_rows >= 0)[::-1]
        first[of_rows[rows], which] = rows
    halves = np.array([blake2b(name, digest_size=1).digest()[0] & 1 for name in names], bool)
    series = pl.Series(texts, dtype=pl.String)
    return _Pool(series, first, own, numbers, halves, _anchored(first, names, anchor))


def _numbered(texts: pl.Series, names: dict[bytes, int], known: list[str]) -> Integers:
    """Number texts by their content, and add the new ones to `known`."""
    numbers = np.full(len(texts), -1, np.int64)
    for row, text in enumerate(texts):
        if text is not None:
            before = len(names)
            numbers[row] = names.setdefault(digest(normalized(text)), before)
            if len(names) > before:
                known.append(text)
    return numbers


def _anchored(first: Integers, names: Mapping[bytes, int], anchor: Corpus | None) -> Flags:
    """Say which of the datasets' texts are in the anchor."""
    if anchor is None:
        # Rows that two datasets share may be an anchor or an accident.
        is_anchor = first.shape[1] >= FEWEST_WITH_ANCHOR
        in_all: Flags = np.all(first >= 0, axis=1) & is_anchor
        return in_all
    found = (names.get(digest(normalized(text))) for text in anchor.texts.drop_nulls())
    flags = np.zeros(len(first), bool)
    flags[[number for number in found if number is not None]] = True
    return flags


def _similar(pool: _Pool, embedder: Embedder | None) -> _Similar:
    outside = np.flatnonzero(~pool.anchor)
    texts, member = pool.texts.gather(outside), pool.first[outside] >= 0
    near = _spread(minhash_matches(texts, member, DEFAULT_THRESHOLDS["minhash"]), outside, pool)
    if embedder is None or not len(outside):
        return _Similar(near, None)
    meaning = cosine_matches(
        embedder.embed(texts.to_list()), member, DEFAULT_THRESHOLDS["semantic"]
    )
    return _Similar(near, _spread(meaning, outside, pool))


def _spread(found: CrossMatches, outside: Integers, pool: _Pool) -> CrossMatches:
    """Turn what was found among the texts `outside` into numbers of all texts."""
    spread = CrossMatches.nothing(pool.first.shape)
    if outside.size:
        spread.twin[outside] = np.where(found.twin < 0, -1, outside[found.twin])
        spread.similarity[outside] = found.similarity
    return spread


def _words(pool: _Pool, which: int) -> Vocabulary:
    texts = pool.own[which][pool.skill(which)]
    texts = texts[texts >= 0]
    return vocabulary(pool.texts.gather(texts), pool.halves[texts])


def _corpus_record(
    corpus: Corpus, which: int, pool: _Pool, words: Sequence[Vocabulary]
) -> CorpusRecord:
    within = words[which].within
    frequent = sorted(corpus.systems.items(), key=lambda one: (-one[1], one[0] or ""))
    there = pool.own[which][~pool.skill(which)]
    return CorpusRecord(
        name=corpus.label,
        rows=corpus.rows,
        anchor=len(there),
        anchor_missing=int(pool.anchor.sum()) - len(np.unique(there)),
        system_prompts=len(corpus.systems),
        systems=tuple(SystemRecord(text=text, rows=rows) for text, rows in frequent[:_LISTED]),
        shapes=dict(sorted(corpus.shapes.items(), key=lambda one: (-one[1], one[0]))),
        within=None if within is None else round(within, _DIGITS),
    )


def _named(anchor: Corpus | None, pool: _Pool) -> str | None:
    if anchor is not None:
        return f"the rows of {anchor.label}"
    return "the rows that all have" if pool.anchor.any() else None


def _crossing(
    corpora: Sequence[Corpus], pool: _Pool, similar: _Similar, one: int, other: int
) -> SharedRowsRecord:
    """Count the rows of `one` that are in `other`, each only in the first way that holds."""
    rows = np.flatnonzero(pool.skill(one))
    ways = _ways(pool, similar, pool.own[one][rows], other)
    theirs = pool.prompts[other][pool.skill(other)]
    asked = np.isin(pool.prompts[one][rows], theirs[theirs >= 0])
    overlapping = int(np.logical_or.reduce([asked, *(flags for flags, _ in ways.values())]).sum())
    counts = {way: int(flags.sum()) for way, (flags, _) in ways.items()}
    return SharedRowsRecord(
        of=corpora[one].label,
        within=corpora[other].label,
        rows=len(rows),
        same=counts["same"],
        near=counts["near"],
        meaning=counts.get("meaning"),
        prompts=int(asked.sum()),
        overlapping=overlapping,
        share=round(overlapping / max(1, len(rows)), _DIGITS),
        examples=tuple(_examples(pool, ways, one, rows, other)),
    )


def _ways(
    pool: _Pool, similar: _Similar, texts: Integers, other: int
) -> dict[str, tuple[Flags, CrossMatches]]:
    """Say for each way which rows are in a dataset, and which rows there they resemble."""
    itself = CrossMatches.nothing(pool.first.shape)
    there = pool.first[:, other] >= 0
    itself.note(other, np.flatnonzero(there), np.flatnonzero(there), np.ones(int(there.sum())))
    ways: dict[str, tuple[Flags, CrossMatches]] = {}
    left = texts >= 0
    for way, crossed in (("same", itself), ("near", similar.near), ("meaning", similar.meaning)):
        if crossed is not None:
            flags = left.copy()
            flags[left] = crossed.twin[texts[left], other] >= 0
            ways[way] = (flags, crossed)
            left = left & ~flags
    return ways


def _examples(
    pool: _Pool,
    ways: Mapping[str, tuple[Flags, CrossMatches]],
    one: int,
    rows: Integers,
    other: int,
) -> Iterator[SharedRowRecord]:
    for way, (flags, crossed) in ways.items():
        for row in rows[np.flatnonzero(flags)[:_EXAMPLES]].tolist():
            text = int(pool.own[one][row])
            yield SharedRowRecord.model_validate(
                {
                    "kind": way,
                    "row": row + 1,
                    "twin": int(pool.first[crossed.twin[text, other], other]) + 1,
                    "similarity": round(float(crossed.similarity[text, other]), _DIGITS),
                    "text": pool.texts[text][:_EXCERPT],
                }
            )


def _apart(
    corpora: Sequence[Corpus], pool: _Pool, words: Sequence[Vocabulary], one: int, other: int
) -> PairRecord:
    distance = divergence(words[one].whole, words[other].whole)
    own, others = corpora[one].sources, corpora[other].sources
    return PairRecord(
        one=corpora[one].label,
        other=corpora[other].label,
        words=None if distance is None else round(distance, _DIGITS),
        sources=None if own is None or others is None else len(own & others),
        held_out=_crossed_splits(corpora, pool, one, other),
    )


def _crossed_splits(corpora: Sequence[Corpus], pool: _Pool, one: int, other: int) -> int:
    """Count the texts that are held out in one dataset and trained on in the other."""
    held, trained = (
        [set(pool.own[which][corpora[which].held_out.to_numpy() == flag]) for which in (one, other)]
        for flag in (True, False)
    )
    return len(((held[0] & trained[1]) | (held[1] & trained[0])) - {-1})
