"""A task of distilabel's makes here what it makes there, of the same answers."""

import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from conftest import Folder
from soupstock.cli.main import main
from soupstock.errors import MistakeError
from soupstock.inference.call import derive_seed
from soupstock.project.project import Project
from soupstock.reports.life import explain
from soupstock.rows.row import Row
from soupstock.steps.distilabel import resumable_task
from soupstock.steps.distilabel.library import load_library, quiet
from soupstock.testing import Reply, Request, Server

if find_spec("distilabel") is None:
    pytest.skip("the extra `distilabel` is not installed", allow_module_level=True)

STEP = """\
models: {{writer: test}}
source: {{file: rows.jsonl}}
steps:
  - task: {task}
    model: writer
    temperature: 0.7
    with: {parameters}
    inputs: {inputs}
    outputs: {outputs}
"""


@dataclass(frozen=True)
class Case:
    """A task, its parameters, a row, and what a model answers, question by question."""

    task: str
    row: Mapping[str, Any]
    outputs: Sequence[str]
    answers: Sequence[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.task, *map(str, self.parameters.values())])[:60]


RATED = "Rating: 4\nRationale: It is good.\n\nRating: 2\nRationale: It is not."
TYPED = "Type: 1\nRationale: Wrong.\nRating: 3\nRationale: So so.\n\n" * 2
GENERATIONS = ["Boil them.", "Fry them."]
SHEPHERD = "Step 1: Two and two.\nStep 2: That makes four.\nThe answer is: 4"
API = '[{"query": "Is it raining in Oslo?", "answers": [{"name": "rain", "arguments": {}}]}]'

