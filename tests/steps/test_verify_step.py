"""Answers are checked by rule: by their value, as formulas, by their last line, by unit tests."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.judging import formulas, sandbox
from soupstock.judging.answers import same_line, same_value
from soupstock.judging.sandbox import MEMORY, TIME, Limits
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
        ("The answer is 7. No, the answer is 9.", "9"),
        ("The answer is:\n42\nThat is all.", "42"),
    ],
)
def test_an_answer_of_the_same_value_is_right(said: str, right: str) -> None:
    assert same_value(said, right)


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("The answer is 9.", "8"),
        ("8 is wrong. The answer is 7.", "8"),
        ("The answer is 8. She buys 1 more. The answer is 9.", "8"),
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
    (found,) = sandbox.run_tests([(solution, tests)], limits)
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


MATH = Limits(seconds=5)

EQUAL = [
    ("The answer is 0.5.", r"\frac{1}{2}"),
    ("The answer is $x*2$.", "2x"),
    ("the answer is x*2", "2x"),
    (r"So \boxed{x \cdot 2}.", "2x"),
    ("$(x+1)^2$", "x**2+2*x+1"),
    (r"\boxed{\{2, 1\}}", r"\{1, 2\}"),
    (r"It is $\{1,3\}\cup\{2,4\}$", r"\{1,2,3,4\}"),
    (r"So $x\in(-\infty,2)\cup(3,\infty)$.", r"(-\infty,2)\cup(3,\infty)"),
    (r"The answer is $\sqrt{12}$", r"2\sqrt{3}"),
    ("sqrt(8)", "2√2"),
    ("π/2", r"\frac{\pi}{2}"),
    ("1", "sin(x)^2+cos(x)^2"),
    (r"\boxed{x=3}", "3"),
    ("$3 > x$", "x < 3"),
    (r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}$", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("Ben has $11.", "11"),
    ("2 + 9 = 11. The answer is 11 apples.", "11"),
    ("2^10", "1024"),
    ("−5x", "-5x"),  # noqa: RUF001 - a minus sign
    ("The answer is: Paris.", "paris"),
]
UNEQUAL = [
    ("The answer is $2\\sqrt{3}$", "2"),
    ("The answer is 2.", r"2\sqrt{3}"),
    ("$[0,1)$", "(0,1]"),
    ("$(2, 1)$", "(1, 2)"),
    ("$x-1$", "x+1"),
    (r"\boxed{2xy}", "2x"),
    ("3.14", r"\pi"),
    ("12%", "12"),
    ("The answer is Pasir.", "Paris"),
    ("I do not know.", "2x"),
    ("", "2x"),
]


@linux
def test_formulas_that_are_written_differently_are_the_same_answer() -> None:
    found = formulas.check_formulas([*EQUAL, *UNEQUAL], MATH)
    right = [pair for pair, fault in zip([*EQUAL, *UNEQUAL], found, strict=True) if fault is None]
    assert right == EQUAL
    assert set(found) == {None, formulas.ANOTHER}


@linux
def test_a_right_answer_that_cannot_be_read_is_said_to_be_so() -> None:
    found = formulas.check_formulas([("x", r"0.\overline{3}"), ("x", "}x^{2")], MATH)
    assert found == [formulas.UNREADABLE] * 2


HOSTILE = [
    r"\boxed{9^{9^{9}}}",
    r"\boxed{9^{9^{9^{9}}}}",
    r"$\binom{10^9}{5\cdot10^8}$",
    r"$\sum_{i=1}^{10^{12}} i!$",
    "(" * 5000 + "x" + ")" * 5000,
    r"\frac{" * 400 + "1" + "}{2}" * 400,
    "$" + "x+" * 900 + "$",
    "$" * 3000,
    r"\boxed{" * 900,
    "__import__('os').system('true')",
]


@linux
def test_formulas_that_take_for_ever_or_all_memory_are_given_up_and_the_others_still_checked() -> (
    None
):
    asked = [pair for said in HOSTILE for pair in ((said, "x+3"), ("$3+x$", "x+3"))]
    found = formulas.check_formulas(asked, Limits(seconds=0.5, megabytes=384))
    assert found[1::2] == [None] * len(HOSTILE)
    assert TIME in found[::2]
    assert None not in found[::2]


@linux
@given(st.lists(st.text(st.sampled_from("x2+^{}()\\$ /fracsqrt.,=<[]"), max_size=40), max_size=200))
@settings(max_examples=4)
def test_any_answer_is_right_or_wrong_and_the_right_one_itself_is_right(said: list[str]) -> None:
    found = formulas.check_formulas([*((one, "x^2") for one in said), ("$x^2$", "x^2")], MATH)
    assert len(found) == len(said) + 1
    assert found[-1] is None


@linux
def test_what_cannot_be_loaded_is_told_for_each_case() -> None:
    assert (
        sandbox.run_cases("import nothing", [("a",), ("b",)], MATH)
        == [sandbox.RunResult("ModuleNotFoundError")] * 2
    )


def test_without_math_verify_it_is_said_what_to_install(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "math_verify", raising=False)
    rows = [{"solutions": ["4"], "answer": "4"}]
    with pytest.raises(MistakeError, match=r"mine.yaml:\d+: `by: math` needs math-verify: pip"):
        verified(folder, rows, "by: math\n    answer: answer")


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


def test_lengths_are_counted_in_tokens_where_they_are_known(folder: Folder) -> None:
    """The answer with fewer tokens wins, though it has more characters."""
    rows: list[dict[str, Any]] = [
        {"solutions": ["It is four: 4", "4 4 4 4 4"], "answer": 4, "counts": [4, 5]},
        {"solutions": ["It is four: 4", "4 4 4 4 4"], "answer": 4, "counts": [4, None]},
    ]
    told, untold = verified(folder, rows, "answer: answer\n    tokens: counts")
    assert (told["place"], told["tokens"]) == (1, 4)
    assert (untold["place"], untold["tokens"]) == (2, None)


@linux
def test_formulas_are_checked_in_a_pipeline(folder: Folder) -> None:
    rows = [{"solutions": ["$x*2$", "$x*3$", "3"], "answer": "2x"}]
    (found,) = verified(folder, rows, "answer: answer\n    by: math")
    assert found["passed"] == [True, False, False]


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
        ("answer: solutions", "holds neither a text nor a number"),
        ("answer: answer\n    than: solutions", "'solutions' holds no text"),
        ("answer: answer\n    tokens: answer", "'answer' does not hold numbers of tokens"),
        ("answer: answer\n    than: answer\n    tokens: count", "no column says how many tokens"),
    ],
)
def test_a_mistake_in_a_verify_step_is_found_before_the_run(
    folder: Folder, server: Server, step: str, said: str
) -> None:
    with pytest.raises(MistakeError, match=said):
        verified(folder, [{"solutions": ["4"], "answer": "4", "count": 1}], step)
    assert not server.count
