"""The figures of a run's rows: scores, lengths, languages, sources, duplicates.

Draws nothing and asks no model. Reads one column at a time, so a million rows fit in memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from soupstock import spec
from soupstock.judging.rubric import Rubric
from soupstock.reports.columns import ColumnRoles, Twins, fields_of
from soupstock.reports.page.uncertain import UncertainRows, uncertain_rows
from soupstock.rows.row import KEPT
from soupstock.steps.chapter import Repeat
from soupstock.text.measures import derive

LANGUAGE_TEXTS = 5000
"""How many texts of a column, from its first one, have their language identified."""

_MOST_BINS = 20
_MOST_VALUES = 20
_MOST_COLUMNS = 12
_SHOWN_CLUSTERS = 10
_SHOWN_REPEATS = 3
_COUNTABLE = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class Bin:
    """Values from `low` up to, but not including, `high`; None if there is no upper end."""

    low: float
    high: float | None
    kept: int
    dropped: int


@dataclass(frozen=True)
class Distribution:
    """How a column's numbers are distributed, over rows kept in the end and dropped rows."""

    column: str
    bins: Sequence[Bin]
    values: int
    mean: float
    low: float
    """A tenth of the values is at most this."""
    median: float
    high: float
    """A tenth of the values is at least this."""
    limits: Sequence[tuple[str, float]] = ()
    """The limits that the pipeline's filters set: `min` or `max`, and the number."""


@dataclass(frozen=True)
class Share:
    """How many rows have one value."""

    value: str
    kept: int
    dropped: int


@dataclass(frozen=True)
class Shares:
    """A column's values, the most frequent first; `seen` rows were counted."""

    column: str
    shares: Sequence[Share]
    seen: int


@dataclass(frozen=True)
class Criterion:
    """How often a judge gave each level of a criterion, the worst first."""

    name: str
    question: str
    levels: Sequence[Share]


@dataclass(frozen=True)
class JudgeFigures:
    """A judge's scores and levels."""

    scores: Distribution
    criteria: Sequence[Criterion]
    spreads: Sequence[Distribution] = ()
    """Scores for criteria without levels: rules, and what several judges found together."""
    uncertain: UncertainRows | None = None


@dataclass(frozen=True)
class Cluster:
    """A row that passed, and the rows that duplicate it: all are counted, some are shown."""

    stayed: Repeat
    size: int
    repeats: Sequence[Repeat]


@dataclass(frozen=True)
class Findings:
    """All figures that a report takes from the rows."""

    judged: Sequence[JudgeFigures] = ()
    lengths: Sequence[Distribution] = ()
    languages: Sequence[Shares] = ()
    sources: Sequence[Shares] = ()
    clusters: Sequence[Cluster] = ()
    """The largest ones, the largest first."""
    cluster_count: int = 0
    repeat_count: int = 0


def find(rows: pl.LazyFrame, index: pl.DataFrame, columns: ColumnRoles) -> Findings:
    """Compute all figures."""
    counted, worded = _kinds(rows, columns)
    paths = [*columns.texts(), *worded][:_MOST_COLUMNS]
    # A row that duplicates a reference (an earlier file or run) duplicates no row of this run.
    index = index.with_columns(
        twin=pl.when(pl.col("twin").is_in(index["id"].implode())).then("twin")
    )
    clusters = _clusters(rows, index, columns)
    repeats = index["twin"].drop_nulls()
    return Findings(
        judged=[found for name in columns.judged for found in _judge_figures(rows, columns, name)],
        lengths=[found for path in paths for found in _lengths(rows, columns, path)],
        languages=[found for path in paths for found in _languages(rows, columns, path)],
        sources=[_shares(rows, columns, name) for name in counted[:_MOST_COLUMNS]],
        clusters=clusters,
        cluster_count=repeats.n_unique(),
        repeat_count=repeats.len(),
    )


