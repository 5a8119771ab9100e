"""Looks up the columns and variables that a step names, and their types."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.errors import MistakeError, Place, hint, quoted, shown
from soupstock.judging.rubric import Rubric
from soupstock.project.project import Part, Project
from soupstock.rows.references import ReferenceTexts, find_reference
from soupstock.rows.row import Columns
from soupstock.spec.prompt import Prompt
from soupstock.text import conversations


def check_new(column: str, columns: Columns, place: Place | None) -> None:
    """Check that a column does not exist yet; raises MistakeError."""
    if column in columns:
        raise MistakeError(f"there is a column {quoted(column)} already; choose another", place)


def check_variables(prompt: Part[Prompt], known: Iterable[str], place: Place | None) -> None:
    """Check that every variable of a prompt is known; raises MistakeError."""
    known = list(known)
    for variable, line in prompt.value.variables.items():
        if variable not in known:
            where = Place(prompt.record.file, line)
            problem = (
                f"the prompt ({where}) uses {quoted(variable)}, which does not exist at this step"
            )
            raise MistakeError(problem + hint(variable, known), place)


def type_at(path: str, columns: Columns, place: Place | None, why: str = "") -> pl.DataType:
    """Find the type of a column, or of a field in it, by its path; raises MistakeError."""
    name, *fields = path.split(".")
    if name not in columns:
        raise MistakeError(f"no column is called {quoted(name)}{why}{hint(name, columns)}", place)
    dtype = columns[name]
    for field in fields:
        inner: dict[str, Any] = dict(dtype.to_schema()) if isinstance(dtype, pl.Struct) else {}
        if field not in inner:
            problem = f"no field {quoted(field)} in {quoted(path)}{why}"
            raise MistakeError(problem + hint(field, inner), place)
        dtype = inner[field]
    return dtype


def check_texts(path: str, columns: Columns, place: Place | None, why: str = "") -> None:
    """Check that a column holds texts, lists of texts or conversations; raises MistakeError."""
    name, _, role = path.partition("::")
    dtype = type_at(name, columns, place, why)
    values = pl.Series(name, dtype=dtype)
    try:
        conversations.said_by(role, values) if role else conversations.text(values)
    except ValueError as error:
        texts = [name for name, dtype in columns.items() if dtype == pl.String()]
        raise MistakeError(f"{quoted(name)} is not a text{why}{hint('', texts)}", place) from error


def check_quality(path: str, columns: Columns, place: Place | None) -> None:
    """Check that a column holds numbers or a judge's verdicts; raises MistakeError."""
    dtype: Any = type_at(path, columns, place)
    if isinstance(dtype, pl.Struct) and "score" in dict(dtype.to_schema()):
        return
    if not dtype.is_numeric():
        raise MistakeError(f"{quoted(path)} holds neither numbers nor scores", place)


CRITERION = pl.Struct(
    {
        "level": pl.Int64,
        "score": pl.Float64,
        "uncertainty": pl.Float64,
        "reason": pl.String,
    }
)
"""The type of a verdict on one criterion."""


def verdict_type(rubric: Rubric, members: Sequence[str]) -> pl.Struct:
    """Return the type of the column that a judge or a jury makes."""
    if len(members) < 2:  # noqa: PLR2004 - a jury has several judges
        return _verdict(rubric.criteria)
    own = pl.Struct(dict.fromkeys(members, _verdict(rubric.judged)))
    jury = {"disagreement": pl.Float64(), "members": own}
    return pl.Struct({**_verdict(rubric.criteria).to_schema(), **jury})


def comparison_type(answer: pl.DataType) -> pl.Struct:
    """Return the type of the column that a judge makes by comparing answers of this type."""
    pair = {
        "judge": pl.String(),
        "first": pl.Int64(),
        "second": pl.Int64(),
        "outcome": pl.Int64(),
        "reasons": pl.List(pl.String),
        "better": pl.List(pl.Int64),
    }
    return pl.Struct(
        {
            "best": answer,
            "worst": answer,
            "margin": pl.Float64(),
            "ranks": pl.List(pl.Int64),
            "flips": pl.Int64(),
            "pairs": pl.List(pl.Struct(pair)),
        }
    )


def _verdict(criteria: Iterable[str]) -> pl.Struct:
    inner = pl.Struct(dict.fromkeys(criteria, CRITERION))
    return pl.Struct({"score": pl.Float64, "uncertainty": pl.Float64, "criteria": inner})


def reference_to(
    reference: spec.Reference,
    own: str,
    project: Project,
    place: Place | None,
    pipeline: str | None = None,
) -> ReferenceTexts:
    """Find a dataset that rows are compared with, and check its column; raises MistakeError."""
    found = find_reference(reference, own, project.root, place, pipeline)
    columns = dict(found.frame.collect_schema())
    check_texts(found.column, columns, place, f" (in {shown(found.label)})")
    return found