CASES = [
    Case("SelfInstruct", {"input": "Bread"}, ["instructions"], ["Bake it.\n\nSlice it."]),
    Case(
        "EvolInstruct",
        {"instruction": "Boil an egg."},
        ["evolved_instruction"],
        ["Boil two eggs.", "#Rewritten Prompt#: Boil three eggs."],
        {"num_evolutions": 2},
    ),
    Case(
        "EvolInstruct",
        {"instruction": "Boil an egg."},
        ["evolved_instructions", "answers"],
        ["Boil two.", "Boil three.", "Boil four.", "Like so.", "And so.", "Thus."],
        {"num_evolutions": 3, "store_evolutions": True, "generate_answers": True},
    ),
    Case(
        "EvolComplexity",
        {"instruction": "Boil an egg."},
        ["evolved_instruction"],
        ["Boil two eggs."],
        {"num_evolutions": 1},
    ),
    Case(
        "EvolQuality",
        {"instruction": "Boil an egg.", "response": "Use water."},
        ["evolved_responses"],
        ["Use hot water.", "Use boiling water."],
        {"num_evolutions": 2, "store_evolutions": True},
    ),
    Case(
        "UltraFeedback",
        {"instruction": "How are eggs cooked?", "generations": GENERATIONS},
        ["ratings", "rationales"],
        [RATED],
        {"aspect": "overall-rating"},
    ),
    Case(
        "UltraFeedback",
        {"instruction": "How are eggs cooked?", "generations": GENERATIONS},
        ["types", "ratings", "rationales", "rationales-for-ratings"],
        [TYPED.strip()],
        {"aspect": "truthfulness"},
    ),
    Case(
        "UltraFeedback",
        {"instruction": "How are eggs cooked?", "generations": GENERATIONS},
        ["ratings", "rationales"],
        ['{"ratings": [4, 2], "rationales": ["Good.", "Bad."]}'],
        {"aspect": "honesty", "use_default_structured_output": True},
    ),
    Case(
        "PrometheusEval",
        {"instruction": "How?", "generation": "So."},
        ["feedback", "result"],
        ["Feedback: It is right. [RESULT] 4"],
        {"mode": "absolute", "rubric": "factual-validity"},
    ),
    Case(
        "PrometheusEval",
        {"instruction": "How?", "generations": GENERATIONS},
        ["feedback", "result"],
        ["Feedback: The first is. [RESULT] A"],
        {"mode": "relative", "rubric": "honesty"},
    ),
    Case("ComplexityScorer", {"instructions": ["a", "b"]}, ["scores"],
         ["[1] Score: 2\n[2] Score: 5"]),
    Case(
        "QualityScorer",
        {"instruction": "How?", "responses": GENERATIONS},
        ["scores"],
        ["[1] Score: 3\n[2] Score: 1"],
    ),
    Case(
        "Genstruct",
        {"title": "Eggs", "content": "Eggs are boiled in water."},
        ["user", "assistant"],
        ["What are eggs boiled in?\n[[[Assistant]]] In water."],
    ),
    Case(
        "InstructionBacktranslation",
        {"instruction": "How?", "generation": "So."},
        ["score", "reason"],
        ["It answers. Score: 4"],
    ),
    Case(
        "CLAIR",
        {"task": "How?", "student_solution": "So."},
        ["revision", "rational"],
        ["{teacher_reasoning}: It lacks a verb.\n\n{corrected_student_solution}: Do it so."],
    ),
    Case("URIAL", {"instruction": "How?"}, ["generation"], ["\n\nLike this.\n\n# User\nMore?"]),
    Case(
        "MathShepherdGenerator",
        {"instruction": "What is 2 + 2?"},
        ["golden_solution"],
        [SHEPHERD],
    ),
    Case(
        "MathShepherdGenerator",
        {"instruction": "What is 2 + 2?", "golden_solution": ["Step 1: x", "The answer is: 4"]},
        ["solutions"],
        [f"---{SHEPHERD}---{SHEPHERD}"],
        {"M": 2},
    ),
    Case(
        "MathShepherdCompleter",
        {
            "instruction": "What is 2 + 2?",
            "golden_solution": ["Step 1: x", "The answer is: 4"],
            "solutions": [["Step 1: a", "Step 2: b", "The answer is: 4"], ["c", "d", "5"]],
        },
        ["solutions"],
        [SHEPHERD, SHEPHERD],
        {"N": 1},
    ),
    Case(
        "APIGenGenerator",
        {"examples": "## Query:\nx", "func_name": "rain", "func_desc": "Tells of rain."},
        ["query", "answers"],
        [API],
        {"use_tools": False},
    ),
    Case(
        "APIGenSemanticChecker",
        {
            "func_desc": "Tells of rain.",
            "query": "Does it rain?",
            "answers": "[]",
            "execution_result": "no",
            "keep_row_after_execution_check": True,
        },
        ["keep_row_after_semantic_check", "thought"],
        ['{"thought": "It fits.", "passes": "yes"}'],
    ),
    Case("TextGeneration", {"instruction": "How?"}, ["generation"], ["So."]),
    Case(
        "TextGeneration",
        {"instruction": "How?"},
        ["generation"],
        ["So.", "Or so."],
        {"num_generations": 2},
    ),
    Case("GenerateSentencePair", {"anchor": "Eggs."}, ["positive"], ["## Positive\nChickens."],
         {"action": "query"}),
    Case(
        "TextClassification",
        {"text": "I like eggs."},
        ["labels"],
        ['{"labels": "food"}'],
        {"available_labels": ["food", "law"]},
    ),
    Case("ChatGeneration", {"messages": [{"role": "user", "content": "How?"}]}, ["generation"],
         ["So."]),
    Case("EvolInstructGenerator", {"n": 1}, ["instruction"], ["Describe an egg in ten words."] * 3,
         {"min_length": 1, "max_length": 999}),
]  # fmt: skip


def theirs(case: Case, seed: int) -> tuple[list[str], Mapping[str, Any]]:
    """Run distilabel's own task, against a model of its own interface with the answers."""
    library = load_library()
    asked: list[str] = []
    answers = iter(case.answers)

    def generate(_: Any, inputs: Any, num_generations: int = 1, **__: Any) -> list[Any]:
        asked.extend(one[0][-1]["content"] if isinstance(one, tuple) else one[-1]["content"]
                     for one in inputs)  # fmt: skip
        counts = {"input_tokens": [1], "output_tokens": [1] * num_generations}
        return [
            {"generations": [next(answers) for _ in range(num_generations)], "statistics": counts}
            for _ in inputs
        ]

    members = {
        "__module__": __name__,
        "__annotations__": {"structured_output": Any},
        "structured_output": {"format": "json", "schema": {}},
        "model_name": property(lambda _: "tester"),
        "generate": generate,
    }
    with quiet():
        llm: Any = library.models.llms.base.LLM
        kind = getattr(library.steps.tasks, case.task)
        is_many = "num_generations" in case.parameters
        own = {"group_generations": True} if is_many else {}
        if case.task.endswith("InstructGenerator"):
            own["num_instructions"] = True
        task = kind(llm=type(llm)("Told", (llm,), members)(), **case.parameters, **own)
        task.load()
    if "seed" in kind.model_fields:
        task.seed = seed
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - distilabel draws from it
    if task.is_generator:
        rows, _ = next(iter(task.process(offset=0)))
    else:
        rows = next(iter(task.process([{**case.row}])))
    return asked, rows[0]


