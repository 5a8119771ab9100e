"""Columns that filters name and no step makes."""

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.text import repetition
from soupstock.text.measures import MEASURES, Root, derive, requires, resolve
from soupstock.text.pii import is_card, is_iban

LANGUAGE = pl.col("response::language") == "en"


def languages(*texts: str | None) -> list[str | None]:
    found: list[str | None] = MEASURES["language"](pl.Series(texts, dtype=pl.String)).to_list()
    return found


def test_a_name_is_taken_apart() -> None:
    assert resolve("item.question.text::language") == Root(
        "item", ("question", "text"), ("language",)
    )
    assert resolve("response") == Root("response", (), ())


def test_a_measure_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(
        ValueError, match=r"no measure is called 'langage'; did you mean 'language'"
    ):
        resolve("response::langage")


def test_an_expression_requires_the_columns_that_it_is_derived_from() -> None:
    nested = pl.col("item.question").str.len_chars() > pl.col("limit")
    assert requires([LANGUAGE, nested]) == {"response", "item", "limit"}


def test_fields_and_measures_are_derived_under_the_names_used() -> None:
    rows = pl.DataFrame({"item": [{"question": {"text": "Where is the station, please?"}}, None]})
    expression = pl.col("item.question.text::language") == "en"
    derived = derive(rows, [expression, pl.col("item.question.text").is_null()])
    assert derived["item.question.text::language"].to_list() == ["en", None]
    assert derived["item.question.text"].to_list() == ["Where is the station, please?", None]


def test_a_column_that_is_there_under_the_very_name_is_left_alone() -> None:
    rows = pl.DataFrame({"response": ["Guten Tag"], "response::language": ["xx"]})
    assert derive(rows, [LANGUAGE]).equals(rows)


def test_a_field_that_is_not_there_is_a_mistake() -> None:
    rows = pl.DataFrame({"item": [{"question": "why"}]})
    with pytest.raises(ValueError, match=r"item has no field called 'qestion'; did you mean"):
        derive(rows, [pl.col("item.qestion").is_null()])


@pytest.mark.parametrize("root", ["number::language", "text::score", "number.field"])
def test_a_measure_of_the_wrong_type_is_a_mistake(root: str) -> None:
    with pytest.raises(
        ValueError, match=r"not a text, a list|text is String, not a number|no field"
    ):
        derive(pl.DataFrame({"number": [1], "text": ["a"]}), [pl.col(root).is_null()])


def test_languages_are_told_apart() -> None:
    assert languages("The train leaves at nine.", "Der Zug fährt um neun.", "火车九点出发。") == [
        "en",
        "de",
        "zh",
    ]


def test_what_has_no_language_is_null() -> None:
    assert languages("", " \n", "12 + 30 = 42", "\0", None) == [None] * 5


def test_a_nul_does_not_hide_the_rest_of_a_text() -> None:
    assert languages("a\0 Bonjour le monde, comment allez-vous ?") == ["fr"]


def test_long_texts_are_measured_too() -> None:
    assert languages("the quick brown fox " * 50_000, "\0" * 10**6) == ["en", None]


def test_categories_are_texts() -> None:
    texts = pl.Series(["Where is the station, please?"], dtype=pl.Categorical)
    assert MEASURES["language"](texts).to_list() == ["en"]


@given(st.text())
def test_any_text_has_a_language_or_none(text: str) -> None:
    (found,) = languages(text)
    assert found is None or len(found) == 2


def test_a_score_is_a_judges_or_a_number() -> None:
    judged = pl.Series("quality", [{"score": 0.5, "reason": "fine"}, None])
    assert MEASURES["score"](judged).to_list() == [0.5, None]
    assert MEASURES["score"](pl.Series("n", [1, None])).to_list() == [1.0, None]
    assert MEASURES["score"](pl.Series("n", [None])).to_list() == [None]
    assert MEASURES["score"](pl.Series("n", [float("nan"), 1.0])).to_list() == [None, 1.0]


CONVERSATION = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Wo ist der Bahnhof?"},
    {"role": "assistant", "content": "It is over there."},
    {"role": "assistant", "content": None},
    {"role": "user", "content": "Und wo ist der Markt?"},
    {"role": "assistant", "content": "It is behind it."},
]


def chats(*rows: list[dict[str, Any]] | None) -> pl.Series:
    return pl.Series("chat", rows, dtype=CONVERSATION)


