"""Find the texts that repeat an earlier one: exactly, nearly, or in what they mean.

Knows texts alone: which column they come from, and what becomes of their rows, is not decided here.
"""

from typing import Literal, NamedTuple, assert_never

import numpy as np
import polars as pl

from soupstock.errors import MistakeError
from soupstock.similarity.buckets import (
    BucketMembers,
    Compare,
    NearDuplicates,
    Similarities,
    find_duplicates,
    shared_buckets,
)
from soupstock.similarity.cosine import Embedder, cosine_duplicates
from soupstock.similarity.minhash import (
    Bands,
    Hashes,
    Integers,
    Shingles,
    band_keys,
    concatenated,
    digest,
    jaccard,
    normalized,
    set_hashes,
    shingles,
    size_ranges,
    sorted_sets,
)

Method = Literal["exact", "minhash", "semantic"]

_CHUNK_CHARACTERS = 1 << 19


class TextDuplicates(NamedTuple):
    """For each text the one that it repeats, its twin; all null where the text itself stays."""

    twin: pl.Series
    """The index of the text that it repeats, which stays (UInt32); null where `against` is not."""

    similarity: pl.Series
    """How similar the two are, 0 to 1 (Float64)."""

    against: pl.Series
    """The index in `against` of the text that it repeats (UInt32)."""


def duplicates(  # noqa: PLR0913 - how texts are compared, and with what
    texts: pl.Series,
    method: Method = "minhash",
    threshold: float = 0.7,
    *,
    scores: pl.Series | None = None,
    against: pl.Series | None = None,
    embedder: Embedder | None = None,
) -> TextDuplicates:
    """Go through texts in order, and find each that repeats an earlier one that stayed.

    With `scores` the order is theirs: highest first, null and NaN last. Among equal scores, and
    without scores, it is that of the texts. So whether a text stays depends only on those before
    it: the first of a kind always stays, and texts can be added at the end. The texts of `against`
    come before all others and always stay. A text's twin is the most similar of the texts that
    stayed, and the first of them if several are equally similar; copies of one text share its
    twin. Null repeats nothing.

    `exact` compares texts after NFKC, case folding and normalising of spaces. `minhash` compares
    the sets of their word 3-grams (of words if there are fewer than three; of the whole text if
    there are none; in scripts without spaces a letter is a word). MinHash bands (Broder 1997; 25
    bands of 5 at the default threshold) find which pairs are compared, and each is then compared
    exactly: no text is dropped below `threshold`. At the threshold about one duplicate in a hundred
    is missed; of more similar ones hardly any. `semantic` compares the cosine of embeddings, less
    what all embeddings have in common. If the embedder does not know this common part, it is the
    mean of these embeddings, and texts added at the end can change it a little.

    Raises:
        MistakeError: The series does not hold texts.
        ValueError: `semantic` has no embedder, or it did not return a vector for each text.
    """
    own = _strings(texts)
    order = _order(own, scores)
    earlier = pl.Series(dtype=pl.String) if against is None else _strings(against)
    earlier_rows = _not_null(earlier)
    settled = len(earlier_rows)
    together = pl.concat([earlier.gather(earlier_rows), own.gather(order)])
    match method:
        case "exact":
            found = _exact(together, settled)
        case "minhash":
            found = _near(together, settled, threshold)
        case "semantic":
            found = _semantic(together, settled, threshold, embedder)
        case _:
            assert_never(method)
    return _by_index(found, earlier_rows, order, len(texts))


def _strings(texts: pl.Series) -> pl.Series:
    if texts.dtype not in (pl.String, pl.Null, pl.Categorical, pl.Enum):
        raise MistakeError(f"dedup compares texts, and {texts.name} is {texts.dtype}")
    return texts.cast(pl.String).rename("")


def _not_null(texts: pl.Series) -> Integers:
    return texts.is_not_null().arg_true().to_numpy().astype(np.int64)