def _kinds(rows: pl.LazyFrame, columns: ColumnRoles) -> tuple[list[str], list[str]]:
    """Return the source's columns with few values, and its columns of texts."""
    plain = [
        name
        for name in columns.source
        if (dtype := columns.schema[name]).is_integer() or dtype in _COUNTABLE
    ]
    if not plain:
        return [], []
    counts = rows.select(
        pl.len().alias("rows"),
        *(columns.refer(name).n_unique().alias(f"{n}") for n, name in enumerate(plain)),
    ).collect()
    total, *distinct = counts.row(0)
    counted = [
        name
        for name, values in zip(plain, distinct, strict=True)
        if values <= _MOST_VALUES and 2 * values <= total
    ]
    texts = [n for n in plain if n not in counted and columns.schema[n] == pl.String()]
    return counted, texts


def _shares(rows: pl.LazyFrame, columns: ColumnRoles, name: str) -> Shares:
    values = rows.select(value=columns.refer(name).cast(pl.String), kept=KEPT)
    return _count_values(name, values.collect())


def _count_values(name: str, values: pl.DataFrame) -> Shares:
    """Count rows by value, the most frequent first."""
    counts = (
        values.group_by("value")
        .agg(kept=pl.col("kept").sum(), rows=pl.len())
        .sort("rows", "value", descending=[True, False], nulls_last=True)
        .head(_MOST_VALUES)
    )
    shares = [
        Share("(none)" if value is None else value or "(empty)", kept, rows - kept)
        for value, kept, rows in counts.iter_rows()
    ]
    return Shares(name, shares, values.height)


def _judge_figures(rows: pl.LazyFrame, columns: ColumnRoles, name: str) -> Iterator[JudgeFigures]:
    if "criteria" not in fields_of(columns.schema[name]):
        yield from _comparison_figures(rows, columns, name)
        return
    names = list(fields_of(fields_of(columns.schema[name])["criteria"]))
    verdict = columns.refer(name).struct
    inner = [verdict.field("criteria").struct.field(one).struct for one in names]
    levels = [one.field("level").alias(f"{n}") for n, one in enumerate(inner)]
    scored = [one.field("score").alias(f"score {n}") for n, one in enumerate(inner)]
    found = (
        rows.select(verdict.field("score").alias("value"), KEPT.alias("kept"), *levels, *scored)
        .drop_nulls("value")
        .collect()
    )
    if found.is_empty():
        return
    edges = [n / _MOST_BINS for n in range(_MOST_BINS)]
    scores = _distribution(name, found, edges, 1.0, _limits(columns, "score", name))
    rubric = columns.judged[name]
    spreads = [
        _distribution(f"{name}: {one}", found.select("kept", value=f"score {n}"), edges, 1.0, ())
        for n, one in enumerate(names)
        if found[f"{n}"].is_null().all()
    ]
    criteria = [
        _criterion(found, n, one, rubric)
        for n, one in enumerate(names)
        if not found[f"{n}"].is_null().all()
    ]
    yield JudgeFigures(scores, criteria, spreads, uncertain_rows(rows, columns, name))


def _comparison_figures(
    rows: pl.LazyFrame, columns: ColumnRoles, name: str
) -> Iterator[JudgeFigures]:
    """Yield the distribution of the margins between the best and the worst answers."""
    margin = columns.refer(name).struct.field("margin").alias("value")
    found = rows.select(margin, KEPT.alias("kept")).drop_nulls("value").collect()
    if not found.is_empty():
        edges = [n / _MOST_BINS for n in range(_MOST_BINS)]
        limits = _limits(columns, "number", f"{name}.margin")
        yield JudgeFigures(_distribution(f"{name}.margin", found, edges, 1.0, limits), [])


def _criterion(found: pl.DataFrame, place: int, name: str, rubric: Rubric | None) -> Criterion:
    counts = {
        level: (kept, rows)
        for level, kept, rows in found.drop_nulls(f"{place}")
        .group_by(f"{place}")
        .agg(kept=pl.col("kept").sum(), rows=pl.len())
        .iter_rows()
    }
    asked = rubric.judged.get(name) if rubric else None
    words = asked.levels if asked else [""] * max(counts, default=0)
    levels = []
    for level, word in enumerate(words, 1):
        kept, rows = counts.get(level, (0, 0))
        levels.append(Share(f"{level}: {word}" if word else f"{level}", kept, rows - kept))
    return Criterion(name, asked.question if asked else "", levels)


