"""Answers are checked by rule: by their value, by their last line, by unit tests."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conftest import Folder
from soupstock import sandbox
from soupstock.answers import same_line, same_value
from soupstock.errors import MistakeError
from soupstock.sandbox import MEMORY, TIME, Limits
from soupstock.testing import Server


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("5 + 3 = 8. The answer is 8.", "8"),
        ("So it is \\boxed{\\frac{3}{4}}.", "0.75"),
        ("It is \\boxed{x^2 + 1}", "$x^2+1$"),
        ("#### 1,200", "1200"),
        ("The answer is $2.50 and no more", "5/2"),
        ("That makes −4", "-4"),  # noqa: RUF001 - a minus sign
        ("Final answer: 12%", "0.12"),
        ("The answer is 0.333", "1/3"),
        ("The answer is: Paris.", "paris"),
        ("First 3, then 4, in all 7 apples.", "7"),
        ("2.5e3", "2500"),
        ("the answer is 3 of 4", "3"),
    ],
)
def test_an_answer_of_the_same_value_is_right(said: str, right: str) -> None:
    assert same_value(said, right)


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("The answer is 9.", "8"),
        ("8 is wrong. The answer is 7.", "8"),
        ("I do not know.", "8"),
        ("", "8"),
        ("The answer is 0.3", "1/3"),
        ("The answer is 1/0", "8"),
        ("The answer is 80", "8"),
        ("\\boxed{8", "9"),
        ("9" * 5000, "8"),
        ("The answer is Rome", "Paris"),
    ],
)
def test_an_answer_of_another_value_is_wrong(said: str, right: str) -> None:
    assert not same_value(said, right)


def test_a_last_line_is_compared_but_for_case_and_spacing() -> None:
    assert same_line("Let me see.\n\n  New   York \n", "new york")
    assert not same_line("New York\nor so", "new york")
    assert not same_line("", "")


linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
LIMITS = Limits(seconds=5, megabytes=256)


def fault(solution: str, tests: str = "", limits: Limits = LIMITS) -> str | None:
    (found,) = sandbox.tested([(solution, tests)], limits)
    return found


@linux
def test_a_solution_that_passes_its_tests_is_right() -> None:
    assert LIMITS.lacking() is None
    answer = "It is easy:\n```python\ndef double(x):\n    return 2 * x\n```\nThat is all."
    assert fault(answer, "assert double(4) == 8") is None
    assert fault(answer, "assert double(4) == 9") == "AssertionError"


@linux
@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import socket; socket.socket()", "PermissionError"),
        ("import os; os.fork()", "PermissionError"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-V'])", "PermissionError"),
        ("import threading; threading.Thread(target=print).start()", "RuntimeError"),
        ("import os; os.kill(os.getppid(), 9)", "PermissionError"),
        ("open('made.txt', 'w')", "PermissionError"),
        ("import os; os.mkdir('made')", "PermissionError"),
        ("import os; assert 'PATH' not in os.environ; assert not os.listdir()", None),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import os; os._exit(0)", "it ended before its tests did"),
        ("print('x' * 100)", None),
        ("def f(:", "SyntaxError"),
        ("class A(Exception): pass\nA.__module__ = 'builtins'\nraise A", "Exception"),
    ],
)  # fmt: skip
def test_what_a_solution_may_not_do_fails(code: str, found: str | None) -> None:
    assert fault(code) == found


@linux
def test_a_solution_cannot_remove_a_file(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("x")
    for code in ("unlink", "rmdir"):
        assert fault(f"import os; os.{code}({str(file)!r})") == "PermissionError"
    assert fault(f"open({str(file)!r}, 'a').write('y')") == "PermissionError"
    assert file.read_text() == "x"


@linux
def test_a_solution_has_so_much_time_and_memory() -> None:
    assert fault("while True: pass", limits=Limits(seconds=0.5)) == TIME
    assert fault("x = 'a' * (1 << 30)") == MEMORY


VERIFY = """\
source: {file: rows.jsonl}
steps:
  - verify: checked
    column: solutions
