"""Turn the answers of a review into labels that a judge is compared with."""

from collections.abc import Mapping, Sequence

import polars as pl

from soupstock.judging.labels import Label, Labels
from soupstock.review.answers import KEEP, ReviewAnswer, ReviewAnswers


def labels_of(
    answers: ReviewAnswers, rows: pl.DataFrame, criteria: Mapping[str, Sequence[str]]
) -> Labels:
    """Return the labels of the rows that were drawn; `rows` have `id` and `review`."""
    drawn = rows.filter(pl.col("review").struct.field("chance").is_not_null())
    given = [
        _label(row, one, criteria)
        for row, review in drawn.select("id", "review").iter_rows()
        for one in answers.by_key.get(review["key"], ())
        if one.status == "submitted" and (one.verdict is not None or one.criteria)
    ]
    return Labels(given, [])


def _label(row: str, one: ReviewAnswer, criteria: Mapping[str, Sequence[str]]) -> Label:
    levels = {
        name: criteria[name].index(words) + 1
        for name, words in one.criteria.items()
        # A level whose words changed since is not the same level.
        if name in criteria and words in criteria[name]
    }
    keep = None if one.verdict is None else one.verdict == KEEP
    return Label(row, one.annotator, keep, levels)


def is_chance_sample(strategy: object, rows: pl.DataFrame, judged: pl.Expr) -> bool:
    """Tell whether all rows with a verdict were drawn with the same probability.

    They were not if rows were drawn by uncertainty or by stratum, or if judged rows were dropped
    before the review.
    """
    before = pl.col("dropped_by").list.first().str.starts_with("review: ").fill_null(value=True)
    return strategy == "random" and rows.filter(judged & ~before).is_empty()
