"""What a pipeline says, as frozen data. Knows no files, no models and no rows."""

import re
from typing import Annotated, get_args

from pydantic import (
    Field,
    Tag,
)

from soupstock.spec.fields import ModelName, Role, Rows, Spec, told_by_key
from soupstock.spec.generation import Converse, Generate, Task
from soupstock.spec.judging import Judge, Verify
from soupstock.spec.pruning import Decontaminate, Dedup, Filter, Mask, Select
from soupstock.spec.publishing import Publish, Review
from soupstock.spec.source import Source

_Steps = (
    Annotated[Generate, Tag("generate")]
    | Annotated[Task, Tag("task")]
    | Annotated[Converse, Tag("converse")]
    | Annotated[Verify, Tag("verify")]
    | Annotated[Judge, Tag("judge")]
    | Annotated[Filter, Tag("filter")]
    | Annotated[Mask, Tag("mask")]
    | Annotated[Dedup, Tag("dedup")]
    | Annotated[Decontaminate, Tag("decontaminate")]
    | Annotated[Select, Tag("select")]
    | Annotated[Review, Tag("review")]
    | Annotated[Publish, Tag("publish")]
)

VERBS: tuple[str, ...] = tuple(kind.__metadata__[0].tag for kind in get_args(_Steps))
"""The keys that say what a step does."""

Step = Annotated[_Steps, told_by_key(*VERBS)]


def verb_of(step: Step) -> str:
    """Return the key that says what a step does."""
    return next(verb for verb in VERBS if verb in type(step).model_fields)


class Pipeline(Spec):
    """What to make: models by role, a source of rows, and the steps they go through."""

    description: str = ""
    """What the dataset is, for `soupstock list` and the dataset's card."""

    seed: int = 0
    """Where every random choice starts."""

    models: dict[Role, ModelName] = {}
    """Which model plays each role."""

    source: Source
    """Where the first rows come from."""

    target: Rows | None = None
    """Exactly how many rows to keep: more are drawn from the source until they are there."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """What is done to the rows, in order."""


def slug(name: str) -> str:
    """Make a name safe as a file's: `my-org/chat` becomes `my-org--chat`.

    No other name of a pipeline becomes that: what is told apart from `/` is marked by a dot.
    """
    parted = re.sub(r"-(?=[-./])", "-.", name).replace("/", "--")
    return re.sub(r"[^A-Za-z0-9_.-]", "-", parted).lstrip(".-") or "-"


def unslugged(file: str) -> str:
    """Return the pipeline's name that became a file's."""
    return re.sub(r"-\.", "-", file.replace("--", "/"))
