"""Fetch people's answers, and send the rows that wait for one: `soupstock review`."""

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
    ReviewAnswer,
    ReviewAnswers,
    read_answers,
    review_folder,
    write_answers,
)
from soupstock.review.argilla import Argilla
from soupstock.review.argilla_api import find_settings
from soupstock.review.files import Files
from soupstock.review.form import Form
from soupstock.review.records import RecordBuilder
from soupstock.review.tool import Notify, Pushed, ReviewPlace, ReviewTool

CURSORS = "seen.json"
"""How far the last fetch read. If the file is lost, everything is fetched again."""

_CURSORS = TypeAdapter(dict[str, str])

FILES = "files"
"""The folder of `review: file`, inside the folder of the answers."""


@dataclass(frozen=True)
class Exchanged:
    """The result of an exchange."""

    name: str
    place: ReviewPlace
    """Where people go to answer."""
    pushed: Pushed
    wanted: int
    """Texts that people should read."""
    waiting: int
    """Texts that too few people have answered."""
    answers: int
    """Answers to the texts of the sample."""
    others: int
    """Answers to texts that are not, or no longer, in the sample."""
    fresh: int
    """Answers that are new or changed since the last time."""
    path: Path
    """Where the answers are kept."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Sample:
    """The rows of a run that were drawn for review, or have answers."""

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
        MistakeError: The pipeline was not run, has no review step, or the tool is not set up.
        ReviewError: The tool cannot be used at the moment; what was fetched before is kept.
    """
    said, rows = _last_run(project, name)
    builder = RecordBuilder.of(said, project)
    sample = _Sample(rows)
    form = builder.form(rows.schema)
    into = review_folder(project.root, said.name)
    into.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with FileLock(into / ".lock"):
        known = read_answers(project.root, said.name)

        def keep(answers: ReviewAnswers, cursors: Mapping[str, str]) -> None:
            if answers != known:
                write_answers(project.root, said.name, answers)
            # After the answers: if they were not written, they must be fetched again.
            _write_cursors(into / CURSORS, cursors)

        # Without known answers, everything is fetched.
        since = _read_cursors(into / CURSORS) if known.given else {}
        tool = _review_tool(builder, project, said.name, environment, notes.append)
        answers, pushed = asyncio.run(_exchanged(tool, form, builder, sample, known, keep, since))
    keys = sample.keys
    waiting = _waiting(keys, answers, form.annotators)
    return Exchanged(
        name=said.name,
        place=tool.place(),
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
    tool: ReviewTool,
    form: Form,
    builder: RecordBuilder,
    sample: _Sample,
    known: ReviewAnswers,
    keep: Callable[[ReviewAnswers, Mapping[str, str]], None],
    since: Mapping[str, str],
) -> tuple[ReviewAnswers, Pushed]:
    """Fetch and keep the answers before anything is sent, as answered texts are not sent again."""
    texts = {
        row["review"]["key"]: text
        for row in sample.rows.iter_rows(named=True)
        if (text := builder.text(row)) is not None
    }
    pulled = await tool.pull(form, texts, since)
    answers = known.updated(pulled.answers, pulled.places)
    keep(answers, pulled.cursors)
    waiting = _waiting(sample.keys, answers, form.annotators)
    records = [one for one in builder.records(sample.drawn, form) if one.key in waiting]
    return answers, await tool.push(form, records)


def _waiting(keys: set[str], answers: ReviewAnswers, annotators: int) -> set[str]:
    return {key for key in keys if len(answers.by_key.get(key, ())) < annotators}


def _fresh(before: ReviewAnswers, after: ReviewAnswers) -> int:
    was: dict[tuple[str, str, str], ReviewAnswer] = {
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


def _review_tool(
    builder: RecordBuilder,
    project: Project,
    name: str,
    environment: Mapping[str, str],
    notify: Notify,
) -> ReviewTool:
    into = review_folder(project.root, name)
    if builder.step.review == "file":
        return Files(into / FILES)
    settings = find_settings(environment, run_folder.runs_folder(project.root))
    return Argilla(settings, name, notify)


def _read_cursors(path: Path) -> dict[str, str]:
    try:
        return _CURSORS.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}


def _write_cursors(path: Path, cursors: Mapping[str, str]) -> None:
    with written_whole(path) as file:
        file.write_bytes(_CURSORS.dump_json(dict(cursors)))