def measured(name: str, values: pl.Series) -> list[Any]:
    column = f"{values.name}::{name}"
    return derive(values.to_frame(), [pl.col(column)])[column].to_list()


def test_of_a_conversation_the_assistants_turns_count() -> None:
    chat = chats(CHAT, None, [], CHAT[:2])
    assert measured("text", chat) == ["It is over there.\n\nIt is behind it.", None, None, None]
    turns = ["It is over there.", "It is behind it."]
    assert measured("turns", chat) == [turns, None, None, None]
    assert measured("language", chat) == ["en", None, None, None]


def test_a_role_may_be_asked_for_and_measured_further() -> None:
    chat = chats(CHAT, CHAT[2:3])
    assert measured("user", chat) == [["Wo ist der Bahnhof?", "Und wo ist der Markt?"], None]
    assert measured("system::text", chat) == ["Be brief.", None]
    assert measured("user::language", chat) == ["de", None]


def test_a_text_is_one_turn_and_a_list_of_texts_several() -> None:
    assert measured("turns", pl.Series("t", ["a", None, ""])) == [["a"], None, [""]]
    lists = pl.Series("t", [["a", None, "b"], [], None, [None]], dtype=pl.List(pl.String))
    assert measured("turns", lists) == [["a", "b"], None, None, None]
    assert measured("text", lists) == ["a\n\nb", None, None, None]


def test_a_conversation_within_a_struct_is_measured_too() -> None:
    rows = pl.DataFrame({"item": [{"chat": CHAT}]})
    column = "item.chat::user::text"
    derived = derive(rows, [pl.col(column)])
    assert derived[column].to_list() == ["Wo ist der Bahnhof?\n\nUnd wo ist der Markt?"]


@pytest.mark.parametrize(
    ("values", "measure", "message"),
    [
        (pl.Series("t", ["a"]), "user", r"t is String, not a conversation"),
        (pl.Series("t", [1]), "text", r"t is Int64, not a text, a list"),
        (pl.Series("t", [[1]]), "text", r"t is List\(Int64\), not a text, a list"),
        (pl.Series("t", [[{"role": "user"}]]), "text", r"not a text, a list"),
        (
            pl.Series("t", [[{"role": "user", "content": [{"type": "text"}]}]]),
            "text",
            r"not a text, a list",
        ),
        (pl.Series("t", [True]), "number", r"t is Boolean, not a number"),
    ],
)
def test_what_cannot_be_measured_is_a_mistake(
    values: pl.Series, measure: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measured(measure, values)


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in {"score", "number"}])
def test_every_measure_of_texts_takes_no_rows_and_rows_of_nulls(name: str) -> None:
    for dtype in (pl.String, CONVERSATION):
        for nulls in ([], [None, None]):
            if dtype == pl.String and name in {"system", "user", "assistant", "tool"}:
                continue
            values = pl.Series("t", nulls, dtype=dtype)
            assert measured(name, values) == nulls


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in {"score", "number"}])
def test_a_null_among_texts_is_measured_as_null_and_leaves_the_others_alone(name: str) -> None:
    chat = chats(None, CHAT, None, CHAT[2:3])
    with_nulls, without = measured(name, chat), measured(name, chats(CHAT, CHAT[2:3]))
    assert with_nulls == [None, without[0], None, without[1]]


def test_json_is_told_by_its_kind() -> None:
    texts = ["{}", "[]", '"a"', "1.5", "true", "null", "{", "", "```json\n[1]\n```", "NaN", None]
    kinds = ["object", "array", "string", "number", "boolean", "null", None, None, "array"]
    assert measured("json", pl.Series("t", texts)) == [*kinds, None, None]


def test_of_several_texts_each_must_be_json_of_one_kind() -> None:
    lists = [["{}", "{}"], ["{}", "[]"], ["{}", "no"]]
    assert measured("json", pl.Series("t", lists)) == ["object", None, None]


@given(st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=5))
def test_whatever_json_writes_is_json(value: object) -> None:
    assert measured("json", pl.Series("t", [json.dumps(value)])) != [None]


def test_a_cards_number_is_an_issuers_and_right_by_luhn() -> None:
    right = ["4111 1111 1111 1111", "5500-0055-5555-5559", "378282246310005", "6011000990139424"]
    assert all(map(is_card, right))
    wrong = ["4111 1111 1111 1112", "9111 1111 1111 1111", "0000 0000 0000 0000", "4111"]
    assert not any(map(is_card, wrong))


