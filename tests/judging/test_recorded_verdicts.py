"""Recorded verdicts of other judges, scored by bench/judge.py."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from recorded import flips_by_margin

SCRIPT = Path(__file__).parents[2] / "bench" / "judge.py"


def scored(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, SCRIPT, "--recorded", *files], capture_output=True, text=True, check=False
    )


def pair(label: str, *decisions: str | None, **further: Any) -> bytes:
    judgments = [one and {"decision": one} for one in decisions]
    return orjson.dumps({"label": label, "judgments": judgments, **further}) + b"\n"


def test_both_orders_flips_margins_and_ranks_are_told(tmp_path: Path) -> None:
    named = {"model_a": "x", "model_b": "y"}
    agreed = orjson.dumps(
        {
            "label": "A>B",
            "judgments": [
                {"decision": "A>B", "scores": [0.9, 0.1]},
                {"decision": "B>A", "judgment": {"scores": [0.1, 0.9]}},
            ],
            **named,
        }
    )
    file = tmp_path / "a judge.jsonl"
    file.write_bytes(
        (agreed + b"\n") * 6
        + pair("B>A", "A>B", "A>B", **named) * 2
        + pair("A>B", "A>B", None, **named)
        + pair("A>B", "A>B", "A=B", **named)
    )
    ended = scored(file)
    assert ended.returncode == 0, ended.stderr
    line = next(line for line in ended.stdout.splitlines() if line.startswith("| a judge"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "10 (1 without a verdict in both orders)"
    assert cells[2].startswith("60 %")
    assert cells[3].startswith("80 %")
    assert cells[5] == "2 and 1 half"
    assert "margins from 0.8 to 0.8: 0 % (95 % interval 0 to 33 %) of 6 pairs flip" in ended.stdout
    assert "x ranks first and beats y" in ended.stdout


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "verdicts.jsonl:2: this line is not JSON"),
        (b"[]", "verdicts.jsonl:2: a line should have `judgments`"),
        (pair("A>B"), "verdicts.jsonl:2: a line should have `judgments`"),
        (
            pair("A>B", "A"),
            "verdicts.jsonl:2: decision is 'A'; it is one of A>B, B>A, A=B, or null",
        ),
        (pair("?", "A>B"), "verdicts.jsonl:2: label is '?'"),
    ],
)
def test_a_line_that_is_no_verdict_is_named(tmp_path: Path, line: bytes, problem: str) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_bytes(pair("A>B", "A>B", "B>A") + line)
    ended = scored(file)
    assert ended.returncode == 2
    assert problem in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    ended = scored(tmp_path / "nothing.jsonl")
    assert (ended.returncode, "cannot be read" in ended.stderr) == (2, True)
    (tmp_path / "empty.jsonl").touch()
    assert "the file has no verdicts" in scored(tmp_path / "empty.jsonl").stderr


def test_flips_are_counted_by_margin() -> None:
    forward, backward = np.ones(40), np.array([-1.0] * 10 + [1.0] * 30)
    margins = np.array([-0.1] * 20 + [0.5] * 20)
    narrow, wide = flips_by_margin(forward, backward, margins, bands=2)
    assert (narrow.low, narrow.high, narrow.pairs) == (0.1, 0.1, 20)
    assert narrow.flips.estimate == pytest.approx(0.5)
    assert wide.flips.estimate == 0


def test_pairs_without_a_margin_are_in_no_band() -> None:
    bands = flips_by_margin(
        np.array([1, 1, np.nan]), np.array([1, -1, 1]), np.array([0.2, np.nan, 0.3])
    )
    assert [(band.pairs, band.flips.estimate) for band in bands] == [(1, 0)]
    assert flips_by_margin(np.array([1]), np.array([1]), np.array([np.nan])) == []
