# ruff: noqa: RUF001 - scripts and typographers have punctuation of their own
"""The standard filters keep good rows, drop bad ones, and travel as data."""

import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import eldc
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.measures import derive

Filter = Callable[..., pl.Expr]
ROOT = Path(__file__).parents[1]


def _standard() -> dict[str, Filter]:
    found: dict[str, Filter] = {}
    for file in sorted((ROOT / "filters").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"_standard_filters_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, value in vars(module).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                assert name not in found, f"two filters are called {name}"
                found[name] = value
    return found


FILTERS = _standard()

PROSE = [
    (
        "To keep basil fresh, trim the stems and stand them in a glass of water, like flowers. "
        "Change the water every other day, and keep the glass away from direct sun."
    ),
    (
        "I'm sorry to hear that your trip was cancelled. You can ask the airline for a refund; "
        "under EU rules it must be paid within seven days."
    ),
    (
        "Three things help most when you cannot sleep:\n\n1. Get up at the same time every day.\n"
        "2. Leave the phone in another room.\n3. Drink no coffee after lunch."
    ),
    "Here is a short function:\n\n```python\ndef double(x):\n    return 2 * x\n```",
    "What you need:\n- two eggs\n- a pinch of salt\n- half a cup of flour",
    'She looked at the sea and said, "It will be a long winter."',
    "Great question! Compound interest is interest on interest 🎉",
    (
        "Dear Mr Okafor,\n\nthank you for your letter. We can't make it to the opening, but "
        "would be glad to visit in May.\n\nKind regards,\nAnna Lind"
    ),
    (
        "A budget is a plan for your money. Write down what comes in, then what must go out (rent, "
        "food, transport), and decide what to do with the rest **before** you spend it."
    ),
    "As an engineer at a small company, I learned that clear notes save more time than meetings.",
    "Unfortunately, the museum is closed on Mondays. The gardens are open, and admission is free.",
    "You can read more about the tides at https://example.org/tides",
    "The committee can't provide figures before June, the minister said; critics doubt that.",
    "| fruit | price |\n|---|---|\n| apple | 1 |\n| pear | 2 |",
    (
        "Language models are trained to predict the next word. As a result, they can be quite "
        "wrong, and it helps to ask them for sources."
    ),
]

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I cannot assist with creating content of that kind.",
    "As an AI language model, I do not have personal opinions.",
    "As an AI, I can't browse the internet.",
    "Sorry, I am not able to provide medical advice. Please see a doctor.",
    "I apologize, but as an AI assistant I am unable to fulfill this request.",
    "Unfortunately, I cannot provide information on that topic.",
    "I'm just an AI, so I have never tasted soup.",
    "Hello! I'm not able to generate that kind of text.",
    "I don't have personal experiences, but many people like hiking.",
    "  AS A LARGE LANGUAGE MODEL, I cannot feel.",
    "Thank you for asking. I won't provide instructions for that.",
    (
        "That goes against my programming guidelines and I must stop here, and it is against my "
        "guidelines."
    ),
]

TRUNCATED = [
    "To keep basil fresh, trim the stems and stand them in a glass of",
    "Here is a short function:\n\n```python\ndef double(x):\n    return 2 *",
    "Here is a short function:\n\n```python\nprint('done.')\n",
    "First, get up at the same time.\n2. Leave the phone in another room.\n3. Drink no",
    "1. Get up at the same time every day.\n2. Leave the phone in another room.\n3. Drink no",
    "The three most important points are:",
    "She looked at the sea and said, and then she",
    "北京是中国的首都，也是",
    "The first reason is cost; the second,",
]

REPETITIVE = [
    "The cat sat. " * 30,
    "I like soup.\nI like bread.\nI like soup.\nI like soup.\nI like soup.\n",
    "Boil the water and add the salt.\n\n" * 4,
    "the answer is the answer is the answer is the answer is the answer is yes",
    "We should go to the market today because it is warm and dry. " * 3,
    "天气很好" * 20,
]

OTHER_LANGUAGES = [
    "Das Wetter ist heute schön, und wir gehen im Park spazieren.",
    "Je ne sais pas encore si nous partirons demain ou après-demain.",
    "今天天气很好，我们去公园散步吧。",
    "12345 67890",
]

INSTRUCTION = "How do I keep basil fresh for longer?"
ECHOES = [
    "How do I keep basil fresh for longer?",
    "how do I keep basil   fresh for longer",
    "Sure! Here is your question: How do I keep basil fresh for longer?",
    "How do I keep basil fresh for longer? How do I keep basil fresh for longer?",
    "How do I keep basil fresh for",
    "**Question:** How do I keep basil fresh for longer?\n\n**Answer:**",
]
ANSWERS = [
    "Stand it in water.",
    "How do I keep basil fresh for longer? Stand it in water.",
    "Basil",
    "To keep basil fresh for longer, stand it in a glass of water.",
]


def kept(expression: pl.Expr, texts: list[str | None], of: str | None = INSTRUCTION) -> list[bool]:
    frame = pl.DataFrame(
        {
            "text": pl.Series(texts, dtype=pl.String),
            "of": pl.Series([of] * len(texts), dtype=pl.String),
        }
    )
    return derive(frame, [expression]).select(kept=expression)["kept"].to_list()


