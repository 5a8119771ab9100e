"""Every judge is asked about canaries made from its own rows, and the result is reported."""

import io
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from conftest import Folder
from soupstock.artifacts.judges import SanityCheckRecord
from soupstock.cli.display.progress import Board
from soupstock.cli.main import main
from soupstock.inference.budget import Budget
from soupstock.judging.canaries import PADDED, canaries_of
from soupstock.judging.rubric import Rubric
from soupstock.rows.row import Row
from soupstock.runs.run import Progress, Run
from soupstock.testing import Request, Server, imitation

Opinion = Callable[[str, str], float]
"""A judge: what it thinks of an answer to a question, from 0 to 1."""


def shown(request: Request, name: str) -> str:
    found = re.search(rf"<{name} (\w+)>\n(.*?)\n?</{name} \1>", request.prompt, re.DOTALL)
    assert found is not None
    return found[2].strip()


def verdict(share: float) -> str:
    levels = {"right": 3, "kind": 2}
    return json.dumps(
        {name: {"reason": "x", "level": 1 + round(share * (n - 1))} for name, n in levels.items()}
    )


def writer(request: Request) -> str:
    """Ask about a topic and a number, and answer with both."""
    if len(request.messages) == 1:
        return f"{request.prompt} What about number {request.body['seed']}?"
    number = request.prompt.split()[-1].strip("?")
    return f"About {number}: it is right to begin early. {imitation.write(request.body, 0)}"


def good(question: str, answer: str) -> float:
    """Know that an answer names the number that was asked for, is finished, and is no echo."""
    number = question.rsplit(maxsplit=1)[-1].strip("?")
    is_answer = number in answer and answer.endswith(".") and question not in answer
    return float(is_answer)


def noisy(question: str, answer: str) -> float:
    return random.Random(question + answer).random()  # noqa: S311 - the same each time


def fond_of_length(question: str, answer: str) -> float:
    """Judge well, and like long answers better."""
    return good(question, answer) * min(1.0, 0.4 + len(answer) / 500)


@contextmanager
def judged_by(folder: Folder, opinion: Opinion) -> Iterator[Server]:
    def answer(request: Request) -> str:
        if "response_format" in request.body:
            return verdict(opinion(shown(request, "question"), shown(request, "answer")))
        return writer(request)

    with Server(answer) as server:
        folder.point_at(server.base_url)
        yield server


@pytest.fixture
def folder(folder: Folder) -> Folder:
    """Make a project whose judge is tried on canaries."""
    folder.replace("pipelines/mine.yaml", "canaries: false", "logprobs: false")
    return folder


def fitness_of(run: Run) -> SanityCheckRecord:
    (judge,) = run.manifest.judges
    assert judge.fitness is not None
    return judge.fitness


def test_a_judge_that_scores_canaries_lower_passes_its_sanity_check(folder: Folder) -> None:
    with judged_by(folder, good) as server:
        run = folder.run()
        assert server.count == 20 * 3 + 20 * 6
    found = fitness_of(run)
    assert found.verdict == "fit"
    assert found.sentence.startswith(
        "The judge passed its sanity check: it ranked the original above the corrupted copy"
    )
    assert (found.rows, found.answers, found.mean) == (20, 120, 1.0)
    said = {kind.kind: (kind.canaries, kind.mean, kind.tells) for kind in found.kinds}
    kinds = ("empty", "gibberish", "truncated", "another", "echo")
    assert said == dict.fromkeys(kinds, (20, 0.0, "apart"))
    assert found.padding is not None
    assert not found.padding.is_biased
    # Canaries are counted apart from the rows.
    assert run.manifest.answers == 60
    assert run.manifest.paid.calls == 180
    assert run.manifest.outcome == "complete"


def test_a_judge_that_guesses_fails_and_every_place_says_so(
    folder: Folder,
) -> None:
    with judged_by(folder, noisy):
        ended = CliRunner().invoke(main, ["--project", str(folder.root), "run", "mine"])
    assert ended.exit_code == 0, ended.output
    assert "quality: The judge failed its sanity check: it ranked the original" in ended.output
    place = folder.root / "runs" / "mine" / "latest"
    for name in ("report.html", "dataset/README.md"):
        text = (place / name).read_text(encoding="utf-8")
        assert "The judge failed its sanity check" in text, name