STEP
"""


def verified(folder: Folder, rows: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    folder.write("pipelines/mine.yaml", VERIFY.replace("STEP", f"    {step}"))
    folder.write("rows.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    return pl.read_parquet(folder.run().folder / "rows.parquet")["checked"].to_list()


def test_the_shortest_answer_that_is_right_is_named(folder: Folder) -> None:
    rows: list[dict[str, Any]] = [
        {"solutions": ["It is surely 4", "So 4", "5"], "answer": 4},
        {"solutions": ["6", "5"], "answer": 4},
        {"solutions": None, "answer": 4},
    ]
    right, wrong, none = verified(folder, rows, "answer: answer")
    assert right["passed"] == [True, True, False]
    assert right["pass_rate"] == pytest.approx(2 / 3)
    assert (right["shortest"], right["place"]) == ("So 4", 2)
    assert right["faults"] == [None, None, "another answer"]
    assert (wrong["pass_rate"], wrong["shortest"]) == (0, None)
    assert none is None


def test_an_answer_that_is_no_shorter_does_not_count(folder: Folder) -> None:
    rows = [{"solutions": ["The answer is 4", "Four: 4"], "answer": "4", "long": "It is a 4."}]
    (found,) = verified(folder, rows, "answer: answer\n    than: long")
    assert found["faults"] == ["not shorter", None]
    assert found["saved"] == pytest.approx(0.3)


@linux
def test_solutions_are_run_against_the_tests_of_their_rows(folder: Folder) -> None:
    rows = [
        {"solutions": ["def f(): return 1", "def f(): return 2"], "tests": "assert f() == 2"},
        {"solutions": ["def f(): return 1", "def f(): return 2"], "tests": "assert f() == 1"},
    ]
    found = verified(folder, rows, "by: tests\n    tests: tests")
    assert [one["place"] for one in found] == [2, 1]


WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
    },
}
STUB = "def weather(city, days=1):\n    return {city: 14 // (len(city) - 4)}"


@linux
@pytest.mark.parametrize(
    ("answer", "fault", "result"),
    [
        ('{"name": "weather", "arguments": {"city": "Rome!"}}', None, '[{"Rome!": 14}]'),
        ('```\n[{"name": "weather", "arguments": {"city": "Paris"}}]\n```', None, None),
        ('{"name": "whether", "arguments": {"city": "Rome!"}}', "no function whether", None),
        ('{"name": "weather", "arguments": {}}', "weather: 'city' is a required property", None),
        ('{"name": "weather", "arguments": {"city": 3}}', "weather: 3 is not of type", None),
        ('{"name": "weather", "arguments": {"city": "A", "x": 1}}', "weather: Additional", None),
        ('{"name": "weather", "arguments": {"city": "Rome"}}', "the call failed: ZeroDiv", None),
        ('{"name": "weather", "arguments": {"city": "A"}, "x": 1}', "more than a name", None),
        ("It is cold.", "no JSON", None),
        ("[]", "no call", None),
        ('"weather"', "no call", None),
    ],
)  # fmt: skip
def test_a_call_is_right_if_the_function_takes_it(
    folder: Folder, answer: str, fault: str | None, result: str | None
) -> None:
    row = {"solutions": [answer], "tools": json.dumps([{"function": WEATHER}]), "stubs": STUB}
    step = "by: call\n    tools: tools\n    stubs: stubs"
    (found,) = verified(folder, [row], step)
    assert found["passed"] == [fault is None]
    assert (found["faults"][0] or "").startswith(fault or "")
    assert result is None or found["results"] == [result]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("by: exact", "`by: exact` needs `answer`"),
        ("by: call", "`by: call` needs `tools`"),
        ("by: tests\n    answer: answer", "`by: tests` needs `tests`"),
        ("answer: answers", "did you mean 'answer'"),
        ("answer: solutions", "is no text and no number"),
        ("answer: answer\n    than: solutions", "'solutions' is no text"),
    ],
)
def test_a_mistake_in_a_verify_step_is_found_before_the_run(
    folder: Folder, server: Server, step: str, said: str
) -> None:
    with pytest.raises(MistakeError, match=said):
        verified(folder, [{"solutions": ["4"], "answer": "4"}], step)
    assert not server.count
