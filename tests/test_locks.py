"""What `make setup` installs: all that pyproject.toml names, and as much as the locks say."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
RUN, REST = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
WEIGHED = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"}


def pinned(lock: Path) -> list[Requirement]:
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [Requirement(line.rstrip("\\")) for line in lines if re.match("[a-z0-9]", line)]


def names(lock: Path) -> set[str]:
    return {one.name for one in pinned(lock)}


def asked(requirements: list[str]) -> set[str]:
    return {Requirement(one).name.replace(".", "-") for one in requirements}


@pytest.mark.parametrize("lock", [RUN, REST], ids=lambda lock: lock.name)
def test_a_lock_says_first_how_many_packages_it_fetches(lock: Path) -> None:
    first = lock.read_text(encoding="utf-8").splitlines()[0]
    said = re.match(r"# (\d+) packages, \d+ MB to fetch, \d+ MB on disk \(.*\)", first)
    assert said is not None
    here = {**WEIGHED, "python_full_version": "3.11.9", "os_name": "posix"}
    there = [one for one in pinned(lock) if one.marker is None or one.marker.evaluate(here)]
    assert int(said[1]) == len(there)


def test_every_file_of_a_lock_is_known_by_its_hash() -> None:
    for lock in (RUN, REST):
        pins = lock.read_text(encoding="utf-8").split("\n", 1)[1]
        for pin in re.split(r"\n(?=\S)", pins):
            assert "--hash=sha256:" in pin


def test_the_lock_of_a_run_has_the_dependencies_and_the_embedded_model() -> None:
    needed = asked([*PROJECT["project"]["dependencies"], *EXTRAS["embedded"], *EXTRAS["tools"]])
    assert needed <= names(RUN)
    assert "pytest" not in names(RUN)


def test_the_two_locks_have_all_extras_but_vllm_and_all_tools_of_the_tests() -> None:
    extras = [one for name, some in EXTRAS.items() if name not in {"all", "vllm"} for one in some]
    group = [one for one in PROJECT["dependency-groups"]["dev"] if isinstance(one, str)]
    locked = names(RUN) | names(REST)
    assert asked([*extras, *group, *PROJECT["dependency-groups"]["setup"]]) <= locked
    assert "vllm" not in locked


def test_the_extra_all_has_every_extra_but_vllm() -> None:
    (only,) = map(Requirement, EXTRAS["all"])
    assert (only.name, only.extras) == ("soupstock", EXTRAS.keys() - {"all", "vllm"})
