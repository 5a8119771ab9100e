"""Runs that were recorded once come out the same, byte for byte, with today's code.

They are in tests/old_runs; its README.md says when to record them again.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from recorded_runs import (
    CALIBRATED,
    EXPECTED,
    MIX,
    MIXED,
    NEEDED,
    RUNS,
    WITH_FAILURES,
    hash_of,
    hashes,
    latest,
    record,
    soupstock,
    unpack,
)

pytestmark = pytest.mark.slow

FACTS: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Unpack the recorded project, whose models are at an address where nothing listens."""
    return unpack(tmp_path)


def recorded(name: str) -> Any:
    """Mark a run that needs an optional package."""
    package = NEEDED.get(name)
    is_missing = package is not None and importlib.util.find_spec(package) is None
    return pytest.param(name, marks=pytest.mark.skipif(is_missing, reason=f"needs {package}"))


@pytest.mark.parametrize("name", [recorded(name) for name in (*RUNS, MIX)])
def test_a_recorded_dataset_is_reproduced_byte_for_byte(project: Path, name: str) -> None:
    result = soupstock(project, "reproduce", name)
    assert result.exit_code == 0, result.output
    assert "byte for byte" in result.output


@pytest.mark.parametrize("name", [recorded(name) for name in RUNS if name not in WITH_FAILURES])
def test_running_again_without_a_server_asks_nothing_and_writes_the_same_files(
    project: Path, name: str
) -> None:
    result = soupstock(project, "run", name)
    assert result.exit_code == 0, result.output
    manifest = record(latest(project, name))
    assert manifest["outcome"] == "complete"
    assert manifest["paid"]["calls"] == 0
    assert manifest["fingerprint"] == FACTS["runs"][name]["fingerprint"]
    assert hashes(latest(project, name)) == FACTS["runs"][name]["files"]


def test_mixing_the_same_runs_again_writes_the_same_files(project: Path) -> None:
    result = soupstock(project, *MIXED)
    assert result.exit_code == 0, result.output
    assert record(latest(project, MIX))["fingerprint"] == FACTS["runs"][MIX]["fingerprint"]
    assert hashes(latest(project, MIX)) == FACTS["runs"][MIX]["files"]


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrating_again_writes_the_same_calibration(project: Path, name: str) -> None:
    path = project / f"runs/{name}/calibration.json"
    path.unlink()
    result = soupstock(project, *CALIBRATED[name])
    assert result.exit_code == 0, result.output
    assert hash_of(path) == FACTS["calibrations"][name]
