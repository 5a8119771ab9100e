"""The dataset folder: loadable, equal to the rows that were kept, whole or not there at all."""

import datetime as dt
import decimal
import hashlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import DatasetCard
from pydantic import BaseModel

from conftest import Folder
from soupstock.artifacts import run_folder as folders
from soupstock.errors import SoupstockError
from soupstock.rows.row import frame
from soupstock.rows.shards import write_shards
from soupstock.rows.table import PART_ROWS, Table
from soupstock.runs.run import Run
from soupstock.steps.dataset import BoundDataset, check
from soupstock.testing import Request, Server

FILE_SOURCE = """\
source:
  file: seeds.parquet
steps:
  - filter: [length: {column: text, min: 1}]
  - dataset: me/typed
"""


def loaded(place: Path, cache: Path) -> Any:
    """Load a dataset as its users do."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    return load_dataset(str(place), split="train", cache_dir=str(cache))


def kept(run: Run) -> list[dict[str, Any]]:
    return run.rows.filter(pl.col("dropped_by").list.len() == 0).to_dicts()


def digests(place: Path) -> dict[str, str]:
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def assert_told_truly(run: Run, data: Any) -> None:
    """Compare what the card says of the dataset with what the `datasets` library found."""
    dataset = run.manifest.dataset
    assert dataset is not None
    info = DatasetCard.load(run.folder / "dataset" / "README.md").data.get("dataset_info")
    split = data.info.splits["train"]
    assert info["splits"] == [
        {"name": "train", "num_bytes": split.num_bytes, "num_examples": split.num_examples}
    ]
    assert info["dataset_size"] == data.info.dataset_size
    files = [run.folder / "dataset" / shard.file for shard in dataset.shards]
    assert info["download_size"] == sum(file.stat().st_size for file in files)
    assert [shard.rows for shard in dataset.shards] == [
        pl.read_parquet(file).height for file in files
    ]
    assert data.features.to_dict() == dataset.features


@pytest.mark.usefixtures("server")
def test_conversations_are_loaded_as_the_schema_makes_them(folder: Folder, tmp_path: Path) -> None:
    folder.publish_conversations()
    run = folder.run()
    data = loaded(run.folder / "dataset", tmp_path)
    assert data.to_list() == [
        {
            "messages": [
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": row["response"]},
            ]
        }
        for row in kept(run)
    ]
    info = DatasetCard.load(run.folder / "dataset" / "README.md").data.get("dataset_info")
    assert info["features"] == [
        {
            "name": "messages",
            "list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}],
        }
    ]
    assert_told_truly(run, data)


@pytest.mark.usefixtures("server")
def test_without_a_schema_all_columns_are_published_as_they_are(
    folder: Folder, tmp_path: Path
) -> None:
    run = folder.run()
    data = loaded(run.folder / "dataset", tmp_path)
    names = ["topic", "style", "question", "answer", "quality"]
    assert data.to_list() == [{name: row[name] for name in names} for row in kept(run)]
    assert_told_truly(run, data)


def test_columns_of_every_type_are_loaded_as_they_were(folder: Folder, tmp_path: Path) -> None:
    struct = pl.Struct({"n": pl.Int64, "inner": pl.List(pl.Struct({"t": pl.String}))})
    seeds = pl.DataFrame(
        {
            "text": ["one", "two", ""],
            "nothing": pl.Series([None] * 3, dtype=pl.Null),
            "list": [["a", None], [], None],
            "struct": pl.Series(
                [{"n": 1, "inner": [{"t": "x"}, None]}, {"n": None, "inner": None}, None],
                dtype=struct,
            ),
            "bool": [True, None, False],
            "byte": pl.Series([1, 2, None], dtype=pl.UInt8),
            "float": [0.1, float("inf"), None],
            "category": pl.Series(["k", "l", "k"], dtype=pl.Categorical),
            "day": [dt.date(2024, 2, 29)] * 3,
            "when": [dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=dt.UTC)] * 3,
            "binary": [b"\0\xff", b"", None],
            "pair": pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int64, 2)),
            "price": [decimal.Decimal("1.20"), None, decimal.Decimal(3)],
            "no": [1, 2, 3],
            "a: b --- | # `x`": [1, 2, 3],
        }
    )
    folder.root.mkdir(exist_ok=True)
    seeds.write_parquet(folder.root / "seeds.parquet")
    folder.write("pipelines/typed.yaml", FILE_SOURCE)
    run = folder.run("typed")
    data = loaded(run.folder / "dataset", tmp_path)
    assert data.to_list() == seeds.head(2).to_dicts()
    assert_told_truly(run, data)
    kinds = {name: feature.get("dtype") for name, feature in data.features.to_dict().items()}
    assert kinds["text"] == kinds["category"] == "string"
    assert kinds["nothing"] == "null"
    assert data.features.to_dict()["list"]["_type"] == "List"


def test_no_kept_row_means_no_dataset_and_the_old_one_goes(folder: Folder, server: Server) -> None:
    run = folder.run()
    assert (run.folder / "dataset").is_dir()
    (folder.root / "runs" / "calls.sqlite").unlink()
    server.answer = lambda _: "no verdict and a question at once"
    again = folder.run()
    assert again.folder == run.folder
    assert again.manifest.kept == 0
    assert again.manifest.dataset is None
    assert sorted(again.manifest.files) == ["report.html", "rows.parquet"]
    assert not (again.folder / "dataset").exists()


def test_a_pipeline_that_publishes_nothing_leaves_no_dataset(
    folder: Folder, server: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "  - dataset: me/mine\n", "")
    run = folder.run()
    assert server.count > 0
    assert run.manifest.dataset is None
    assert not (run.folder / "dataset").exists()


@pytest.mark.usefixtures("server")
def test_running_again_writes_the_same_bytes_to_the_last_file(folder: Folder) -> None:
    run = folder.run()
    before = digests(run.folder / "dataset")
    rows = (run.folder / "rows.parquet").read_bytes()
    assert {name.split("/")[0] for name in before} == {"README.md", "data"}
    again = folder.run()
    assert again.manifest.paid.calls == 0
    assert digests(again.folder / "dataset") == before
    assert (again.folder / "rows.parquet").read_bytes() == rows


@pytest.mark.usefixtures("server")
def test_a_folder_whose_name_looks_like_a_pattern_is_only_a_folder(
    folder: Folder, tmp_path: Path
) -> None:
    odd = Folder(folder.root.rename(tmp_path / "pro[j]ect *"))
    run = odd.run()
    assert run.rows.height == 20
    (shard,) = (run.folder / "dataset" / "data").iterdir()
    assert pl.read_parquet(shard, glob=False).height == run.manifest.kept > 0


def numbered(place: Path, height: int) -> Table:
    """Make a table of numbered rows, each third of which was dropped."""
    columns = {"n": pl.Int64(), "dropped_by": pl.List(pl.String)}
    table = Table(place, columns)
    for number, start in enumerate(range(0, height, PART_ROWS)):
        rows = [
            {"n": n, "dropped_by": ["x"] if n % 3 == 0 else []}
            for n in range(start, min(height, start + PART_ROWS))
        ]
        table.write(number, frame(rows, columns))
    return table


def test_many_rows_are_written_as_several_shards_in_their_order(tmp_path: Path) -> None:
    table = numbered(tmp_path / "table", 2 * PART_ROWS + 2000)
    step = BoundDataset("me/many", {"n": pl.Int64()})
    written = write_shards(step.shapes, step.splits, table, tmp_path / "many", shard_groups=1)
    assert written is not None
    expected = [n for n in range(2 * PART_ROWS + 2000) if n % 3]
    assert [shard.file for shard in written.shards] == [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ]
    assert [shard.rows for shard in written.shards] == [PART_ROWS, len(expected) - PART_ROWS]
    assert loaded(tmp_path / "many", tmp_path / "cache")["n"][:] == expected


class Numbered(BaseModel):
    n: int
    twin: str | None


def test_a_row_is_shaped_alike_when_it_is_checked_and_when_it_is_written(tmp_path: Path) -> None:
    step = BoundDataset("me/n", {"n": pl.Int64()}, Numbered)
    (fine, broken) = check(
        step,
        [
            {"n": 1, "failures": [], "dropped_by": []},
            {"n": "x", "failures": [], "dropped_by": []},
        ],
    )
    assert fine["dropped_by"] == []
    assert broken["dropped_by"] == ["dataset: no Numbered"]
    assert broken["failures"][0]["message"].startswith("n: Input should be a valid integer")
    written = write_shards(
        step.shapes, step.splits, numbered(tmp_path / "table", 10), tmp_path / "n"
    )
    assert written is not None
    assert written.shards[0].rows == 6


class Wide(BaseModel):
    n: int

    def model_post_init(self, _: object) -> None:
        self.n = 2**70


def test_a_value_that_does_not_fit_its_column_is_an_error_and_not_null(tmp_path: Path) -> None:
    step = BoundDataset("me/n", {"n": pl.Int64()}, Wide)
    with pytest.raises(SoupstockError, match="a row does not fit the dataset's columns: "):
        write_shards(step.shapes, step.splits, numbered(tmp_path / "table", 10), tmp_path / "n")


# What follows is about a run that ends while it writes.

STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
FILES = ("rows.parquet", "dataset/README.md", "dataset/data/x", "report.html", "manifest.json")


def write_all(place: Path, text: str) -> None:
    """Write a run's results, as far as folders are concerned."""
    with folders.locked_folder(place, print) as work:
        fresh = work / "results"
        for name in FILES:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_text(text)
        folders.replace_files(place, fresh)


