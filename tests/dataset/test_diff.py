"""Planted edits are all found, nothing is different from itself, and moved numbers are named."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from conftest import Folder
from soupstock.cli.main import main
from soupstock.dataset.diff import Difference, compare
from soupstock.dataset.versions import read_version
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.rows.row import LAST_COLUMNS
from soupstock.stats.kolmogorov_smirnov import kolmogorov_smirnov
from soupstock.testing import Server

ROWS = 400


def made(seed: int = 0) -> list[dict[str, Any]]:
    drawn = random.Random(seed)  # noqa: S311 - words, no secret
    return [
        {
            "id": f"{number:016x}",
            "answer": " ".join(str(drawn.randrange(10**6)) for _ in range(drawn.randrange(5, 30))),
            "messages": [{"role": "user", "content": f"q{number}"}],
            "quality": {"score": drawn.random(), "reason": None if number % 2 else "so"},
            "number": drawn.gauss(0, 1),
        }
        for number in range(ROWS)
    ]


def run_of(root: Path, rows: list[dict[str, Any]], dropped: dict[str, str] | None = None) -> str:
    """Write rows as a run leaves them; returns what the run is called."""
    place = root / "runs" / "made" / f"{len(list(root.glob('runs/made/*'))):012x}"
    place.mkdir(parents=True)
    why_not = dropped or {}
    reasons = [[why_not[row["id"]]] if row["id"] in why_not else [] for row in rows]
    marks = [pl.Series(n, [None] * len(rows), dtype=t) for n, t in list(LAST_COLUMNS.items())[:3]]
    why = pl.Series("dropped_by", reasons, dtype=pl.List(pl.String))
    pl.DataFrame(rows).with_columns(*marks, why).write_parquet(place / "rows.parquet")
    return f"made/{place.name}"


def folder_of(root: Path, rows: list[dict[str, Any]], name: str) -> str:
    place = root / name / "data"
    place.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(place / "train-00000-of-00001.parquet")
    return str(root / name)


def compared(root: Path, one: str, other: str) -> Difference:
    project = Project(root)
    return compare(read_version(project, one), read_version(project, other))


def edited(
    rows: list[dict[str, Any]], seed: int
) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """Remove, add and change rows, each kind of value; says which."""
    drawn = random.Random(seed)  # noqa: S311 - places, no secret
    ids = [row["id"] for row in rows]
    gone, touched = set(drawn.sample(ids, 20)), drawn.sample(ids, 60)
    again = []
    for row in rows:
        if row["id"] in gone:
            continue
        copy = json.loads(json.dumps(row))
        if row["id"] in touched:
            match touched.index(row["id"]) % 4:
                case 0:
                    copy["answer"] += " "
                case 1:
                    copy["messages"][0]["content"] += "!"
                case 2:
                    copy["quality"]["reason"] = "other"
                case _:
                    copy["number"] = None
        again.append(copy)
    fresh = [row | {"id": f"new{row['id']}", "answer": "new"} for row in rows[:15]]
    drawn.shuffle(again)
    return [*again, *fresh], {
        "added": {row["id"] for row in fresh},
        "removed": gone,
        "changed": set(touched) - gone,
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_planted_edit_is_found_and_nothing_else(tmp_path: Path, seed: int) -> None:
    after, planted = edited(made(), seed)
    found = compared(tmp_path, run_of(tmp_path, made()), run_of(tmp_path, after))
    assert found.identity == "id"
    assert {
        "added": set(found.added),
        "removed": set(found.removed),
        "changed": set(found.changed),
    } == planted
    assert sum(found.changed_columns.values()) == len(planted["changed"])
    assert set(found.changed_columns) == {"answer", "messages", "quality", "number"}


def test_without_ids_a_changed_row_is_removed_and_added(tmp_path: Path) -> None:
    before = [{k: v for k, v in row.items() if k != "id"} for row in made()]
    # A copy more of a row that is there is a row more.
    after = [*before[3:], before[5], before[0] | {"answer": "another"}]
    one, other = folder_of(tmp_path, before, "one"), folder_of(tmp_path, after, "other")
    found = compared(tmp_path, one, other)
    assert (found.identity, len(found.added), len(found.removed)) == ("content", 2, 3)
    assert compared(tmp_path, one, one).is_empty


def test_a_version_is_not_different_from_itself(tmp_path: Path) -> None:
    one = run_of(tmp_path, made())
    found = compared(tmp_path, one, one)
    assert found.is_empty
    assert not found.moved
    assert {shift.what for shift in found.distributions} == {
        "length of answer",
        "values of quality",
        "values of number",
    }


def test_a_distribution_that_moved_is_named_and_one_that_did_not_is_not(tmp_path: Path) -> None:
    after = [row | {"answer": row["answer"] + " and 9 more" * 5} for row in made(1)]
    one, other = run_of(tmp_path, made()), run_of(tmp_path, after)
    assert [shift.what for shift in compared(tmp_path, one, other).moved] == ["length of answer"]


def test_rows_that_the_second_run_dropped_say_why(tmp_path: Path) -> None:
    dropped = {row["id"]: "filter: length" for row in made()[:7]}
    found = compared(tmp_path, run_of(tmp_path, made()), run_of(tmp_path, made(), dropped))
    assert found.reasons == {"filter: length": 7}
    assert len(found.removed) == 7


def test_columns_that_come_and_go_are_named(tmp_path: Path) -> None:
    after = [{"id": row["id"], "answer": row["answer"], "new": 1} for row in made()]
    found = compared(tmp_path, run_of(tmp_path, made()), run_of(tmp_path, after))
    assert found.columns_added == ("new",)
    assert found.columns_removed == ("messages", "quality", "number")
    assert not found.changed


def test_a_column_of_another_type_is_the_same_where_its_values_are(tmp_path: Path) -> None:
    one = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    other = [{"id": "a", "n": "1"}, {"id": "b", "n": "2"}]
    found = compared(tmp_path, run_of(tmp_path, one), run_of(tmp_path, other))
    assert found.changed == ("a", "b")


def test_the_test_agrees_with_known_values() -> None:
    drawn = np.random.default_rng(0)
    same = [
        kolmogorov_smirnov(drawn.normal(size=200), drawn.normal(size=150)).p for _ in range(400)
    ]
    # Under chance alone p-values are spread evenly.
    assert 0.02 <= np.mean(np.array(same) < 0.05) <= 0.08
    assert 0.4 <= np.mean(np.array(same) < 0.5) <= 0.6
    found = kolmogorov_smirnov(np.arange(100.0), np.arange(100.0) + 20)
    assert found.distance == pytest.approx(0.2)
    assert 0.02 < found.p < 0.05
    assert kolmogorov_smirnov(np.ones(50), np.ones(70)) == (0, 1)
    with pytest.raises(ValueError, match="empty"):
        kolmogorov_smirnov(np.ones(0), np.ones(3))


def test_nothing_in_common_and_no_such_version_are_mistakes(tmp_path: Path) -> None:
    one = run_of(tmp_path, [{"id": "a", "x": 1}])
    other = run_of(tmp_path, [{"id": "a", "y": 1}])
    with pytest.raises(MistakeError, match="no column in common"):
        compared(tmp_path, one, other)
    with pytest.raises(MistakeError, match="no run and no folder is called 'mde'"):
        compared(tmp_path, one, "mde")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MistakeError, match=r"no .parquet files"):
        compared(tmp_path, one, str(tmp_path / "empty"))


def test_two_runs_of_a_pipeline_are_compared_in_the_terminal(
    folder: Folder, server: Server
) -> None:
    first = folder.run()
    folder.replace("pipelines/mine.yaml", "min: 0.5", "min: 0.9")
    second = folder.run()
    assert server.count > 0
    names = [f"mine/{run.folder.name[:6]}" for run in (first, second)]
    arguments = ["--project", str(folder.root), "diff"]
    told = CliRunner().invoke(main, [*arguments, names[0], "mine"])
    assert told.exit_code == 0
    lost = first.manifest.kept - second.manifest.kept
    assert f"removed: {lost:,} rows" in told.output
    assert f"{lost} of the removed rows are dropped now: filter: score(quality)" in told.output
    data = json.loads(CliRunner().invoke(main, [*arguments, *names, "--json"]).output)
    assert Difference.model_validate(data).rows == (first.manifest.kept, second.manifest.kept)
    assert len(data["removed"]) == lost > 0
    same = CliRunner().invoke(main, [*arguments, names[0], names[0]])
    assert "no row is different" in same.output
