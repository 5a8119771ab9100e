"""Run code that a model wrote, with its tests, where it can do no harm. Linux only.

Each solution runs in a process of its own, in an empty folder, without our environment variables,
and with limits on time, memory and file size. Before the code runs, a kernel filter (seccomp)
permanently removes what tested code does not need: networks, other processes, and changing files.
The code can still read world-readable files. Its output is discarded, and of an exception only the
type is kept.

A solution that tries to deceive its tests may succeed, because both run in one process.

Code that is slow to load checks many cases in one process. The kernel ends the process at a case
that computes for too long, even within a single operation, and a new process checks the rest.
"""

import builtins
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import orjson

TIME, MEMORY = "time is up", "out of memory"

_MOST_CASES = 256
"""The most cases that one process checks."""

_TO_LOAD = 60.0
"""The seconds that code for many cases may take to load."""

_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)```", re.DOTALL)

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    "x86_64": (
        # Networks.
        *(41, 42, 43, 44, 46, 49, 50, 53, 288, 299, 307),
        # Other processes, and what is in their memory.
        *(56, 57, 58, 59, 322, 435, 62, 200, 234, 101, 310, 311, 434, 424, 129, 297),
        # Files: made, moved, removed, changed.
        *(76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 133, 165, 166, 161, 155),
        *(258, 259, 260, 263, 264, 265, 266, 268, 280, 316, 132, 235, 188, 189, 190, 437, 285),
        # Ways around the filter: io_uring, and other kinds of calls.
        *(425, 426, 427, 321, 323, 298, 272, 308),
    ),
    "aarch64": (
        *(198, 199, 200, 201, 202, 203, 206, 211, 242, 243, 269),
        *(220, 221, 281, 435, 129, 130, 131, 117, 270, 271, 434, 424, 138, 240),
        *(33, 34, 35, 36, 37, 38, 276, 39, 40, 41, 45, 46, 47, 51, 52, 53, 54, 55, 88),
        *(5, 6, 7, 437),
        *(425, 426, 427, 280, 282, 241, 97, 268),
    ),
}
_OPEN = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
"""The calls that open files, each with the position of its flags among the arguments."""

# The code of the process: it reads its orders, installs the filter, runs solution and tests.
# It reports success by a secret word, because the solution may end the process early.
_PROCESS = r"""
import ctypes, json, os, resource, signal, struct, sys
orders = json.loads(sys.stdin.read())
word = orders.pop("word")
done = os.dup(1)
null = os.open(os.devnull, os.O_RDWR)
for one in (0, 1, 2):
    os.dup2(null, one)
size = orders["megabytes"] << 20
for what, most in (("RLIMIT_CPU", orders["cpu"]), ("RLIMIT_AS", size), ("RLIMIT_FSIZE", 0),
                   ("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", 64)):
    resource.setrlimit(getattr(resource, what), (most, most))
def op(code, k, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, k)
LOAD, EQUAL, ANY, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000
rules = [op(LOAD, 4), op(EQUAL, orders["audit"], 1), op(RETURN, KILL), op(LOAD, 0)]
if orders["audit"] == 0xC000003E:
    rules += [op(0x35, 0x40000000, 0, 1), op(RETURN, KILL)]
for number in orders["denied"]:
    rules += [op(EQUAL, number, 0, 1), op(RETURN, DENY)]
for number, place in orders["open"]:
    rules += [op(EQUAL, number, 0, 4), op(LOAD, 16 + 8 * place)]
    rules += [op(ANY, 0o3 | 0o100 | 0o1000, 0, 1), op(RETURN, DENY), op(RETURN, ALLOW)]
rules.append(op(RETURN, ALLOW))
code = ctypes.create_string_buffer(b"".join(rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0):
    os.write(done, b"seccomp")
    os._exit(3)
if orders["probe"]:
    os.write(done, word.encode())
    os._exit(0)
del ctypes, struct, libc, code, program, rules
solution, tests = orders["solution"], orders["tests"]
write, leave = os.write, os._exit
try:
    space = {"__name__": "solution"}
    exec(compile(solution, "solution", "exec"), space)
    exec(compile(tests, "tests", "exec"), space)
    if orders["cases"]:
        write(done, (word + "\n").encode())
    for case in orders["cases"]:
        signal.setitimer(signal.ITIMER_PROF, orders["seconds"])
        write(done, (word + json.dumps(space["check"](*case)) + "\n").encode())
except BaseException as error:
    kind = type(error)
    while kind.__module__ != "builtins":
        kind = kind.__base__
    write(done, kind.__name__.encode())
    leave(1)
if "result" in space:
    word += json.dumps(space["result"])[:60000]
write(done, word.encode())
leave(0)
"""


@dataclass(frozen=True)
class Limits:
    """The limits on a solution."""

    seconds: float = 5.0
    megabytes: int = 512

    def lacking(self) -> str | None:
        """Return why code cannot run safely on this machine; None where it can."""
        if sys.platform != "linux":
            return f"the sandbox needs Linux, and this is {sys.platform}"
        if platform.machine() not in _AUDIT:
            return f"the sandbox has no kernel filter for {platform.machine()}"
        fault = _run("", "", self, is_probe=True).fault
        return None if fault is None else f"the kernel refuses the sandbox's filter ({fault})"


class RunResult(NamedTuple):
    """The result of running code: what went wrong, and the value of `result`, as JSON."""

    fault: str | None
    result: str | None = None


def run_tests(asked: Sequence[tuple[str, ...]], limits: Limits) -> list[str | None]:
    """Run solutions with their tests, several at a time; return each one's fault, or None."""
    pairs = [(code_of(solution), tests) for solution, tests in asked]
    return [ended.fault for ended in run_all(pairs, limits)]


def run_all(pairs: Sequence[tuple[str, str]], limits: Limits) -> list[RunResult]:
    """Run pairs of solution and tests, several at a time."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda pair: _run(pair[0], pair[1], limits), pairs))


def run_cases(code: str, cases: Sequence[Sequence[str]], limits: Limits) -> list[RunResult]:
    """Call the function `check`, which the code defines, with each case; limits are per case.

    Its return value is the result. The code is our own; the cases are not trusted.
    """
    size = min(_MOST_CASES, -(-len(cases) // len(os.sched_getaffinity(0))) or 1)
    parts = [cases[start : start + size] for start in range(0, len(cases), size)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(lambda part: _one_by_one(code, part, limits), parts)
        return [ended for part in found for ended in part]


def _one_by_one(code: str, cases: Sequence[Sequence[str]], limits: Limits) -> list[RunResult]:
    found: list[RunResult] = []
    while left := cases[len(found) :]:
        said = _output(code, "", limits, cases=left)
        fault = RunResult(said.fault or "it ended before it was checked")
        if not said.lines:
            return [*found, *(fault for _ in left)]
        found += [RunResult(None, line) for line in said.lines[1 : 1 + len(left)]]
        # If the process ends early, the case that it was checking has the fault.
        if len(found) < len(cases):
            found.append(fault)
    return found


def code_of(answer: str) -> str:
    """Return the code of an answer: its last fenced block, or all of it if there is none."""
    blocks = _FENCE.findall(answer)
    return str(blocks[-1]) if blocks else answer


class _Output(NamedTuple):
    """A process's output: the lines that begin with its word, and its fault, if any."""

    lines: Sequence[str]
    fault: str | None


def _run(solution: str, tests: str, limits: Limits, *, is_probe: bool = False) -> RunResult:
    lines, fault = _output(solution, tests, limits, is_probe=is_probe)
    if fault is not None:
        return RunResult(fault)
    return (
        RunResult(None, lines[0] or None) if lines else RunResult("it ended before its tests did")
    )


def _output(
    solution: str,
    tests: str,
    limits: Limits,
    *,
    cases: Sequence[Sequence[str]] = (),
    is_probe: bool = False,
) -> _Output:
    machine, word = platform.machine(), secrets.token_hex(16)
    seconds = limits.seconds * len(cases) + _TO_LOAD if cases else limits.seconds
    instructions = {
        "solution": solution,
        "tests": tests,
        "cases": cases,
        "seconds": limits.seconds,
        "word": word,
        "probe": is_probe,
        "cpu": max(1, int(seconds + 1)),
        "megabytes": limits.megabytes,
        "audit": _AUDIT[machine],
        "denied": _DENIED[machine],
        "open": _OPEN[machine],
    }
    with tempfile.TemporaryDirectory(prefix="soupstock-test-") as folder:
        try:
            ended = subprocess.run(  # noqa: S603 - our own interpreter; what is within is confined
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _PROCESS],
                input=orjson.dumps(instructions, default=str),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={},
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _Output((), TIME)
    said = ended.stdout.decode(errors="replace").split("\n")
    lines = [line.removeprefix(word) for line in said if line.startswith(word)]
    if ended.returncode == -signal.SIGPROF:
        return _Output(lines, TIME)
    return _Output(lines, _fault(said[-1]) if not said[-1].startswith(word) else None)


def _fault(said: str) -> str | None:
    """Return the type of exception that code raised; types of its own are called Exception."""
    if said == "MemoryError":
        return MEMORY
    return (said if hasattr(builtins, said) else "Exception") if said else None