def write_all_until(place: Path, text: str, number: int) -> None:
    """Write a run's results, and be killed before the file system's `number`-th change."""
    left = iter(range(number))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STEPS and str(place) in str(arguments[0]) and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    write_all(place, text)


def test_a_run_killed_at_any_moment_leaves_the_old_dataset_or_the_new_one_whole(
    tmp_path: Path,
) -> None:
    place = tmp_path / "run"
    context = multiprocessing.get_context("fork")
    absent = 0
    for number in range(1000):
        write_all(place, "old")
        process = context.Process(target=write_all_until, args=(place, "new", number))
        process.start()
        process.join()
        is_absent = not (place / "dataset").exists()
        absent += is_absent
        if is_absent:
            # The next run puts it back before it does anything else.
            with folders.locked_folder(place, print):
                assert (place / "dataset/README.md").read_text() == "old"
        found = {(place / name).read_text() for name in FILES if name.startswith("dataset/")}
        assert len(found) == 1
        assert all((place / name).read_text() in {"old", "new"} for name in FILES)
        if (place / "manifest.json").read_text() == "new":
            assert {(place / name).read_text() for name in FILES} == {"new"}
        if process.exitcode == 0:
            break
    assert number > 12
    assert absent == 1
    assert process.exitcode == 0
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [".lock", "dataset", "manifest.json", "report.html", "rows.parquet"]
    )


