"""The embedded model's server, as a process of its own: `python -m soupstock.embedded`.

It reads what to do as one line of JSON and says on which port it answers. It ends when its standard
input does: when the run that started it is gone, however it went.
"""

import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    # Threads that spin while they wait take the cores from the engine; set before the import.
    os.environ["GOMP_SPINCOUNT"] = "0"
    told = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(_parameters(xllamacpp, told))
    port = server.listening_address.rsplit(":", 1)[-1]
    print(json.dumps({"port": int(port)}), flush=True)  # noqa: T201 - the parent reads it
    while sys.stdin.readline():
        pass
    # llama.cpp would finish what it generates first; nobody waits for it any more.
    os._exit(0)


def _parameters(library: Any, told: dict[str, Any]) -> Any:
    parameters = library.CommonParams()
    parameters.model.path = told["path"]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [told["key"]]
    parameters.n_parallel = told["slots"]
    parameters.n_ctx = told["slots"] * told["context"]
    parameters.fit_params = False
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.cpuparams.n_threads = told["threads"]
    parameters.cpuparams_batch.n_threads = told["threads"]
    return parameters


if __name__ == "__main__":
    main()
