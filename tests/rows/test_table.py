"""Rows keep their names and their order, whatever order they end in."""

import itertools
import random
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from soupstock.rows.row import (
    FIRST_COLUMNS,
    LAST_COLUMNS,
    Columns,
    Ids,
    Row,
    dropped,
    failed,
    frame,
)
from soupstock.rows.table import OPEN_PARTS, PART_ROWS, ReorderBuffer, Table

CONTENT = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3) | st.text(max_size=3))
COLUMNS: Columns = {**FIRST_COLUMNS, "text": pl.String(), **LAST_COLUMNS}


def names(contents: list[dict[str, Any]]) -> list[str]:
    ids = Ids()
    return [ids.name(content) for content in contents]


@given(st.lists(CONTENT, max_size=40), st.randoms())
def test_rows_have_the_same_ids_in_any_order(
    contents: list[dict[str, Any]], chance: random.Random
) -> None:
    shuffled = chance.sample(contents, len(contents))
    assert sorted(names(shuffled)) == sorted(names(contents))


@given(st.lists(CONTENT, max_size=40), CONTENT)
def test_a_further_row_leaves_the_ids_of_the_others_alone(
    contents: list[dict[str, Any]], another: dict[str, Any]
) -> None:
    assert names([*contents, another])[:-1] == names(contents)


@given(st.lists(CONTENT, max_size=40))
def test_no_two_rows_share_an_id_even_when_they_hold_the_same(
    contents: list[dict[str, Any]],
) -> None:
    assert len(set(names(contents))) == len(contents)


def row(number: int) -> Row:
    return {"id": f"{number:016x}", "text": f"text {number}", "failures": [], "dropped_by": []}


def gathered(folder: Path, order: list[int]) -> Table:
    gatherer = ReorderBuffer(Table(folder, COLUMNS))
    for number in order:
        gatherer.add(number, row(number))
    return gatherer.finish()


def test_rows_that_end_in_any_order_are_saved_in_source_order_as_the_same_bytes(
    tmp_path: Path,
) -> None:
    order = list(range(20_000))
    gathered(tmp_path / "one", order).save(tmp_path / "one.parquet")
    random.Random(7).shuffle(order)  # noqa: S311 - an order, no secret
    gathered(tmp_path / "two", order).save(tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    ids = pl.read_parquet(tmp_path / "one.parquet")["id"].to_list()
    assert ids == [f"{number:016x}" for number in range(20_000)]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12), st.randoms())
@settings(max_examples=20)
def test_rows_that_come_many_at_once_are_saved_as_those_that_come_one_by_one(
    sizes: list[int], chance: random.Random
) -> None:
    numbers = list(range(sum(sizes)))
    ends = list(itertools.accumulate(sizes))
    blocks = [numbers[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    chance.shuffle(blocks)
    with tempfile.TemporaryDirectory() as place:
        gatherer = ReorderBuffer(Table(Path(place) / "mixed", COLUMNS))
        for block in blocks:
            alone = set(chance.sample(block, len(block) // 3))
            for number in alone:
                gatherer.add(number, row(number))
            many = [number for number in block if number not in alone]
            gatherer.add_frame(many, frame(map(row, many), COLUMNS))
        mixed = gatherer.finish()
        single = gathered(Path(place) / "single", numbers)
        for one, other in zip(mixed.frames(), single.frames(), strict=True):
            assert one.equals(other)


def test_a_table_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    ReorderBuffer(Table(tmp_path, COLUMNS)).finish().save(tmp_path / "rows.parquet")
    assert dict(pl.read_parquet(tmp_path / "rows.parquet").schema) == COLUMNS


def test_a_row_is_only_added_to() -> None:
    before = row(1)
    after = dropped(failed(before, "judge: quality", "Unreadable", "no JSON"), "filter: score")
    assert before == row(1)
    assert after["failures"][0]["cause"] == "Unreadable"
    assert after["dropped_by"] == ["filter: score"]
    assert {name: after[name] for name in ("id", "text")} == {
        name: before[name] for name in ("id", "text")
    }


def test_parts_that_wait_for_a_late_row_are_bounded(tmp_path: Path) -> None:
    gatherer = ReorderBuffer(Table(tmp_path, COLUMNS))
    for part in range(OPEN_PARTS):
        gatherer.add(part * PART_ROWS + 1, row(1))
        assert not gatherer.is_full
    gatherer.add(OPEN_PARTS * PART_ROWS + 1, row(1))
    assert gatherer.is_full


def test_a_value_that_its_column_cannot_hold_is_null_and_harms_no_other() -> None:
    year = pl.Struct({"year": pl.Int64})
    rows: list[Row] = [
        {"id": "a", "fact": {"year": 2**70}, "other": 1},
        {"id": "b", "fact": {"year": 1999}},
        {"id": "c"},
    ]
    made = frame(rows, {"id": pl.String(), "fact": year})
    assert made.schema == {"id": pl.String, "fact": year}
    assert made["id"].to_list() == ["a", "b", "c"]
    assert made["fact"].struct.field("year").to_list() == [None, 1999, None]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.text(max_size=3)},
            optional={
                "n": st.none() | st.integers(-9, 9) | st.floats(allow_nan=False),
                "tags": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=2),
                "more": st.text(max_size=2),
            },
        ),
        max_size=20,
    )
)
def test_a_frame_has_the_rows_values_in_the_columns_types(rows: list[Row]) -> None:
    columns: Columns = {"id": pl.String(), "n": pl.Float64(), "tags": pl.List(pl.String)}
    made = frame(rows, columns)
    assert dict(made.schema) == columns
    assert made.to_dicts() == [{name: r.get(name) for name in columns} for r in rows]


_FACT = pl.Struct({"year": pl.Int64, "of": pl.List(pl.String)})
_FACTS = st.none() | st.fixed_dictionaries(
    {"year": st.none() | st.integers(-9, 9), "of": st.none() | st.lists(st.text(max_size=2))}
)


@given(
    st.lists(
        st.fixed_dictionaries({"fact": _FACTS, "facts": st.none() | st.lists(_FACTS, max_size=3)}),
        max_size=8,
    )
)
def test_a_frame_holds_what_is_nested_as_it_was_and_null_where_nothing_is(rows: list[Row]) -> None:
    columns: Columns = {"fact": _FACT, "facts": pl.List(_FACT)}
    made = frame(rows, columns)
    assert dict(made.schema) == columns
    assert made.to_dicts() == rows


@given(st.lists(st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_what_is_no_list_and_no_structure_is_null_in_a_column_of_such(values: list[Any]) -> None:
    columns: Columns = {"fact": _FACT, "tags": pl.List(pl.String)}
    made = frame([{"fact": value, "tags": value} for value in values], columns)
    assert made["fact"].is_null().all()
    assert made["tags"].to_list() == [v if isinstance(v, list) else None for v in values]
