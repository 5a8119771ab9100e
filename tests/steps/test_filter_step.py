"""A filter is checked before the run, and asked about every row in it."""

import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from soupstock.errors import MistakeError, Place, UnknownNameError
from soupstock.rows.filters import BoundFilter, bind_filter
from soupstock.steps.filter import BoundFilters, filter_rows

TEXTS: dict[str, pl.DataType | None] = {"response": pl.String(), "count": pl.Int64()}


def length(column: str, min: int = 1, max: int | None = None) -> pl.Expr:
    chars = pl.col(column).str.len_chars()
    return chars >= min if max is None else chars.is_between(min, max)


def one_of(column: str, words: tuple[str, ...], share: float = 0.5) -> pl.Expr:
    return pl.col(column).is_in(list(words)) & (pl.lit(share) > 0)


def bound(function: Callable[..., object], /, **arguments: object) -> BoundFilter:
    return bind_filter(function.__name__, function, arguments, TEXTS, Place("chat.yaml", 7))


def giving(expression: Any) -> BoundFilter:
    def own() -> Any:
        return expression

    return bound(own)


def test_every_filter_is_asked_and_each_reason_kept_in_order() -> None:
    step = BoundFilters.of(
        [bound(length, column="response", min=3), bound(one_of, column="response", words=["no"])]
    )
    rows = pl.DataFrame({"response": ["no", "yes", "x", "no way"], "count": [1, 2, 3, 4]})
    assert filter_rows(step, rows) == [
        ["length(response)"],
        ["one_of(response)"],
        ["length(response)", "one_of(response)"],
        ["one_of(response)"],
    ]


def test_what_a_filter_cannot_tell_it_does_not_keep() -> None:
    step = BoundFilters.of([bound(length, column="response")])
    rows = pl.DataFrame({"response": [None, "yes"]})
    assert filter_rows(step, rows) == [["length(response)"], []]


def test_no_rows_and_no_filters_give_no_reasons() -> None:
    step = BoundFilters.of([bound(length, column="response")])
    assert filter_rows(step, pl.DataFrame({"response": []}, schema={"response": pl.String})) == []
    assert filter_rows(BoundFilters(()), pl.DataFrame({"response": ["a"]})) == [[]]


def test_labels_in_a_step_are_all_different() -> None:
    short, long = (bound(length, column="response", min=n) for n in (1, 9))
    step = BoundFilters.of([short, long, long, bound(length, column="response", max=3)])
    assert [label for label, _ in step.keeps] == [
        "length(response, min=1)",
        "length(response, min=9)",
        "length(response, min=9) #2",
        "length(response, max=3)",
    ]


def test_a_filter_that_fails_in_the_run_is_named() -> None:
    keep = pl.col("response").str.to_integer(strict=True) > 3
    step = BoundFilters((("fine", pl.col("count") > 0), ("numeric(response)", keep)))
    rows = pl.DataFrame({"response": ["four"], "count": [1]})
    with pytest.raises(MistakeError, match=r"filter 'numeric\(response\)' failed: "):
        filter_rows(step, rows)


def test_a_list_in_the_pipeline_may_be_a_tuple_in_python() -> None:
    assert isinstance(bound(one_of, column="response", words=["a"], share=1).expression, pl.Expr)


def test_measures_and_fields_are_tried_too() -> None:
    columns = {"item": pl.Struct({"text": pl.String()})}

    def english(column: str) -> pl.Expr:
        return pl.col(f"{column}::language") == "en"

    made = bind_filter("english", english, {"column": "item.text"}, columns, None)
    assert made.label == "english(item.text)"
    with pytest.raises(MistakeError, match=r"item has no field called 'txt'; did you mean 'text'"):
        bind_filter("english", english, {"column": "item.txt"}, columns, None)


