"""Plan which steps of a pipeline are applied to the rows of a file, and which columns they need.

Steps that ask a model or write a dataset are left out, and so are steps that need a column which
the user gives up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from soupstock import spec
from soupstock.engine.plan import plan_pruning
from soupstock.errors import MistakeError, Place, shown
from soupstock.project.project import Project
from soupstock.rows.row import Columns
from soupstock.spec.loader import Loaded
from soupstock.steps import VERBS, made_by
from soupstock.steps.step import Step


@dataclass(frozen=True)
class _Part:
    """The part of a step that is applied: all of it, or some of its filters."""

    step: spec.Step
    index: int
    """The step's place in the pipeline."""
    filters: Sequence[int]
    """The places of the filters that are left; one place if it is not a filter step."""
    needs: Sequence[frozenset[str]]
    """The columns that each of these needs."""


def plan_prune(
    loaded: Loaded[spec.Pipeline],
    project: Project,
    name: str,
    columns: Columns,
    without: AbstractSet[str],
) -> tuple[Step, ...]:
    """Bind the steps that are applied to rows with these columns; `without` are given up.

    Raises:
        MistakeError: Columns are missing (all of them are named), or no step is left.
    """
    parts = list(_parts(loaded.value.steps, project, without))
    if not parts:
        raise MistakeError(f"{shown(name)} has no step that can be applied to a file")
    if missing := _missing(parts, set(columns), loaded):
        raise _lacking(missing, columns, name)

    def place(*keys: str | int) -> Place | None:
        _, number, *inner = keys
        part = parts[int(number)]
        if inner[:1] == ["filter"] and len(inner) > 1:
            inner[1] = part.filters[int(inner[1])]
        return loaded.place("steps", part.index, *inner)

    steps = tuple(part.step for part in parts)
    pipeline = loaded.value.model_copy(update={"steps": steps})
    return plan_pruning(pipeline, project, columns, name=name, places=place)


def _parts(
    steps: Sequence[spec.Step], project: Project, without: AbstractSet[str]
) -> Iterator[_Part]:
    for index, step in enumerate(steps):
        needs = list(VERBS[type(step)].needs(step, project))
        left = [n for n, needed in enumerate(needs) if not needed & without]
        if not left:
            continue
        rest = step
        if isinstance(step, spec.Filter):
            rest = step.model_copy(update={"filter": tuple(step.filter[n] for n in left)})
        yield _Part(rest, index, left, [needs[n] for n in left])


def _missing(
    parts: Iterable[_Part], columns: set[str], loaded: Loaded[spec.Pipeline]
) -> dict[str, Place]:
    """Find the columns that are missing, each with the first place that needs it."""
    missing: dict[str, Place] = {}
    for part in parts:
        for number, needed in zip(part.filters, part.needs, strict=True):
            for column in sorted(needed - columns):
                missing.setdefault(
                    column, loaded.place("steps", part.index, spec.verb_of(part.step), number)
                )
        columns.update(made_by(part.step).main)
    return missing


def _lacking(missing: Mapping[str, Place], columns: Columns, name: str) -> MistakeError:
    first, place = next(iter(missing.items()))
    what = "the column" if len(missing) == 1 else "the columns"
    return MistakeError(
        f"{shown(name)} needs {what} {', '.join(map(shown, missing))}; the file"
        f" has: {', '.join(shown(column.rstrip()) for column in columns)}. Name the file's column"
        f" with --column {shown(first)}=…, or skip the steps that need it with --without"
        f" {shown(first)}",
        place,
    )
