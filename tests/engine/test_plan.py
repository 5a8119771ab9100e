"""A plan has every name found and every column accounted for, and is named by what it does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from conftest import CHAT, Folder
from soupstock import spec
from soupstock.engine.plan import Plan, plan
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.spec.loader import load

ROOT = Path(__file__).parents[2]
PIPELINE = "pipelines/mine.yaml"


@pytest.fixture
def project(folder: Folder) -> Folder:
    folder.point_at("http://127.0.0.1:9/v1")
    return folder


def test_each_step_says_what_it_reads_and_adds_and_how_often_it_asks(project: Folder) -> None:
    planned = project.plan()
    assert [(step.title, step.reads, tuple(step.adds), step.calls) for step in planned.steps] == [
        ("generate: question", ("style", "topic"), ("question",), 1),
        ("generate: answer", ("question",), ("answer",), 1),
        ("judge: quality", ("question", "answer"), ("quality",), 1),
        ("filter: score(quality)", ("quality",), (), 0),
        ("dataset: me/mine", (), (), 0),
    ]
    assert list(planned.columns) == [
        "id",
        "topic",
        "style",
        "question",
        "answer",
        "quality",
        "twin",
        "similarity",
        "failures",
        "dropped_by",
    ]
    assert planned.rows == 20
    assert {role: model.name for role, model in planned.models.items()} == {
        "writer": "tester",
        "judge": "tester",
    }
    assert [part.file for part in planned.parts("prompt")] == [
        "prompts/ask.md",
        "prompts/reply.md",
        "standard:prompts/judge.md",
    ]


SCHEMA = """\
from pydantic import BaseModel


class Fact(BaseModel):
    text: str
    year: int
