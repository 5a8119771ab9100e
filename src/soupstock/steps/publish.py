"""Shape what is left as a dataset's rows, and write them as Parquet shards. Pushes nothing."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, PartRecord, StepRecord
from soupstock.errors import MistakeError, SoupstockError, shown
from soupstock.rows import schema_types
from soupstock.rows.rows import AFTER, BEFORE, Columns, Row, dropped, failed
from soupstock.rows.splits import TRAIN, Sides, Splits, Texts, divided, groups, source_of, texts_of
from soupstock.rows.table import PART_ROWS, Table
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import type_at
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, located
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST
from soupstock.text.markdown import Markdown, code, joined

SHARD_GROUPS = 24
"""How many row groups, of PART_ROWS rows each, a shard holds at most."""

CONFIG = "default"
"""The name of a dataset's only configuration, and `data` its folder."""


@dataclass(frozen=True)
class Shape:
    """One way in which rows are published: by a schema, or some columns as they are."""

    name: str
    columns: Columns
    """The published columns and their types."""
    schema: type[BaseModel] | None = None

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return "data" if self.name == CONFIG else self.name

    def shaped(self, row: Row) -> Row:
        """Shape a row; raises pydantic's ValidationError.

        A row under way lacks engine's columns that a row at rest has; the schema sees no
        difference.
        """
        if self.schema is None:
            return {column: row.get(column) for column in self.columns}
        return self.schema.model_validate({**dict.fromkeys(AFTER), **row}).model_dump(mode="json")


@dataclass(frozen=True)
class Publication(RowWise):
    """A publish step, bound: the rows' schema, or the columns that are published without one."""

    is_stateless: ClassVar[bool] = True
    repository: str
    columns: Columns
    """The published columns and their types."""
    schema: type[BaseModel] | None = None
    configs: tuple[Shape, ...] = ()
    """The ways in which rows are published, where they are several."""
    splits: Splits = field(default_factory=Splits)

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"publish: {self.repository}"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The ways in which rows are published: one or several."""
        return self.configs or (Shape(CONFIG, self.columns, self.schema),)

    def identity(self) -> Iterable[bytes]:
        """Yield nothing: the pipeline's words and the schemas' texts say it all."""
        return ()

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Drop the rows that break every schema."""
        return Stage(step.title, check=lambda rows: check(self, rows))


