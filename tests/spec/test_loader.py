"""YAML becomes a model, or one sentence that names the line: whatever stands in the file."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from conftest import CHAT, RUBRIC
from soupstock import spec
from soupstock.errors import MistakeError
from soupstock.judging.rubric import Rubric
from soupstock.spec.loader import load, parse_yaml, read_text, read_yaml, validate

FILE = Path("mine.yaml")


def written(data: Any) -> str:
    """Write data as YAML, as any other program would."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    # Left as they are, ruamel folds some line separators that it then reads as spaces.
    yaml.allow_unicode = False
    yaml.dump(data, stream)
    return stream.getvalue()


def parsed(text: str) -> spec.Pipeline:
    return validate(parse_yaml(text, FILE), spec.Pipeline).value


def data_of(text: str) -> Any:
    return parse_yaml(text, FILE).data


def mistake_in(text: str) -> str:
    with pytest.raises(MistakeError) as caught:
        parse_yaml(text, FILE)
    return str(caught.value)


def test_plain_values_are_what_they_look_like() -> None:
    text = """\
text: some words
quoted: "12"
date: 2026-01-02
number: 1.5
large: 1e3
whole: -12
octal: 0o14
yes_is_text: yes
right: true
nothing: ~
empty:
list: [a, 1, {b: c}]
1: a key that is a number
"""
    assert data_of(text) == {
        "text": "some words",
        "quoted": "12",
        "date": "2026-01-02",
        "number": 1.5,
        "large": 1000.0,
        "whole": -12,
        "octal": 12,
        "yes_is_text": "yes",
        "right": True,
        "nothing": None,
        "empty": None,
        "list": ["a", 1, {"b": "c"}],
        "1": "a key that is a number",
    }


def test_aliases_and_merges_are_followed() -> None:
    text = """\
first: &shared {temperature: 0.5, top_p: 0.9}
second:
  <<: *shared
  top_p: 0.1
third:
  <<: [*shared, {stop: [x]}]
again: *shared
"""
    assert data_of(text) == {
        "first": {"temperature": 0.5, "top_p": 0.9},
        "second": {"temperature": 0.5, "top_p": 0.1},
        "third": {"temperature": 0.5, "top_p": 0.9, "stop": ["x"]},
        "again": {"temperature": 0.5, "top_p": 0.9},
    }


def test_every_part_knows_its_line_and_what_is_missing_the_line_of_its_holder() -> None:
    located = parse_yaml(CHAT, FILE)
    assert str(located.place("source", "sample", "style")) == "mine.yaml:6"
    assert str(located.place("steps", 1)) == "mine.yaml:11"
    assert str(located.place("steps", 1, "temperature")) == "mine.yaml:11"
    assert str(located.place("colour")) == "mine.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml: it is empty"),
        ("---\n", "mine.yaml: it should be a mapping (`key: value`), not 'None'"),
        ("- a", "mine.yaml: it should be a mapping (`key: value`), not a list"),
        ("a: 1\na: 2", "mine.yaml:2: the key 'a' is already in line 1"),
        ("a: 1\n'a': 2", "mine.yaml:2: the key 'a' is already in line 1"),
        ("x:\n  1: a\n  '1': b", "mine.yaml:3: the key '1' is already in line 2"),
        ("a: !x 1", "mine.yaml:1: the tag '!x' is not allowed; write plain values"),
        ("a: !!binary aGk=", "mine.yaml:1: the tag '!!binary' is not allowed; write plain values"),
        ("a: !!set {b}", "mine.yaml:1: the tag '!!set' is not allowed; write plain values"),
        ("a: !!int x", "mine.yaml:1: 'x' cannot be read"),
        ("a: .nan", "mine.yaml:1: '.nan' is not a finite number"),
        ("a: -.inf", "mine.yaml:1: '-.inf' is not a finite number"),
        (f"a: {2**63}", f"mine.yaml:1: '{2**63}' is too large a number"),
        ("a: {b: 1}\n? {c: 1}\n: 2", "mine.yaml:2: a key should be text"),
        ("a: {<<: 3}", "mine.yaml:1: `<<` merges mappings only"),
        ("a: *b", "mine.yaml:1: not YAML: found undefined alias 'b'"),
        ("a: &a [*a]", "mine.yaml:1: it is nested too deeply"),
        ("a: &a {<<: *a}", "mine.yaml:1: it is nested too deeply"),
        ('a: "\\ud800"', "mine.yaml:1: '\\ud800' contains half a character"),
        ("a: b: c", "mine.yaml:1: not YAML: mapping values are not allowed here"),
        ("a: [1, 2\nb: 3\n", "mine.yaml:2: not YAML: "),
        ('a: 1\nb: "no end\nc: 3\n', "mine.yaml:2: not YAML: "),
        ("a: 1\n---\nb: 2\n", "mine.yaml:2: not YAML: expected a single document"),
        ("a: 1\nb: \x07", "mine.yaml:2: the character U+0007 is not allowed"),
        ("%YAML 9.9\n---\na: 1", "mine.yaml:1: not YAML: "),
    ],
)
def test_what_is_not_plain_yaml_is_named_with_its_line(text: str, message: str) -> None:
    said = mistake_in(text)
    assert said.startswith(message)
    assert said.isprintable()


