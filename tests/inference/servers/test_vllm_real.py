"""The real vLLM on the CPU: served by a run, killed, begun anew, and gone with its run."""

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import polars as pl
import pytest
from processes import ended, left_of, server_of, wait_for_end

from conftest import Folder, running, until
from soupstock.artifacts import manifest
from soupstock.artifacts.manifest import Manifest
from soupstock.inference.servers.pool import Servers

pytestmark = pytest.mark.vllm

ENVIRONMENT = Path(__file__).parents[3] / ".ci" / "vllm"
ON_THE_CPU = """\
dtype = "float32"
max_model_len = 2048
args = ["--max-num-seqs=32", "--enforce-eager", "--no-enable-chunked-prefill", \
"--max-num-batched-tokens=4096"]
env = { VLLM_CPU_KVCACHE_SPACE = "1", VLLM_CPU_OMP_THREADS_BIND = "nobind", \
OMP_NUM_THREADS = "2", GOMP_SPINCOUNT = "0", HF_HUB_OFFLINE = "1" }
"""
WRITE = """\
models: {writer: small}
source: {file: seeds.jsonl}
steps:
  - {generate: answer, model: writer, prompt: reply, max_tokens: 24}
"""
PUBLISH = "  - {dataset: me/mine}\n"
JUDGE = "  - {judge: quality, model: writer, rubric: plain, max_tokens: 300, canaries: false}\n"
RUBRIC = """\
columns: [question, answer]
criteria:
  clear: {question: Is it clear?, levels: [It is not., It is.]}
"""


@pytest.fixture(scope="module")
def place() -> Path:
    """Make the environment with vLLM and the model, or find it."""
    made = subprocess.run([ENVIRONMENT], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return Path(made.stdout.splitlines()[-1])


def project(root: Path, place: Path, rows: int, steps: str = "") -> Folder:
    folder = Folder(root)
    folder.write("pipelines/mine.yaml", WRITE + steps + PUBLISH)
    folder.write("prompts/reply.md", "{{ question }}")
    folder.write("prompts/rubrics/plain.yaml", RUBRIC)
    seeds = [json.dumps({"question": f"Tell me of {number} cats."}) for number in range(rows)]
    folder.write("seeds.jsonl", "\n".join(seeds) + "\n")
    declare(folder, place, "model")
    return folder


def declare(folder: Folder, place: Path, model: str | Path, more: str = ON_THE_CPU) -> None:
    """Declare the model `small`, a folder of the project."""
    if model == "model":
        (folder.root / "model").symlink_to(place / "model")
    entry = f'[tool.soupstock.models.small]\nvllm = "{model}"\ncommand = "{place}/env/bin/vllm"\n'
    folder.write("pyproject.toml", entry + more)


def answers(folder: Folder) -> int:
    """Count the answers in a run's cache."""
    path = folder.root / "runs" / "calls.sqlite"
    if not path.is_file():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error):
        return int(db.execute("SELECT count(*) FROM calls").fetchone()[0])
    return 0


class Ran(NamedTuple):
    """A run that ended, and its server while it lived."""

    folder: Folder
    said: str
    server: int
    members: int

    @property
    def manifest(self) -> Manifest:
        return manifest.read(self.folder.root / "runs/mine/latest")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Ran:
    """Generate and judge six rows."""
    folder = project(tmp_path_factory.mktemp("vllm") / "project", place, 6, JUDGE)
    with running(folder) as process:
        until(lambda: answers(folder) >= 6, process)
        server = server_of(process.pid)
        assert server is not None
        members = len(left_of(server))
        code, said = ended(process)
    assert code == 0, said
    return Ran(folder, said, server, members)


def test_a_run_starts_a_server_and_leaves_no_process(ran: Ran) -> None:
    assert ran.members > 1
    assert left_of(ran.server) == []
    stages = ("starting vLLM", "finding the model's files", "loading weights", "ready after")
    places = [ran.said.index(f"vllm/model: {stage}") for stage in stages]
    assert places == sorted(places)


def test_writer_and_judge_share_the_server(ran: Ran) -> None:
    said = ran.manifest
    assert (said.outcome, said.kept, said.paid.calls) == ("complete", 6, 12)
    assert said.steps[1].failures == ()
    assert ran.said.count("starting vLLM") == 1
    (server,) = said.paid.servers
    assert server.prefix_hits is not None
    assert f"small: {server.prefix_hits:.0%} of its prompt tokens were in its prefix" in ran.said


def test_a_score_is_the_mean_over_levels_by_how_likely_each_was(ran: Ran) -> None:
    rows = pl.read_parquet(ran.folder.root / "runs/mine/latest/rows.parquet", glob=False)
    scores = rows["quality"].struct.field("score").to_list()
    assert all(0 <= score <= 1 for score in scores)
    assert any(0 < score < 1 for score in scores)


