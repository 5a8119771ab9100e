"""A prompt is rendered the same every time, out of a row's columns and out of nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.errors import MistakeError
from soupstock.spec.prompt import Prompt, PromptError, parse_prompt
from soupstock.spec.template import MAX_CHARACTERS

FILE = Path("prompts/chat/ask.md")


def parse(text: str) -> Prompt:
    return parse_prompt("chat/ask", text, FILE)


def rendered(text: str, /, **columns: object) -> str:
    return parse(text).messages(columns)[-1]["content"]


def mistake_in(text: str) -> str:
    with pytest.raises(MistakeError) as caught:
        parse(text)
    assert str(caught.value).isprintable()
    return str(caught.value)


def failure_of(text: str, /, **columns: object) -> str:
    prompt = parse(text)
    with pytest.raises(PromptError) as caught:
        prompt.messages(columns)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_text_without_front_matter_is_one_question() -> None:
    prompt = parse("About {{ topic }}.\n")
    assert prompt.messages({"topic": "tea"}) == [{"role": "user", "content": "About tea."}]
    assert prompt.variables == {"topic": 1}
    assert prompt.description == ""


def test_system_comes_first_then_the_examples_then_the_question() -> None:
    prompt = parse(
        """\
---
description: Ask.
system: |
  You are {{ tone }}.
  You are brief.
examples:
  - user: About milk.
    assistant: Milk is white.
  - user: About {{ other }}.
    assistant: I know {{ other }}.
---

About {{ topic }}.