def ours(folder: Folder, server: Server, case: Case) -> tuple[list[str], Row]:
    """Run the task by a pipeline."""
    waiting = iter(case.answers)
    told: dict[str, str] = {}

    def answer(request: Request) -> str:
        # The same question asked twice at once is two questions.
        return told.setdefault(request.key, next(waiting, ""))

    server.answer = answer
    columns = {name: f"made_{name.replace('-', '_')}" for name in case.outputs}
    folder.write(
        "pipelines/mine.yaml",
        STEP.format(
            task=case.task,
            parameters=as_yaml(case.parameters),
            inputs=as_yaml({name: name for name in case.row if name != "n"}
                           if case.task != "MathShepherdGenerator" else {}),
            outputs=as_yaml(columns),
        ),
    )  # fmt: skip
    pl.DataFrame([case.row]).write_ndjson(folder.root / "rows.jsonl")
    run = folder.run()
    asked = [request.prompt for request in server.requests]
    (row,) = pl.read_parquet(run.folder / "rows.parquet").to_dicts()
    return asked, {name: row[column] for name, column in columns.items()} | {
        "id": row["id"],
        "dropped_by": row["dropped_by"],
        "failures": row["failures"],
    }


def as_yaml(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_task_asks_and_makes_what_distilabels_own_does(
    folder: Folder, server: Server, case: Case
) -> None:
    asked, made = ours(folder, server, case)
    label = f"task: {case.task}(made_{case.outputs[0].replace('-', '_')})"
    seed = derive_seed(0, f"{made['id']}/{label}")
    own_asked, own_made = theirs(case, seed)
    assert made["failures"] == []
    assert {name: made[name] for name in case.outputs} == {
        name: own_made[name] for name in case.outputs
    }
    many = int(case.parameters.get("num_generations", 1))
    assert sorted(asked) == sorted(own_asked * many)


EVOLVE = """\
models: {writer: test}
source: {rows: 12, sample: {question: [How do I boil an egg?, How do I bake bread?]}}
steps:
  - task: EvolInstruct
    model: writer
    with: {num_evolutions: 2}
    inputs: {instruction: question}
    outputs: {evolved_instruction: harder}
"""


def rows_of(folder: Folder) -> list[Row]:
    return pl.read_parquet(folder.run().folder / "rows.parquet").to_dicts()


def test_rows_draw_their_own_mutations_and_the_same_ones_in_every_run(
    folder: Folder, server: Server
) -> None:
    folder.write("pipelines/mine.yaml", EVOLVE)
    first = rows_of(folder)
    assert server.count == 24
    asked = {request.prompt for request in server.requests}
    assert len(asked) > 12
    (folder.root / "runs" / "calls.sqlite").unlink()
    again = rows_of(folder)
    assert again == first
    assert {request.prompt for request in server.requests[24:]} == asked


def test_a_task_that_ran_asks_nothing_when_it_runs_again(folder: Folder, server: Server) -> None:
    folder.write("pipelines/mine.yaml", EVOLVE)
    folder.run()
    before = server.count
    done = folder.run()
    assert server.count == before
    assert done.manifest.steps[0].rows_kept == 12
    assert done.manifest.steps[0].answers == 24


RATE = """\
models: {writer: test}
source: {rows: 1, sample: {question: [How?], answer: [So.]}}
steps:
  - task: InstructionBacktranslation
    model: writer
    inputs: {instruction: question, generation: answer}
    outputs: {score: score}
    retries: 1
"""


def test_what_a_task_cannot_read_is_asked_again_and_then_drops_the_row(
    folder: Folder, server: Server
) -> None:
    folder.write("pipelines/mine.yaml", RATE)
    server.answer = lambda _: "I would rather not say."
    (row,) = rows_of(folder)
    assert server.count == 2
    assert len({request.body["seed"] for request in server.requests}) == 2
    assert row["dropped_by"] == ["task: InstructionBacktranslation(score) failed"]
    assert row["failures"][0]["cause"] == "Unreadable"


def test_an_empty_answer_is_unreadable_to_a_task(folder: Folder, server: Server) -> None:
    folder.write("pipelines/mine.yaml", RATE)
    server.answer = lambda request: "" if request.number == 1 else "Well done. Score: 5"
    (row,) = rows_of(folder)
    assert row["score"] == 5


def test_a_call_that_fails_drops_the_row_with_its_cause(folder: Folder, server: Server) -> None:
    folder.write("pipelines/mine.yaml", RATE)
    server.fail(lambda _: Reply(status=400, body=b'{"error": {"message": "no"}}'))
    (row,) = rows_of(folder)
    assert row["failures"][0]["cause"] == "BadRequestError"


def test_a_task_that_breaks_on_a_row_drops_that_row(folder: Folder, server: Server) -> None:
    folder.write("pipelines/mine.yaml", EVOLVE.replace("rows: 12", "rows: 2"))
    folder.write("rows.jsonl", '{"question": "How?"}\n{"question": null}\n')
    folder.replace(
        "pipelines/mine.yaml",
        "source: {rows: 2, sample: {question: [How do I boil an egg?, How do I bake bread?]}}",
        "source: {file: rows.jsonl}",
    )
    good, bad = rows_of(folder)
    assert good["harder"]
    assert [failure["cause"] for failure in bad["failures"]] == ["TaskError"]
    assert server.count == 2


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("EvolInstruct", "EvolInstrukt"), 4, "did you mean 'EvolInstruct'"),
        (("EvolInstruct", "PairRM"), 4, "no task is called 'PairRM'"),
        (("EvolInstruct", "ArgillaLabeller"), 4, "it needs Argilla's records"),
        (("num_evolutions", "num_evolution"), 6, "did you mean 'num_evolutions'"),
        (("num_evolutions: 2", "num_evolutions: many"), 6, "num_evolutions"),
        (("{num_evolutions: 2}", "{}"), 6, "num_evolutions: it is missing"),
        (("{instruction: question}", "{instructions: question}"), 7, "'instructions'"),
        (("{instruction: question}", "{instruction: questions}"), 7, "did you mean 'question'"),
        (("{instruction: question}", "{}"), 7, "needs 'instruction'"),
        (("evolved_instruction:", "evolved:"), 8, "evolved_instruction"),
        (("harder", "question"), 8, "already"),
        (("model: writer", "model: reader"), 5, "'reader'"),
    ],
)
def test_a_mistake_in_a_task_step_names_its_line_and_the_right_value(
    folder: Folder, server: Server, change: tuple[str, str], line: int, said: str
) -> None:
    folder.write("pipelines/mine.yaml", EVOLVE.replace(*change, 1))
    with pytest.raises(MistakeError) as told:
        folder.plan()
    assert said in told.value.message
    assert told.value.place
    assert told.value.place.line == line
    assert not server.count


