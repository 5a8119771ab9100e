"""What a run does with a vLLM that is slow, dies or finds no room; a script stands in for it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import ended, left_of, server_of, wait_for_end

from conftest import RUBRIC, Folder, running, until
from soupstock.artifacts import manifest
from soupstock.errors import ModelError
from soupstock.inference.servers.vllm_server import PrefixCache, VllmServers, read_prefix_cache
from soupstock.runs.run import Progress, Run

# It takes the arguments of `vllm serve`, and does what the variable TRICK says.
SCRIPT = """\
import fcntl, os, sys, time
from pathlib import Path
from soupstock.testing.imitation import write
from soupstock.testing import Server

given = dict(zip(sys.argv, sys.argv[1:]))
name, key, trick = given["--served-model-name"], os.environ["VLLM_API_KEY"], os.environ["TRICK"]
here = Path(__file__).parent
began = here / f"{name.rpartition('/')[2]}.key"
again = began.exists()
began.write_text(key)
print("(Worker pid=1) INFO 11-24 21:11:45 [model_runner.py:68] Starting to load model x...")
print("(Worker pid=1) INFO 11-24 21:11:47 [monitor.py:9] Dynamo bytecode transform time: 1 s")
sys.stdout.flush()
if trick == "taken" and not again:
    sys.exit("OSError: [Errno 98] Address already in use")
if trick == "large":
    sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has")
if trick == "slow":
    time.sleep(600)
