"""What the answers say of all rows: shares that hold for the whole, and how far people agree."""

from collections.abc import Iterator, Sequence

import numpy as np

from soupstock.artifacts.judges import IntervalRecord
from soupstock.artifacts.review import AgreementRecord, ShareRecord
from soupstock.review.answers import KEEP, ReviewAnswer
from soupstock.stats.agreement import Agreement, alpha, kappa
from soupstock.stats.intervals import LEVEL, Floats, Interval, beta_quantile, times, unknown

_DIGITS = 4


def weighted_share(is_so: Sequence[bool], chances: Sequence[float]) -> Interval:
    """Return a share of all rows, from rows that were drawn with known chances.

    Each row counts as one over its chance (Hájek 1971). The interval is Jeffreys' for as many rows
    as those with unequal weights are worth: (Σw)² / Σw² (Kish 1965).
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
    """Say a share; None where nothing is answered."""
    if not is_so:
        return None
    found = weighted_share(is_so, chances)
    sentence = f"{what}: {found.percent()}, from {times(len(is_so), 'answered row')}."
    return ShareRecord(rows=len(is_so), share=_written(found), sentence=sentence)


def agreement_records(given: Sequence[ReviewAnswer]) -> Iterator[AgreementRecord]:
    """Say how far people agree on which rows to keep: Krippendorff's alpha; of two kappa, too."""
    said = [one for one in given if one.verdict is not None and one.status == "submitted"]
    people = sorted({one.annotator for one in said})
    keys = sorted({one.key for one in said})
    if len(people) < 2:  # noqa: PLR2004 - one agrees with nobody
        return
    keeps = {(one.annotator, one.key): float(one.verdict == KEEP) for one in said}
    ratings = [[keeps.get((person, key)) for key in keys] for person in people]
    if not any(sum(own[n] is not None for own in ratings) > 1 for n in range(len(keys))):
        return
    yield _record(alpha(ratings, metric="nominal"))
    if len(people) == 2:  # noqa: PLR2004 - kappa is of two
        yield _record(kappa(*ratings, levels=(0, 1)))


def _record(found: Agreement) -> AgreementRecord:
    return AgreementRecord(
        statistic=found.statistic,
        value=_written(found.interval),
        rows=found.rows,
        sentence=found.sentence(),
    )


def _written(found: Interval) -> IntervalRecord | None:
    """Write an interval; null where it is unknown."""
    if not found.is_known:
        return None
    limits = {name: round(getattr(found, name), _DIGITS) for name in ("estimate", "low", "high")}
    return IntervalRecord(**limits, level=found.level)