def test_a_judge_that_likes_padding_is_found_out(folder: Folder) -> None:
    folder.replace("prompts/rubrics/plain.yaml", "[wrong, half, right]", str([*"abcdefgh"]))
    folder.replace("prompts/rubrics/plain.yaml", "[rude, kind]", str([*"abcdefgh"]))

    def answer(request: Request) -> str:
        if "response_format" not in request.body:
            return writer(request)
        share = fond_of_length(shown(request, "question"), shown(request, "answer"))
        one = {"reason": "x", "level": 1 + round(share * 7)}
        return json.dumps({"right": one, "kind": one})

    with Server(answer) as server:
        folder.point_at(server.base_url)
        found = fitness_of(folder.run())
    assert found.verdict == "fit"
    assert found.padding is not None
    assert found.padding.is_biased
    assert found.padding.rises == 20
    assert found.padding.sentence.startswith("Padding an answer raises its score")


def test_running_again_asks_no_canary_twice_and_says_the_same(folder: Folder) -> None:
    with judged_by(folder, good) as server:
        before = folder.run().manifest
        server.forget()
        after = folder.run().manifest
        assert server.requests == []
    assert after.judges == before.judges
    assert after.paid.found == 180
    assert after.files["dataset/README.md"] == before.files["dataset/README.md"]


def test_a_judge_that_fails_ends_the_run_if_the_pipeline_says_so(
    folder: Folder,
) -> None:
    folder.replace("pipelines/mine.yaml", "logprobs: false", "logprobs: false\n    on_unfit: stop")
    folder.replace(
        "pipelines/mine.yaml",
        "  - dataset",
        "  - dedup: answer\n  - generate: more\n    model: writer\n    prompt: reply\n  - dataset",
    )
    folder.replace("prompts/reply.md", "{{ question }}", "{{ question }}{{ answer or '' }}")
    folder.replace("prompts/reply.md", "{{ answer or '' }}", "")
    with judged_by(folder, noisy) as server:
        ended = CliRunner().invoke(main, ["--project", str(folder.root), "run", "mine"])
        assert server.count == 60 + 120
    assert ended.exit_code == 1
    assert "partial: judge: quality: The judge failed its sanity check" in ended.output.replace(
        "\n", " "
    )
    assert "run the same command again to continue" not in ended.output


def test_rows_that_a_stop_leaves_at_a_barrier_are_accounted_for(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "logprobs: false", "logprobs: false\n    on_unfit: stop")
    folder.replace(
        "pipelines/mine.yaml",
        "  - dataset",
        "  - dedup: answer\n  - generate: more\n    model: writer\n    prompt: ask\n  - dataset",
    )
    with judged_by(folder, noisy):
        run = folder.run()
    assert run.rows.height == 20
    rows = 20
    for step in run.manifest.steps:
        assert step.rows_in == rows
        rows = step.rows_kept
    assert run.manifest.steps[5].dropped == {"stopped: Unfit": run.manifest.steps[5].rows_in}


def test_too_few_rows_tell_nothing_of_a_judge(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "rows: 20", "rows: 7")
    with judged_by(folder, good) as server:
        found = fitness_of(folder.run())
        assert server.count == 21
    assert found.verdict == "cannot tell"
    assert found.sentence == (
        "The judge's sanity check could not decide: the judge scored 7 rows, and at least 8 are"
        " needed."
    )


def test_a_budget_that_ends_before_the_canaries_leaves_the_verdict_open(folder: Folder) -> None:
    with judged_by(folder, good) as server:
        run = folder.run(budget=Budget(max_calls=60))
        assert server.count == 60
        found = fitness_of(run)
        assert found.verdict == "cannot tell"
        assert "the budget is spent" in found.sentence
        assert run.manifest.outcome == "partial"
        assert fitness_of(folder.run()).verdict == "fit"
        assert server.count == 180


def test_rules_do_not_hide_that_a_judge_sees_nothing(folder: Folder) -> None:
    folder.replace(
        "prompts/rubrics/plain.yaml",
        "  kind: {question: Is it kind?, levels: [rude, kind], weight: 3}",
        "  kind: {question: Is it kind?, levels: [rude, kind]}\n"
        "  long: {rule: {length: {column: answer, min: 30}}, weight: 100}",
    )
    with judged_by(folder, noisy):
        assert fitness_of(folder.run()).verdict == "not fit"


def test_a_jurys_members_are_tried_each_by_itself(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "judge: test}", "judge: test, second: b}")
    folder.replace("pipelines/mine.yaml", "model: judge\n", "model: [judge, second]\n")

    def answer(request: Request) -> str:
        if "response_format" not in request.body:
            return writer(request)
        opinion = noisy if request.body["model"] == "guess" else good
        return verdict(opinion(shown(request, "question"), shown(request, "answer")))

    with Server(answer) as server:
        folder.write(
            "pyproject.toml",
            "".join(
                f'[tool.soupstock.models.{name}]\nbase_url = "{server.base_url}"\n'
                f'structured_output = "json_schema"\n'
                f'model = "{model}"\n'
                for name, model in (("test", "tester"), ("b", "guess"))
            ),
        )
        run = folder.run()
    (judge,) = run.manifest.judges
    assert judge.jury is not None
    assert {member.role: member.fit for member in judge.jury.members} == {
        "judge": "fit",
        "second": "not fit",
    }
    assert judge.jury.disagreement is not None
    assert judge.jury.disagreement > 0.2