if trick == "alone":
    gpu = open(here / "gpu", "w")
    try:
        fcntl.flock(gpu, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(
            "ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than "
            "desired GPU memory utilization (0.9, 71.2 GiB). Decrease GPU memory utilization"
        )

def answer(request):
    if request.number == 5 and (trick == "dies" or (trick == "dies once" and not again)):
        print("EngineDeadError: the engine is gone", flush=True)
        os._exit(3)
    return write(request.body, 0)

with Server(answer, port=int(given["--port"]), api_key=key, models=[name]) as server:
    time.sleep(600)
"""
PIPELINE = """\
models: {writer: first, editor: second}
source: {rows: 12, sample: {topic: [cooking, travel]}}
steps:
  - {generate: draft, model: writer, prompt: reply}
  - {generate: answer, model: editor, prompt: edit}
  - {dataset: me/mine}
"""


@pytest.fixture
def project(tmp_path: Path) -> Folder:
    """Make a project with two models, `first` and `second`, that `python fake.py` serves."""
    folder = Folder(tmp_path / "project")
    folder.write("fake.py", SCRIPT)
    folder.write("pipelines/mine.yaml", PIPELINE)
    folder.write("prompts/reply.md", "Write about {{ topic }}.")
    folder.write("prompts/edit.md", "Mend this: {{ draft }}")
    return folder


def declare(folder: Folder, first: str = "", second: str = "", **more: object) -> None:
    """Declare both models, with the tricks of their servers."""
    lines = [f"{key} = {value!r}" for key, value in more.items()]
    command = f"command = '{sys.executable} {folder.root / 'fake.py'}'"
    entries = []
    for name, trick in (("first", first), ("second", second)):
        entry = f"[tool.soupstock.models.{name}]", f"vllm = 'org/{name}'", command
        entries += [*entry, f"env = {{TRICK = '{trick}'}}", *lines]
    folder.write("pyproject.toml", "\n".join(entries) + "\n")


def ran(folder: Folder, *, one_model_at_a_time: bool = False) -> tuple[Run, list[str]]:
    """Run the pipeline; returns what was said on the way, too."""
    notes: list[str] = []

    @contextmanager
    def watch(progress: Progress) -> Iterator[None]:
        progress.listener = notes.append
        yield

    return folder.run(watch=watch, one_model_at_a_time=one_model_at_a_time), notes


def broken(folder: Folder) -> str:
    """Run a pipeline whose models cannot be served; returns why."""
    with pytest.raises(ModelError) as caught:
        ran(folder)
    assert str(caught.value).isprintable()
    return str(caught.value)


def log_of(folder: Folder, name: str) -> Path:
    return folder.root / "runs" / "logs" / f"vllm-org--{name}.log"


def test_a_run_tells_how_far_a_server_has_come_and_starts_each_once(project: Folder) -> None:
    declare(project)
    run, notes = ran(project)
    assert (run.manifest.outcome, run.manifest.kept) == ("complete", 12)
    name = "vllm/org/first: "
    told = [note.removeprefix(name) for note in notes if note.startswith(name)]
    assert told[:3] == [
        f"starting vLLM; its log is {log_of(project, 'first')}",
        "finding the model's files (missing ones are downloaded)",
        "compiling",
    ]
    assert told[3].startswith("ready after ")
    assert [note for note in notes if "starting" in note] == [
        f"vllm/org/{name}: starting vLLM; its log is {log_of(project, name)}"
        for name in ("first", "second")
    ]


def test_models_that_want_too_much_of_the_same_gpus_are_named_in_time(project: Folder) -> None:
    declare(project)
    words = "the models need more memory than the same GPUs have (org/first 0.9 and org/second 0.9)"
    assert ran(project)[1][0].startswith(words)
    assert (project.plan().memory_conflict() or "").endswith("or run with --one-model-at-a-time")
    declare(project, gpu_memory_utilization=0.45)
    assert project.plan().memory_conflict() is None
    declare(project, args=["--gpu-memory-utilization=0.4"])
    assert project.plan().memory_conflict() is None
    declare(project)
    project.replace("pyproject.toml", "env = {TRICK", "env = {CUDA_VISIBLE_DEVICES = '1', TRICK")
    project.replace("pyproject.toml", "'1', TRICK = ''", "'0', TRICK = ''")
    assert project.plan().memory_conflict() is not None


def test_a_key_is_in_no_file_of_a_run_and_in_no_line(project: Folder) -> None:
    declare(project, first="dies once")
    with running(project) as process:
        code, said = ended(process)
    assert code == 0, said
    for name in ("first", "second"):
        key = (project.root / f"{name}.key").read_text()
        assert len(key) >= 32
        assert key not in said
        for path in (project.root / "runs").rglob("*"):
            assert not path.is_file() or key.encode() not in path.read_bytes()


def test_a_server_that_does_not_fit_beside_another_is_told_what_to_do(project: Folder) -> None:
    declare(project, first="alone", second="alone")
    run, _ = ran(project)
    assert run.manifest.outcome == "partial"
    log = log_of(project, "second")
    assert run.manifest.reason == (
        "stopped: vllm/org/second did not start: Free memory on device cuda:0 (3.1/79.1 GiB) on "
        "startup is less than desired GPU memory utilization (0.9, 71.2 GiB); it does not fit "
        "beside org/first: set gpu_memory_utilization of each in [tool.soupstock.models], "
        f"together below 1, or run with --one-model-at-a-time; its log is {log}"
    )


def test_models_that_do_not_fit_side_by_side_take_turns(project: Folder) -> None:
    declare(project, first="alone", second="alone")
    steps = PIPELINE.replace(
        "  - {dataset", "  - {generate: last, model: writer, prompt: edit}\n  - {dataset"
    )
    project.write("pipelines/mine.yaml", steps)
    with running(project, "--one-model-at-a-time") as process:
        code, said = ended(process)
    assert code == 0, said
    assert "wanted at once" not in said
    assert [said.count(f"vllm/org/{name}: starting vLLM") for name in ("first", "second")] == [2, 1]
    assert "12 rows in, 12 kept, 0 dropped; 36 calls made" in said
    taking_turns = manifest.read(project.root / "runs/mine/latest")
    assert taking_turns.paid.retried == 0
    declare(project)
    side_by_side = project.run().manifest
    assert side_by_side.paid.calls == 0
    assert side_by_side.files["rows.parquet"] == taking_turns.files["rows.parquet"]


def test_the_models_of_a_jury_take_their_turn_together(project: Folder) -> None:
    declare(project)
    jury = "  - {judge: quality, model: [writer, editor], rubric: plain, canaries: false}\n"
    start = PIPELINE.index("  - {generate: answer")
    project.write("pipelines/mine.yaml", PIPELINE[:start] + jury + "  - {dataset: me/mine}\n")
    project.write("prompts/rubrics/plain.yaml", RUBRIC.replace("[question, answer]", "[draft]"))
    assert "org/first 0.9 and org/second 0.9" in (project.plan().memory_conflict() or "")
    run, notes = ran(project, one_model_at_a_time=True)
    assert (run.manifest.outcome, run.manifest.paid.calls) == ("complete", 36)
    starts = [note.partition(":")[0] for note in notes if "starting vLLM" in note]
    assert starts[0] == "vllm/org/first"
    assert sorted(starts[1:]) == ["vllm/org/first", "vllm/org/second"]


def test_a_model_that_is_too_large_ends_the_run_in_one_line(project: Folder) -> None:
    declare(project, first="large")
    assert broken(project) == (
        "vllm/org/first did not start: CUDA out of memory. Tried to allocate 2.50 GiB; lower "
        "max_model_len, use more GPUs (tensor_parallel), or stop what else runs on them; its "
        f"log is {log_of(project, 'first')}"
    )


def test_a_server_that_is_never_ready_is_given_up(project: Folder) -> None:
    declare(project, first="slow", startup_timeout=3)
    assert broken(project) == (
        "vllm/org/first did not start: it was not ready after 3 s (startup_timeout); "
        f"its log is {log_of(project, 'first')}"
    )
    assert server_of(os.getpid()) is None


def test_another_port_is_taken_where_one_was_taken_in_between(project: Folder) -> None:
    declare(project, first="taken")
    run, notes = ran(project)
    assert run.manifest.outcome == "complete"
    assert not any("Address" in note for note in notes)


def test_a_server_that_dies_is_started_once_more_and_no_row_is_lost(project: Folder) -> None:
    declare(project, first="dies once")
    run, notes = ran(project)
    assert (run.manifest.outcome, run.manifest.kept) == ("complete", 12)
    line = "vllm/org/first: the server ended early (exit status 3: EngineDeadError: the engine is"
    assert [note for note in notes if "ended early" in note] == [f"{line} gone); starting it again"]


def test_a_server_that_dies_again_ends_the_run_with_everything_kept(project: Folder) -> None:
    declare(project, first="dies", concurrency=1)
    run, _ = ran(project)
    assert run.manifest.reason == (
        "stopped: vllm/org/first: the server ended early (exit status 3: EngineDeadError: "
        f"the engine is gone) for the second time; its log is {log_of(project, 'first')}"
    )
    assert run.manifest.paid.calls >= 8


async def test_a_server_that_died_twice_is_started_no_more(project: Folder) -> None:
    declare(project, first="")
    model = project.plan().models["writer"]
    assert model.launch is not None
    servers = VllmServers(project.root / "logs", lambda _: None)
    try:
        for _ in range(2):
            await servers.address(model.launch)
            server = server_of(os.getpid())
            assert server is not None
            os.kill(server, signal.SIGKILL)
            wait_for_end(server)
        for _ in range(2):
            with pytest.raises(ModelError, match=r"ended early \(SIGKILL\) for the second time"):
                await servers.address(model.launch)
        assert server_of(os.getpid()) is None
    finally:
        await servers.stop()
        servers.close()


def test_an_interrupt_leaves_no_server_that_is_starting(project: Folder) -> None:
    declare(project, first="slow")
    with running(project) as process:
        until((project.root / "first.key").exists, process)
        server = server_of(process.pid)
        assert server is not None
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == 1
    assert "0 calls made" in said
    assert left_of(server) == []


def test_settings_alike_share_a_server_whatever_they_are_called(project: Folder) -> None:
    declare(project)
    project.replace("pyproject.toml", "vllm = 'org/second'", "vllm = 'org/first'\nconcurrency = 2")
    run, notes = ran(project)
    assert run.manifest.outcome == "complete"
    assert sum("starting vLLM" in note for note in notes) == 1


def test_a_server_that_needs_no_calls_is_not_started(project: Folder) -> None:
    declare(project)
    ran(project)
    for name in ("first", "second"):
        (project.root / f"{name}.key").unlink()
    run, notes = ran(project)
    assert run.manifest.paid.calls == 0
    assert not any("starting" in note for note in notes)


def test_counters_of_all_engines_are_read_together() -> None:
    metrics = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 500.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 600.0
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 1.5e+02
vllm:external_prefix_cache_hits_total{engine="1",model_name="m"} 7.0
"""
    assert read_prefix_cache(metrics) == PrefixCache(queries=1500.0, hits=750.0)
    assert read_prefix_cache("vllm:prefix_cache_hits_total oops\n") == PrefixCache()