def test_an_iban_is_right_modulo_97_and_as_long_as_its_countrys() -> None:
    # What follows a number is not of it.
    right = ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO93 8601 1117 947 AND SO"]
    assert all(map(is_iban, right))
    assert not any(map(is_iban, ["DE88 3704 0044 0532 0130 00", "XX89 3704 0044", "DE89 3704"]))


@given(st.from_regex(r"\A4\d{15}\Z"))
def test_one_wrong_digit_makes_no_card(number: str) -> None:
    digits = [int(digit) for digit in number]
    if is_card(number):
        digits[7] = (digits[7] + 3) % 10
        assert not is_card("".join(map(str, digits)))


def _repeats(parts: Sequence[str]) -> tuple[float, float]:
    again = [part for n, part in enumerate(parts) if part in parts[:n]]
    total = sum(map(len, parts))
    return len(again) / max(1, len(parts)), sum(map(len, again)) / max(1, total)


def _slow_shares(text: str) -> Iterator[tuple[str, float]]:
    """Measure repetition as its definition says, part by part."""
    lines = [part.strip() for part in text.split("\n")]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text)]
    for name, parts in (("line", lines), ("paragraph", paragraphs)):
        count, characters = _repeats([part for part in parts if re.search("[a-z]", part)])
        yield f"{name}s", count
        yield f"{name}_characters", characters
    words = re.findall("[a-z]+", text)
    total = max(1, len(" ".join(words)))
    for n in (2, 3, 4):
        grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        top = max((len(gram) * (often - 2) for gram, often in grams.items()), default=0)
        yield f"top_{n}_gram", max(0, top) / total
    fives = [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]
    yield "duplicate_5_grams", _repeats(fives)[0]


@given(st.lists(st.text("ab .\n", max_size=60), max_size=6))
def test_repetition_is_what_its_definition_says(texts: list[str]) -> None:
    found = repetition.shares(texts)
    assert tuple(found) == repetition.NAMES
    for row, text in enumerate(texts):
        expected = dict(_slow_shares(text))
        assert {name: found[name][row] for name in found} == pytest.approx(expected)


def test_repetition_is_the_same_alone_and_among_a_million_letters() -> None:
    texts = ["I like soup.\nI like bread.\nI like soup.", "天气很好" * 20, "Ǆ ŉ İ\n\nǆ ŉ i̇", "no"]
    filler = ["the quick brown fox jumps over the lazy dog\n" * 3000] * 9
    among = repetition.shares(
        [text for pair in zip(filler, texts * 3, strict=False) for text in pair]
    )
    for row, text in enumerate(texts):
        alone = repetition.shares([text])
        assert {name: among[name][2 * row + 1] for name in among} == {
            name: alone[name][0] for name in alone
        }


WORDS = {"[UNK]": 0, "the": 1, "cat": 2, "sat": 3}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    "padding": None,
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
}


def test_tokens_are_those_of_the_named_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    file = tmp_path / "a(b)::c.json"
    file.write_text(json.dumps(TOKENIZER), encoding="utf-8")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    texts = pl.Series("t", ["The cat sat, there.", None, ""])
    assert measured(f"tokens({file}@{digest[:16]})", texts) == [6, None, 0]
    assert measured(f"tokens({file})", chats(CHAT[2:3]).alias("t")) == [5]
    with pytest.raises(ValueError, match="has changed since the plan was made"):
        measured(f"tokens({file}@0123456789abcdef)", texts)


def test_a_file_that_is_no_tokenizer_is_a_mistake(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    file = tmp_path / "tokenizer.json"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="is not a tokenizer"):
        measured(f"tokens({file})", pl.Series("t", ["a"]))


def test_without_the_library_tokens_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for texts in (["a"], []):
        with pytest.raises(ValueError, match="pip install tokenizers"):
            measured("tokens(x.json)", pl.Series("t", texts, dtype=pl.String))


@pytest.mark.parametrize("root", ["t::tokens", "t::text::tokens"])
def test_tokens_without_a_tokenizer_are_a_mistake(root: str) -> None:
    with pytest.raises(ValueError, match=r"'tokens' needs a tokenizer"):
        resolve(root)
