"""First rows are drawn or read the same way every time, and a mistake in a file names its line."""

import datetime as dt
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from soupstock.errors import MistakeError
from soupstock.rows.sources import Source, read_dataset, read_file, sample_rows
from soupstock.spec.source import DatasetSource, FileSource, SampleSource


def rows(source: Source, most: int | None = None) -> list[dict[str, object]]:
    return [row for block in source.blocks(most) for row in block]


def test_more_rows_begin_with_the_same_rows() -> None:
    source = sample_rows(SampleSource(sample={"topic": ["a", "b", "c"], "size": [1, 2]}, rows=5), 0)
    assert rows(source, 2000)[:700] == rows(source, 700)


def test_another_seed_draws_other_rows() -> None:
    spec = SampleSource(sample={"topic": list("abcdefgh")}, rows=50)
    assert rows(sample_rows(spec, 1), 50) != rows(sample_rows(spec, 2), 50)


def test_a_column_is_drawn_the_same_whatever_stands_beside_it() -> None:
    alone = sample_rows(SampleSource(sample={"topic": list("abcd")}, rows=50), 0)
    beside = sample_rows(SampleSource(sample={"more": [1, 2], "topic": list("abcd")}, rows=50), 0)
    assert [row["topic"] for row in rows(alone, 50)] == [row["topic"] for row in rows(beside, 50)]


def test_values_come_as_often_as_their_weights_say() -> None:
    source = sample_rows(SampleSource(sample={"style": {"plain": 3, "rare": 1}}, rows=1), 0)
    counts = Counter(row["style"] for row in rows(source, 20_000))
    assert 0.73 < counts["plain"] / 20_000 < 0.77


def test_columns_have_the_type_of_their_values() -> None:
    sample = {"text": ["a"], "whole": [1, 2], "number": [1, 2.5], "mixed": [1, "a"], "yes": [True]}
    source = sample_rows(SampleSource(sample=sample, rows=3), 0)
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


def test_values_of_several_types_are_drawn_as_the_one_that_their_column_has() -> None:
    sample = {"number": [1, 2.5], "mixed": [1, "a", True, 2.5]}
    drawn = rows(sample_rows(SampleSource(sample=sample, rows=3), 0), 200)
    assert {type(row["number"]) for row in drawn} == {float}
    assert {row["mixed"] for row in drawn} == {"1", "a", "true", "2.5"}


