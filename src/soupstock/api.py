"""Pipelines in Python, for scripts and notebooks: the same models, engine and cache as in YAML.

    from soupstock.api import Generate, Pipeline, SampleSource, run

    made = run(
        Pipeline(
            models={"writer": "embedded"},
            source=SampleSource(rows=4, sample={"topic": ["cooking", "travel"]}),
            steps=(Generate(generate="tip", model="writer", prompt="tips/ask"),),
        ),
        name="tips",
    )
    made.rows  # a polars DataFrame

Prompts, rubrics, filters and schemas come from the project, which is the working directory or a
folder above it. Results are written to its `runs/`, as by `soupstock run`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from soupstock import spec
from soupstock.cli.display.progress import watch
from soupstock.engine.plan import Plan, override, plan_file
from soupstock.engine.plan import plan as plan_pipeline
from soupstock.inference.budget import Budget
from soupstock.project.project import Project
from soupstock.runs import run as runs
from soupstock.runs.run import Progress, Run
from soupstock.spec.dataset import Review, WriteDataset
from soupstock.spec.generation import Converse, Generate, Side, Task
from soupstock.spec.judging import Judge, Verify
from soupstock.spec.pipeline import Pipeline
from soupstock.spec.pruning import Best, Decontaminate, Dedup, Filter, FilterUse, Mask, Select
from soupstock.spec.source import (
    DatasetReference,
    DatasetSource,
    DocumentSource,
    FileReference,
    FileSource,
    RunReference,
    SampleSource,
)

__all__ = [
    "Best",
    "Budget",
    "Converse",
    "DatasetReference",
    "DatasetSource",
    "Decontaminate",
    "Dedup",
    "DocumentSource",
    "FileReference",
    "FileSource",
    "Filter",
    "FilterUse",
    "Generate",
    "Judge",
    "Mask",
    "Pipeline",
    "Plan",
    "Review",
    "Run",
    "RunReference",
    "SampleSource",
    "Select",
    "Side",
    "Task",
    "Verify",
    "WriteDataset",
    "plan",
    "run",
]


def plan(
    pipeline: str | Pipeline,
    *,
    name: str = "notebook",
    project: Path | str = ".",
    models: Mapping[str, str] | None = None,
    rows: int | None = None,
) -> Plan:
    """Plan a pipeline: one of the project, by its name, or a Pipeline, which is called `name`.

    `models` (by role) and `rows` replace the pipeline's own. Raises MistakeError, whose message
    says what is wrong and how to correct it.
    """
    found = Project.at(Path(project))
    if isinstance(pipeline, str):
        return plan_file(pipeline, found, models=models, rows=rows)
    safe = spec.unslugged(spec.slug(name))
    return plan_pipeline(override(pipeline, models or {}, rows), found, name=safe)


def run(  # noqa: PLR0913 - each argument is one option of a run
    pipeline: str | Pipeline | Plan,
    *,
    name: str = "notebook",
    project: Path | str = ".",
    models: Mapping[str, str] | None = None,
    rows: int | None = None,
    budget: Budget | None = None,
    is_shown: bool = True,
) -> Run:
    """Run a pipeline, and return its rows, dataset, manifest and report.

    It continues where an earlier run of the same plan ended. An interrupt ends it gracefully: calls
    in flight are finished, and the rows so far are returned. With `is_shown`, progress is shown on
    standard error.
    """
    planned = pipeline
    if not isinstance(planned, Plan):
        planned = plan(planned, name=name, project=project, models=models, rows=rows)
    watched = _Watched(watch if is_shown else None)
    return _anywhere(lambda: runs.run(planned, budget=budget, watch=watched.watch), watched)


@dataclass
class _Watched:
    """Shows a run's progress, and keeps it."""

    shown: runs.Watch | None
    progress: Progress | None = field(default=None, init=False)

    @contextlib.contextmanager
    def watch(self, progress: Progress) -> Iterator[None]:
        self.progress = progress
        with self.shown(progress) if self.shown else contextlib.nullcontext():
            yield


def _anywhere(work: Callable[[], Run], watched: _Watched) -> Run:
    """Run in a thread if an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(work)
        while True:
            try:
                return ended.result()
            except KeyboardInterrupt:
                if watched.progress is None or watched.progress.client is None:
                    raise
                watched.progress.client.interrupt()
