"""A verdict is read whole or not at all; a score is never made up."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from conftest import RUBRIC
from soupstock.errors import MistakeError
from soupstock.judging.judge_input import judge_input
from soupstock.judging.rubric import MAX_REASON, Rubric, Verdict, read_verdict, verdict_schema
from soupstock.project.project import Project
from soupstock.spec.loader import parse_yaml, validate


def rubric_of(text: str) -> Rubric:
    return validate(parse_yaml(text, Path("plain.yaml")), Rubric).value


PLAIN = rubric_of(RUBRIC)
GOOD = {"right": {"reason": "yes", "level": 2}, "kind": {"reason": "no", "level": 1}}


def read(value: object) -> Verdict | str:
    return read_verdict(PLAIN, value if isinstance(value, str) else json.dumps(value))


def test_a_score_is_the_weighted_mean_of_the_levels() -> None:
    verdict = read(GOOD)
    assert isinstance(verdict, Verdict)
    assert {name: one.score for name, one in verdict.criteria.items()} == {"right": 0.5, "kind": 0}
    assert verdict.score == (1 * 0.5 + 3 * 0) / 4
    assert verdict.criteria["right"].reason == "yes"


@pytest.mark.parametrize(
    "text",
    [
        "```json\n{}\n```",
        "Here is my verdict: {} I hope that helps.",
        "\n\n {} \n",
    ],
)
def test_words_and_fences_around_a_verdict_do_no_harm(text: str) -> None:
    assert read(text.replace("{}", json.dumps(GOOD))) == read(GOOD)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("", "the reply is empty"),
        ("I like it.", "the reply is no JSON object: 'I like it.'"),
        ("[1]", "the reply is no JSON object: '[1]'"),
        ('{"right": {"reason": "cut o', "the reply is no JSON object: "),
        ({}, "the reply has no verdict on 'right'"),
        ({"right": 3}, "the reply has no verdict on 'right'"),
        ({"right": GOOD["right"]}, "the reply has no verdict on 'kind'"),
        (GOOD | {"kind": {"reason": "x"}}, "the level of 'kind' is not a whole number from 1 to 2"),
        (GOOD | {"kind": {"reason": "x", "level": 0}}, "the level of 'kind' is not a whole"),
        (GOOD | {"kind": {"reason": "x", "level": 3}}, "the level of 'kind' is not a whole"),
        (
            GOOD | {"kind": {"reason": "x", "level": True}},
            "the level of 'kind' is not a whole number",
        ),
        (
            GOOD | {"kind": {"reason": "x", "level": "2"}},
            "the level of 'kind' is not a whole number",
        ),
        (
            GOOD | {"kind": {"reason": "x", "level": 1.0}},
            "the level of 'kind' is not a whole number",
        ),
        (GOOD | {"kind": {"level": 1}}, "the level of 'kind' has no reason"),
        ("\x1b[2J{", "the reply is no JSON object: '\\x1b[2J{'"),
    ],
)
def test_what_is_no_verdict_is_told_and_never_scored(reply: object, said: str) -> None:
    verdict = read(reply)
    assert isinstance(verdict, str)
    assert verdict.startswith(said)
    assert verdict.isprintable()


LEVELS = st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=10)


@st.composite
def rubrics(draw: st.DrawFn) -> Rubric:
    names = draw(st.lists(st.from_regex(r"\A[a-z]{1,6}\Z"), min_size=1, max_size=5, unique=True))
    criteria = {
        name: {"question": "?", "levels": draw(LEVELS), "weight": draw(st.floats(0.001, 1000))}
        for name in names
    }
    return Rubric.model_validate({"columns": ["a"], "criteria": criteria})


@settings(max_examples=100)
@given(rubrics(), st.randoms(use_true_random=False))
def test_every_reply_that_fits_the_schema_is_read_and_scored_from_0_to_1(
    rubric: Rubric, chance: Any
) -> None:
    reply = {
        name: {"reason": "x", "level": chance.randint(1, len(one.levels))}
        for name, one in rubric.judged.items()
    }
    Draft202012Validator(verdict_schema(rubric)).validate(reply)
    verdict = read_verdict(rubric, json.dumps(reply))
    assert isinstance(verdict, Verdict)
    assert 0 <= verdict.score <= 1
    for best in (True, False):
        ends = {
            name: {"reason": "x", "level": len(one.levels) if best else 1}
            for name, one in rubric.judged.items()
        }
        extreme = read_verdict(rubric, json.dumps(ends))
        assert isinstance(extreme, Verdict)
        assert extreme.score == best


@settings(max_examples=200)
@given(st.text(max_size=30) | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps))
def test_any_reply_is_read_or_told(reply: str) -> None:
    verdict = read(reply)
    assert isinstance(verdict, str)
    assert verdict.isprintable()


def test_a_reason_is_asked_for_before_its_level_and_nothing_else_is_allowed() -> None:
    schema = verdict_schema(PLAIN)
    assert list(schema["properties"]) == ["right", "kind"]
    assert list(schema["properties"]["right"]["properties"]) == ["reason", "level"]
    validator = Draft202012Validator(schema)
    assert validator.is_valid(GOOD)
    assert not validator.is_valid(GOOD | {"more": GOOD["kind"]})
    assert not validator.is_valid(GOOD | {"kind": {"level": 3, "reason": "x"}})
    assert not validator.is_valid(GOOD | {"kind": {"level": 1, "reason": "x" * (MAX_REASON + 1)}})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "columns: [question, answer]",
            "columns: []",
            ":1: columns should hold 1 or more",
        ),
        (
            "[question, answer]",
            "[my question]",
            ":1: item 1 of columns should be a column",
        ),
        ("weight: 3", "weight: 0", ":4: weight should be more than 0, not 0"),
        ("weight: 3", "weight: 1001", ":4: weight should be at most 1000, not 1001"),
        (
            "[rude, kind]",
            '["", kind]',
            ":4: item 1 of levels should be a text of at least 1",
        ),
        ("[rude, kind]", "{1: rude}", ":4: levels should be a list, not a mapping"),
        ("[rude, kind]", str(list("abcdefghijk")), ":4: levels should hold 10 or fewer"),
        ("question: Is it kind?, ", "", ":4: the key 'question' is missing in kind"),
        ("  right:", "  is right:", ":3: the key 'is right' should be a name of letters"),
        (
            "columns:",
            "model: x\ncolumns:",
            ":1: unknown key 'model'; there are: answer, columns,",
        ),
    ],
)
def test_a_mistake_in_a_rubric_names_its_line(old: str, new: str, said: str) -> None:
    assert old in RUBRIC
    with pytest.raises(MistakeError) as caught:
        rubric_of(RUBRIC.replace(old, new, 1))
    assert str(caught.value).startswith(f"plain.yaml{said}")


RUBRICS = sorted((Path(__file__).parents[2] / "prompts" / "rubrics").glob("*.yaml"))


@pytest.mark.parametrize("path", RUBRICS, ids=lambda path: path.stem)
def test_a_shipped_rubric_puts_everything_to_its_judge(path: Path, tmp_path: Path) -> None:
    project = Project(tmp_path)
    rubric = project.rubric(path.stem).value
    assert rubric.description
    row = dict.fromkeys(rubric.shown, "the very text")
    prompt = project.prompt(rubric.prompt).value.given({"rubric": rubric})
    messages = prompt.messages(judge_input(rubric, row))
    asked = "\n".join(message["content"] for message in messages)
    assert asked.count("the very text") == len(rubric.shown)
    for name, criterion in rubric.judged.items():
        places = [asked.index(part) for part in (name, criterion.question, *criterion.levels)]
        assert places == sorted(places)
