"""A pipeline as frozen data. Knows no files, no models and no rows."""

import re
from typing import Annotated, get_args

from pydantic import Field, Tag

from soupstock.spec.dataset import Review, WriteDataset
from soupstock.spec.fields import ModelName, Role, Rows, Spec, discriminated_by_key
from soupstock.spec.generation import Converse, Generate, Task
from soupstock.spec.judging import Judge, Verify
from soupstock.spec.pruning import Decontaminate, Dedup, Filter, Mask, Select
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
    | Annotated[WriteDataset, Tag("dataset")]
)

VERBS: tuple[str, ...] = tuple(kind.__metadata__[0].tag for kind in get_args(_Steps))
"""The keys that name the verb of a step."""

Step = Annotated[_Steps, discriminated_by_key(*VERBS)]


def verb_of(step: Step) -> str:
    """Return the verb of a step."""
    return next(verb for verb in VERBS if verb in type(step).model_fields)


class Pipeline(Spec):
    """How to make a dataset: models by role, a source of rows, and the steps they go through."""

    description: str = ""
    """A description of the dataset, for `soupstock list` and the dataset card."""

    seed: int = 0
    """The seed of sampled values, calls and review samples. Default: 0."""

    models: dict[Role, ModelName] = {}
    """The model for each role."""

    source: Source
    """Where the first rows come from."""

    target: Rows | None = None
    """Exactly how many rows to keep: rows are drawn from the source until there are enough."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """The steps, in order."""


def slug(name: str) -> str:
    """Make a name safe as a file's: `my-org/chat` becomes `my-org--chat`.

    No two names of pipelines get the same slug: a `-` that could stand for `/` is marked by a dot.
    """
    parted = re.sub(r"-(?=[-./])", "-.", name).replace("/", "--")
    return re.sub(r"[^A-Za-z0-9_.-]", "-", parted).lstrip(".-") or "-"


def unslugged(file: str) -> str:
    """Return the pipeline's name for a slug."""
    return re.sub(r"-\.", "-", file.replace("--", "/"))