def test_columns_of_a_type_not_yet_known_are_not_tried() -> None:
    expression = bind_filter(
        "length", length, {"column": "later"}, {"later": None}, None
    ).expression
    assert expression.meta.root_names() == ["later"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"column": "response", "mim": 3}, "it has no argument 'mim'; did you mean 'min'?"),
        ({"min": 3}, "it needs the argument 'column'"),
        ({"column": "response", "min": "80"}, "min is '80', but the input should be a valid int"),
        ({"column": "response", "min": True}, "min is 'True', but the input should be a valid int"),
        ({"column": "response", "max": 3.5}, "max is '3.5', but the input should be a valid int"),
        ({"column": ["response"]}, "but the input should be a valid string"),
        ({"column": "count"}, "expected `String`, got `i64`"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(MistakeError) as caught:
        bound(length, **arguments)
    assert str(caught.value).startswith("chat.yaml:7: filter 'length': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownNameError) as caught:
        bound(length, column="respnse")
    expected = "chat.yaml:7: no column is called 'respnse'; did you mean 'response'?"
    assert str(caught.value) == expected


TEXT = pl.col("response")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (True, "it returns bool, not a polars expression"),
        (TEXT.map_elements(len, return_dtype=pl.Int64) > 3, "it contains a Python function"),
        (TEXT.map_batches(lambda s: s.is_null()), "it contains a Python function"),
        (TEXT.str.len_chars(), "it returns UInt32, not true or false"),
        (TEXT.str.len_chars().max() > 3, "it returns 1 values for 0 rows"),
        (TEXT.is_null().head(1), "values for"),
        (TEXT.is_null().drop_nulls().filter(TEXT.is_not_null()), "values for"),
        (pl.lit(value=True), "it must return one value for each row, from columns that it names"),
        (pl.all().is_null(), "it must return one value for each row, from columns that it names"),
        (TEXT + 3 > 4, "filter 'own': "),
        (pl.col("response::tokens") > 3, "the measure 'tokens' needs a tokenizer"),
    ],
)
def test_what_is_no_filter_is_refused_before_the_run(expression: object, message: str) -> None:
    with pytest.raises(MistakeError) as caught:
        giving(expression)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_that_speaks_of_python_functions_is_no_python_function() -> None:
    expression = pl.col("response") != '"AnonymousFunction":{'
    assert giving(expression).expression is expression


def test_a_filter_that_raises_is_named_with_what_it_raised() -> None:
    def broken(column: str) -> pl.Expr:
        raise KeyError(column)

    with pytest.raises(MistakeError, match="filter 'broken': it raised KeyError: 'response'"):
        bound(broken, column="response")


def test_a_filter_step_goes_to_another_process_and_back() -> None:
    made = bound(length, column="response", min=3).expression
    again = pl.Expr.deserialize(made.meta.serialize())
    rows = pl.DataFrame({"response": ["no", "yes"]})
    assert filter_rows(BoundFilters((("length", again),)), rows) == [["length"], []]


def test_a_python_function_is_found_where_it_can_be_pickled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where cloudpickle is installed, polars has it pickle functions into the expression.
    stand_in = "import pickle\n\n\ndef dumps(value, **_):\n    return pickle.dumps(len)\n"
    (tmp_path / "cloudpickle.py").write_text(stand_in, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)
    count = pl.col("count")
    pickled = [
        TEXT.map_elements(len, return_dtype=pl.Int64) > 3,
        TEXT.str.split(" ").list.eval(pl.element().map_batches(len)).list.len() > 3,
        pl.fold(pl.lit(0), operator.add, [count, count]) > 3,
        pl.reduce(operator.add, [count, count]) > 3,
        count.rolling_map(len, 2) > 3,
    ]
    for expression in pickled:
        # Or else there would be nothing to find.
        assert expression.meta.serialize(format="json")
        with pytest.raises(MistakeError, match="it contains a Python function"):
            giving(expression)
    monkeypatch.delitem(sys.modules, "cloudpickle")


def test_a_filter_that_would_hold_up_all_rows_is_refused() -> None:
    slow = (
        pl.col("count").repeat_by(30_000_000).list.eval(pl.element().hash().sort()).list.len() > 3
    )
    with pytest.raises(MistakeError) as caught:
        giving(slow)
    assert str(caught.value).startswith("chat.yaml:7: filter 'own': it takes ")
    assert "seconds for a row of 1,008 characters; the limit is 0.05" in str(caught.value)


def test_a_filter_that_made_up_values_do_not_suit_is_not_refused() -> None:
    assert giving(TEXT.str.to_integer(strict=True) > 3).name == "own"


def test_conversations_are_tried_too() -> None:
    turns = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    kept = pl.col("messages::user").list.len() > 0

    def asked() -> pl.Expr:
        return kept

    assert bind_filter("asked", asked, {}, {"messages": turns}, None).expression is kept
    with pytest.raises(MistakeError, match="messages is String, not a conversation"):
        bind_filter("asked", asked, {}, {"messages": pl.String()}, None)


def test_a_filter_that_ends_the_program_is_named() -> None:
    def leaving() -> pl.Expr:
        sys.exit("enough")

    with pytest.raises(MistakeError, match="filter 'leaving': it raised SystemExit: enough"):
        bound(leaving)


def test_a_coroutine_is_no_filter() -> None:
    async def later() -> pl.Expr:
        return TEXT.is_null()

    with pytest.raises(MistakeError, match="it returns coroutine, not a polars expression"):
        bound(later)
