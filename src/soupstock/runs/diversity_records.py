"""The manifest's records of how diverse the rows are that a run kept."""

from collections.abc import Iterator

import polars as pl

from soupstock.artifacts.dataset import DiversityRecord, TopicRecord
from soupstock.engine.plan import Plan
from soupstock.errors import MistakeError
from soupstock.inference.static_embeddings import StaticModel
from soupstock.rows.row import KEPT
from soupstock.rows.table import Table
from soupstock.similarity.diversity import Diversity, diversity, effective_number
from soupstock.similarity.duplicates import duplicates
from soupstock.steps.columns import check_texts
from soupstock.text.measures import read_texts

SAMPLE = 5000
"""The most texts of a column that are measured, sampled by the rows' ids."""

_MOST_COLUMNS = 6
_MOST_VALUES = 100
_LONGEST = 120
_DIGITS = 4
_SIMILAR = 0.7


def diversities(plan: Plan, table: Table) -> Iterator[DiversityRecord]:
    """Measure the columns of texts that the pipeline makes or compares."""
    rows = _sample(table)
    if rows.is_empty():
        return
    embedder = _embedder(plan)
    for path in list(_paths(plan))[:_MOST_COLUMNS]:
        texts = read_texts(rows, path).drop_nulls()
        if texts.is_empty():
            continue
        twins = duplicates(texts, "minhash", _SIMILAR).twin
        vectors = embedder.load().embed(texts.to_list()) if embedder else None
        found = diversity(texts.to_list(), 1 - twins.null_count() / texts.len(), vectors)
        yield _record(path, found, embedder.name if embedder else None)


def _sample(table: Table) -> pl.DataFrame:
    """Read the kept rows with the lowest ids; ids are hashes, so this is a random sample."""
    ids = table.scan().filter(KEPT).select("id").collect()["id"]
    chosen = ids.sort().head(SAMPLE)
    return table.scan().filter(pl.col("id").is_in(chosen.implode())).collect()


def _paths(plan: Plan) -> Iterator[str]:
    """Yield the columns of texts, each once."""
    paths = dict.fromkeys(path for step in plan.steps for path in step.texts)
    return (path for path in paths if _holds_texts(path, plan))


def _holds_texts(path: str, plan: Plan) -> bool:
    try:
        check_texts(path, plan.columns, None)
    except MistakeError:
        return False
    return True


def _embedder(plan: Plan) -> StaticModel | None:
    found = (getattr(step.bound, "embedder", None) for step in plan.steps)
    return next((one for one in found if isinstance(one, StaticModel)), None)


def _record(path: str, found: Diversity, embedder: str | None) -> DiversityRecord:
    one, two, three = (round(share, _DIGITS) for share in found.distinct)
    return DiversityRecord(
        column=path,
        texts=found.texts,
        distinct_1=one,
        distinct_2=two,
        distinct_3=three,
        compression=round(found.compression, 2),
        vendi=round(found.vendi, 1),
        embedder=embedder,
        opening=found.opening.words[:_LONGEST],
        opening_share=round(found.opening.share, _DIGITS),
        phrase=found.phrase.words[:_LONGEST],
        phrase_share=round(found.phrase.share, _DIGITS),
        repeats=round(found.repeats, _DIGITS),
        alarms=tuple(found.alarms()),
    )


def topics(plan: Plan, table: Table) -> Iterator[TopicRecord]:
    """Measure how even the values are, in source rows and kept rows, in columns of few values."""
    for name, dtype in plan.source.columns.items():
        if dtype not in (pl.String, pl.Boolean) and not dtype.is_integer():
            continue
        counts = (
            table.scan()
            .select(pl.nth(list(plan.columns).index(name)).alias("value"), KEPT.alias("kept"))
            .group_by("value")
            .agg(rows=pl.len(), kept=pl.col("kept").sum())
            .collect()
        )
        if 1 < counts.height <= _MOST_VALUES and 2 * counts.height <= counts["rows"].sum():
            yield TopicRecord(
                column=name,
                values=counts.height,
                drawn=round(effective_number(counts["rows"].sort()), 2),
                kept=round(effective_number(counts["kept"].sort()), 2),
            )