def interrupted(place: Path) -> None:
    with folders.locked_folder(place, print):
        (place / "dataset").rename(place / ".dataset.old")
        raise OSError("interrupted here")


def test_an_error_between_two_renames_puts_the_old_dataset_back(tmp_path: Path) -> None:
    write_all(tmp_path, "old")
    with pytest.raises(OSError, match="interrupted here"):
        interrupted(tmp_path)
    assert (tmp_path / "dataset/README.md").read_text() == "old"


@pytest.fixture
def small_disk(folder: Folder) -> Iterator[Path]:
    """Let the project's runs be on a file system of 16 MB."""
    place = folder.root / "runs"
    place.mkdir(parents=True)
    mounted = subprocess.run(  # noqa: S603
        ["/bin/mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield place
    subprocess.run(["/bin/umount", str(place)], check=True)  # noqa: S603


def test_a_full_disk_is_one_line_and_the_results_before_stay(
    folder: Folder, server: Server, small_disk: Path
) -> None:
    def answer(request: Request) -> str:
        if "response_format" in request.body:
            return '{"right": {"reason": "", "level": 3}, "kind": {"reason": "", "level": 2}}'
        return hashlib.sha256(request.raw).hexdigest() * 300

    server.answer = answer
    run = folder.run()
    before = digests(run.folder)
    (small_disk / "else").write_bytes(b"x" * free(small_disk, 100_000))
    command = [str(Path(sys.executable).parent / "soupstock"), "run", "mine"]
    done = subprocess.run(  # noqa: S603
        command, check=False, capture_output=True, text=True, cwd=folder.root
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"soupstock: the disk is full; .* free some space and run again", line)
    assert digests(run.folder) == before
    (small_disk / "else").unlink()
    assert digests(folder.run().folder / "dataset") == {
        name.removeprefix("dataset/"): digest
        for name, digest in before.items()
        if name.startswith("dataset/")
    }


def free(place: Path, but: int) -> int:
    """Return how many bytes fill a file system up to the last few."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_bsize - but