"""


def test_columns_have_types_before_there_are_rows(project: Folder) -> None:
    project.write("schemas/facts.py", SCHEMA)
    project.replace(PIPELINE, "prompt: ask", "prompt: ask\n    n: 3\n    schema: Fact")
    project.replace("prompts/reply.md", "{{ question }}", "{{ question[0].text }}")
    columns = project.plan().columns
    assert columns["question"] == pl.List(pl.Struct({"text": pl.String, "year": pl.Int64}))
    assert columns["answer"] == pl.String()
    numbers = {"score": pl.Float64, "uncertainty": pl.Float64}
    criterion = pl.Struct({"level": pl.Int64, **numbers, "reason": pl.String})
    assert columns["quality"] == pl.Struct(
        {**numbers, "criteria": pl.Struct({"right": criterion, "kind": criterion})}
    )


def test_a_rubric_may_show_a_field_of_a_column(project: Folder) -> None:
    project.replace("prompts/rubrics/plain.yaml", "[question, answer]", "[first.score, answer]")
    project.write("prompts/rubrics/short.yaml", SHORT)
    project.replace(
        PIPELINE,
        "  - judge: quality",
        "  - judge: first\n    model: judge\n    rubric: short\n  - judge: quality",
    )
    assert project.plan().steps[3].reads == ("first.score", "answer")


SHORT = "columns: [answer]\ncriteria: {x: {question: '?', levels: [a, b]}}\n"


def test_a_field_of_a_column_may_be_compared_for_repeats(project: Folder) -> None:
    project.write("schemas/facts.py", SCHEMA)
    project.replace(PIPELINE, "prompt: ask", "prompt: ask\n    schema: Fact")
    project.replace(PIPELINE, "  - dataset", "  - dedup: question.text\n  - dataset")
    assert project.plan().steps[-2].reads == ("question.text",)
    project.replace(PIPELINE, "question.text", "question.year")
    with pytest.raises(MistakeError, match=r"'question\.year' is not a text; there are: answer"):
        project.plan()


PYTHON = spec.Pipeline(
    models={"writer": "test", "judge": "test"},
    source=spec.SampleSource(
        rows=20,
        sample={"topic": ["cooking", "travel", "health", "money"], "style": ["short", "long"]},
    ),
    steps=(
        spec.Generate(generate="question", model="writer", prompt="ask"),
        spec.Generate(generate="answer", model="writer", prompt="reply"),
        spec.Judge(judge="quality", model="judge", rubric="plain", canaries=False),
        spec.Filter(
            filter=(spec.FilterUse(name="score", arguments={"column": "quality", "min": 0.5}),)
        ),
        spec.WriteDataset(dataset="me/mine"),
    ),
)


def test_a_pipeline_in_python_is_the_same_plan_as_in_yaml(project: Folder) -> None:
    from_yaml = project.plan()
    from_python = plan(PYTHON, Project(project.root), name="mine")
    assert from_yaml.pipeline == PYTHON
    assert from_python.fingerprint == from_yaml.fingerprint
    assert from_python.columns == from_yaml.columns
    assert [step.title for step in from_python.steps] == [step.title for step in from_yaml.steps]


def test_a_mistake_in_a_pipeline_in_python_has_no_place(project: Folder) -> None:
    steps = (PYTHON.steps[0], PYTHON.steps[0])
    wrong = PYTHON.model_copy(update={"steps": steps})
    with pytest.raises(MistakeError) as caught:
        plan(wrong, Project(project.root), name="mine")
    assert str(caught.value) == "there is a column 'question' already; choose another"
    endless = PYTHON.model_copy(update={"source": spec.SampleSource(sample={"a": [1]})})
    with pytest.raises(MistakeError, match="a sample source needs `rows`, or the pipeline a"):
        plan(endless, Project(project.root), name="mine")


def test_numbers_of_any_size_have_a_fingerprint(project: Folder) -> None:
    large = PYTHON.model_copy(update={"seed": 10**40})
    assert plan(large, Project(project.root), name="mine").fingerprint


FILTER = "import polars as pl\n\n\ndef own(column: str) -> pl.Expr:\n    return {}\n"
OWN = "      - own: {column: answer}\n"
SCORE = "      - score: {column: quality, min: 0.5}\n"
CHANGES: dict[str, Callable[[Folder], object]] = {
    "the seed": lambda f: f.replace(PIPELINE, "models:", "seed: 1\nmodels:"),
    "the rows": lambda f: f.replace(PIPELINE, "rows: 20", "rows: 21"),
    "a value": lambda f: f.replace(PIPELINE, "cooking", "baking"),
    "the order of values": lambda f: f.replace(PIPELINE, "[short, long]", "[long, short]"),
    "a parameter": lambda f: f.replace(PIPELINE, "prompt: ask", "prompt: ask\n    top_p: 0.9"),
    "a prompt": lambda f: f.replace("prompts/reply.md", "Answer well.", "Answer."),
    "the rubric": lambda f: f.replace("prompts/rubrics/plain.yaml", "kind?", "warm?"),
    "a filter's argument": lambda f: f.replace(PIPELINE, "min: 0.5", "min: 0.6"),
    "a filter's expression": lambda f: f.write(
        "filters/own.py", FILTER.format("pl.col(column).is_null()")
    ),
    "the model's name": lambda f: f.replace("pyproject.toml", '"tester"', '"other"'),
    "the model's revision": lambda f: f.point_at("http://127.0.0.1:9/v1", revision="2"),
    "the order of filters": lambda f: f.replace(PIPELINE, OWN + SCORE, SCORE + OWN),
    "the dataset": lambda f: f.replace(PIPELINE, "me/mine", "me/ours"),
}
NO_CHANGES: dict[str, Callable[[Folder], object]] = {
    "nothing": lambda _: None,
    "a comment": lambda f: f.replace(PIPELINE, "models:", "# mine\nmodels:"),
    "how it is written": lambda f: f.replace(
        PIPELINE, "{writer: test, judge: test}", "\n  judge: 'test'\n  writer: test"
    ),
    "a comment in a filter": lambda f: f.write(
        "filters/own.py", "# mine\n" + FILTER.format("pl.col(column).is_not_null()")
    ),
    "another filter": lambda f: f.write("filters/more.py", FILTER.replace("own", "more").format(1)),
    "where the server is": lambda f: f.point_at("http://127.0.0.1:10/v1"),
    "how fast it is asked": lambda f: f.point_at("http://127.0.0.1:9/v1", concurrency=3),
}


@pytest.fixture
def with_own(project: Folder) -> Folder:
    project.write("filters/own.py", FILTER.format("pl.col(column).is_not_null()"))
    project.replace(PIPELINE, SCORE, OWN + SCORE)
    return project


@pytest.mark.parametrize("change", CHANGES)
def test_what_shapes_the_result_changes_the_fingerprint(with_own: Folder, change: str) -> None:
    before = with_own.plan().fingerprint
    CHANGES[change](with_own)
    assert with_own.plan().fingerprint != before


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_shapes_nothing_leaves_the_fingerprint_alone(with_own: Folder, change: str) -> None:
    before = with_own.plan().fingerprint
    NO_CHANGES[change](with_own)
    assert with_own.plan().fingerprint == before


def test_a_moved_project_has_the_same_fingerprint(with_own: Folder, tmp_path: Path) -> None:
    before = with_own.plan().fingerprint
    assert Folder(with_own.root.rename(tmp_path / "moved")).plan().fingerprint == before


def test_a_text_cannot_move_from_one_file_to_another_unnoticed(project: Folder) -> None:
    project.write("prompts/judge.md", "{{ rubric.criteria.kind.question }}#\ncolumns: [answer]")
    one = project.plan().fingerprint
    rubric = (project.root / "prompts/rubrics/plain.yaml").read_text(encoding="utf-8")
    project.write("prompts/rubrics/plain.yaml", rubric + "#")
    project.write("prompts/judge.md", "{{ rubric.criteria.kind.question }}\ncolumns: [answer]")
    assert project.plan().fingerprint != one


FINGERPRINT = """
import sys
from pathlib import Path
from soupstock.engine.plan import plan_file
from soupstock.project.project import Project