def test_a_second_run_starts_no_server(ran: Ran) -> None:
    with running(ran.folder) as process:
        code, said = ended(process)
    assert code == 0
    assert " 0 calls made" in said
    assert "starting vLLM" not in said


class Served(NamedTuple):
    """A server that stays up for several tests."""

    runner: asyncio.Runner
    logs: Path
    url: str
    key: str

    def post(self, body: dict[str, Any], key: str | None = None) -> tuple[int, Any]:
        """Ask for a completion; returns the status and the reply."""
        return self.runner.run(self._post(body, key or self.key))

    async def _post(self, body: dict[str, Any], key: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{self.url}/chat/completions", json=body) as response,
        ):
            return response.status, await response.json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Served]:
    folder = project(tmp_path_factory.mktemp("vllm") / "served", place, 1)
    logs = folder.root / "logs"
    model = folder.plan().models["writer"]
    with asyncio.Runner() as runner:
        servers = Servers(logs, lambda _: None)
        try:
            url, key = runner.run(servers.address(model))
            assert key is not None
            yield Served(runner, logs, url, key)
        finally:
            runner.run(servers.__aexit__())


def asking(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Is water wet? Score it."}]
    return {"model": "model", "messages": messages, "max_tokens": 40, "seed": 7, **fields}


def test_the_key_is_asked_for_and_kept_from_logs_and_command_lines(served: Served) -> None:
    assert served.post(asking(max_tokens=2))[0] == 200
    assert served.post(asking(max_tokens=2), key="another")[0] == 401
    server = server_of(os.getpid())
    assert server is not None
    read = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left_of(server)]
    read += [path.read_bytes() for path in served.logs.iterdir()]
    assert len(read) > 2
    assert not any(served.key.encode() in content for content in read)


def test_an_answer_has_the_shape_of_a_schema_and_the_chances_of_its_tokens(served: Served) -> None:
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "enum": [0, 1, 2]}},
        "required": ["score"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    asked = asking(response_format=shape, logprobs=True, top_logprobs=5)
    code, reply = served.post(asked)
    assert code == 200, reply
    choice = reply["choices"][0]
    assert json.loads(choice["message"]["content"])["score"] in {0, 1, 2}
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens).startswith("{")
    for token in tokens:
        assert len(token["top_logprobs"]) >= 5
        assert sum(math.exp(one["logprob"]) for one in token["top_logprobs"]) <= 1.01


def test_a_server_that_is_killed_is_started_once_more_and_the_run_goes_on(
    tmp_path: Path, place: Path
) -> None:
    folder = project(tmp_path / "project", place, 40)
    with running(folder) as process:
        until(lambda: answers(folder) > 0, process)
        server = server_of(process.pid)
        assert server is not None
        os.kill(server, signal.SIGKILL)
        code, said = ended(process)
    assert code == 0, said
    assert left_of(server) == []
    assert "vllm/model: the server ended early (SIGKILL); starting it again" in said
    assert "40 rows in, 40 kept, 0 dropped; 40 calls made" in said


def test_a_run_that_is_killed_leaves_no_server(tmp_path: Path, place: Path) -> None:
    folder = project(tmp_path / "project", place, 40)
    with running(folder) as process:
        until(lambda: answers(folder) > 0, process)
        server = server_of(process.pid)
        assert server is not None
        assert len(left_of(server)) > 1
        process.kill()
        process.wait()
    wait_for_end(server)


def test_an_interrupt_ends_a_server_that_is_starting(tmp_path: Path, place: Path) -> None:
    folder = project(tmp_path / "project", place, 1)
    with running(folder) as process:
        until(lambda: (pid := server_of(process.pid)) and len(left_of(pid)) > 1, process)
        server = server_of(process.pid)
        assert server is not None
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == 1
    assert "0 calls made" in said
    assert left_of(server) == []


def test_an_argument_that_vllm_does_not_know_is_named(tmp_path: Path, place: Path) -> None:
    folder = project(tmp_path / "project", place, 1)
    folder.replace("pyproject.toml", '"--enforce-eager"', '"--enforce-eagre"')
    with running(folder) as process:
        code, said = ended(process)
    assert code == 1
    log = folder.root / "runs/logs/vllm-model.log"
    line = "vllm/model did not start: unrecognized arguments: --enforce-eagre"
    assert said.endswith(f"soupstock: {line}; its log is {log}")


def test_weights_that_are_not_there_are_named(tmp_path: Path, place: Path) -> None:
    folder = project(tmp_path / "project", place, 1)
    shutil.copytree(
        place / "model", folder.root / "empty", ignore=shutil.ignore_patterns("*.safetensors")
    )
    declare(folder, place, "empty")
    with running(folder) as process:
        code, said = ended(process)
    assert code == 1
    log = folder.root / "runs/logs/vllm-empty.log"
    line = f"vllm/empty did not start: there are no weights in `{folder.root / 'empty'}`"
    assert said.endswith(f"soupstock: {line}; its log is {log}")
