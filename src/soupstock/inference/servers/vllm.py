"""A model that a run serves itself with vLLM, as pyproject.toml declares it, and how it is started.

Knows no processes; `vllm_server` runs them.
"""

import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from soupstock.errors import quoted, shown
from soupstock.inference.servers.endpoint import Extra
from soupstock.spec.fields import ModelName, Spec

VLLM = "vllm"

OWN = frozenset({"--host", "--port", "--api-key", "--served-model-name", "--uds"})
"""Arguments of vLLM that the engine itself gives."""

_FIELDS = (
    *("tensor_parallel", "data_parallel", "dtype", "max_model_len", "quantization"),
    "gpu_memory_utilization",
)
_SHARE = 0.9
"""The share of a GPU's memory that vLLM takes by default, roughly."""

_SHARE_ARGUMENT = re.compile(r"--gpu[-_]memory[-_]utilization[= ](\d*\.?\d+)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = "VLLM_API_KEY"


def _model(name: str) -> str:
    if name.startswith("-"):
        raise ValueError(f"vllm should be a model's name or its folder, not {quoted(name)}")
    return name


def _arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    for argument in arguments:
        # The part after the = may be a key, and is not shown.
        name = argument.partition("=")[0].replace("_", "-")
        if name in OWN:
            raise ValueError(f"args holds {quoted(name)}, which soupstock itself sets")
        if name == "--hf-token":
            raise ValueError("args holds a key; set HF_TOKEN in the environment instead")
        if not argument.isprintable():
            raise ValueError("args should hold lines of plain characters")
    return arguments


def _environment(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{quoted(name)} is not an environment variable's name")
        if name == _KEY:
            raise ValueError(f"env holds {_KEY}, which soupstock itself sets")
        if "\0" in value:
            raise ValueError(f"the variable {name} should be plain text")
    return variables


def _command(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words or not command.isprintable():
        raise ValueError(f"command should be like `vllm` or a path to it, not {quoted(command)}")
    return command


class Vllm(Spec):
    """A model that a run serves with vLLM: `[tool.soupstock.models.NAME]` in pyproject.toml."""

    vllm: Annotated[ModelName, AfterValidator(_model)]
    """The model: `Qwen/Qwen3-8B`, or a folder, relative to the project."""

    tensor_parallel: Annotated[int, Field(gt=0)] | None = None
    """Over how many GPUs to spread each layer."""

    data_parallel: Annotated[int, Field(gt=0)] | None = None
    """How many copies of the model to serve, each on GPUs of its own."""

    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    """The type of numbers to compute with. Default: as the model's files say."""

    max_model_len: Annotated[int, Field(gt=0)] | None = None
    """How many tokens a prompt and its answer may have together."""

    quantization: str | None = None
    """How to quantise weights: `fp8`, `awq`. It is part of each call's key."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Which share of each GPU's memory to take."""

    args: Annotated[tuple[str, ...], AfterValidator(_arguments)] = ()
    """Further arguments of `vllm serve`."""

    env: Annotated[dict[str, str], AfterValidator(_environment)] = {}
    """Further environment variables: `{CUDA_VISIBLE_DEVICES: "0,1"}`."""

    command: Annotated[str, AfterValidator(_command)] = VLLM
    """The command to run. If vLLM is in another environment, a path, relative to the project."""

    startup_timeout: Annotated[float, Field(gt=0)] = 1800.0
    """How long it may take to be ready, the model's download included, in seconds.
    Default: 1800."""

    revision: str | None = None
    """The model's revision on the Hub. It is part of each call's key: another one is asked anew."""

    license: str | None = None
    """The model's licence, for the card."""

    concurrency: Annotated[int, Field(gt=0)] | None = None
    """How many requests to send at once. Default: found by trial."""

    timeout: Annotated[float, Field(gt=0)] = 600.0
    """How long one request may take, in seconds. Default: 600."""

    attempts: Annotated[int, Field(gt=0)] = 6
    """How often to send a request before its failure counts. Default: 6."""

    input_price: Annotated[float, Field(ge=0)] = 0.0
    """US dollars per million prompt tokens. Default: 0."""

    output_price: Annotated[float, Field(ge=0)] = 0.0
    """US dollars per million answered tokens. Default: 0."""

    extra: Extra = {}
    """Further fields of each request's body: `{chat_template_kwargs: {enable_thinking: false}}`."""


@dataclass(frozen=True)
class Launch:
    """How one server is started. Models of one launch share the server."""

    name: str
    """What the model is called, by people and by the server."""
    command: tuple[str, ...]
    """All but the port."""
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    patience: float = field(default=1800.0, compare=False)
    """How long it may take to be ready, in seconds."""
    share: float = field(default=_SHARE, compare=False)
    """Which share of its GPUs' memory it takes, about."""

    @property
    def gpus(self) -> str | None:
        """The GPUs it may take, as its settings name them."""
        return dict(self.env).get("CUDA_VISIBLE_DEVICES")


def launch_of(entry: Vllm, root: Path) -> Launch:
    """Return how a model's server is started."""
    folder = folder_of(entry, root)
    values = {name: getattr(entry, name) for name in _FIELDS}
    if folder is None:
        values["revision"] = entry.revision
    given = [
        part
        for name, value in values.items()
        if value is not None
        for part in (_flag(name), str(value))
    ]
    first, *words = shlex.split(entry.command)
    name = name_of(entry, root)
    command = (
        _executable(entry, root) or first,
        *words,
        *("serve", str(folder or entry.vllm)),
        *("--served-model-name", name, "--host", "127.0.0.1"),
        # A line in the log for each request is of no use.
        *("--uvicorn-log-level", "warning"),
        *given,
        *entry.args,
    )
    share = entry.gpu_memory_utilization or _share_in(entry.args)
    return Launch(name, command, tuple(sorted(entry.env.items())), entry.startup_timeout, share)


def _flag(name: str) -> str:
    name = f"{name}_size" if name.endswith("_parallel") else name
    return f"--{name.replace('_', '-')}"


def _share_in(arguments: tuple[str, ...]) -> float:
    """Find the share of memory that an argument sets, if one does."""
    found = _SHARE_ARGUMENT.search(" ".join(arguments))
    return float(found[1]) if found else _SHARE


def _executable(entry: Vllm, root: Path) -> str | None:
    """Find the command: in the project, in this environment, or on the PATH."""
    name = shlex.split(entry.command)[0]
    if "/" in name:
        return shutil.which(str(root / Path(name).expanduser()))
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))


def folder_of(entry: Vllm, root: Path) -> Path | None:
    """Return the model's folder, if it is one on this machine."""
    folder = root / Path(entry.vllm).expanduser()
    return folder if folder.is_dir() else None


def name_of(entry: Vllm, root: Path) -> str:
    """Return what a model is called: a folder somewhere on this machine by its own name."""
    folder = folder_of(entry, root)
    if folder is None or not entry.vllm.startswith((".", "/", "~")):
        return entry.vllm
    return folder.resolve().name


def missing(entry: Vllm, root: Path) -> str | None:
    """Say what the user must fix before the model can be served, in words."""
    if entry.vllm.startswith((".", "/", "~")) and folder_of(entry, root) is None:
        return f"there is no folder {shown(entry.vllm)}"
    if _executable(entry, root) is None:
        name = shlex.split(entry.command)[0]
        if name == VLLM:
            return (
                "vllm is not installed: pip install 'soupstock[vllm]', or say where it is by "
                "`command` in [tool.soupstock.models.NAME]"
            )
        return f"its command {quoted(name)} is not found"
    return None


def revision_of(entry: Vllm, root: Path) -> str | None:
    """Name what is served, beyond the model's name: it is part of each call's key.

    A folder without a revision in the settings is identified by its files' names, sizes and times.
    """
    revision, folder = entry.revision, folder_of(entry, root)
    if folder is not None and revision is None:
        revision = f"files:{_digest(folder)}"
    parts = [revision, entry.quantization and f"quantization:{entry.quantization}"]
    return ", ".join(part for part in parts if part) or None


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(_files(folder)):
        status = path.stat()
        name = path.relative_to(folder).as_posix()
        found.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return found.hexdigest()[:12]


def _files(folder: Path) -> Iterator[Path]:
    """Yield a model's files; names that begin with a dot belong to a download."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def memory_conflict(launches: Collection[Launch]) -> str | None:
    """Return a warning if servers want more memory of the same GPUs than there is."""
    by_gpus: dict[str | None, list[Launch]] = {}
    for launch in dict.fromkeys(launches):
        by_gpus.setdefault(launch.gpus, []).append(launch)
    for beside in by_gpus.values():
        if len(beside) > 1 and sum(launch.share for launch in beside) > 1:
            shares = " and ".join(f"{shown(one.name)} {one.share:g}" for one in beside)
            return f"the models need more memory than the same GPUs have ({shares}): {ADVICE}"
    return None


ADVICE = (
    "set gpu_memory_utilization of each in [tool.soupstock.models], together below 1, "
    "or run with --one-model-at-a-time"
)
"""What to do about models that do not fit side by side."""
