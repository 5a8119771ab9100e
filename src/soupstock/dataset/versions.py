"""Find a version of a dataset by what a person calls it: a run, or a folder of files.

`chat` is that pipeline's last run, and `chat/3f2a` the run whose folder begins so. Anything else is
the folder of a run or of a dataset.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from soupstock import spec
from soupstock.artifacts import run_folder
from soupstock.errors import MistakeError, hint, quoted, shown
from soupstock.project.project import Project
from soupstock.rows.row import KEPT, LAST_COLUMNS


@dataclass(frozen=True)
class Version:
    """Rows that can be compared with others."""

    label: str
    rows: pl.DataFrame
    """The rows of the dataset, with their `id` if they have one."""
    dropped: pl.DataFrame | None = None
    """The `id` and first `reason` of a run's dropped rows."""

    @property
    def has_ids(self) -> bool:
        """Whether each row has an id of its own."""
        ids = self.rows["id"] if "id" in self.rows.columns else None
        return ids is not None and ids.null_count() == 0 and ids.n_unique() == len(ids)


def find_folder(project: Project, name: str) -> Path:
    """Find the folder of a run or a dataset; raises MistakeError."""
    runs = run_folder.runs_folder(project.root)
    pipeline, _, run = name.rpartition("/")
    named = runs / spec.slug(name) / run_folder.LATEST
    if (named / run_folder.ROWS).is_file() or (named / run_folder.DATASET).is_dir():
        return named.resolve()
    found = _runs(runs, pipeline, run) if pipeline and run else []
    if len(found) > 1:
        raise MistakeError(f"several runs are called {quoted(name)}")
    if found:
        return found[0]
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    known = hint(name, run_folder.known_runs(project.root))
    raise MistakeError(f"no run and no folder is called {quoted(name)}{known}")


def _runs(runs: Path, pipeline: str, run: str) -> list[Path]:
    places = sorted((runs / spec.slug(pipeline)).glob(f"{run}*"))
    return [place for place in places if place.name != run_folder.LATEST and place.is_dir()]


def read_version(project: Project, name: str) -> Version:
    """Read the rows of a version, a run's kept rows with all columns; raises MistakeError."""
    place = find_folder(project, name)
    with _readable(name):
        return _run(place) if (place / run_folder.ROWS).is_file() else _published(place)


def read_published(project: Project, name: str) -> Version:
    """Read the rows of a version as its dataset has them; raises MistakeError."""
    place = find_folder(project, name)
    if (place / run_folder.ROWS).is_file() and not (place / run_folder.DATASET).is_dir():
        raise MistakeError(f"{quoted(name)} has no dataset: no row was kept or written")
    with _readable(name):
        return _published(place)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = shown(str(error).split("\n", 1)[0])
        raise MistakeError(f"{quoted(name)} cannot be read: {reason}") from error


def _published(place: Path) -> Version:
    inner = place / run_folder.DATASET
    return read_dataset(inner if inner.is_dir() else place, place.name or str(place))


def _run(place: Path) -> Version:
    rows = pl.scan_parquet(place / run_folder.ROWS, glob=False)
    kept = rows.filter(KEPT).drop(list(LAST_COLUMNS), strict=False).collect()
    reason = pl.col("dropped_by").list.first().alias("reason")
    dropped = rows.filter(~KEPT).select("id", reason).collect()
    return Version(run_folder.run_name(place), kept, dropped)


def read_dataset(place: Path, label: str) -> Version:
    """Read a dataset's first config, with all its splits; raises MistakeError."""
    return Version(label, pl.concat(list(_frames(split_files(place)))))


def _frames(files: list[tuple[str, Path]]) -> Iterator[pl.DataFrame]:
    several = len({split for split, _ in files}) > 1
    for split, file in files:
        rows = pl.read_parquet(file, glob=False)
        is_named = several and "split" not in rows.columns
        yield rows.with_columns(split=pl.lit(split)) if is_named else rows


def split_files(place: Path) -> list[tuple[str, Path]]:
    """List the files of a dataset's first config with their splits; raises MistakeError."""
    files = sorted(place.rglob("*.parquet"))
    if not files:
        raise MistakeError(f"there are no .parquet files in {shown(place)}")
    first = _first_folder(place) or files[0].parent
    own = [file for file in files if file.parent == first] or files
    return [(file.name.partition("-")[0].partition(".")[0], file) for file in own]


def _first_folder(place: Path) -> Path | None:
    """Find the folder of the config that the card names first."""
    card = place / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import DatasetCard

    configs = DatasetCard.load(card).data.get("configs") or []
    for config in configs:
        for files in config.get("data_files") or []:
            if isinstance(files, dict) and "/" in str(files.get("path")):
                return place / str(files["path"]).rpartition("/")[0]
    return None
