"""How a model is served with vLLM: what is started, what it is called, and what its log tells."""

import os
import stat
import sys
from pathlib import Path

import pytest

from conftest import Folder
from soupstock.errors import ModelError
from soupstock.inference.servers.model import Model, resolve
from soupstock.inference.servers.vllm import Vllm, launch_of, memory_conflict
from soupstock.inference.servers.vllm_log import STAGES, Reason, last_line, reason, stage


def served(root: Path, reference: str = "vllm/models/small", **settings: object) -> Model:
    """Resolve a reference; with settings, a declared model that `vllm` alone would not be."""
    if not settings:
        return resolve(reference, {}, root=root)
    told = Vllm.model_validate({"vllm": reference.removeprefix("vllm/"), **settings})
    return resolve("mine", {"mine": told}, root=root)


def command_of(model: Model) -> tuple[str, ...]:
    assert model.launch is not None
    return model.launch.command[1:]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a folder with a model and a command `serve-it`, which is no real one."""
    weights = tmp_path / "models" / "small" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    command = tmp_path / "bin" / "serve-it"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def test_a_plain_reference_needs_no_settings(tmp_path: Path) -> None:
    model = resolve("vllm/Qwen/Qwen3-8B", {}, root=tmp_path)
    assert (model.name, model.base_url, model.revision) == ("Qwen/Qwen3-8B", None, None)
    assert (model.input_price, model.output_price) == (0, 0)
    assert command_of(model) == (
        *("serve", "Qwen/Qwen3-8B", "--served-model-name", "Qwen/Qwen3-8B"),
        *("--host", "127.0.0.1", "--uvicorn-log-level", "warning"),
    )


def test_settings_become_arguments_and_the_users_own_come_last(root: Path) -> None:
    model = served(
        root,
        "Qwen/Qwen3-8B",
        tensor_parallel=2,
        data_parallel=4,
        dtype="bfloat16",
        max_model_len=8192,
        quantization="fp8",
        gpu_memory_utilization=0.5,
        revision="abc",
        args=["--max-num-seqs=64"],
        command="bin/serve-it --quiet",
        env={"HF_HOME": "/models"},
        concurrency=64,
        license="apache-2.0",
        extra={"chat_template_kwargs": {"enable_thinking": False}},
    )
    assert model.launch is not None
    assert model.launch.command[:3] == (str(root / "bin/serve-it"), "--quiet", "serve")
    assert model.launch.command[10:] == (
        *("--tensor-parallel-size", "2", "--data-parallel-size", "4", "--dtype", "bfloat16"),
        *("--max-model-len", "8192", "--quantization", "fp8"),
        *("--gpu-memory-utilization", "0.5", "--revision", "abc", "--max-num-seqs=64"),
    )
    assert model.launch.env == (("HF_HOME", "/models"),)
    assert "/models" not in repr(model)
    assert (model.concurrency, model.license) == (64, "apache-2.0")
    assert model.extra == {"chat_template_kwargs": {"enable_thinking": False}}
    assert model.missing is None


def test_what_is_quantised_is_asked_anew(root: Path) -> None:
    assert served(root, "m", revision="1").revision == "1"
    assert served(root, "m", revision="1", quantization="awq").revision == "1, quantization:awq"
    assert served(root, "m", quantization="awq").revision == "quantization:awq"


def test_another_model_is_served_with_the_settings_of_a_declared_one(root: Path) -> None:
    told = Vllm(vllm="org/small", tensor_parallel=8)
    model = resolve("eight/org/large", {"eight": told}, root=root)
    assert model.name == "org/large"
    assert command_of(model)[1] == "org/large"
    assert command_of(model)[-2:] == ("--tensor-parallel-size", "8")


def test_a_folder_of_the_project_is_served_by_its_path_and_named_as_written(root: Path) -> None:
    model = served(root)
    assert model.name == "models/small"
    assert command_of(model)[1:4] == (
        str(root / "models/small"),
        "--served-model-name",
        "models/small",
    )


@pytest.mark.parametrize("reference", ["./models/small", "{root}/models/small"])
def test_where_a_folder_is_on_this_machine_is_not_part_of_its_name(
    root: Path, reference: str
) -> None:
    model = resolve(f"vllm/{reference.format(root=root)}", {}, root=root)
    assert model.name == "small"
    assert command_of(model)[1] == str(root / "models/small")


def test_a_folder_whose_weights_changed_is_asked_anew(root: Path) -> None:
    first = served(root).revision
    assert first is not None
    assert first.startswith("files:")
    weights = root / "models/small/model.safetensors"
    (root / "models/small/.cache").mkdir()
    (root / "models/small/.cache/lock").touch()
    assert served(root).revision == first
    os.utime(weights, ns=(1, 1))
    touched = served(root).revision
    weights.write_bytes(b"larger weights")
    os.utime(weights, ns=(1, 1))
    assert len({first, touched, served(root).revision}) == 3
    assert served(root, revision="mine").revision == "mine"


def test_what_is_missing_is_said_in_words(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(root))
    monkeypatch.setattr(sys, "executable", str(root / "bin" / "python"))
    assert served(root, "vllm/./models/none").missing == "there is no folder ./models/none"
    assert served(root, "m", command="serve-it").missing is None
    assert served(root, "m", command="./serve").missing == "its command './serve' is not found"
    line = (
        "vllm is not installed: pip install 'soupstock[vllm]', or say where it is by `command` in "
    )
    line += "[tool.soupstock.models.NAME]"
    assert served(root, "vllm/m").missing == line
    folder.replace("pipelines/mine.yaml", "writer: test, judge: test", "writer: vllm/m")
    folder.replace("pipelines/mine.yaml", "model: judge", "model: writer")
    with pytest.raises(ModelError) as caught:
        folder.run()
    assert str(caught.value) == f"vllm/m: {line}"


def test_servers_on_gpus_of_their_own_do_not_crowd_each_other(tmp_path: Path) -> None:
    def launch(name: str, gpus: str) -> Vllm:
        return Vllm(vllm=name, env={"CUDA_VISIBLE_DEVICES": gpus})

    apart = [launch_of(launch(name, gpus), tmp_path) for name, gpus in (("a", "0"), ("b", "1"))]
    assert memory_conflict(apart) is None
    assert memory_conflict([apart[0], apart[0]]) is None
    assert memory_conflict([*apart, launch_of(launch("c", "1"), tmp_path)]) == (
        "the models need more memory than the same GPUs have (b 0.9 and c 0.9): set "
        "gpu_memory_utilization of each in [tool.soupstock.models], together below 1, "
        "or run with --one-model-at-a-time"
    )


PREFIX = "(Worker pid=13318) ERROR 11-24 21:13:31 [multiproc_executor.py:953] "
CAUSES = [
    (
        "vllm: error: unrecognized arguments: --no-such-flag",
        Reason("other", "unrecognized arguments: --no-such-flag"),
    ),
    (
        "vllm serve: error: argument --dtype: invalid choice: 'int3' (choose from 'auto')",
        Reason("other", "argument --dtype: invalid choice: 'int3' (choose from 'auto')"),
    ),
    (
        (
            "  Value error, User-specified max_model_len (100000) is greater than the derived "
            "max_model_len (max_position_embeddings=8192.0 or model_max_length=None in model's "
            "config.json). To allow overriding this maximum, set the env var"
        ),
        Reason("other", "max_model_len (100000) is more than the model can take (8192)"),
    ),
    (
        PREFIX + "RuntimeError: Cannot find any model weights with `/models/empty`",
        Reason("other", "there are no weights in `/models/empty`"),
    ),
    (
        PREFIX + "safetensors._safetensors_rust.SafetensorError: Error while deserializing "
        "header: incomplete metadata, file not fully covered",
        Reason(
            "other",
            "a file of weights is damaged (Error while deserializing header: incomplete "
            "metadata, file not fully covered)",
        ),
    ),
    (
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached "
            "snapshot folder for the specified revision on the local disk"
        ),
        Reason(
            "other",
            "the model is not on this machine, and HF_HUB_OFFLINE forbids to ask the Hub",
        ),
    ),
    (
        "OSError: org/none is not a local folder and is not a valid model identifier listed on",
        Reason("other", "there is no model org/none, neither as a folder nor on the Hub"),
    ),
    (
        (
            "(EngineCore_0 pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate "
            "2.50 GiB. GPU 0 has a total capacity of 79.1 GiB"
        ),
        Reason("memory", "CUDA out of memory. Tried to allocate 2.50 GiB"),
    ),
    (
        PREFIX + "ValueError: No available memory for the cache blocks. Try increasing",
        Reason("memory", "No available memory for the cache blocks"),
    ),
    (
        (
            "ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than "
            "desired GPU memory utilization (0.92, 72.8 GiB). Decrease GPU memory utilization or"
        ),
        Reason(
            "memory",
            "Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU "
            "memory utilization (0.92, 72.8 GiB)",
        ),
    ),
    (
        "OSError: [Errno 98] Address already in use",
        Reason("port", "Address already in use"),
    ),
    (
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, Model architectures ['X'] are not supported. [type=value_error, input"
        ),
        Reason("other", "Model architectures ['X'] are not supported"),
    ),
    (
        "\x1b[31mValueError: World size (8) is larger than the number of available GPUs (1)\x1b[0m",
        Reason(
            "other", "ValueError: World size (8) is larger than the number of available GPUs (1)"
        ),
    ),
]
TAIL = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s)"


@pytest.mark.parametrize(("line", "found"), CAUSES, ids=[found.text for _, found in CAUSES])
def test_the_cause_is_taken_from_a_log(line: str, found: Reason) -> None:
    around = f'Traceback:\n  File "x.py", line 61, in f\n{{}}\n{TAIL}: {{{{}}}}\n'
    assert reason(around.format(line)) == found


def test_a_log_without_an_error_gives_no_reason_but_its_last_line() -> None:
    log = f"INFO: started\n{TAIL}\n{PREFIX}it went \x1b[1mdark\x07\n\n"
    assert reason(log) is None
    assert last_line(log) == "it went dark\\x07"
    assert last_line("") == ""


def test_a_reason_is_one_line_that_is_not_too_long() -> None:
    found = reason(f"ValueError: {'long ' * 200}\nNameError: later")
    assert found is not None
    assert found.text.startswith("ValueError: long long")
    assert len(found.text) <= 300


def test_stages_are_told_once_and_in_their_order() -> None:
    log = [
        "(APIServer pid=1) WARNING 11-24 21:11:32 [vllm.py:1703] Eager, disabling torch.compile",
        "(Worker pid=2) INFO 11-24 21:11:45 [model_runner.py:68] Starting to load model hf...",
        "Loading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]",
        "(Worker pid=3) INFO 11-24 21:11:45 [model_runner.py:68] Starting to load model hf...",
        "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:00<?, ?it/s]",
        "(Worker pid=2) INFO 11-24 21:12:45 [backends.py:1] Dynamo bytecode transform time: 3 s",
        "Capturing CUDA graphs (decode, FULL):  10%|#",
    ]
    reached, told = -1, []
    for line in log:
        if (now := stage(line, reached)) > reached:
            reached = now
            told.append(STAGES[now][1])
    assert told == [words for _, words in STAGES]