def _order(texts: pl.Series, scores: pl.Series | None) -> Integers:
    """Return the indices of the texts that are not null, in the order in which they are kept."""
    present = _not_null(texts)
    if scores is None:
        return present
    keys = scores.cast(pl.Float64).fill_nan(None).fill_null(float("-inf")).to_numpy()[present]
    return present[np.argsort(-keys, kind="stable")]


def _by_index(
    found: NearDuplicates, earlier: Integers, order: Integers, height: int
) -> TextDuplicates:
    """Return what was found in the indices of the texts, and of those of `against`."""
    settled = len(earlier)
    own, similarity = found.twin[settled:], found.similarity[settled:]
    names = np.concatenate((earlier, order))
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
    return TextDuplicates(**made)


def _exact(texts: pl.Series, settled: int) -> NearDuplicates:
    first: dict[bytes, int] = {}
    stays = []
    for start, end in size_ranges(_sizes(texts), _CHUNK_CHARACTERS):
        digests = map(digest, map(normalized, texts[start:end].to_list()))
        stays += [first.setdefault(own, row) for row, own in enumerate(digests, start)]
    twin = np.array(stays, np.int64)
    twin[twin == np.arange(len(twin))] = -1
    twin[:settled] = -1
    return NearDuplicates(twin, (twin >= 0).astype(np.float64))


def _sizes(texts: pl.Series) -> Integers:
    return texts.str.len_chars().to_numpy().astype(np.int64) + 1


def _near(texts: pl.Series, settled: int, threshold: float) -> NearDuplicates:
    if texts.is_empty():
        return NearDuplicates.nothing(0)
    keys, identity = _hashed(texts, Bands.finding(threshold))
    # Copies are found without a comparison, however many there are.
    _, first, copies = np.unique(identity, return_index=True, return_inverse=True)
    originals = np.sort(first)
    members = shared_buckets(keys, originals)
    del keys
    # Only texts that share a bucket are compared.
    shares = np.zeros(len(originals), bool)
    shares[members.rows] = True
    candidates = originals[shares]
    members = BucketMembers(members.buckets, (np.cumsum(shares) - 1)[members.rows])
    compare = _comparison(_sets(texts.gather(candidates)), threshold)
    known = int(np.searchsorted(candidates, settled))
    among = find_duplicates(members, len(candidates), known, compare)
    return among.with_copies(candidates, first[copies], settled)


def _semantic(
    texts: pl.Series, settled: int, threshold: float, embedder: Embedder | None
) -> NearDuplicates:
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
    among = cosine_duplicates(vectors, threshold, known, embedder.mean)
    return among.with_copies(originals, first, settled)


def _hashed(texts: pl.Series, bands: Bands) -> tuple[Hashes, Hashes]:
    """Hash each text's bands, and all its shingles together."""
    keys = np.empty((bands.number, len(texts)), np.uint64)
    identity = np.empty(len(texts), np.uint64)
    for start, end in size_ranges(_sizes(texts), _CHUNK_CHARACTERS):
        sets = _shingles(texts, start, end)
        keys[:, start:end] = band_keys(sets, bands)
        identity[start:end] = set_hashes(sets)
    return keys, identity


def _sets(texts: pl.Series) -> Shingles:
    """Hash each text's shingles, sorted and each once."""
    chunks = size_ranges(_sizes(texts), _CHUNK_CHARACTERS)
    return concatenated([sorted_sets(_shingles(texts, start, end)) for start, end in chunks])


def _shingles(texts: pl.Series, start: int, end: int) -> Shingles:
    return shingles([normalized(text) for text in texts[start:end].to_list()])


def _comparison(sets: Shingles, threshold: float) -> Compare:
    sizes = sets.sizes

    def compare(one: Integers, other: Integers) -> Similarities:
        similarity = np.zeros(len(one))
        small, large = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
        # A set that is much smaller than the other cannot reach the threshold.
        near = np.flatnonzero(small >= threshold * large)
        similarity[near] = jaccard(sets, one[near], other[near])
        similarity[similarity < threshold] = 0
        return similarity

    return compare