def test_no_more_rows_are_read_than_there_are(tmp_path: Path) -> None:
    pl.DataFrame({"n": range(10)}).write_csv(tmp_path / "seeds.csv")
    assert read_file(FileSource(file="seeds.csv", rows=4), tmp_path, None).rows == 4
    source = read_file(FileSource(file="seeds.csv", rows=4000), tmp_path, None)
    assert source.rows == 10
    assert len(rows(source, 4000)) == 10


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_text("a,b\n\n1,2\n3,\n\n")
    (tmp_path / "seeds.jsonl").write_text('{"a": 1, "b": 2}\n\n{"a": 3}\n   \n')
    for name in ("seeds.csv", "seeds.jsonl"):
        source = read_file(FileSource(file=name), tmp_path, None)
        assert source.rows == 2
        assert rows(source) == [{"a": 1, "b": 2}, {"a": 3, "b": None}]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(tmp_path: Path) -> None:
    (tmp_path / "seeds.CSV").write_bytes(b"\xef\xbb\xbfname,size\r\na,1\r\n")
    source = read_file(FileSource(file="seeds.CSV"), tmp_path, None)
    assert rows(source) == [{"name": "a", "size": 1}]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_file_whose_name_looks_like_a_pattern_is_the_file_itself(
    tmp_path: Path, kind: str
) -> None:
    for name, text in (("s[1]*", "this"), ("s1x", "another")):
        frame, path = pl.DataFrame({"text": [text]}), tmp_path / f"{name}.{kind}"
        if kind == "jsonl":
            frame.write_ndjson(path)
        elif kind == "csv":
            frame.write_csv(path)
        else:
            frame.write_parquet(path)
    source = read_file(FileSource(file=f"s[1]*.{kind}"), tmp_path, None)
    assert rows(source) == [{"text": "this"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "there is no file 'none.jsonl' in "),
        ("a\0b.csv", None, r"there is no file 'a\\x00b\.csv' in "),
        ("~nobody-of-this-name/a.csv", None, "there is no file '~nobody-of-this-name/a.csv' in "),
        ("a" * 5000 + ".csv", None, "there is no file 'aaaaa"),
        ("seeds.txt", "a", r"'seeds\.txt' should be one of these: \.jsonl, \.csv, \.parquet"),
        ("seeds.parquet", "no parquet", r"seeds\.parquet: it cannot be read"),
        ("seeds.parquet", "", r"seeds\.parquet: it cannot be read"),
        ("seeds.csv", "id,text\n1,a\n", "columns that are reserved by soupstock: id; rename them"),
        ("seeds.csv", "", r"seeds\.csv:1: the first line should hold the columns' names"),
        ("seeds.csv", "a,b\n", r"seeds\.csv: it has no rows"),
        ("seeds.csv", "a,b,a\n1,2,3\n", r"seeds\.csv:1: the column 'a' appears twice"),
        ("seeds.csv", "a,\n1,2\n", r"seeds\.csv: '' is not a valid column name"),
        (
            "seeds.csv",
            "a,\x1b[2J\n1,2\n",
            r"seeds\.csv: '\\x1b\[2J' is not a valid column name",
        ),
        ("seeds.csv", 'a,b\n"1\n1",2\n1,2,3\n', r"\.csv:4: this row has 3 fields, .* header has 2"),
        ("seeds.csv", 'a,b\n1,2\n1,"2\n3,4\n', r"seeds\.csv:3: not CSV: unexpected end of data"),
        ("seeds.csv", b"a,b\n1,2\n1,caf\xe9\n", r"seeds\.csv:3: it is not UTF-8 text"),
        (
            "seeds.csv",
            f"a\n{10**30}\n",
            r"the column 'a' has the type Int128, which is not",
        ),
        ("seeds.jsonl", "\n\n", r"seeds\.jsonl: it has no rows"),
        ("seeds.jsonl", "{}\n", r"seeds\.jsonl: it has no columns"),
        ("seeds.jsonl", '{"a": {}}\n', r"the column 'a' has the type Struct"),
        ("seeds.jsonl", '{"a": 1}\n{"a": 2\n', r"seeds\.jsonl:2: this line is not JSON"),
        ("seeds.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', r"seeds\.jsonl:2: this line is not JSON"),
        ("seeds.jsonl", '{"a": "\\ud800"}\n', r"seeds\.jsonl:1: this line is not JSON"),
        ("seeds.jsonl", "[1]\n", r"seeds\.jsonl:1: a line should be a JSON object, not a list"),
        (
            "seeds.jsonl",
            '{"a": null}\n{"a": {"b": [1]}}\n{"a": {"b": ["x"]}}\n',
            r"seeds\.jsonl:3: 'a\.b\[\]' is text here, and a number in line 2",
        ),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_its_place(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        text = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(text)
    with pytest.raises(MistakeError, match=message) as caught:
        read_file(FileSource(file=name), tmp_path, None)
    assert "\n" not in str(caught.value)


def test_what_a_parquet_file_can_hold_is_read_as_it_is(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "day": [dt.date(2026, 1, 2), None],
            "price": [Decimal("1.50"), Decimal("2.25")],
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "raw": [b"\x00\xff", b""],
            "turns": [[{"role": "user", "content": "hi"}], []],
        }
    )
    frame.write_parquet(tmp_path / "seeds.parquet")
    source = read_file(FileSource(file="seeds.parquet"), tmp_path, None)
    assert rows(source) == frame.to_dicts()


def test_a_folder_is_read_by_the_datasets_library(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": [f"text {n}" for n in range(700)]})
    (tmp_path / "seeds").mkdir()
    frame.write_parquet(tmp_path / "seeds" / "train.parquet")
    source = read_dataset(DatasetSource(dataset="./seeds"), tmp_path, None)
    assert source.rows == 700
    assert rows(source) == frame.to_dicts()


def test_the_same_folder_elsewhere_is_the_same_content(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "seeds").mkdir(parents=True)
        pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / place / "seeds" / "train.parquet")
    spec = DatasetSource(dataset="./seeds")
    one, two = (read_dataset(spec, tmp_path / place, None) for place in ("one", "two"))
    assert one.content == two.content
    pl.DataFrame({"text": ["b"]}).write_parquet(tmp_path / "two" / "seeds" / "train.parquet")
    assert read_dataset(spec, tmp_path / "two", None).content != one.content


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DatasetSource(dataset="./none"), r"there is no folder '\./none' in "),
        (DatasetSource(dataset="./a\0b"), r"there is no folder '\./a\\x00b' in "),
        (DatasetSource(dataset="~nobody-of-this-name/x"), "there is no folder '~nobody"),
        (DatasetSource(dataset="./seeds", split="tset"), r"cannot be loaded: .*tset.*train"),
        (DatasetSource(dataset="./seeds", config="none"), "cannot be loaded: .*none"),
        (DatasetSource(dataset="./empty"), "cannot be loaded: .*no data"),
    ],
)
def test_a_mistake_about_a_dataset_is_one_line(
    tmp_path: Path, spec: DatasetSource, message: str
) -> None:
    for name, texts in (("seeds", ["a"]), ("empty", [])):
        (tmp_path / name).mkdir()
        frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
        frame.write_parquet(tmp_path / name / "train.parquet")
    with pytest.raises(MistakeError, match=message) as caught:
        read_dataset(spec, tmp_path, None)
    assert "\n" not in str(caught.value)


OFFLINE = """
import sys
from pathlib import Path
from soupstock.errors import MistakeError
from soupstock.rows.sources import read_dataset
from soupstock.spec import DatasetSource

try:
    read_dataset(DatasetSource(dataset="nobody/nothing"), Path(), None)
except MistakeError as error:
    print(error)
"""


@pytest.mark.parametrize(
    # No name ends in `invalid`, so it has no address anywhere (RFC 2606).
    "told",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "https://hub.invalid"}],
)
def test_a_dataset_on_the_hub_without_a_network_is_one_line(
    tmp_path: Path, told: dict[str, str]
) -> None:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment = kept | told | {"HF_HOME": str(tmp_path)}
    ended = subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert line.startswith("the dataset 'nobody/nothing' cannot be loaded: ")
    assert "OfflineModeIsEnabled" in line
