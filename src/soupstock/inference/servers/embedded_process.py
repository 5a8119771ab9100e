"""The embedded model's server, as a process of its own.

`python -m soupstock.inference.servers.embedded_process` runs it.

It reads its settings as one line of JSON, and answers with the port that it listens on. It ends
when its standard input does: when the run that started it is gone, for whatever reason.

The same request need not get the same answer twice: which requests are computed together changes
the order of sums, and so now and then a token, even at temperature 0. The cache makes a run
repeatable, as it has each answer from then on.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

PREFIXES_MIB = 64
"""Memory for the prefix cache, in MiB.

The pipeline `chat` takes an eighth less to compute with it, and with 256 the same.
"""

_MOST_THREADS = 8
"""With more threads, so small a model mostly waits for the slowest one."""

_ERRORS_ONLY = 1
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def main() -> None:
    """Serve until standard input ends."""
    # Threads that spin while they wait take the cores from the engine; set before the import.
    os.environ["GOMP_SPINCOUNT"] = "0"
    # What libraries print belongs in the log: only the first line of the pipe is read.
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    settings = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(_parameters(xllamacpp, settings))
    os.write(answer, server.listening_address.rsplit(":", 1)[-1].encode() + b"\n")
    while sys.stdin.readline():
        pass
    # Without this, llama.cpp would first finish what it generates.
    os._exit(0)


def _parameters(library: Any, settings: dict[str, Any]) -> Any:
    parameters = library.CommonParams()
    parameters.model.path = settings["path"]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [settings["key"]]
    parameters.n_parallel = settings["slots"]
    parameters.n_ctx = settings["slots"] * settings["context"]
    parameters.fit_params = False
    parameters.cache_ram_mib = PREFIXES_MIB
    parameters.ui = False
    # At its default it writes a kilobyte of log for each call.
    parameters.verbosity = _ERRORS_ONLY
    parameters.cpuparams.n_threads = _threads()
    parameters.cpuparams_batch.n_threads = _threads()
    return parameters


def _threads() -> int:
    """Count the cores that this process may use; a container may allow fewer than it shows."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return min(cores, _MOST_THREADS)


if __name__ == "__main__":
    main()
