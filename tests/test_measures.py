"""Columns that filters name and no step makes."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soupstock.measures import MEASURES, Root, derive, requires, resolve

LANGUAGE = pl.col("response::language") == "en"


def languages(*texts: str | None) -> list[str | None]:
    found: list[str | None] = MEASURES["language"](pl.Series(texts, dtype=pl.String)).to_list()
    return found


def test_a_name_is_taken_apart() -> None:
    assert resolve("item.question.text::language") == Root("item", ("question", "text"), "language")
    assert resolve("response") == Root("response", (), None)


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
    with pytest.raises(ValueError, match=r"measured of texts|a score is a number|no field"):
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
