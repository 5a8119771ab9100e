"""What each column of a run's table holds, and which row repeats which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest
from soupstock.judging.rubric import Rubric
from soupstock.review.apply import original
from soupstock.rows.row import column
from soupstock.steps import made_by
from soupstock.steps.chapter import Repeat, read_rubric


@dataclass(frozen=True)
class ColumnRoles:
    """What each column of a run's table holds."""

    pipeline: spec.Pipeline
    schema: Mapping[str, pl.DataType]
    source: tuple[str, ...]
    """The columns of the source."""
    generated: tuple[str, ...]
    judged: Mapping[str, Rubric | None]
    """The judges' columns with their rubrics; None for a rubric that can no longer be read."""

    def refer(self, path: str) -> pl.Expr:
        """Refer to a column, or to a field in a generated one.

        It refers by position, because polars reads a column called `*` as all columns.
        """
        if path in self.schema:
            return pl.nth(list(self.schema).index(path))
        return column(path)

    def is_list(self, path: str) -> bool:
        """Whether a column, or a field in a generated one, holds several values a row."""
        return isinstance(self._type(path), pl.List)

    def is_text(self, path: str) -> bool:
        """Whether a column, or a field in a generated one, holds one text a row."""
        name = path if path in self.schema else path.partition(".")[0]
        return name in self.schema and self._type(path) == pl.String()

    def _type(self, path: str) -> object:
        if path in self.schema:
            return self.schema[path]
        name, inner = path.split(".", 1)
        return dict(fields_of(self.schema[name])).get(inner)

    def texts(self) -> Iterator[str]:
        """Yield the generated texts, lists of texts and texts in fields, by path."""
        for name in self.generated:
            inner = fields_of(self.schema[name])
            for path in [name, *(f"{name}.{field}" for field in inner)]:
                if self._type(path) in (pl.String(), pl.List(pl.String())):
                    yield path


def fields_of(dtype: object) -> Mapping[str, object]:
    """Return a struct's fields and their types; none for any other type."""
    return {f.name: f.dtype for f in dtype.fields} if isinstance(dtype, pl.Struct) else {}


def column_roles(manifest: Manifest, schema: Mapping[str, pl.DataType]) -> ColumnRoles:
    """Sort a table's columns by the pipeline that made them."""
    pipeline = manifest.spec
    steps = pipeline.steps
    each = [made_by(step) for step in steps]
    generated = [name for made in each if made.is_written for name in made.main]
    judges = {s.judge: s.rubric for s in steps if isinstance(s, spec.Judge)}
    is_reviewed = any(isinstance(step, spec.Review) for step in steps)
    corrected = map(original, schema) if is_reviewed else ()
    made = {*(name for one in each for name in one.every), *corrected, *spec.RESERVED}
    return ColumnRoles(
        pipeline=pipeline,
        schema=schema,
        source=tuple(name for name in schema if name not in made),
        generated=tuple(name for name in generated if name in schema),
        judged={n: read_rubric(manifest, rubric) for n, rubric in judges.items() if n in schema},
    )


def row_index(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return each row's number (from 1), id, twin, similarity and reasons."""
    columns = rows.select("id", "twin", "similarity", "dropped_by")
    return columns.with_row_index("number", offset=1).collect()


class Twins:
    """The texts of some rows that dedup compared."""

    def __init__(
        self, rows: pl.LazyFrame, index: pl.DataFrame, columns: ColumnRoles, ids: Sequence[str]
    ) -> None:
        steps = [s for s in columns.pipeline.steps if isinstance(s, spec.Dedup)]
        # The turns of one role in a conversation are not a column.
        steps = [s for s in steps if columns.is_text(s.dedup)]
        self._reasons = {f"dedup: {step.dedup}": n for n, step in enumerate(steps)}
        wanted = pl.Series(list(dict.fromkeys(ids)), dtype=pl.String)
        texts = (columns.refer(s.dedup).alias(f"{n}") for n, s in enumerate(steps))
        found = rows.filter(pl.col("id").is_in(wanted.implode())).select("id", *texts)
        self._texts = {row[0]: row[1:] for row in found.collect().iter_rows()}
        some = index.filter(pl.col("id").is_in(wanted.implode()))
        self._places = {
            row: (number, similarity)
            for row, number, similarity in some.select("id", "number", "similarity").iter_rows()
        }

    def repeat(self, row_id: str, reason: str) -> Repeat:
        """Return one of the rows, with the text that was compared for this reason."""
        number, similarity = self._places.get(row_id, (0, None))
        texts = self._texts.get(row_id, ())
        place = self._reasons.get(reason)
        text = texts[place] if place is not None and place < len(texts) else None
        return Repeat(number, text or "", similarity)