print(plan_file("chat", Project.at(Path(sys.argv[1]))).fingerprint)
"""


def test_a_fingerprint_is_the_same_in_every_process(tmp_path: Path) -> None:
    said = {
        subprocess.run(  # noqa: S603 - our own interpreter and words
            [sys.executable, "-c", FINGERPRINT, str(tmp_path)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_flags_stand_in_for_what_the_file_says(project: Folder) -> None:
    planned = project.plan(models={"judge": "openai/gpt-5-mini"}, rows=7)
    assert planned.rows == 7
    assert planned.models["judge"].reference == "openai/gpt-5-mini"
    assert planned.models["writer"].reference == "test"
    assert planned.pipeline.source.rows == 7
    assert planned.fingerprint != project.plan().fingerprint


def test_no_more_rows_are_planned_than_the_source_has(project: Folder) -> None:
    project.write("seeds.csv", "topic,style\na,b\nc,d\n")
    text = CHAT.replace(
        CHAT[CHAT.index("  rows: 20") : CHAT.index("steps:")], "  file: seeds.csv\n"
    )
    project.write(PIPELINE, text)
    assert project.plan().rows == 2
    assert project.plan(rows=1000).rows == 2
    assert project.plan(rows=1).rows == 1


def test_a_target_needs_no_number_of_rows(project: Folder) -> None:
    project.replace(PIPELINE, "  rows: 20\n", "")
    project.replace(PIPELINE, "steps:", "target: 5\nsteps:")
    assert project.plan().rows is None


def shipped() -> list[str]:
    return sorted(Project(ROOT / "none").pipeline_names())


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_pipeline_can_be_planned_from_an_empty_folder(
    tmp_path: Path, name: str
) -> None:
    planned = Folder(tmp_path).plan(name)
    assert isinstance(planned, Plan)
    assert planned.pipeline == load(Project(tmp_path).pipeline(name), spec.Pipeline).value
    assert planned.pipeline.description
