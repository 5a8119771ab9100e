"""Pin all dependencies anew, and weigh them: `make lock`. Needs uv.

requirements.lock has what a run needs, requirements-dev.lock what tests, checks and extras need on
top of it. The first line of each says how much it fetches, which .ci/setup repeats before it does.
"""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent
RUN, REST = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"

# `all` is locked so that it is known to resolve, and is tested.
EVERYTHING = ("--extra", "all", "--group", "dev")
NEEDED = ("--extra", "embedded", "--extra", "tools", "--group", "setup")
PYTHON = "3.11"


def main(arguments: list[str]) -> None:
    """Write both locks; `arguments` are further ones for `uv pip compile`, as `--upgrade`."""
    with TemporaryDirectory() as place:
        everything, needed = Path(place) / "everything", Path(place) / "needed"
        # What is pinned today stays, unless `--upgrade` says otherwise.
        everything.write_text("".join(one.read_text() for one in (RUN, REST) if one.exists()))
        _compile(everything, *EVERYTHING, *arguments)
        _compile(needed, *NEEDED, "--constraints", str(everything))
        shared = _pins(needed)
        rest = [pin for pin in _pins(everything) if pin not in shared]
        RUN.write_text(_weight(shared) + "".join(shared))
        REST.write_text(_weight(rest) + "".join(rest))


def _compile(target: Path, *arguments: str) -> None:
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--output-file", str(target)]
    subprocess.run([*command, *arguments, "pyproject.toml"], cwd=ROOT, check=True)  # noqa: S603 - our own words


def _pins(lock: Path) -> list[str]:
    """Split a lock into its packages, each with its hashes."""
    pins: list[str] = []
    for line in lock.read_text().splitlines(keepends=True):
        if line.startswith(" "):
            pins[-1] += line
        elif line.strip():
            pins.append(line)
    return pins


def _weight(pins: list[str]) -> str:
    """Fetch everything once, as pip would, and say how much it was."""
    with TemporaryDirectory() as place:
        lock, folder = Path(place) / "lock", Path(place) / "files"
        lock.write_text("".join(pins))
        command = ["uvx", "--python", PYTHON, "pip", "download", "--quiet", "--no-cache-dir"]
        command += ["--require-hashes", "--no-deps", "--dest", str(folder), "--requirement"]
        subprocess.run([*command, str(lock)], check=True)  # noqa: S603 - our own words
        files = list(folder.iterdir())
        fetched = sum(file.stat().st_size for file in files)
        unpacked = sum(map(_unpacked, files))
    return (
        f"# {len(files)} packages, {fetched / 1e6:.0f} MB to fetch, {unpacked / 1e6:.0f} MB on disk"
        f" (Linux, Python {PYTHON}, weighed on {datetime.now(UTC):%Y-%m-%d})\n"
    )


def _unpacked(file: Path) -> int:
    if file.suffix != ".whl":
        return file.stat().st_size
    with ZipFile(file) as wheel:
        return sum(member.file_size for member in wheel.infolist())


if __name__ == "__main__":
    main(sys.argv[1:])
