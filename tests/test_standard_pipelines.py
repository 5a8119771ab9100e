"""The standard pipelines, from end to end against a model server that writes what is asked for."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from datasets import load_dataset

from conftest import Folder
from soupstock.artifacts.mix import Mixture
from soupstock.dataset.corpus import read_corpus
from soupstock.dataset.mix import mix
from soupstock.dataset.overlap import overlap
from soupstock.engine.plan import plan_file
from soupstock.project.project import Project
from soupstock.reports.filter_figures import figures_of
from soupstock.rewards import by_rubric, right_answer
from soupstock.rows.row import Row
from soupstock.runs import run as runs
from soupstock.runs.run import Run
from soupstock.testing import Request, Server, imitation

THINGS = ("kettles", "ladders", "lanterns", "pillows", "wheels")
PLACES = ("kitchen", "garden", "cellar", "harbour", "workshop")


def sentence(request: Request, salt: str = "") -> str:
    """Write an English sentence that depends on what is asked."""
    number = int(request.share(salt) * 1_000_000)
    thing, other = THINGS[number % 5], THINGS[number // 10 % 5]
    place, far = PLACES[number // 100 % 5], PLACES[number // 1000 % 5]
    return (
        f"The {thing} in the {place} are {number} days older than the {other} that"
        f" somebody left beside the door of the {far} last winter, and they still work well."
    )


def answer(request: Request) -> str:
    if "response_format" in request.body:
        return imitation.write(request.body, 0)
    return sentence(request)


def run(folder: Folder, name: str, rows: int | None = None, **roles: str) -> Run:
    project = Project(folder.root)
    told = plan_file(name, project)
    models = dict.fromkeys(told.models, "test") | roles
    return runs.run(plan_file(name, project, models=models, rows=rows))


def published(done: Run) -> list[Row]:
    return list(load_dataset(str(done.folder / "dataset"), split="train"))


def accounted(done: Run) -> None:
    for step in done.manifest.steps:
        assert step.rows_in == step.rows_kept + sum(step.dropped.values())


Check = Callable[[Mapping[str, Any]], bool]


def is_conversation(row: Mapping[str, Any]) -> bool:
    return [message["role"] for message in row["messages"]] == ["user", "assistant"]


def is_long_conversation(row: Mapping[str, Any]) -> bool:
    return [message["role"] for message in row["messages"]] == ["user", "assistant"] * 2


def is_preference(row: Mapping[str, Any]) -> bool:
    return row["chosen"] != row["rejected"] and row["margin"] > 0 and bool(row["prompt"])


@pytest.mark.parametrize(
    ("name", "is_right"),
    [
        ("personas", is_conversation),
        ("evolve", is_conversation),
        ("preference", is_preference),
        ("multiturn", is_long_conversation),
    ],
)
def test_a_pipeline_makes_the_dataset_that_it_promises(
    folder: Folder, server: Server, name: str, is_right: Check
) -> None:
    server.answer = answer
    done = run(folder, name, 8)
    accounted(done)
    assert done.manifest.outcome == "complete"
    rows = published(done)
    assert rows
    assert all(is_right(row) for row in rows)


def test_evolve_eliminates_what_got_no_harder(folder: Folder, server: Server) -> None:
    def lazy(request: Request) -> str:
        said = request.prompt
        if said.startswith("Task:"):
            task = said.removeprefix("Task: ").partition(" Way:")[0]
            return f"#Rewritten Task#: {task}" if "more requirement" in said else task.upper()
        return answer(request)

    server.answer = lazy
    done = run(folder, "evolve", 8)
    rows = pl.read_parquet(done.folder / "rows.parquet")
    assert set(rows["dropped_by"].explode()) == {"filter: evolved(harder)"}


def test_a_preference_whose_judge_follows_the_order_is_dropped_as_a_tie(
    folder: Folder, server: Server
) -> None:
    server.answer = lambda request: (
        {"reason": "It comes first.", "better": "first"}
        if "response_format" in request.body
        else sentence(request)
    )
    done = run(folder, "preference", 4)
    rows = pl.read_parquet(done.folder / "rows.parquet")
    assert set(rows["dropped_by"].explode()) == {"filter: number(choice.margin)"}


def is_grounded(row: Mapping[str, Any]) -> bool:
    return row["quote"] in row["context"] and row["question"].endswith("?")


def reader(request: Request) -> str:
    """Answer as somebody who reads the text: with its first sentence."""
    if "response_format" in request.body:
        return imitation.write(request.body, 0)
    told = request.messages[0]["content"]
    if "write one question" in told:
        return f"What is it about {request.prompt.partition('Sentence: ')[2][:60]}?"
    return request.prompt.removeprefix("Text: ").partition(". ")[0].strip()


def test_grounded_answers_questions_about_documents_with_quotes(
    folder: Folder, server: Server
) -> None:
    server.answer = reader
    done = run(folder, "grounded")
    accounted(done)
    rows = published(done)
    assert len(rows) == done.manifest.source.rows
    assert all(is_grounded(row) for row in rows)
    assert {row["document"] for row in rows} == {"allotments.html", "lighthouse.md", "tram.txt"}


def test_grounded_drops_quotes_and_numbers_that_are_not_in_the_text(
    folder: Folder, server: Server
) -> None:
    def dreamer(request: Request) -> str:
        said, told = reader(request), request.messages[0]["content"]
        if "copy one sentence" in told and "72" in said:
            return "There are many plots at Mill Lane."
        return f"{said} in 1066" if "only what the text" in told else said

    server.answer = dreamer
    done = run(folder, "grounded")
    rows = pl.read_parquet(done.folder / "rows.parquet")
    reasons = set(rows["dropped_by"].explode())
    assert reasons == {"filter: quoted(quote)", "filter: numbers_from(answer)"}


@pytest.mark.parametrize(
    ("said", "is_kept"),
    [
        ("Bake bread, and name two flours that suit it.", True),
        ("Bake bread, and you're asking for one more requirement.", False),
        ("Bake bread. ADD one  more, requirement!", False),
        ("bake bread!", False),
        ("Task: bake bread without salt", False),
        ("One more loaf of bread, to be baked by ten", True),
        ("", False),
    ],
)
def test_a_task_is_evolved_where_it_shows_nothing_of_the_way_it_was_to_be(
    folder: Folder, said: str, *, is_kept: bool
) -> None:
    keep = Project(folder.root).filter("evolved").value("after", of="before", way="way")
    row = pl.DataFrame(
        {"before": ["Bake bread."], "after": [said], "way": ["add one more requirement"]}
    )
    (seen,) = figures_of([keep], row)
    assert bool(seen.keeps) is is_kept


def is_solved(row: Mapping[str, Any]) -> bool:
    said = row["messages"][1]["content"]
    shorter = row["compressed"]
    if shorter is None:
        return bool(said == row["solution"])
    return bool(said == shorter and len(said) < len(row["solution"]) and row["saved"] > 0)


def shorter(row: Mapping[str, Any]) -> str | None:
    return (row["compressed"] or {}).get("shortest")


def solver(request: Request) -> str:
    """Solve the problems that are additions, every second time, and all of them in a draft."""
    told = [
        int(word.strip("?.,")) for word in request.prompt.split() if word.strip("?.,").isdigit()
    ]
    is_draft = request.prompt.startswith("Problem:")
    right = told[0] + told[1]
    if is_draft:
        return f"{right}. The answer is {right}."
    return f"Let us add up what is there. The answer is {right + request.body['seed'] % 2}."


@pytest.mark.slow
def test_reasoning_keeps_solutions_that_are_right_and_shorter_ones_that_still_are(
    folder: Folder, server: Server
) -> None:
    server.answer = solver
    done = run(folder, "reasoning")
    accounted(done)
    rows = published(done)
    assert 0 < len(rows) < 24
    assert all(is_solved(row) for row in rows)
    assert any(0 < row["pass_rate"] < 1 for row in rows)
    assert {row["compressed"] is None for row in rows} == {True, False}
    (step,) = (step for step in done.manifest.steps if step.label == "verify: compressed")
    (saving,) = step.savings
    both = [row for row in pl.read_parquet(done.folder / "rows.parquet").to_dicts() if shorter(row)]
    assert (saving.unit, saving.rows) == ("tokens", len(both))
    assert saving.before == sum(row["checked"]["tokens"] for row in both)
    assert saving.after == sum(row["compressed"]["tokens"] for row in both)
    assert f"{saving.after:,} tokens in all instead of {saving.before:,}" in step.notes[0]
    assert "as the model's server counts them (small students" in step.notes[0]


def test_refusals_keeps_help_with_the_harmless_and_refusals_of_the_harmful(
    folder: Folder, server: Server
) -> None:
    refused = "I can't help with that, because it would do harm. I can help with something else."

    def careful(request: Request) -> str:
        if "response_format" in request.body:
            return imitation.write(request.body, 0)
        if "test of how careful" in request.messages[0]["content"]:
            harms = "would do harm" in request.prompt
            return f"{'Harm' if harms else 'Help'} somebody with number {request.share():.9f}."
        wants_harm = request.prompt.startswith("Harm")
        is_wrong = request.share("wrong") < 0.3
        return refused if wants_harm != is_wrong else sentence(request)

    server.answer = careful
    done = run(folder, "refusals")
    accounted(done)
    rows = published(done)
    turns = [[turn["content"] for turn in row["messages"]] for row in rows]
    said = {(asked[:4], answered == refused) for asked, answered in turns}
    assert said == {("Harm", True), ("Help", False)}
    everything = pl.read_parquet(done.folder / "rows.parquet")
    assert set(everything["dropped_by"].explode().drop_nulls()) == {
        "filter: refuses_rightly(response)"
    }


def test_rewards_has_prompts_with_answers_that_the_reward_functions_read(
    folder: Folder, server: Server
) -> None:
    server.answer = lambda request: (
        imitation.write(request.body, 0) if "response_format" in request.body else solver(request)
    )
    done = run(folder, "rewards")
    accounted(done)
    rows = published(done)
    assert rows
    for row in rows:
        assert right_answer(completion=row["reference"], answer=row["answer"]) == 1
        assert json.loads(row["info"])["rubric"] == row["rubric"]
        assert by_rubric(lambda _: "1. yes")(completion="x", **row) > 0


def operator(request: Request) -> str:
    """Ask for something, and call the first function there is, every second time as declared."""
    told = request.messages[0]["content"]
    if "calling one of the functions" not in told:
        return sentence(request)
    listed = request.prompt.removeprefix("Functions: ").partition("\nRequest:")[0]
    (first, *_) = json.loads(listed)
    values = {"string": "on", "integer": 3, "number": 2.5}
    arguments = {
        name: values[one["type"]] for name, one in first["parameters"]["properties"].items()
    }
    if request.body["seed"] % 2:
        arguments["surely"] = True
    return json.dumps({"name": first["name"], "arguments": arguments})


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
def test_tools_keeps_calls_that_their_functions_take_and_what_came_of_them(
    folder: Folder, server: Server
) -> None:
    server.answer = operator
    done = run(folder, "tools")
    accounted(done)
    rows = published(done)
    assert rows
    for row in rows:
        turns = [turn["role"] for turn in row["messages"]]
        assert turns == ["user", "assistant", "tool", "assistant"]
        (call,) = row["messages"][1]["tool_calls"]
        assert "surely" not in json.loads(call["function"]["arguments"])
        assert json.loads(row["messages"][2]["content"])


def test_magpie_draws_instructions_past_the_chat_template(folder: Folder, server: Server) -> None:
    server.answer = answer
    done = run(folder, "magpie", 8)
    accounted(done)
    rows = published(done)
    assert rows
    assert all(is_conversation(row) for row in rows)
    drawn = [request for request in server.requests if request.path == "/v1/completions"]
    assert len(drawn) == 8
    for request in drawn:
        assert request.prompt.startswith("<|im_start|>system\nYou are a helpful assistant for")
        assert request.prompt.endswith("<|im_end|>\n<|im_start|>user\n")
        assert request.body["stop"] == ["<|im_end|>"]


SKILLS = ("summarise", "extract", "arithmetic")


def apprentice(request: Request) -> str:
    """Answer as each of the specialists' prompts asks; orders for a Friday are misunderstood."""
    told = request.messages[0]["content"]
    if "response_format" in request.body:
        return imitation.write(request.body, 0)
    if "rewrite the order" in told:
        order = request.prompt.removesuffix(".").replace("Friday", "some day")
        return f"Good morning! {order}. That is what I would like."
    if "solve the problem" in told:
        return solver(request)
    if "summarise the text" in told:
        return f"In short, {' '.join(request.prompt.split()[:12])}"
    return sentence(request)


