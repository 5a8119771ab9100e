"""Templates that only print are filled in as Jinja would render them; others Jinja renders."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.errors import MistakeError
from soupstock.spec.prompt import parse_prompt
from soupstock.spec.template import MOST_SHAPES, FastRenderer

GROUPS = """\
{% for name, text in context.items() if text is not none %}
<{{ name }} {{ mark }}>{{ text }}</{{ name }}>
{% endfor %}
 {{ mark }} 100 %s {% for name, text in shown.items() %}{{ name }}: {{ text }}{% endfor %}"""
"""What the judges' prompts are made of."""
AS_JINJA = "{% set nothing = 1 %}"
"""Makes a template do more than print, so that Jinja renders it."""

TEXTS = st.text(
    st.sampled_from("a<%s{}0 \n\ue000\ue001'") | st.characters(codec="utf-8"), max_size=9
)
KEYS = st.sampled_from(["answer", "a.b", "x"])
VALUES = TEXTS | st.none() | st.integers() | st.lists(TEXTS, max_size=2)


def render_of(text: str) -> object:
    (turn,) = parse_prompt("p", text, Path("p.md"))._turns
    return turn[1].render


def told(text: str, columns: dict[str, object]) -> str:
    """Render, or say what is wrong; lines differ where a line was put before."""
    try:
        return parse_prompt("p", text, Path("p.md")).messages(columns)[0]["content"]
    except MistakeError as error:
        return f"wrong: {error.message}"


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "mark": TEXTS,
                "context": st.dictionaries(KEYS, VALUES, max_size=2),
                "shown": st.dictionaries(KEYS | TEXTS, VALUES, max_size=3),
            }
        ),
        max_size=4,
    )
)
def test_groups_of_texts_are_filled_in_as_jinja_renders_them(
    rows: list[dict[str, object]],
) -> None:
    assert isinstance(render_of(GROUPS), FastRenderer)
    assert not isinstance(render_of(AS_JINJA + GROUPS), FastRenderer)
    for row in rows:
        assert told(GROUPS, row) == told(AS_JINJA + GROUPS, row)


@given(VALUES, VALUES)
def test_names_are_filled_in_as_jinja_renders_them(first: object, second: object) -> None:
    text, row = " {{ first }}%{{ second }}{{ first }} ", {"first": first, "second": second}
    assert told(text, row) == told(AS_JINJA + text, row)


def test_one_template_is_filled_in_for_rows_of_any_shape_in_turn() -> None:
    prompt = parse_prompt("p", GROUPS, Path("p.md"))
    for number in [*range(MOST_SHAPES + 2), 0]:
        row = {"mark": "m", "context": {}, "shown": {f"k{number}": "v"}}
        assert prompt.messages(row)[0]["content"] == f"m 100 %s k{number}: v"


@pytest.mark.parametrize(
    "text",
    [
        "{{ name | upper }}",
        "{{ name ~ 'a' }}",
        "{% if name %}{{ name }}{% endif %}",
        "{% for one in name %}{{ one }}{% endfor %}",
        "{% for k, v in name.items() if v %}{{ v }}{% endfor %}",
        "{% for k, v in name.items() %}{{ v | length }}{% endfor %}",
        "{% for k, v in name.items() %}{{ v }}{% else %}none{% endfor %}",
        "{% for k, v in name.items() %}{{ loop.index }}{{ v }}{% endfor %}",
        "{% for k, v in name.items() %}{{ name }}{% endfor %}",
        "{{ name }}\ue0000\ue001",
    ],
)
def test_a_template_that_looks_at_its_texts_is_rendered_each_time(text: str) -> None:
    assert not isinstance(render_of(text), FastRenderer)