def test_a_text_where_a_task_needs_a_list_is_a_mistake(folder: Folder, server: Server) -> None:
    text = RATE.replace("InstructionBacktranslation", "QualityScorer")
    text = text.replace("generation: answer", "responses: answer").replace(
        "score: score", "scores: s"
    )
    folder.write("pipelines/mine.yaml", text)
    with pytest.raises(MistakeError, match="needs a list as 'responses', and 'answer' is String"):
        folder.plan()
    assert not server.count


MAGPIE = """\
models: {writer: test}
source: {rows: 3, sample: {system_prompt: [You are a cook.]}}
steps:
  - task: Magpie
    model: writer
    with: {magpie_pre_query_template: chatml, n_turns: TURNS, include_system_prompt: true}
    outputs: OUTPUTS
"""


def test_magpie_has_the_model_write_the_users_turn_past_its_chat_template(
    folder: Folder, server: Server
) -> None:
    text = MAGPIE.replace("TURNS", "1").replace(
        "include_system_prompt: true", "only_instruction: true"
    )
    folder.write("pipelines/mine.yaml", text.replace("OUTPUTS", "{instruction: question}"))
    rows = rows_of(folder)
    assert {request.path for request in server.requests} == {"/v1/completions"}
    assert {request.prompt for request in server.requests} == {
        "<|im_start|>system\nYou are a cook.<|im_end|>\n<|im_start|>user\n"
    }
    assert server.requests[0].body["stop"] == ["<|im_end|>"]
    assert len({row["question"] for row in rows}) == 3


