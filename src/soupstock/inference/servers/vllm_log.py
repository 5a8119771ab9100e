"""Reads vLLM's log: how far a starting server has come, and why one did not start."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from soupstock.errors import shown

Kind = Literal["memory", "port", "other"]

_LONGEST = 300
_PREFIX = re.compile(
    r"^(?:\([^)]*pid=\d+\) ?)?(?:[A-Z]+ \d\d-\d\d [\d:.]+ \[[^\]]+\] ?)?"  # as vLLM's logger writes
)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")

STAGES = (
    (r"Starting to load model", "finding the model's files (missing ones are downloaded)"),
    (r"Loading .* checkpoint shards|Loading weights took", "loading weights"),
    (r"Dynamo bytecode transform|Compiling a graph for", "compiling"),
    (r"Capturing CUDA graphs|Graph capturing", "capturing CUDA graphs"),
)
"""What vLLM writes when it reaches a stage, and how it is shown, in their order."""

_KNOWN: tuple[tuple[Kind, str, str], ...] = (
    ("other", r"error: (unrecognized arguments: .+)", r"\1"),
    ("other", r"error: (argument .+)", r"\1"),
    (
        "other",
        r"User-specified (max_model_len) (\(\d+\)) is greater than the derived [^=\d]*=?(\d+).*",
        r"\1 \2 is more than the model can take (\3)",
    ),
    ("other", r"Cannot find any model weights with (`[^`]*`)", r"there are no weights in \1"),
    ("other", r"SafetensorError: (.+)", r"a file of weights is damaged (\1)"),
    (
        "other",
        r"LocalEntryNotFoundError: .*",
        "the model is not on this machine, and HF_HUB_OFFLINE forbids to ask the Hub",
    ),
    (
        "other",
        r"(\S+) is not a local folder and is not a valid model identifier.*",
        r"there is no model \1, neither as a folder nor on the Hub",
    ),
    (
        "other",
        r"(?:GatedRepoError|.*gated repo).*",
        "the model's owner must give you access: accept its terms on the Hub and set HF_TOKEN",
    ),
    ("other", r"(No space left on device)", "the disk is full"),
    ("memory", r"((?:CUDA|HIP) out of memory\.(?: Tried to allocate [\d.]+ \w+\.)?)", r"\1"),
    ("memory", r"(No available memory for the cache blocks)", r"\1"),
    (
        "memory",
        r"(Free memory on device .* is less than desired GPU memory utilization(?: \([^)]*\))?)",
        r"\1",
    ),
    ("memory", r"(To serve at least one request with .* available KV cache memory[^)]*\))", r"\1"),
    ("port", r"([Aa]ddress already in use)", r"\1"),
)
"""Causes, as vLLM writes them, and how they are shown."""

_GENERIC = ("root cause", "initialization failed", "Engine process failed to start")
_ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.+)$")
_INVALID = re.compile(r"^\s*(?:Value|Assertion) error, (.+?)(?: \[type=.*)?$")


class Reason(NamedTuple):
    """Why a server did not start, or ended."""

    kind: Kind
    text: str


def stage(line: str, after: int) -> int:
    """Return the number of the stage that a line reports; `after` if it reports no later one."""
    for number in range(len(STAGES) - 1, after, -1):
        if re.search(STAGES[number][0], line):
            return number
    return after


def reason(log: str) -> Reason | None:
    """Find why a server ended: a known cause, or else the first error of its log."""
    lines = [_PREFIX.sub("", _COLOUR.sub("", line)).rstrip() for line in log.splitlines()]
    for line in lines:
        for kind, pattern, words in _KNOWN:
            if found := re.search(pattern, line):
                return Reason(kind, _short(found.expand(words)))
    first = next(_errors(lines), None)
    if first is None and any("EngineDeadError" in line for line in lines):
        first = "its engine ended"
    return Reason("other", _short(first)) if first else None


def _errors(lines: Sequence[str]) -> Iterator[str]:
    """Yield the errors of a log, without those that only say that there was one."""
    for number, line in enumerate(lines):
        found = _ERROR.match(line)
        if found is None or any(words in line for words in _GENERIC):
            continue
        # The next line has what pydantic found.
        further = _INVALID.match(lines[number + 1]) if number + 1 < len(lines) else None
        yield further[1] if further else f"{found[1]}: {found[2]}"


def last_line(log: str) -> str:
    """Return the last line that says something."""
    lines = [_PREFIX.sub("", _COLOUR.sub("", line)).strip() for line in log.splitlines()]
    return _short(next((line for line in reversed(lines) if line), ""))


def _short(text: str) -> str:
    line = " ".join(text.split()).removesuffix(".")
    return shown(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…")
