"""A judge compares answers two at a time, in both orders; what depends on the order is a tie."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from conftest import Folder
from soupstock.artifacts.judges import OrderRecord
from soupstock.cli.main import main
from soupstock.errors import MistakeError
from soupstock.judging.pairs import PairVerdicts, Preference, pairs, read_preference, standing
from soupstock.project.project import Project
from soupstock.reports import life as explain
from soupstock.runs.run import Run
from soupstock.testing import Request, Server
from soupstock.testing.imitation import write

Taste = Callable[[str, str], str]
"""A judge: which of two answers is better, the one shown first or the second."""

PIPELINE = """\
models: {{writer: test, judge: test}}
source:
  rows: 12
  sample: {{topic: [cooking, travel, health, money], style: [short, long]}}
steps:
  - generate: question
    model: writer
    prompt: ask
  - generate: answers
    model: writer
    prompt: reply
    n: {n}
  - judge: choice
    compare: answers
    model: judge
    rubric: plain
  - dataset: me/mine
"""


@pytest.fixture
def folder(folder: Folder) -> Folder:
    """Make a project whose judge compares three answers."""
    folder.write("pipelines/mine.yaml", PIPELINE.format(n=3))
    return folder


def shown(request: Request, name: str) -> str:
    found = re.search(rf"<{name} (\w+)>\n(.*?)\n</{name} \1>", request.prompt, re.DOTALL)
    assert found is not None
    return found[2]


@contextmanager
def judged_by(folder: Folder, taste: Taste) -> Iterator[Server]:
    def answer(request: Request) -> str:
        if "response_format" not in request.body:
            return write(request.body, 0)
        better = taste(shown(request, "first"), shown(request, "second"))
        return json.dumps({"reason": f"the {better} one", "better": better})

    with Server(answer) as server:
        folder.point_at(server.base_url)
        yield server


def longest(first: str, second: str) -> str:
    if len(first) == len(second):
        return "tie"
    return "first" if len(first) > len(second) else "second"


def always_first(first: str, second: str) -> str:
    del first, second
    return "first"


def guessing(first: str, second: str) -> str:
    return random.Random(first + "|" + second).choice(["first", "second"])  # noqa: S311 - repeatable


def orders_of(run: Run) -> OrderRecord:
    (judge,) = run.manifest.judges
    assert judge.orders is not None
    return judge.orders


def test_the_best_and_the_worst_answer_are_found_in_both_orders(folder: Folder) -> None:
    with judged_by(folder, longest) as server:
        run = folder.run()
        assert server.count == 12 * (1 + 3 + 6)
    for row in run.rows.to_dicts():
        found, lengths = row["choice"], [len(answer) for answer in row["answers"]]
        assert len(found["best"]) == max(lengths)
        assert len(found["worst"]) == min(lengths)
        assert found["ranks"] == [1 + sum(other > own for other in lengths) for own in lengths]
        assert found["flips"] == 0
        assert (found["margin"] > 0) == (max(lengths) > min(lengths))
        assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [
            (1, 2),
            (1, 3),
            (2, 3),
        ]
    found = orders_of(run)
    assert (found.pairs, found.flips, found.is_biased) == (36, 0, False)


def test_a_judge_that_likes_whatever_is_shown_first_decides_nothing_and_is_found_out(
    folder: Folder,
) -> None:
    with judged_by(folder, always_first):
        ended = CliRunner().invoke(main, ["--project", str(folder.root), "run", "mine"])
    place = folder.root / "runs" / "mine" / "latest"
    rows = pl.read_parquet(place / "rows.parquet")["choice"].to_list()
    for found in rows:
        assert found["ranks"] == [1, 1, 1]
        assert found["margin"] == 0
        assert found["flips"] == 3
        assert {pair["outcome"] for pair in found["pairs"]} == {0}
        assert {tuple(pair["better"]) for pair in found["pairs"]} == {(1, -1)}
    said = "36 flips and 0 half flips count as ties, and it favours the answer shown first"
    assert said in " ".join(ended.output.split())
    for name in ("report.html", "dataset/README.md"):
        assert said in (place / name).read_text(encoding="utf-8"), name


def test_flips_of_a_judge_that_guesses_are_noise_and_no_bias(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "rows: 12", "rows: 40")
    with judged_by(folder, guessing):
        found = orders_of(folder.run())
    assert found.pairs == 120
    assert 30 < found.flips < 90
    assert found.same is not None
    assert found.same.low < 0.5 < found.same.high
    assert not found.is_biased


def test_many_answers_meet_a_few_others_each(folder: Folder) -> None:
    folder.write("pipelines/mine.yaml", PIPELINE.format(n=8))
    assert folder.root.exists()
    with judged_by(folder, longest) as server:
        plan = folder.plan()
        run = folder.run()
        assert server.count == 12 * (1 + 8 + 32)
    assert plan.steps[2].calls == 32
    for row in run.rows.to_dicts():
        assert len(row["choice"]["best"]) == max(map(len, row["answers"]))


def test_a_jury_compares_together(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "judge: test}", "judge: test, second: b}")
    folder.replace("pipelines/mine.yaml", "model: judge", "model: [judge, second]")

    def answer(request: Request) -> str:
        if "response_format" not in request.body:
            return write(request.body, 0)
        taste = longest if request.body["model"] == "tester" else always_first
        better = taste(shown(request, "first"), shown(request, "second"))
        return json.dumps({"reason": "x", "better": better})

    with Server(answer) as server:
        folder.write(
            "pyproject.toml",
            "".join(
                f'[tool.soupstock.models.{name}]\nbase_url = "{server.base_url}"\n'
                f'model = "{model}"\nstructured_output = "json_schema"\n'
                for name, model in (("test", "tester"), ("b", "other"))
            ),
        )
        run = folder.run()
    found = run.rows["choice"][0]
    assert Counter(pair["judge"] for pair in found["pairs"]) == {"judge": 3, "second": 3}
    assert found["flips"] == 3
    assert len(found["best"]) == max(map(len, run.rows["answers"][0]))


def test_verdicts_that_cannot_be_read_leave_null_and_their_cause(folder: Folder) -> None:
    def answer(request: Request) -> str:
        told = "response_format" in request.body
        return '{"reason": "x", "better": "both"}' if told else write(request.body, 0)

    with Server(answer) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    assert run.rows["choice"].null_count() == 12
    (failure,) = run.manifest.steps[2].failures
    assert (failure.cause, failure.rows) == ("Unreadable", 12)
    assert failure.example == "the reply should say first, second or tie, not 'both'"
    assert orders_of(run).same is None


def test_the_margin_can_be_filtered_by(folder: Folder) -> None:
    folder.replace(
        "pipelines/mine.yaml",
        "  - dataset",
        "  - filter: [number: {column: choice.margin, min: 0.1}]\n  - dataset",
    )
    with judged_by(folder, always_first):
        assert folder.run().manifest.kept == 0


def test_a_row_is_explained_by_what_was_asked_of_its_answers(folder: Folder) -> None:
    with judged_by(folder, longest):
        run = folder.run()
    life = explain.explain(Project(folder.root), "mine", run.rows["id"][0])
    chapter = life.chapters[2]
    assert "compare two answers" in chapter.messages[0]["content"]
    assert run.rows["answers"][0][0] in chapter.messages[1]["content"]
    assert chapter.value["ranks"] == run.rows["choice"][0]["ranks"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("compare: answers", "compare: question", "question is not a column of several answers"),
        ("compare: answers", "compare: anwsers", "no column is called 'anwsers'; did you mean"),
        ("    model: judge\n", "", "the key 'model' is missing"),
    ],
)
def test_a_mistake_in_a_comparison_is_one_line(
    folder: Folder, old: str, new: str, said: str
) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    folder.replace("pipelines/mine.yaml", old, new)
    with pytest.raises(MistakeError) as caught:
        folder.plan()
    assert said in str(caught.value)


def test_rules_alone_cannot_compare(folder: Folder) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    folder.write(
        "prompts/rubrics/plain.yaml", "criteria: {x: {rule: {length: {column: question}}}}"
    )
    folder.replace("pipelines/mine.yaml", "    model: judge\n", "")
    with pytest.raises(MistakeError, match="a rubric of rules alone cannot compare"):
        folder.plan()


@given(st.integers(2, 40))
def test_every_answer_meets_others_and_all_are_linked(answers: int) -> None:
    met = pairs(answers)
    assert len(set(met)) == len(met) <= max(6, 2 * answers)
    reached, waiting = {0}, [0]
    while waiting:
        one = waiting.pop()
        near = {b if a == one else a for a, b in met if one in (a, b)} - reached
        reached |= near
        waiting += near
    assert reached == set(range(answers))


def test_a_pair_without_a_verdict_is_left_out_of_the_ranking() -> None:
    good, bad = Preference(1, "x"), Preference(-1, "x")
    met = [
        PairVerdicts("j", 0, 1, good, bad),
        PairVerdicts("j", 0, 2, good, None),
        PairVerdicts("j", 1, 2, good, bad),
    ]
    found = standing(3, met)
    assert found is not None
    assert (found.best, found.worst, found.ranks) == (0, 2, [1, 2, 3])
    assert found.outcomes == [1, None, 1]
    assert standing(3, met[:2]) is None


@given(st.text(max_size=30))
def test_any_reply_is_read_or_told(reply: str) -> None:
    found = read_preference(reply)
    assert isinstance(found, str)
    assert found.isprintable()
