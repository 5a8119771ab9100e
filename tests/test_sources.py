"""First rows are drawn or read the same way every time, and a mistake in a file names its line."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from soupstock.errors import MistakeError
from soupstock.sources import Source, read_dataset, read_file, sampled
from soupstock.spec import DatasetSource, FileSource, SampleSource


def rows(source: Source, most: int | None = None) -> list[dict[str, object]]:
    return [row for block in source.blocks(most) for row in block]


def test_more_rows_begin_with_the_same_rows() -> None:
    source = sampled(SampleSource(sample={"topic": ["a", "b", "c"], "size": [1, 2]}, rows=5), 0)
    assert rows(source, 2000)[:700] == rows(source, 700)


def test_another_seed_draws_other_rows() -> None:
    spec = SampleSource(sample={"topic": list("abcdefgh")}, rows=50)
    assert rows(sampled(spec, 1), 50) != rows(sampled(spec, 2), 50)


def test_a_column_is_drawn_the_same_whatever_stands_beside_it() -> None:
    alone = sampled(SampleSource(sample={"topic": list("abcd")}, rows=50), 0)
    beside = sampled(SampleSource(sample={"more": [1, 2], "topic": list("abcd")}, rows=50), 0)
    assert [row["topic"] for row in rows(alone, 50)] == [row["topic"] for row in rows(beside, 50)]


def test_values_come_as_often_as_their_weights_say() -> None:
    source = sampled(SampleSource(sample={"style": {"plain": 3, "rare": 1}}, rows=1), 0)
    counts = Counter(row["style"] for row in rows(source, 20_000))
    assert 0.73 < counts["plain"] / 20_000 < 0.77


def test_columns_have_the_type_of_their_values() -> None:
    sample = {"text": ["a"], "whole": [1, 2], "number": [1, 2.5], "mixed": [1, "a"], "yes": [True]}
    source = sampled(SampleSource(sample=sample, rows=3), 0)
    assert dict(source.columns) == {
        "text": pl.String(),
        "whole": pl.Int64(),
        "number": pl.Float64(),
        "mixed": pl.String(),
        "yes": pl.Boolean(),
    }
    assert (
        pl.DataFrame(rows(source, 30), schema=dict(source.columns)).null_count().sum_horizontal()[0]
        == 0
    )


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_file_is_read_in_its_order(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame({"text": [f"text {n}" for n in range(3000)], "n": range(3000)})
    path = tmp_path / f"seeds.{kind}"
    if kind == "jsonl":
        frame.write_ndjson(path)
    elif kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    source = read_file(FileSource(file=path.name), tmp_path, None)
    assert source.rows == 3000
    assert rows(source) == frame.to_dicts()
    assert rows(source, 1000) == frame.head(1000).to_dicts()


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text('{"a": 1}\n{"a": 2\n')
    with pytest.raises(MistakeError, match=r"seeds\.jsonl:2: this is not JSON"):
        read_file(FileSource(file="seeds.jsonl"), tmp_path, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "there is no file 'none.jsonl'"),
        ("seeds.txt", "a", "is of no kind that is read"),
        ("seeds.parquet", "no parquet", "cannot be read"),
        ("seeds.csv", "id,text\n1,a\n", "columns that soupstock itself keeps: id"),
        ("seeds.jsonl", "[1]\n", r"seeds\.jsonl:1: a line must be a JSON object"),
        ("empty.csv", "", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(MistakeError, match=message) as caught:
        read_file(FileSource(file=name), tmp_path, None)
    assert "\n" not in str(caught.value)


def test_a_folder_is_read_by_the_datasets_library(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": [f"text {n}" for n in range(700)]})
    (tmp_path / "seeds").mkdir()
    frame.write_parquet(tmp_path / "seeds" / "train.parquet")
    source = read_dataset(DatasetSource(dataset="./seeds"), tmp_path, None)
    assert source.rows == 700
    assert rows(source) == frame.to_dicts()


def test_a_dataset_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MistakeError, match=r"there is no folder '\./seeds'"):
        read_dataset(DatasetSource(dataset="./seeds"), tmp_path, None)