def test_magpie_takes_turns_with_itself(folder: Folder, server: Server) -> None:
    text = MAGPIE.replace("TURNS", "2").replace("OUTPUTS", "{conversation: messages}")
    folder.write("pipelines/mine.yaml", text.replace("rows: 3", "rows: 1"))

    def answer(request: Request) -> str:
        is_user = request.path == "/v1/completions"
        return "What of eggs?" if is_user else "Boil them."

    server.answer = answer
    (row,) = rows_of(folder)
    roles = ["system", "user", "assistant", "user", "assistant"]
    assert [message["role"] for message in row["messages"]] == roles
    kinds = [request.path.removeprefix("/v1/") for request in server.requests]
    assert kinds == ["completions", "chat/completions"] * 2
    third = server.requests[2].prompt
    assert third.endswith("<|im_start|>assistant\nBoil them.<|im_end|>\n<|im_start|>user\n")


def test_magpie_without_a_known_template_is_a_mistake(folder: Folder, server: Server) -> None:
    text = MAGPIE.replace("TURNS", "1").replace("OUTPUTS", "{instruction: question}")
    folder.write("pipelines/mine.yaml", text.replace("chatml", "mistral"))
    with pytest.raises(MistakeError, match="chatml"):
        folder.plan()
    assert not server.count


def test_the_tasks_are_listed_with_what_they_need_and_the_paper(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main(["tasks"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "EvolInstruct " in told
    assert "https://arxiv.org/abs/2304.12244" in told
    assert "ArgillaLabeller" not in told


def test_a_row_is_explained_with_what_the_task_made(
    folder: Folder, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write("pipelines/mine.yaml", EVOLVE)
    row = rows_of(folder)[0]
    assert server.count
    with pytest.raises(SystemExit):
        main(["--project", str(folder.root), "explain", "mine", row["id"]])
    told = capsys.readouterr().out
    assert "task: EvolInstruct(harder)" in told
    assert "question 1, asked as user: I want you" in told
    assert "question 2, answered: " in told
    assert row["harder"].split(maxsplit=1)[0] in told


def test_a_tasks_questions_are_told_as_they_were_asked(folder: Folder, server: Server) -> None:
    folder.write("pipelines/mine.yaml", EVOLVE)
    row = rows_of(folder)[0]
    asked = [request.messages for request in server.requests]
    before = server.count
    (chapter,) = explain(Project(folder.root), "mine", row["id"]).chapters
    assert chapter.model == "tester"
    assert len(chapter.rounds) == 2
    assert all(one.messages in asked for one in chapter.rounds)
    assert str(chapter.rounds[0].answer) in chapter.rounds[1].messages[0]["content"]
    assert chapter.rounds[1].answer == row["harder"]
    assert server.count == before
    (folder.root / "runs" / "calls.sqlite").unlink()
    assert explain(Project(folder.root), "mine", row["id"]).chapters[0].rounds == ()


def test_distilabel_leaves_the_process_as_it_was() -> None:
    before = random.getstate()
    with resumable_task._seeded(3):
        random.random()  # noqa: S311 - no secret
    assert random.getstate() == before
    assert sys.excepthook is sys.__excepthook__


def test_without_distilabel_a_task_step_says_what_to_install(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['distilabel'] = None\n"
    code = f"{blocked}from soupstock.cli.main import main; main(['tasks'])"
    ended = subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.returncode == 2
    assert "pip install 'soupstock[distilabel]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
