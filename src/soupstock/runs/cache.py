"""What the cache holds, and which of its answers no pipeline and no past run uses any more."""

from collections.abc import Iterator
from pathlib import Path

from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.manifest import Manifest
from soupstock.engine.plan import Plan, plan, plan_file
from soupstock.errors import MistakeError
from soupstock.inference.cache import Size, keys, remove, sizes
from soupstock.project.project import Project
from soupstock.runs.coverage import coverage_of


def cache_path(project: Project) -> Path:
    """Find a project's cache; raises MistakeError if there is none."""
    path = run_folder.runs_folder(project.root) / run_folder.CACHE
    if not path.is_file():
        raise MistakeError(f"no model has been asked yet: {path} does not exist")
    return path


def contents(project: Project) -> list[Size]:
    """Return how many answers of each model the cache holds, the most first."""
    return sizes(cache_path(project))


def unused(project: Project) -> frozenset[bytes]:
    """Find the keys of answers that no pipeline, as it is now, and no past run uses.

    Takes each of them through the cache as a run would, without asking. Raises MistakeError if a
    pipeline cannot be planned, because it is then unknown which answers it uses.
    """
    # The order matters: an answer that arrives meanwhile is not among `cached`.
    cached = keys(cache_path(project))
    used: set[bytes] = set()
    for each in _plans(project):
        used |= coverage_of(each).keys
    return cached - used


def remove_answers(project: Project, unwanted: frozenset[bytes]) -> None:
    """Remove answers from the cache, by their keys."""
    remove(cache_path(project), sorted(unwanted))


def unreadable_runs(project: Project) -> int:
    """Count the past runs whose manifests cannot be read: which answers they use is unknown."""
    return sum(_read(folder) is None for folder in _run_folders(project))


def _run_folders(project: Project) -> list[Path]:
    files = run_folder.runs_folder(project.root).glob(f"*/*/{manifest.MANIFEST}")
    return sorted(file.parent for file in files if not file.parent.is_symlink())


def _read(folder: Path) -> Manifest | None:
    try:
        return manifest.read(folder)
    except MistakeError:
        return None


def _plans(project: Project) -> Iterator[Plan]:
    """Yield the plans of all pipelines, and of runs that had other models or rows."""
    seen = set()
    for name in sorted(project.pipeline_names()):
        planned = plan_file(name, project)
        seen.add(planned.fingerprint)
        yield planned
    for run in filter(None, map(_read, _run_folders(project))):
        try:
            planned = plan(run.spec, project, name=run.name)
        except (MistakeError, ValueError):
            # A run that can no longer be planned uses no answers.
            continue
        if planned.fingerprint not in seen:
            seen.add(planned.fingerprint)
            yield planned