def bind(step: spec.Publish, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's schemas, and check its columns; raises MistakeError."""
    if at.index != len(context.pipeline.steps) - 1:
        raise MistakeError("publish must be the last step", at("publish"))
    withheld = {name for one in context.before for name in one.withholds}
    published = {name: kind for name, kind in columns.items() if name not in withheld}
    if step.configs and step.output_schema:
        raise MistakeError("with configs, each has its own schema", at("schema"))
    if step.stratify is not None:
        type_at(step.stratify, columns, at("stratify"))
        if not step.splits:
            raise MistakeError("to stratify takes splits", at("stratify"))
    shapes, parts = _shapes(step, published, at, context)
    bound = Publication(
        step.publish,
        shapes[0].columns,
        shapes[0].schema,
        shapes if step.configs else (),
        Splits(step.splits, step.stratify, context.shared),
    )
    return Step(step, bound, title=bound.label, reads=(), parts=parts)


def _shapes(
    step: spec.Publish, published: Columns, at: At, context: Context
) -> tuple[tuple[Shape, ...], tuple[tuple[str, PartRecord], ...]]:
    """Return the ways in which rows are published, and the files of their schemas."""
    configs = step.configs or {CONFIG: spec.Config(output_schema=step.output_schema)}
    parts: dict[str, PartRecord] = {}
    shapes = []
    for name, output in configs.items():
        shape = Shape(name, {**BEFORE, **published} if step.configs else published)
        if output.output_schema:
            place = at("configs", name, "schema") if step.configs else at("schema")
            found = context.project.schema(output.output_schema, place)
            parts[found.record.file] = found.record
            columns = located(place, schema_types.columns_of, found.value)
            shape = Shape(name, columns, found.value)
        shapes.append(shape)
    return tuple(shapes), tuple(("schema", part) for part in parts.values())


@dataclass(frozen=True)
class Shard:
    """A file of the dataset, relative to its folder."""

    file: str
    rows: int
    bytes: int
    """The file's size."""
    arrow_bytes: int
    """The size of its rows in memory, as Arrow tables."""
    split: str = TRAIN


@dataclass(frozen=True)
class WrittenConfig:
    """One configuration that was written: its files, and the types of their columns."""

    shape: Shape
    schema: pa.Schema
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Written:
    """What was written."""

    configs: tuple[WrittenConfig, ...]
    sides: Sides | None = None
    """Where the rows went, where there are several splits."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All files."""
        return tuple(shard for config in self.configs for shard in config.shards)


Mask = npt.NDArray[np.bool_]


class _Chosen(NamedTuple):
    """The rows of one split of one configuration."""

    shape: Shape
    split: str
    wanted: Mask
    """Which of the kept rows they are."""


class _Sorted(NamedTuple):
    """Which of the kept rows go where."""

    fits: Sequence[list[bool]]
    """For each shape, whether it takes each row."""
    sides: Sides | None


def check(step: Publication, rows: list[Row]) -> list[Row]:
    """Drop the rows that break every schema; what is wrong with each is among its failures."""
    schemas = [shape for shape in step.shapes if shape.schema]
    return [_checked(step, schemas, row) for row in rows] if schemas else rows


def _checked(step: Publication, schemas: Sequence[Shape], row: Row) -> Row:
    errors = []
    for shape in schemas:
        try:
            shape.shaped(row)
        except ValidationError as error:
            errors.append(error)
        else:
            return row
    first = errors[0].errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = f"{where}: {first['msg']}" if where else first["msg"]
    names = " or ".join(shape.schema.__name__ for shape in schemas if shape.schema)
    return dropped(failed(row, step.label, "Schema", message), f"publish: no {names}")


def write(
    step: Publication, table: Table, folder: Path, shard_groups: int = SHARD_GROUPS
) -> Written | None:
    """Write the kept rows as `data/train-…parquet`; the same rows give the same bytes.

    Of several configurations each has a folder, and of several splits each has files of its own.
    None where no row was kept: a dataset without rows is one that `datasets` refuses to load.
    """
    rows = int(_kept(table.scan()).select(pl.len()).collect().item())
    if not rows:
        return None
    found = _sorted(step, table, rows)
    configs = []
    for shape, fits in zip(step.shapes, found.fits, strict=True):
        shards: list[Shard] = []
        for split in (TRAIN, *step.splits.shares):
            wanted = np.array(fits)
            if found.sides is not None:
                wanted &= (found.sides.names == split).to_numpy()
            chosen = _Chosen(shape, split, wanted)
            shards += _write_split(chosen, table, folder, shard_groups)
        if shards:
            configs.append(WrittenConfig(shape, _arrow_schema(shape.columns), tuple(shards)))
    return Written(tuple(configs), found.sides)


def _sorted(step: Publication, table: Table, rows: int) -> _Sorted:
    """Say which shape takes which row, and to which split it goes."""
    shapes, splits = step.shapes, step.splits
    if len(shapes) == 1 and not splits.shares:
        return _Sorted([[True] * rows], None)
    texts: list[list[Texts | None]] = [[] for _ in shapes]
    ids: list[str] = []
    sources: list[bytes] = []
    strata: list[Any] = []
    for part in table.frames():
        for row in _kept(part.lazy()).collect().to_dicts():
            ids.append(row.get("id", str(len(ids))))
            sources.append(source_of(row, splits.source))
            strata.append(_at(row, splits.stratify))
            for shape, told in zip(shapes, texts, strict=True):
                told.append(_texts(shape, row))
    fits = [[told is not None for told in some] for some in texts]
    if not splits.shares:
        return _Sorted(fits, None)
    group = groups(_compared(shapes, texts), sources if splits.source else None)
    sides = divided(splits, group, ids, strata if splits.stratify else None)
    return _Sorted(fits, sides)


def _compared(
    shapes: Sequence[Shape], texts: Sequence[list[Texts | None]]
) -> list[list[Texts | None]]:
    """Choose what rows are compared by: what schemas make of them, where there are any."""
    shaped = [some for shape, some in zip(shapes, texts, strict=True) if shape.schema]
    return shaped or list(texts)


def _texts(shape: Shape, row: Row) -> Texts | None:
    try:
        return texts_of(shape.shaped(row))
    except ValidationError:
        return None


def _at(row: Row, path: str | None) -> Any:
    value: Any = row if path else None
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _write_split(chosen: _Chosen, table: Table, folder: Path, shard_groups: int) -> Iterator[Shard]:
    shape, split, wanted = chosen
    number = -(-int(wanted.sum()) // (shard_groups * PART_ROWS))
    if not number:
        return
    schema = _arrow_schema(shape.columns)
    parts = _regrouped(_frames(shape, table, wanted), PART_ROWS)
    (folder / shape.folder).mkdir(parents=True, exist_ok=True)
    for place in range(number):
        name = f"{shape.folder}/{split}-{place:05}-of-{number:05}.parquet"
        some = itertools.islice(parts, shard_groups)
        yield _write_shard(folder, name, schema, some, split)


def _kept(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("dropped_by").list.len() == 0)


def _frames(shape: Shape, table: Table, wanted: Mask) -> Iterator[pl.DataFrame]:
    """Yield those of the kept rows that are wanted, as they are published."""
    start = 0
    for part in table.frames():
        kept = _kept(part.lazy()).collect()
        end = start + kept.height
        kept, start = kept.filter(pl.Series(wanted[start:end])), end
        if shape.schema is None:
            # By name alone: polars takes a column called `*` for all of them.
            yield pl.DataFrame([kept.get_column(name) for name in shape.columns])
        elif kept.height:
            yield _typed([shape.shaped(row) for row in kept.to_dicts()], shape.columns)


def _typed(rows: list[Row], columns: Columns) -> pl.DataFrame:
    """Make a frame of shaped rows; what does not fit must not silently become null."""
    data = {name: [row.get(name) for row in rows] for name in columns}
    try:
        return pl.DataFrame(data, schema=dict(columns), strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        reason = shown(str(error).splitlines()[0])
        raise SoupstockError(f"a row does not fit the dataset's columns: {reason}") from error


def _regrouped(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Cut frames anew, so that each but the last has so many rows."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        while sum(some.height for some in waiting) >= rows:
            whole = pl.concat(waiting)
            yield whole.head(rows)
            waiting = [whole.slice(rows)]
    rest = pl.concat(waiting) if waiting else pl.DataFrame()
    if rest.height:
        yield rest


def _write_shard(
    folder: Path, name: str, schema: pa.Schema, frames: Iterable[pl.DataFrame], split: str
) -> Shard:
    path = folder / name
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for frame in frames:
            plain = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write_table(plain.cast(schema), row_group_size=PART_ROWS)
    # As it is read back: what is null nowhere takes no room for nulls then.
    file = pq.ParquetFile(path)
    arrow = sum(file.read_row_group(group).nbytes for group in range(file.num_row_groups))
    return Shard(name, file.metadata.num_rows, path.stat().st_size, arrow, split)


def _arrow_schema(columns: Columns) -> pa.Schema:
    empty = pl.DataFrame(schema=dict(columns))
    schema = empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    return pa.schema([pa.field(field.name, _common(field.type)) for field in schema])


def _common(dtype: pa.DataType) -> pa.DataType:
    """Return the type that most datasets have in its place: `string` for polars' `large_string`.

    Datasets whose types differ only so cannot be concatenated.
    """
    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype):
        return pa.binary()
    if pa.types.is_dictionary(dtype):
        return _common(dtype.value_type)
    if pa.types.is_large_list(dtype):
        return pa.list_(_common(dtype.value_type))
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(_common(dtype.value_type), dtype.list_size)
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(field.name, _common(field.type)) for field in dtype])
    return dtype


def makes(step: spec.Publish) -> Made:  # noqa: ARG001 - it writes files
    """Name no column."""
    return Made()


def describe(step: spec.Publish, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Say how rows were shaped."""
    if step.configs:
        shaped = {name: c.output_schema for name, c in step.configs.items() if c.output_schema}
        named = joined([Markdown(f"{code(n)} by the schema {code(s)}") for n, s in shaped.items()])
        if not named:
            return "all columns were written as they are."
        return f"rows were shaped as {named}; those that no schema takes were dropped."
    if step.output_schema is None:
        return "all columns were written as they are."
    schema = code(step.output_schema, LONGEST)
    return f"rows were shaped by the schema {schema}; those that break it were dropped."


def chapter(step: spec.Publish, at: RowStep) -> Chapter:  # noqa: ARG001 - it adds nothing to a row
    """Tell nothing: what was published is the row."""
    return Chapter()


VERB = Verb(spec.Publish, bind, makes, not_for_files, describe, chapter)