RUBRIC = Rubric.model_validate(
    {
        "columns": ["chat.asked", "chat.said"],
        "criteria": {"x": {"question": "?", "levels": ["no", "yes"]}},
    }
)
LONG = "Water the basil every morning, before the sun is high, and never in the evening."


def test_only_what_is_judged_is_spoiled() -> None:
    rows: list[Row] = [
        {"id": "a", "chat": {"asked": "Basil?", "said": LONG}, "more": 1},
        {"id": "b", "chat": {"asked": "Mint?", "said": "No."}, "more": 2},
    ]
    found = canaries_of(RUBRIC, rows)
    said: dict[str, list[Any]] = {
        kind: [row and row["chat"]["said"] for row in some] for kind, some in found.items()
    }
    assert said["empty"] == ["", ""]
    assert said["another"] == ["No.", LONG]
    assert said["echo"] == ["Basil?", "Mint?"]
    cut, uncut = said["truncated"]
    assert uncut is None
    assert cut is not None
    assert LONG.startswith(cut)
    assert LONG[len(cut)].isalpha()
    assert all(
        text and text.startswith(rows[n]["chat"]["said"]) for n, text in enumerate(said[PADDED])
    )
    gibberish = said["gibberish"][0]
    assert gibberish is not None
    assert [letter.isspace() for letter in gibberish] == [letter.isspace() for letter in LONG]
    assert not set(gibberish.lower()) & set("aeiou")
    for kind, some in found.items():
        for row, before in zip(some, rows, strict=True):
            if row is not None:
                assert row["id"] == f"{before['id']}/{kind}"
                assert (row["more"], row["chat"]["asked"]) == (
                    before["more"],
                    before["chat"]["asked"],
                )


def test_the_last_answer_of_a_conversation_is_spoiled() -> None:
    rubric = RUBRIC.model_copy(update={"columns": ("messages",)})
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    rows: list[Row] = [
        {"id": "a", "messages": turns},
        {"id": "b", "messages": turns[:1]},
        {"id": "c", "messages": None},
    ]
    found = canaries_of(rubric, rows)
    assert found["empty"] == [
        {"id": "a/empty", "messages": [turns[0], {"role": "assistant", "content": ""}]},
        None,
        None,
    ]
    # Nothing stands beside the conversation that it could be mixed up with.
    assert set(found) == {"empty", "gibberish", "truncated", PADDED}


def test_previews_ask_no_canary(folder: Folder) -> None:
    with judged_by(folder, good) as server:
        command = ["--project", str(folder.root), "preview", "mine", "--rows", "9"]
        assert CliRunner().invoke(main, command).exit_code == 0
        assert server.count == 27


def test_the_answers_to_canaries_are_not_pruned(folder: Folder, tmp_path: Path) -> None:
    del tmp_path
    with judged_by(folder, good):
        folder.run()
    command = ["--project", str(folder.root), "cache", "--prune", "--yes"]
    ended = CliRunner().invoke(main, command)
    assert "0 cached answers are unused by any pipeline or past run" in ended.output


def test_the_progress_of_a_sanity_check_is_shown(folder: Folder) -> None:
    lines: list[str] = []
    tables: list[str] = []

    @contextmanager
    def watch(progress: Progress) -> Iterator[None]:
        board = Board(progress)

        def answer(request: Request) -> str:
            if "response_format" not in request.body:
                return writer(request)
            lines.append(board.line())
            with io.StringIO() as file:
                Console(file=file, width=120).print(board.render())
                tables.append(file.getvalue())
            return verdict(good(shown(request, "question"), shown(request, "answer")))

        server.answer = answer
        yield

    with Server() as server:
        folder.point_at(server.base_url)
        folder.run(watch=watch)
    told = [re.search(r"judge: quality: canaries (\d+) of (\d+);", line) for line in lines]
    asked = [(int(one[1]), int(one[2])) for one in told if one]
    assert told[0] is None
    assert len({total for _, total in asked}) == 1
    assert all(done < total for done, total in asked)
    assert any("judge: quality: canaries" in table for table in tables)
    assert "left" in lines[0]
    assert "left" in lines[-1]