---
A rule within the text stays.
"""
    )
    assert prompt.description == "Ask."
    assert prompt.variables == {"tone": 4, "other": 9, "topic": 13}
    assert prompt.messages({"tone": "kind", "other": "rum", "topic": "tea"}) == [
        {"role": "system", "content": "You are kind.\nYou are brief."},
        {"role": "user", "content": "About milk."},
        {"role": "assistant", "content": "Milk is white."},
        {"role": "user", "content": "About rum."},
        {"role": "assistant", "content": "I know rum."},
        {"role": "user", "content": "About tea.\n\n---\nA rule within the text stays."},
    ]


def test_what_is_given_beforehand_is_the_same_as_what_is_given_with_the_row() -> None:
    prompt = parse("---\nsystem: Be {{ tone }}.\n---\nAbout {{ topic }} {{ tone }}.")
    given = prompt.given({"tone": "kind"})
    whole = {"tone": "kind", "topic": "tea"}
    assert given.messages(whole) == prompt.messages(whole)
    assert given.messages({"tone": "cross", "topic": "tea"})[0]["content"] == "Be kind."


def test_columns_are_never_read_as_templates_or_as_html() -> None:
    hostile = "{{ 7 * 7 }} {% raw %} <b>&amp;</b> {# no #}"
    assert rendered("{{ text }}", text=hostile) == hostile


def test_lists_mappings_and_numbers_are_written_plainly() -> None:
    assert rendered("{{ tags | join(', ') }}", tags=["a", "b"]) == "a, b"
    assert rendered("{{ item.question }}?", item={"question": "Why"}) == "Why?"
    assert rendered("{{ item._id }} {{ n }} {{ is_new }}", item={"_id": 3}, n=2.5, is_new=True) == (
        "3 2.5 True"
    )
    assert rendered("{{ item | tojson }}", item={"it's": "<é>"}) == '{"it\'s": "<é>"}'


def test_blocks_leave_no_blank_lines() -> None:
    text = "{% for tag in tags %}\n- {{ tag }}\n{% endfor %}\nEnd"
    assert rendered(text, tags=["a", "b"]) == "- a\n- b\nEnd"


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    text = "---\nsystem: Be kind.\n---\nAbout\n{{ topic }}."
    windows = parse("\ufeff" + text.replace("\n", "\r\n"))
    assert windows.messages({"topic": "tea"}) == parse(text).messages({"topic": "tea"})
    assert rendered("\ufeffAbout {{ topic }}", topic="tea") == "About tea"


def test_the_first_line_that_uses_a_name_is_known() -> None:
    prompt = parse("{% set own = 1 %}\n{{ own }} {{ a }}\n{{ b.c }}\n{{ a }}{{ range(2) | list }}")
    assert prompt.variables == {"a": 2, "b": 3}


FRONT = "---\ndescription: Ask.\n{}\n---\nhello"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": the prompt has no text; write what to ask"),
        (
            "---\nsystem: x\n---\n \n",
            ": the prompt has no text; write what to ask",
        ),
        ("---\nsystem: x\n", ":1: the front matter that begins here has no"),
        (FRONT.format("- a"), ":3: not YAML: "),
        (
            "---\n- a\n---\nhello",
            ": it should be a mapping (`key: value`), not a",
        ),
        (
            FRONT.format("sytem: x"),
            ":3: unknown key 'sytem'; did you mean 'system'",
        ),
        (FRONT.format("system: 3"), ":3: system should be text, not 3; to write it as text"),
        (FRONT.format("system:"), ":3: system should be text, not nothing"),
        (FRONT.format("examples: x"), ":3: examples should be a list, not 'x'"),
        (
            FRONT.format("examples: [x]"),
            ":3: item 1 of examples should be a mapp",
        ),
        (
            FRONT.format("examples:\n- user: x"),
            ":4: the key 'assistant' is missing",
        ),
        (FRONT.format("system: '{{ x }'"), ":3: not Jinja: unexpected '}'"),
        (FRONT.format("system: |\n  {{ x }"), ":4: not Jinja: unexpected '}'"),
        (FRONT.format("system: |-\n  a\n  {{ x }"), ":5: not Jinja: unexpected"),
        (FRONT.format("system:\n\n  '{{ x }'"), ":5: not Jinja: unexpected '}'"),
        (
            FRONT.format("examples:\n- user: a\n  assistant: >\n    {{ x }"),
            ":6: not Jinja: unexpected '}'",
        ),
        (FRONT.format("system: x") + "\n{{", ":6: not Jinja: unexpected"),
        (
            "a\n{% include 'b' %}",
            ":2: a prompt is one file: include, import and",
        ),
        ("{% extends 'b' %}", ":1: a prompt is one file: include, import and"),
        ("{% from 'b' import c %}", ":1: a prompt is one file: include, import"),
        ("{{ a | shuffle }}", ":1: no Jinja filter is called 'shuffle'; there"),
        (
            "{{ a | random }}",
            ":1: no Jinja filter is called 'random'; there are",
        ),
        (
            "{% if a is nubmer %}{% endif %}",
            ":1: no Jinja test is called 'nubmer';",
        ),
        ("\n{{ a.__class__ }}", ":2: a prompt may not read '__class__'"),
        ("{{ a }}{{ ''.__class__.__mro__ }}", ":1: a prompt may not read '__"),
        ("{{ 1 / 0 }}", ":1: the prompt cannot be rendered: division by zero"),
        (
            "a\n{{ range }}",
            ":2: the prompt cannot be rendered: a function is no",
        ),
        (
            "{{ none }}",
            ":1: the prompt cannot be rendered: a value is null",
        ),
        ("{% if 1 %}" * 3000, ": it is nested too deeply"),
        ("{{ " + "(" * 3000, ": it is nested too deeply"),
    ],
)
def test_a_mistake_in_a_prompt_names_its_line(text: str, said: str) -> None:
    assert mistake_in(text).startswith(str(FILE) + said)


@pytest.mark.parametrize(
    "text",
    [
        "{{ text['__class__'] }}",
        "{{ text | attr('__class__') }}",
        "{{ ('__cla' ~ 'ss__') and text[('__cla' ~ 'ss__')] }}",
        "{{ text.format.__globals__ }}{{ text }}",
        "{{ '{0.__class__}'.format(text) }}",
        "{{ '{x.__class__}'.format_map({'x': text}) }}",
        "{{ items.append(1) }}",
        "{{ mapping.update({'a': 1}) }}",
        "{{ text.mro() }}",
        "{% set x = namespace() %}{{ x.__init__ }}{{ text }}",
    ],
)
def test_the_sandbox_lets_nothing_out(text: str) -> None:
    columns: dict[str, Any] = {"text": "hello", "items": [0], "mapping": {"b": 1}}
    try:
        prompt = parse(text)
    except MistakeError:
        return
    with pytest.raises(PromptError):
        prompt.messages(columns)
    assert columns == {"text": "hello", "items": [0], "mapping": {"b": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10 ** 10 }}{{ n }}",
        "{{ [n] * 10 ** 10 }}",
        "{{ n ** (10 ** 9) }}",
        "{{ (n * n) ** (9 ** 9) }}",
        "{% for i in range(10 ** 9) %}{{ n }}{% endfor %}",
        "{% for i in range(90000) %}{% for j in range(90000) %}{{ n }}{% endfor %}{% endfor %}",
        "{{ 10 ** (10 ** (10 ** 10)) }}",
    ],
)
def test_what_would_never_end_or_fit_is_refused(text: str) -> None:
    try:
        prompt = parse(text)
    except MistakeError:
        return
    with pytest.raises(PromptError):
        prompt.messages({"n": 7})


def test_sums_and_products_of_ordinary_size_are_computed() -> None:
    assert rendered("{{ n * 3 }} {{ n ** 2 }} {{ '-' * n }} {{ 2 ** 0.5 > 1 }}", n=4) == (
        "12 16 ---- True"
    )
    assert len(rendered("{{ 'a' * n }}", n=MAX_CHARACTERS)) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        (
            "a\n{{ b }}",
            {"b": None},
            ":2: the prompt cannot be rendered: a value is null",
        ),
        ("{{ b.c }}", {"b": {}}, ":1: the prompt cannot be rendered: 'dict object'"),
        ("{{ b }}", {}, ":1: the prompt cannot be rendered: 'b' is undefined"),
        (
            "{{ b | map('upper') }}",
            {"b": ["a"]},
            ":1: the prompt cannot be rendered: what",
        ),
        (
            "{{ b.upper }}",
            {"b": "a"},
            ":1: the prompt cannot be rendered: a function is no",
        ),
        (
            "\n\n{{ b / 0 }}",
            {"b": 1},
            ":3: the prompt cannot be rendered: division by zero",
        ),
        (
            "{{ b.index('\x1b') }}",
            {"b": "a"},
            ":1: the prompt cannot be rendered: substring",
        ),
        (
            "---\nsystem: |\n  a\n  {{ b }}\n---\nhello",
            {"b": None},
            ":4: the prompt cannot be rendered: a value is null",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_told_by_the_prompts_name_and_line(
    text: str, columns: dict[str, object], said: str
) -> None:
    assert failure_of(text, **columns).startswith(f"chat/ask{said}")


def test_null_is_allowed_where_the_prompt_says_so() -> None:
    assert rendered("About {{ topic or 'anything' }}", topic=None) == "About anything"
    assert (
        rendered("{% if topic %}{{ topic }}{% else %}nothing{% endif %}", topic=None) == "nothing"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@settings(max_examples=200)
@given(VALUES)
def test_any_value_is_rendered_the_same_twice_or_is_a_failure(value: object) -> None:
    prompt = parse("---\nsystem: '{{ value | length }}'\n---\n{{ value }} {{ value | tojson }}")
    said = []
    for _ in range(2):
        try:
            said.append(str(prompt.messages({"value": value})))
        except PromptError as error:
            said.append(str(error))
    assert said[0] == said[1]


MARKS = (
    "{{ a }} {% if a %} {% endif %} {% for b in a %} {# - | . __class__ ( ) [ ] ' \\ --- \n : 1 *"
)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(MARKS.split(" ")), max_size=14).map(" ".join))
def test_any_text_is_a_prompt_or_a_mistake(text: str) -> None:
    try:
        parse(text).messages({"a": "x"})
    except MistakeError as error:
        said = str(error)
    else:
        said = ""
    assert said.isprintable()
