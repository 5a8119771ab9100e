"""Statistics of a review: shares estimated for all rows, and how far people agree."""

from collections.abc import Iterator, Sequence

import numpy as np

from soupstock.artifacts.judges import IntervalRecord
from soupstock.artifacts.review import AgreementRecord, ShareRecord
from soupstock.review.answers import KEEP, ReviewAnswer
from soupstock.stats.agreement import Agreement, alpha, kappa
from soupstock.stats.intervals import LEVEL, Floats, Interval, beta_quantile, counted, unknown

_DIGITS = 4


def weighted_share(is_so: Sequence[bool], chances: Sequence[float]) -> Interval:
    """Estimate a share of all rows from rows that were drawn with known probabilities.

    Each row is weighted by one over its probability (Hájek 1971). The interval is Jeffreys' for the
    effective number of rows, (Σw)² / Σw² (Kish 1965).
    """
    if not is_so:
        return unknown(LEVEL)
    weights = 1 / np.asarray(chances, dtype=np.float64)
    values: Floats = np.asarray(is_so, dtype=np.float64)
    total = weights.sum()
    share, rows = float((weights * values).sum() / total), float(total**2 / (weights**2).sum())
    tail = (1 - LEVEL) / 2
    yes, no = share * rows, (1 - share) * rows
    low = beta_quantile(tail, yes + 0.5, no + 0.5) if any(is_so) else 0.0
    high = beta_quantile(1 - tail, yes + 0.5, no + 0.5) if not all(is_so) else 1.0
    return Interval(share, min(low, share), max(high, share), LEVEL)


def share_record(what: str, is_so: Sequence[bool], chances: Sequence[float]) -> ShareRecord | None:
    """Return the record of a share; None where no row is answered."""
    if not is_so:
        return None
    found = weighted_share(is_so, chances)
    sentence = f"{what}: {found.percent()}, from {counted(len(is_so), 'answered row')}."
    return ShareRecord(rows=len(is_so), share=_written(found), sentence=sentence)


def agreement_records(given: Sequence[ReviewAnswer]) -> Iterator[AgreementRecord]:
    """Return how far people agree: Krippendorff's alpha, and kappa for two people."""
    said = [one for one in given if one.verdict is not None and one.status == "submitted"]
    people = sorted({one.annotator for one in said})
    keys = sorted({one.key for one in said})
    if len(people) < 2:  # noqa: PLR2004 - agreement needs two
        return
    keeps = {(one.annotator, one.key): float(one.verdict == KEEP) for one in said}
    ratings = [[keeps.get((person, key)) for key in keys] for person in people]
    if not any(sum(own[n] is not None for own in ratings) > 1 for n in range(len(keys))):
        return
    yield _record(alpha(ratings, metric="nominal"))
    if len(people) == 2:  # noqa: PLR2004 - kappa needs exactly two
        yield _record(kappa(*ratings, levels=(0, 1)))


def _record(found: Agreement) -> AgreementRecord:
    return AgreementRecord(
        statistic=found.statistic,
        value=_written(found.interval),
        rows=found.rows,
        sentence=found.sentence(),
    )


def _written(found: Interval) -> IntervalRecord | None:
    """Return the record of an interval; None where it is unknown."""
    if not found.is_known:
        return None
    limits = {name: round(getattr(found, name), _DIGITS) for name in ("estimate", "low", "high")}
    return IntervalRecord(**limits, level=found.level)