def test_a_file_is_read_without_its_byte_order_mark_and_with_unix_line_ends(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  two\r\n  lines\r\n")
    assert read_text(path) == "a: 1\nb: |\n  two\n  lines\n"
    assert read_yaml(path).data == {"a": 1, "b": "two\nlines\n"}


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MistakeError, match="it cannot be read: Is a directory"):
        load(tmp_path, spec.Pipeline)


@pytest.mark.parametrize("value", ["n: true", "n: '2'", "n: 2.5"])
def test_a_value_is_never_bent_into_another_type(value: str) -> None:
    text = CHAT.replace("prompt: ask", f"prompt: ask\n    {value}")
    with pytest.raises(MistakeError, match="n should be a whole number"):
        parsed(text)


def test_a_whole_number_is_a_number() -> None:
    step = parsed(CHAT.replace("prompt: ask", "prompt: ask\n    temperature: 1")).steps[0]
    assert isinstance(step, spec.Generate)
    assert step.temperature == 1.0


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.sampled_from([*spec.VERBS, *spec.Pipeline.model_fields, "rows", "sample", "prompt", "n"])
VALUES = st.recursive(
    PLAIN | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(data: Any) -> list[tuple[Any, ...]]:
    """List all places in data, as keys that lead there."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    inner = [(key, value) for key, value in pairs] if isinstance(data, (dict, list)) else []
    return [(key, *rest) for key, value in inner for rest in [(), *paths_of(value)]]


def paths_of(value: Any) -> list[tuple[Any, ...]]:
    return paths(value) if isinstance(value, (dict, list)) else []


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    whole = copy.deepcopy(data)
    *way, last = path
    place = whole
    for key in way:
        place = place[key]
    place[last] = value
    return whole


def said_of(text: str, model: type[BaseModel]) -> str:
    """Load a text: says what is wrong with it, or nothing."""
    try:
        validate(parse_yaml(text, FILE), model)
    except MistakeError as error:
        return str(error)
    return ""


@settings(max_examples=120)
@given(VALUES)
def test_any_data_loads_or_is_a_mistake(data: Any) -> None:
    # A person reads one line, whatever it quotes.
    said = said_of(written(data), spec.Pipeline)
    assert said.isprintable()
    assert said.startswith("mine.yaml")


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), VALUES)
def test_a_pipeline_or_rubric_with_anything_in_any_place_loads_or_is_a_mistake(
    data: st.DataObject, value: Any
) -> None:
    kinds: list[tuple[str, type[BaseModel]]] = [(CHAT, spec.Pipeline), (RUBRIC, Rubric)]
    text, model = data.draw(st.sampled_from(kinds))
    whole = data_of(text)
    path = data.draw(st.sampled_from(paths(whole)))
    said = said_of(written(changed(whole, path, value)), model)
    assert said.isprintable()
    assert not said or said.startswith("mine.yaml")


MARKS = "ab1: -[]{}#&*!|>'\"%@`\\\n\t\r~<?,\x00\x85\u2028é😀"


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from(MARKS), max_size=40))
def test_any_text_is_a_mistake_in_one_line(text: str) -> None:
    said = said_of(text, Rubric)
    assert said.isprintable()
    assert said.startswith("mine.yaml")


COLUMNS = st.from_regex(r"\A[a-z][a-z0-9_]{0,8}\Z").filter(lambda name: name not in spec.RESERVED)
NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9_.-]{0,5}(/[a-z0-9][a-z0-9_.-]{0,5})?\Z")
ROLES = st.from_regex(r"\A[a-z][a-z0-9_-]{0,5}\Z")
# Whoever writes YAML may fold the rarer line ends into spaces, as ruamel.yaml does.
TEXTS = st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs", "Zl", "Zp"])).filter(
    lambda text: "\x85" not in text
)
SHARES = st.floats(0.001, 1)
SAMPLING = {
    "temperature": st.none() | st.floats(0, 5),
    "top_p": st.none() | SHARES,
    "max_tokens": st.integers(1, 10_000),
    "stop": st.lists(TEXTS.filter(bool), max_size=2).map(tuple),
    "frequency_penalty": st.none() | st.floats(-2, 2),
}
ARGUMENTS = st.dictionaries(COLUMNS, PLAIN | NUMBERS | st.lists(TEXTS, max_size=2), max_size=3)
SCALARS = TEXTS | st.integers(-(2**63), 2**63 - 1) | NUMBERS | st.booleans()
THERE = st.one_of(
    st.builds(spec.FileReference, file=TEXTS, column=st.none() | COLUMNS),
    st.builds(spec.DatasetReference, dataset=TEXTS, split=TEXTS, config=st.none() | TEXTS),
    st.builds(spec.RunReference, run=NAMES),
)
STEPS = st.one_of(
    st.builds(
        spec.Generate,
        generate=COLUMNS,
        model=ROLES,
        prompt=NAMES,
        n=st.integers(1, 9),
        output_schema=st.none() | NAMES,
        retries=st.integers(0, 9),
        **SAMPLING,
    ),
    st.builds(spec.Judge, judge=COLUMNS, model=ROLES, rubric=NAMES, temperature=st.floats(0, 5)),
    st.builds(
        spec.Filter,
        filter=st.lists(
            st.builds(spec.FilterUse, name=NAMES, arguments=ARGUMENTS),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    st.builds(
        spec.Dedup,
        dedup=COLUMNS | COLUMNS.map("{}::user".format),
        method=st.sampled_from(["exact", "minhash", "semantic"]),
        threshold=st.none() | SHARES,
        keep=st.just("first") | st.builds(spec.Best, best=COLUMNS),
        against=st.lists(THERE, max_size=2).map(tuple),
        embedder=st.none() | TEXTS,
    ),
    st.builds(
        spec.Mask,
        mask=COLUMNS,
        into=COLUMNS,
        kinds=st.lists(st.sampled_from(spec.KINDS), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(
        spec.Decontaminate,
        decontaminate=COLUMNS,
        against=st.lists(THERE, min_size=1, max_size=2).map(tuple),
        overlap=SHARES,
        threshold=SHARES,
    ),
    st.builds(
        spec.Select,
        select=st.integers(1, 9) | st.sampled_from(["all", "50%", "0.5%", "100%"]),
        by=st.none() | COLUMNS,
        method=st.sampled_from(["best", "deita", "k_center"]),
        column=st.none() | COLUMNS,
        threshold=SHARES,
        per=st.none() | COLUMNS,
        clusters=st.none() | st.integers(2, 9),
        at_most=st.none() | st.integers(1, 9),
    ),
    st.builds(
        spec.WriteDataset,
        dataset=st.just("me/mine"),
        output_schema=st.none() | NAMES,
        license=st.none() | TEXTS,
        language=st.lists(TEXTS, max_size=2).map(tuple),
    ),
)
CHOICES = st.lists(SCALARS, min_size=1, max_size=3) | st.dictionaries(
    TEXTS, SHARES, min_size=1, max_size=3
)
ROWS = st.integers(1, spec.MAX_ROWS)
SOURCES = st.one_of(
    st.builds(
        spec.SampleSource,
        sample=st.dictionaries(COLUMNS, CHOICES, min_size=1, max_size=3),
        rows=ROWS,
    ),
    st.builds(spec.FileSource, file=TEXTS, rows=st.none() | ROWS),
    st.builds(spec.DatasetSource, dataset=TEXTS, split=TEXTS, config=st.none() | TEXTS),
)
PIPELINES = st.builds(
    spec.Pipeline,
    description=TEXTS,
    seed=st.integers(-(2**63), 2**63 - 1),
    models=st.dictionaries(ROLES, st.sampled_from(["embedded", "openai/gpt-5-mini"]), max_size=2),
    source=SOURCES,
    target=st.none() | ROWS,
    steps=st.lists(STEPS, min_size=1, max_size=4).map(tuple),
)  # fmt: skip


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(pipeline=PIPELINES, with_defaults=st.booleans())
def test_every_pipeline_is_the_same_after_it_was_written_as_yaml(
    pipeline: spec.Pipeline, *, with_defaults: bool
) -> None:
    data = pipeline.model_dump(mode="json", exclude_defaults=not with_defaults)
    assert parsed(written(data)) == pipeline