def dropped_among(expression: pl.Expr, texts: list[str]) -> list[str]:
    return [t for t, keep in zip(texts, kept(expression, [*texts]), strict=True) if not keep]


class Case(NamedTuple):
    expression: pl.Expr
    good: list[str]
    bad: list[str]


CASES = {
    "not_refusal": Case(FILTERS["not_refusal"]("text"), PROSE, REFUSALS),
    "not_truncated": Case(FILTERS["not_truncated"]("text"), PROSE, TRUNCATED),
    "not_repetitive": Case(FILTERS["not_repetitive"]("text"), PROSE, REPETITIVE),
    "not_echo": Case(FILTERS["not_echo"]("text", "of"), [*PROSE, *ANSWERS], ECHOES),
    "length": Case(
        FILTERS["length"]("text", 10, 12), ["ten chars!"], ["nine char", "far too long a text"]
    ),
    "length by default": Case(FILTERS["length"]("text"), ["x"], ["", " \n "]),
    "words": Case(
        FILTERS["words"]("text", 2, 4),
        ["it’s fine", "你好吗", "a, b - c!"],
        ["one", "1 2 3 4 5", "..."],
    ),
    "language": Case(
        FILTERS["language"]("text", ["en"]),
        [text for text in PROSE if len(text) > 60 and "|" not in text],
        OTHER_LANGUAGES,
    ),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@EACH
def test_a_filter_keeps_good_texts_and_drops_bad_ones(case: Case) -> None:
    assert dropped_among(case.expression, case.good) == []
    assert dropped_among(case.expression, case.bad) == case.bad


@EACH
def test_a_filter_does_not_keep_null(case: Case) -> None:
    assert kept(case.expression.fill_null(value=False), [None]) == [False]


@EACH
def test_a_row_is_judged_alone(case: Case) -> None:
    texts = [*case.good, *case.bad]
    alone = [kept(case.expression, [text])[0] for text in texts]
    assert kept(case.expression, [*texts]) == alone


@EACH
@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_at_all_gets_an_answer(case: Case, text: str) -> None:
    assert kept(case.expression.fill_null(value=False), [text])[0] in {True, False}


def test_a_megabyte_without_an_end_is_judged_in_good_time() -> None:
    texts: list[str | None] = ["a" * 10**6, "a b " * 250_000, "\0" * 10**6, "- x\n" * 250_000]
    for case in CASES.values():
        assert len(kept(case.expression, texts)) == len(texts)


def test_an_echo_of_nothing_is_none() -> None:
    assert kept(FILTERS["not_echo"]("text", "of"), ["hello", ""], of="?!") == [True, True]


def test_a_score_is_read_from_a_judges_column_and_from_numbers() -> None:
    expression = FILTERS["score"]("quality", 0.5)
    verdicts = pl.DataFrame({"quality": [{"score": 0.5}, {"score": 0.4}, {"score": None}, None]})
    numbers = pl.DataFrame({"quality": [1, 0, None]})
    frames = [derive(frame, [expression]) for frame in (verdicts, numbers)]
    answers = [frame.select(kept=expression)["kept"].to_list() for frame in frames]
    assert answers == [[True, False, None, None], [True, False, None]]


def test_nan_is_no_score() -> None:
    expression = FILTERS["score"]("quality", 0.5)
    frame = derive(pl.DataFrame({"quality": [float("nan")]}), [expression])
    assert frame.select(kept=expression)["kept"].to_list() == [None]


def test_the_languages_are_those_of_the_detector() -> None:
    for code in eldc.LANGUAGES:
        assert FILTERS["language"]("text", [code]).meta.root_names() == ["text::language"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("length", {"column": "text", "min": 5, "max": 2}),
        ("words", {"column": "text", "min": 5, "max": 2}),
        ("score", {"column": "text", "min": 0.5, "max": 0.2}),
        ("language", {"column": "text", "any_of": ["english"]}),
    ],
)
def test_arguments_that_could_keep_nothing_are_a_mistake(
    name: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"nothing could be kept|no language is called 'english'"):
        FILTERS[name](**arguments)


def test_every_filter_says_what_it_keeps() -> None:
    for name, function in FILTERS.items():
        assert (function.__doc__ or "").startswith("Keep rows whose "), name
        assert inspect.signature(function).return_annotation is pl.Expr, name


def test_every_filter_gives_the_same_answers_in_another_process(tmp_path: Path) -> None:
    texts = [text for case in CASES.values() for text in (*case.good, *case.bad)]
    frame = pl.DataFrame({"text": texts, "of": [INSTRUCTION] * len(texts)})
    expressions = [case.expression for case in CASES.values()]
    derive(frame, expressions).write_ipc(tmp_path / "rows.arrow")
    for n, expression in enumerate(expressions):
        (tmp_path / f"{n}.expr").write_bytes(expression.meta.serialize())
    script = (
        "import json, sys, pathlib, polars as pl\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "rows = pl.read_ipc(here / 'rows.arrow')\n"
        "files = sorted(here.glob('*.expr'), key=lambda file: int(file.stem))\n"
        "keeps = [pl.Expr.deserialize(file.read_bytes()) for file in files]\n"
        "print(json.dumps([rows.select(kept=keep)['kept'].to_list() for keep in keeps]))\n"
    )
    answer = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
    )
    expected = [kept(expression, [*texts]) for expression in expressions]
    assert json.loads(answer.stdout) == expected