@pytest.fixture
def specialists(folder: Folder, server: Server) -> dict[str, Run]:
    server.answer = apprentice
    return {name: run(folder, f"specialists/{name}", 12) for name in ("anchor", *SKILLS)}


def test_specialists_share_a_system_prompt_an_anchor_and_nothing_else(
    folder: Folder, specialists: dict[str, Run]
) -> None:
    for done in specialists.values():
        accounted(done)
        assert done.manifest.name.startswith("specialists/")
    project = Project(folder.root)
    for skill in SKILLS:
        shares = {"specialists/anchor": 0.5, f"specialists/{skill}": 0.5}
        mix(Mixture(shares, skill, 10), project)
    found = overlap([read_corpus(project, skill) for skill in SKILLS])
    (prompt,) = {system.text for one in found.datasets for system in one.systems}
    assert prompt
    assert {one.system_prompts for one in found.datasets} == {1}
    assert {tuple(one.shapes) for one in found.datasets} == {("messages: system user assistant",)}
    assert [one.anchor for one in found.datasets] == [5, 5, 5]
    assert {one.overlapping for one in found.crossings} == {0}


def test_extract_has_the_data_that_the_message_was_written_from(
    specialists: dict[str, Run],
) -> None:
    rows = published(specialists["extract"])
    for row in rows:
        note, answer = (turn["content"] for turn in row["messages"][1:])
        order = json.loads(answer)
        assert list(order) == ["name", "item", "number", "day"]
        assert all(str(value) in note for value in order.values())
        assert order["day"] != "Friday"
    everything = pl.read_parquet(specialists["extract"].folder / "rows.parquet")
    lost = everything.filter(pl.col("dropped_by").list.contains("filter: quoted(day)"))
    assert set(lost["day"]) == {"Friday"}
    assert rows


def test_every_specialist_is_published_under_the_same_system_prompt(folder: Folder) -> None:
    project = Project(folder.root)
    shared = project.schema("Specialist").value
    names = [name for name in project.pipeline_names() if name.startswith("specialists/")]
    assert len(names) > len(SKILLS)
    for name in names:
        (shape,) = plan_file(name, project).parts("schema")
        assert issubclass(project.schema(shape.name).value, shared)


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.parametrize("name", sorted(Project(Path("none")).pipeline_names()))
def test_a_pipeline_runs_as_it_is_on_the_embedded_model(folder: Folder, name: str) -> None:
    done = runs.run(plan_file(name, Project(folder.root), rows=1))
    accounted(done)
    assert done.manifest.steps[0].answers
    assert not any(step.failures for step in done.manifest.steps)