def _lengths(rows: pl.LazyFrame, columns: ColumnRoles, path: str) -> Iterator[Distribution]:
    found = _texts(rows, columns, path).select(
        "kept", value=pl.col("text").str.strip_chars().str.len_chars().cast(pl.Int64)
    )
    lengths = found.collect()
    if lengths.is_empty():
        return
    low, high = lengths["value"].min(), lengths["value"].quantile(0.99)
    edges = _edges(float(str(low)), float(high or 0))
    yield _distribution(path, lengths, edges, None, _limits(columns, "length", path))


def _languages(rows: pl.LazyFrame, columns: ColumnRoles, path: str) -> Iterator[Shares]:
    texts = _texts(rows, columns, path).head(LANGUAGE_TEXTS).collect()
    if texts.is_empty():
        return
    identified = derive(texts, [pl.col("text::language")])
    language = pl.col("text::language").fill_null("(unknown)")
    yield _count_values(path, identified.select(value=language, kept="kept"))


def _texts(rows: pl.LazyFrame, columns: ColumnRoles, path: str) -> pl.LazyFrame:
    """Return a column's texts one by one, without nulls."""
    texts = rows.select(text=columns.refer(path), kept=KEPT)
    if columns.is_list(path):
        texts = texts.explode("text")
    return texts.drop_nulls("text")


def _edges(low: float, high: float) -> list[float]:
    """Divide a range into at most twenty bins whose lower ends are round whole numbers."""
    rough = max(1.0, (high - low) / (_MOST_BINS - 1))
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    start = math.floor(low / step) * step
    return [start + n * step for n in range(math.floor((high - start) / step) + 1)]


def _distribution(
    name: str,
    found: pl.DataFrame,
    edges: Sequence[float],
    end: float | None,
    limits: Sequence[tuple[str, float]],
) -> Distribution:
    """Count the frame's `value` by bin; values beyond the last bin count in it."""
    values = found["value"].cast(pl.Float64)
    # A score is a quotient, so 0.15 may be slightly below its bin.
    place = pl.Series(edges).search_sorted(values + 1e-9, side="right").cast(pl.Int64) - 1
    counts = found.select("kept").with_columns(place=place).group_by("place", "kept").len()
    at = {(place, kept): rows for place, kept, rows in counts.iter_rows()}
    ends = [*edges[1:], end]
    bins = [
        Bin(low, high, at.get((n, True), 0), at.get((n, False), 0))
        for n, (low, high) in enumerate(zip(edges, ends, strict=True))
    ]
    tenth, median, ninth = (float(values.quantile(q, "linear") or 0) for q in (0.1, 0.5, 0.9))
    mean = math.fsum(values) / values.len()
    return Distribution(name, bins, values.len(), mean, tenth, median, ninth, limits)


def _limits(columns: ColumnRoles, filter_name: str, path: str) -> list[tuple[str, float]]:
    """List the limits that the pipeline's filters of this name set to a column."""
    uses = [u for s in columns.pipeline.steps if isinstance(s, spec.Filter) for u in s.filter]
    return [
        (end, float(value))
        for use in uses
        if use.name == filter_name and use.arguments.get("column") == path
        for end in ("min", "max")
        if isinstance(value := use.arguments.get(end), int | float)
    ]


def _clusters(rows: pl.LazyFrame, index: pl.DataFrame, columns: ColumnRoles) -> list[Cluster]:
    groups = (
        index.drop_nulls("twin")
        .sort("number")
        .group_by("twin", maintain_order=True)
        .agg(
            pl.len().alias("size"),
            pl.col("dropped_by").list.first().first().alias("reason"),
            pl.col("id").head(_SHOWN_REPEATS).alias("repeats"),
        )
        .sort("size", descending=True, maintain_order=True)
        .head(_SHOWN_CLUSTERS)
    )
    ids = [*groups["twin"], *groups["repeats"].explode().drop_nulls()]
    texts = Twins(rows, index, columns, ids)
    return [
        Cluster(
            texts.repeat(twin, reason),
            size,
            [texts.repeat(repeat, reason) for repeat in repeats],
        )
        for twin, size, reason, repeats in groups.iter_rows()
    ]
