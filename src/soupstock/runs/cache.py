"""What the store of answers holds, and which of them no pipeline leads to any more."""

from collections.abc import Iterator
from pathlib import Path

from soupstock.artifacts import manifest, run_folder
from soupstock.engine.plan import Plan, plan, plan_file
from soupstock.errors import MistakeError
from soupstock.inference.store import Size, keys, remove, sizes
from soupstock.project.project import Project
from soupstock.runs.lookup import look


def store_of(project: Project) -> Path:
    """Find a project's store; raises MistakeError where there is none."""
    path = run_folder.runs_folder(project.root) / run_folder.STORE
    if not path.is_file():
        raise MistakeError(f"nothing has been asked yet: there is no {path}")
    return path


def contents(project: Project) -> list[Size]:
    """Return how many answers of each model the store holds, the largest first."""
    return sizes(store_of(project))


def unused(project: Project) -> frozenset[bytes]:
    """Find the answers that neither a pipeline, as it is now, nor one that was run leads to.

    Each is taken through the store as a run would take it, asking nothing. Raises MistakeError
    where a pipeline cannot be planned, for then nobody knows what it uses.
    """
    # First what is there, then what is used: an answer that comes meanwhile is in neither.
    there = keys(store_of(project))
    used: set[bytes] = set()
    for each in _plans(project):
        used |= look(each).keys
    return there - used


def prune(project: Project, unwanted: frozenset[bytes]) -> None:
    """Remove answers from the store."""
    remove(store_of(project), sorted(unwanted))


def _plans(project: Project) -> Iterator[Plan]:
    """Yield the plans of all pipelines, and those of runs that had other models or rows."""
    told = set()
    for name in sorted(project.pipeline_names()):
        planned = plan_file(name, project)
        told.add(planned.fingerprint)
        yield planned
    for file in sorted(run_folder.runs_folder(project.root).glob(f"*/*/{manifest.MANIFEST}")):
        said = manifest.read(file.parent)
        try:
            pipeline = said.spec
            planned = plan(pipeline, project, name=said.name)
        except (MistakeError, ValueError):
            # What cannot be run again leads to nothing.
            continue
        if planned.fingerprint not in told:
            told.add(planned.fingerprint)
            yield planned
