"""Every verb of the table binds, runs, is described and explained, and is reproduced.

PIPELINE has a step of every verb. If a new one is missing in it, the tests of that verb say so.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from conftest import RUBRIC, Folder
from soupstock.dataset.reproduce import Reproduced, reproduce
from soupstock.engine.plan import Plan
from soupstock.project.project import Project
from soupstock.reports.life import Life, explain
from soupstock.runs.run import Run
from soupstock.spec import pipeline
from soupstock.spec.fields import Spec
from soupstock.steps import VERBS
from soupstock.steps.step import RowWise, SetWise, Step, column_of
from soupstock.testing import Request, Server, imitation

PIPELINE = """\
models: {writer: test, judge: test}
source: {file: seeds.jsonl}
steps:
  - decontaminate: topic
    against: [{file: exam.jsonl, column: question}]
  - dedup: topic
  - task: TextGeneration
    model: writer
    inputs: {instruction: topic}
    outputs: {generation: question}
  - converse: talk
    turns: 1
    user: {model: writer, prompt: ask}
    assistant: {model: writer, prompt: ask}
  - generate: answers
    model: writer
    prompt: ask
    n: 2
  - judge: choice
    compare: answers
    model: judge
    rubric: plain
  - generate: answer
    model: writer
    prompt: ask
  - verify: checked
    column: answer
    by: exact
    answer: topic
  - judge: quality
    model: judge
    rubric: plain
    canaries: false
  - filter:
      - length: {column: topic, min: 5}
  - mask: answer
    into: masked
  - select: 8
    by: quality
  - review: file
    columns: [masked]
  - dataset: me/mine
"""

TOPICS = (
    *("soup", "bread and butter", "night trains", "the care of old books", "bread and  BUTTER"),
    *("green tea", "long walks", "winter coats", "a small garden", "the moons of Jupiter"),
    *("paper boats", "how to sleep well"),
)
DROPPED = {
    "decontaminate: exact": 1,
    "decontaminate: rephrased": 1,
    "dedup: topic": 1,
    "filter: length(topic)": 1,
    "select: enough": 1,
}


def answer(request: Request) -> str:
    return imitation.write(request.body, 0)


@dataclass(frozen=True)
class Made:
    """A run of PIPELINE, and what follows from it."""

    project: Project
    plan: Plan
    run: Run
    card: str
    life: Life
    """The life of a row that was kept."""
    reproduced: Reproduced


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = Folder(tmp_path_factory.mktemp("verbs") / "project")
    folder.write("pipelines/mine.yaml", PIPELINE)
    folder.write("prompts/ask.md", "Say something about {{ topic }}.")
    folder.write(
        "prompts/rubrics/plain.yaml", RUBRIC.replace("[question, answer]", "[topic, answer]")
    )
    folder.write("seeds.jsonl", "".join(f'{{"topic": "{topic}"}}\n' for topic in TOPICS))
    folder.write("exam.jsonl", '{"question": "How to sleep well"}\n')
    with Server(answer) as server:
        folder.point_at(server.base_url)
        run = folder.run()
        asked = server.count
        project = Project(folder.root)
        kept = next(row["id"] for row in run.rows.to_dicts() if not row["dropped_by"])
        yield Made(
            project,
            folder.plan(),
            run,
            (run.folder / "dataset" / "README.md").read_text(encoding="utf-8"),
            explain(project, "mine", kept),
            reproduce(project, "mine"),
        )
        assert server.count == asked


def name(spec: type[Spec]) -> str:
    return next(verb for verb in pipeline.VERBS if verb in spec.model_fields)


each_verb = pytest.mark.parametrize("spec", VERBS, ids=name)


def steps_of(plan: Plan, spec: type[Spec]) -> list[tuple[int, Step]]:
    found = [(n, step) for n, step in enumerate(plan.steps) if type(step.spec) is spec]
    assert found, f"PIPELINE has no {name(spec)} step: add one"
    return found


def test_the_table_has_every_verb_that_a_person_can_write() -> None:
    members = [get_args(member)[0] for member in get_args(pipeline._Steps)]
    assert list(VERBS) == members
    assert all(verb.spec is spec for spec, verb in VERBS.items())
    assert [name(spec) for spec in VERBS] == list(pipeline.VERBS)


@each_verb
def test_a_verb_binds_and_says_what_it_makes(made: Made, spec: type[Spec]) -> None:
    for place, step in steps_of(made.plan, spec):
        assert step.title.startswith(name(spec))
        before = [one.adds for one in made.plan.steps[:place]]
        columns = {name for added in (made.plan.source.columns, *before) for name in added}
        assert {*map(column_of, step.reads)} <= columns
        for needed in VERBS[spec].needs(step.spec, made.project):
            assert needed <= columns
        makes = VERBS[spec].makes(step.spec)
        assert set(makes.every) <= set(step.adds) <= {*makes.every, *step.withholds}
        assert all(isinstance(part, bytes) for part in step.bound.identity())
        assert set(step.adds) <= set(made.run.rows.columns)


@each_verb
def test_a_verb_streams_or_waits(made: Made, spec: type[Spec]) -> None:
    for place, step in steps_of(made.plan, spec):
        assert isinstance(step.bound, RowWise) != isinstance(step.bound, SetWise)
        record = made.run.manifest.steps[place]
        assert record.label == step.title
        assert record.rows_in > 0
        assert record.rows_in - record.rows_kept == sum(record.dropped.values())


def test_each_step_that_drops_rows_drops_some(made: Made) -> None:
    reasons = made.run.rows["dropped_by"].explode().drop_nulls().to_list()
    assert Counter(reasons) == DROPPED


@each_verb
def test_the_card_describes_a_verb(made: Made, spec: type[Spec]) -> None:
    for place, step in steps_of(made.plan, spec):
        record: Any = made.run.manifest.steps[place]
        sentence = VERBS[spec].describe(step.spec, record, made.run.manifest)
        assert sentence.endswith(".")
        assert f"{place + 1}. **{name(spec)}**: {sentence}\n" in made.card


@each_verb
def test_a_verb_is_explained(made: Made, spec: type[Spec]) -> None:
    assert len(made.life.chapters) == len(made.plan.steps)
    for place, step in steps_of(made.plan, spec):
        chapter = made.life.chapters[place]
        assert chapter.title == step.title
        assert bool(chapter.rounds) == bool(chapter.model) == bool(step.models)
        columns = VERBS[spec].makes(step.spec).main
        assert not columns or chapter.value is not None or chapter.passages


@each_verb
def test_a_verb_is_reproduced_from_the_cache(made: Made, spec: type[Spec]) -> None:
    titles = [step.title for _, step in steps_of(made.plan, spec)]
    assert not [one for one in made.reproduced.problems if any(title in one for title in titles)]
    assert made.reproduced.problems == ()
    assert made.reproduced.rows == made.run.rows.height
