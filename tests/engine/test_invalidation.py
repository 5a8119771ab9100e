"""A call is asked again when, and only when, something that shapes its answer has changed."""

import json

import pytest

from conftest import Folder
from soupstock import testing
from soupstock.testing import Server

PIPELINE, ASK, REPLY = "pipelines/mine.yaml", "prompts/ask.md", "prompts/reply.md"
RUBRIC, ENDPOINTS = "prompts/rubrics/plain.yaml", "pyproject.toml"

# The server's answers depend on messages and seed alone: a sampling parameter changes none of them,
# and so no verdict on them is asked for again.
EDITS = {
    "nothing": (PIPELINE, "models:", "models:", 0),
    "a comment": (PIPELINE, "models:", "# a comment\nmodels:", 0),
    "a prompt's description": (ASK, "Ask about", "---\ndescription: It asks.\n---\nAsk about", 0),
    "a prompt's comment": (ASK, "Ask about", "{# politely #}Ask about", 0),
    "the first prompt": (ASK, "Ask about", "Ask now about", 60),
    "the second prompt": (REPLY, "{{ question }}", "Please: {{ question }}", 40),
    "the second prompt's system": (REPLY, "Answer well.", "Answer badly.", 40),
    "an example for the second prompt": (
        REPLY,
        "system:",
        "examples: [{user: Why?, assistant: Therefore.}]\nsystem:",
        40,
    ),
    "a criterion's question": (RUBRIC, "Is it kind?", "Is it warm?", 20),
    "a level's words": (RUBRIC, "[rude, kind]", "[rude, warm]", 20),
    "the columns that the judge sees": (RUBRIC, "[question, answer]", "[answer]", 20),
    "a criterion's weight": (RUBRIC, "weight: 3", "weight: 2", 0),
    "a sampling parameter": (PIPELINE, "prompt: reply", "prompt: reply\n    top_p: 0.9", 20),
    "the length of answers": (PIPELINE, "prompt: reply", "prompt: reply\n    max_tokens: 99", 20),
    "the judge's temperature": (PIPELINE, "rubric: plain", "rubric: plain\n    temperature: 1", 20),
    "the retries": (PIPELINE, "prompt: reply", "prompt: reply\n    retries: 7", 0),
    "a second answer to each question": (PIPELINE, "prompt: reply", "prompt: reply\n    n: 2", 40),
    "the seed": (PIPELINE, "models:", "seed: 1\nmodels:", 60),
    "one more row": (PIPELINE, "rows: 20", "rows: 21", 3),
    "one row less": (PIPELINE, "rows: 20", "rows: 19", 0),
    "a step at the end": (
        PIPELINE,
        "  - dataset",
        "  - filter: [not_echo: {column: answer, of: question}]\n  - dataset",
        0,
    ),
    "a step in the middle": (
        PIPELINE,
        "  - generate: answer",
        "  - dedup: question\n    method: exact\n  - generate: answer",
        0,
    ),
    "a filter's threshold": (PIPELINE, "min: 0.5", "min: 0.7", 0),
    "the dataset's name": (PIPELINE, "me/mine", "me/yours", 0),
    "how fast a server is asked": (
        ENDPOINTS,
        'model = "tester"',
        'model = "tester"\nconcurrency = 3\ntimeout = 99\nattempts = 2',
        0,
    ),
    "what a server costs": (
        ENDPOINTS,
        'model = "tester"',
        'model = "tester"\ninput_price = 1\noutput_price = 2',
        0,
    ),
    "a header": (ENDPOINTS, 'model = "tester"', 'model = "tester"\nheaders = {x-team = "a"}', 0),
    "a field of the request": (
        ENDPOINTS,
        'model = "tester"',
        'model = "tester"\nextra = {chat_template_kwargs = {enable_thinking = false}}',
        60,
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_asks_again_just_what_it_changes(folder: Folder, server: Server, edit: str) -> None:
    file, old, new, expected = EDITS[edit]
    folder.run()
    server.forget()
    folder.replace(file, old, new)
    folder.run()
    assert len(server.requests) == expected


def test_another_judge_is_asked_again_and_no_other_model(folder: Folder, server: Server) -> None:
    folder.run()
    server.forget()
    with (folder.root / "pyproject.toml").open("a") as file:
        file.write(f'[tool.soupstock.models.other]\nbase_url = "{server.base_url}"\n')
        file.write('structured_output = "json_schema"\n')
    folder.replace("pipelines/mine.yaml", "judge: test", "judge: other")
    folder.run()
    assert {request.body["model"] for request in server.requests} == {"other"}
    assert len(server.requests) == 20


def test_another_revision_of_a_model_is_asked_anew(folder: Folder, server: Server) -> None:
    folder.run()
    server.forget()
    folder.point_at(server.base_url, revision="2")
    folder.run()
    assert len(server.requests) == 60


@pytest.mark.usefixtures("server")
def test_a_renamed_pipeline_and_a_moved_server_ask_nothing(folder: Folder) -> None:
    folder.run()
    (folder.root / "pipelines/mine.yaml").rename(folder.root / "pipelines/yours.yaml")
    with Server() as other:
        folder.point_at(other.base_url)
        folder.run("yours")
        assert other.count == 0


def from_file(folder: Folder, rows: list[dict[str, str]]) -> None:
    """Let the pipeline read its rows from a file."""
    folder.write("seeds.jsonl", "\n".join(map(json.dumps, rows)))
    text = (folder.root / PIPELINE).read_text()
    if "sample:" in text:
        start, end = text.index("  rows: 20"), text.index("steps:")
        folder.write(PIPELINE, f"{text[:start]}  file: seeds.jsonl\n{text[end:]}")


ROWS = [{"topic": f"topic {n % 15}", "style": "short"} for n in range(20)]

SOURCES = {
    "reordered": (list(reversed(ROWS)), 0),
    "with a new row before all others": ([{"topic": "new", "style": "long"}, *ROWS], 3),
    "with a row that is there twice more": ([*ROWS, *ROWS[-1:]], 3),
    "with an edited row": ([*ROWS[:7], ROWS[7] | {"style": "long"}, *ROWS[8:]], 3),
    "without a row": (ROWS[1:], 0),
    "without one of two equal rows": (ROWS[:-1], 0),
}


@pytest.mark.parametrize("change", SOURCES)
def test_a_source_asks_again_for_its_changed_rows_alone(
    folder: Folder, server: Server, change: str
) -> None:
    rows, expected = SOURCES[change]
    from_file(folder, ROWS)
    folder.run()
    server.forget()
    from_file(folder, rows)
    run = folder.run()
    assert len(server.requests) == expected
    assert run.manifest.rows == len(rows)


def test_another_prompt_for_the_judge_asks_the_judge_again(folder: Folder, server: Server) -> None:
    folder.run()
    server.forget()
    folder.write("prompts/judge.md", "Judge {{ shown | tojson }}: {{ rubric.criteria | length }}")
    folder.run()
    assert len(server.requests) == 20


def test_an_edited_schema_asks_again_and_a_comment_in_it_does_not(
    folder: Folder, server: Server
) -> None:
    lines = ["from pydantic import BaseModel", "class Fact(BaseModel):", "    text: str"]
    folder.write("schemas/facts.py", "\n".join(lines))
    folder.replace(PIPELINE, "prompt: reply", "prompt: reply\n    schema: Fact")
    folder.run()
    server.forget()
    folder.write("schemas/facts.py", "\n".join([lines[0], "# what is so", *lines[1:]]))
    folder.run()
    assert server.requests == []
    folder.write("schemas/facts.py", "\n".join([*lines, "    year: int"]))
    folder.run()
    assert len(server.requests) == 40


def test_a_row_whose_call_failed_asks_again_for_that_call_and_those_after_it(
    folder: Folder, server: Server
) -> None:
    folder.point_at(server.base_url, attempts=1)
    server.fail(lambda request: testing.error(500) if request.number in {3, 30} else None)
    failed = folder.run().rows
    columns = ("question", "answer", "quality")
    missing = [
        sum(row[name] is None for name in columns) for row in failed.to_dicts() if row["failures"]
    ]
    server.forget()
    run = folder.run()
    assert len(missing) == 2
    assert len(server.requests) == sum(missing)
    assert not any(step.failures for step in run.manifest.steps)


def test_a_default_that_is_written_out_asks_nothing(folder: Folder, server: Server) -> None:
    folder.run()
    server.forget()
    folder.replace("pipelines/mine.yaml", "rubric: plain", "rubric: plain\n    temperature: 0")
    folder.run()
    assert server.requests == []
