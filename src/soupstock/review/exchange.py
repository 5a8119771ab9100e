"""Fetch what people said, send what waits for them: `soupstock review`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from soupstock import errors
from soupstock.artifacts import manifest, run_folder
from soupstock.artifacts.files import written_whole
from soupstock.artifacts.manifest import Manifest
from soupstock.errors import MistakeError, shown
from soupstock.project.project import Project, name_of
from soupstock.review.answers import (
    Answer,
    Answers,
    read_answers,
    review_folder,
    write_answers,
)
from soupstock.review.argilla import Argilla
from soupstock.review.argilla_api import settings_of
from soupstock.review.files import Files
from soupstock.review.form import Form
from soupstock.review.records import Papers
from soupstock.review.tool import Desk, Notify, Place, Pushed

SEEN = "seen.json"
"""How far was looked at the last fetch. It can be lost: then all is fetched again."""

_SEEN = TypeAdapter(dict[str, str])

FILES = "files"
"""The folder of `review: file`, within that of the answers."""


@dataclass(frozen=True)
class Exchanged:
    """What came of it."""

    name: str
    place: Place
    """Where people go to answer."""
    pushed: Pushed
    wanted: int
    """Texts that people should read."""
    waiting: int
    """Those that too few people have answered."""
    answers: int
    """Answers to the texts of the sample."""
    others: int
    """Answers to texts that are not in it, or not any more."""
    fresh: int
    """Answers that are new or changed since the last time."""
    path: Path
    """Where the answers are kept."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Sample:
    """The rows of a run that people read, or have answered."""

    rows: pl.DataFrame

    @property
    def drawn(self) -> pl.DataFrame:
        """The rows that were drawn."""
        return self.rows.filter(pl.col("review").struct.field("chance").is_not_null())

    @property
    def keys(self) -> set[str]:
        """The texts of the rows that were drawn."""
        return set(self.drawn["review"].struct.field("key").to_list())


def exchange(project: Project, name: str, environment: Mapping[str, str]) -> Exchanged:
    """Fetch the answers to a pipeline's rows, and send the rows of its last run that wait.

    Raises:
        MistakeError: It has not been run, or asks nobody, or the tool is not set up.
        ReviewError: The tool cannot be used just now; what was fetched by then is kept.
    """
    said, rows = _last_run(project, name)
    papers = Papers.of(said, project)
    sample = _Sample(rows)
    form = papers.form(rows.schema)
    into = review_folder(project.root, said.name)
    into.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with FileLock(into / ".lock"):
        known = read_answers(project.root, said.name)

        def keep(answers: Answers, seen: Mapping[str, str]) -> None:
            if answers != known:
                write_answers(project.root, said.name, answers)
            # Only now: what is not kept is fetched again.
            _write_seen(into / SEEN, seen)

        # Without answers at hand all of them are wanted.
        since = _read_seen(into / SEEN) if known.given else {}
        desk = _desk(papers, project, said.name, environment, notes.append)
        answers, pushed = asyncio.run(_exchanged(desk, form, papers, sample, known, keep, since))
    keys = sample.keys
    waiting = _waiting(keys, answers, form.annotators)
    return Exchanged(
        name=said.name,
        place=desk.place(),
        pushed=pushed,
        wanted=len(keys),
        waiting=len(waiting),
        answers=sum(one.key in keys for one in answers.given),
        others=sum(one.key not in keys for one in answers.given),
        fresh=_fresh(known, answers),
        path=into,
        notes=tuple(notes),
    )


async def _exchanged(  # noqa: PLR0913, PLR0917 - what is exchanged, and between whom
    desk: Desk,
    form: Form,
    papers: Papers,
    sample: _Sample,
    known: Answers,
    keep: Callable[[Answers, Mapping[str, str]], None],
    since: Mapping[str, str],
) -> tuple[Answers, Pushed]:
    """Fetch first, and keep it before anything is sent: what is answered is not sent again."""
    texts = {
        row["review"]["key"]: text
        for row in sample.rows.iter_rows(named=True)
        if (text := papers.text(row)) is not None
    }
    pulled = await desk.pull(form, texts, since)
    answers = known.with_those(pulled.answers, pulled.places)
    keep(answers, pulled.seen)
    waiting = _waiting(sample.keys, answers, form.annotators)
    records = [one for one in papers.records(sample.drawn, form) if one.key in waiting]
    return answers, await desk.push(form, records)


def _waiting(keys: set[str], answers: Answers, annotators: int) -> set[str]:
    return {key for key in keys if len(answers.by_key.get(key, ())) < annotators}


def _fresh(before: Answers, after: Answers) -> int:
    was: dict[tuple[str, str, str], Answer] = {
        (one.key, one.annotator, one.source): one for one in before.given
    }
    return sum(was.get((one.key, one.annotator, one.source)) != one for one in after.given)


def _last_run(project: Project, name: str) -> tuple[Manifest, pl.DataFrame]:
    try:
        place = run_folder.latest(project.root, name_of(name))
    except MistakeError:
        project.pipeline(name)
        raise
    try:
        said = manifest.read(place)
        rows = pl.scan_parquet(place / run_folder.ROWS, glob=False)
        if "review" not in rows.collect_schema():
            raise MistakeError(f"{said.name} has no review step: add one, and run it again")
        return said, rows.filter(pl.col("review").is_not_null()).collect()
    except (OSError, ValidationError, pl.exceptions.PolarsError) as error:
        problem = f"the last run cannot be read ({shown(str(error).splitlines()[0])}); run it again"
        raise MistakeError(problem, errors.Place(place)) from error


def _desk(
    papers: Papers, project: Project, name: str, environment: Mapping[str, str], notify: Notify
) -> Desk:
    into = review_folder(project.root, name)
    if papers.step.review == "file":
        return Files(into / FILES)
    settings = settings_of(environment, run_folder.runs_folder(project.root))
    return Argilla(settings, name, notify)


def _read_seen(path: Path) -> dict[str, str]:
    try:
        return _SEEN.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}


def _write_seen(path: Path, seen: Mapping[str, str]) -> None:
    with written_whole(path) as file:
        file.write_bytes(_SEEN.dump_json(dict(seen)))
