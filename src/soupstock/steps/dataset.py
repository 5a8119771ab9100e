"""Shape the rows that are left for the dataset; the run writes it (runs/write_dataset.py)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import BaseModel, ValidationError

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, PartRecord, StepRecord
from soupstock.errors import MistakeError
from soupstock.rows import schema_types
from soupstock.rows.row import FIRST_COLUMNS, Columns, Row, dropped, failed
from soupstock.rows.shards import CONFIG, Shape
from soupstock.rows.splits import Splits
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import type_at
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, located
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST
from soupstock.text.markdown import Markdown, code, joined


@dataclass(frozen=True)
class BoundDataset(RowWise):
    """A dataset step, bound."""

    is_stateless: ClassVar[bool] = True
    repository: str
    columns: Columns
    """The columns of the dataset, with their types."""
    schema: type[BaseModel] | None = None
    """What shapes the rows; None writes the columns as they are."""
    configs: tuple[Shape, ...] = ()
    """The dataset's configs, if there are several."""
    splits: Splits = field(default_factory=Splits)

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"dataset: {self.repository}"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The dataset's configs: one or several."""
        return self.configs or (Shape(CONFIG, self.columns, self.schema),)

    def identity(self) -> Iterable[bytes]:
        """Yield nothing: the pipeline's words and the schemas' texts say it all."""
        return ()

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Drop the rows that fit no schema."""
        return Stage(step.title, check=lambda rows: check(self, rows))


def bind(step: spec.WriteDataset, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's schemas, and check its columns; raises MistakeError."""
    if at.index != len(context.pipeline.steps) - 1:
        raise MistakeError("dataset must be the last step", at("dataset"))
    withheld = {name for one in context.before for name in one.withholds}
    published = {name: kind for name, kind in columns.items() if name not in withheld}
    if step.configs and step.output_schema:
        raise MistakeError("with `configs`, give each config its own schema", at("schema"))
    if step.stratify is not None:
        type_at(step.stratify, columns, at("stratify"))
        if not step.splits:
            raise MistakeError("`stratify` needs `splits`", at("stratify"))
    shapes, parts = _shapes(step, published, at, context)
    bound = BoundDataset(
        step.dataset,
        shapes[0].columns,
        shapes[0].schema,
        shapes if step.configs else (),
        Splits(step.splits, step.stratify, context.shared),
    )
    return Step(step, bound, title=bound.label, reads=(), parts=parts)


def _shapes(
    step: spec.WriteDataset, published: Columns, at: At, context: Context
) -> tuple[tuple[Shape, ...], tuple[tuple[str, PartRecord], ...]]:
    """Return the dataset's configs, and the files of their schemas."""
    configs = step.configs or {CONFIG: spec.Config(output_schema=step.output_schema)}
    parts: dict[str, PartRecord] = {}
    shapes = []
    for name, output in configs.items():
        shape = Shape(name, {**FIRST_COLUMNS, **published} if step.configs else published)
        if output.output_schema:
            place = at("configs", name, "schema") if step.configs else at("schema")
            found = context.project.schema(output.output_schema, place)
            parts[found.record.file] = found.record
            columns = located(place, schema_types.columns_of, found.value)
            shape = Shape(name, columns, found.value)
        shapes.append(shape)
    return tuple(shapes), tuple(("schema", part) for part in parts.values())


def check(step: BoundDataset, rows: list[Row]) -> list[Row]:
    """Drop the rows that fit no schema; their failures say why."""
    schemas = [shape for shape in step.shapes if shape.schema]
    return [_checked(step, schemas, row) for row in rows] if schemas else rows


def _checked(step: BoundDataset, schemas: Sequence[Shape], row: Row) -> Row:
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
    return dropped(failed(row, step.label, "Schema", message), f"dataset: no {names}")


def makes(step: spec.WriteDataset) -> Made:  # noqa: ARG001 - it writes files
    """Name no column."""
    return Made()


def describe(step: spec.WriteDataset, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe how rows were shaped."""
    if step.configs:
        shaped = {name: c.output_schema for name, c in step.configs.items() if c.output_schema}
        named = joined([Markdown(f"{code(n)} by the schema {code(s)}") for n, s in shaped.items()])
        if not named:
            return "all columns were written as they are."
        return f"rows were shaped as {named}. Rows that fit no schema were dropped."
    if step.output_schema is None:
        return "all columns were written as they are."
    schema = code(step.output_schema, LONGEST)
    return f"rows were shaped by the schema {schema}. Rows that do not fit it were dropped."


def chapter(step: spec.WriteDataset, row_step: RowStep) -> Chapter:  # noqa: ARG001 - it adds nothing to a row
    """Return an empty chapter."""
    return Chapter()


VERB = Verb(spec.WriteDataset, bind, makes, not_for_files, describe, chapter)
