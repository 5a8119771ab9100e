"""Compare a run's throughput with that of vLLM's own benchmark on the same server.

`python bench/vllm.py` serves a small model on the CPU (in the environment of `make test-vllm`), and
runs `vllm bench serve` and a pipeline with one step by turns. Both send the same number of prompts
of the same length, with the same concurrency, and every answer has its full length. It prints a
line of docs/benchmarks.md.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from soupstock.engine.plan import plan_file
from soupstock.inference.servers.model import resolve
from soupstock.inference.servers.pool import Servers
from soupstock.inference.servers.vllm import Vllm
from soupstock.project.project import Project
from soupstock.runs import run as runs

ENVIRONMENT = Path(__file__).parents[1] / ".ci" / "vllm"
KEY = "BENCH_KEY"
ON_THE_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "2",
    "GOMP_SPINCOUNT": "0",
    "HF_HUB_OFFLINE": "1",
}
PIPELINE = """\
models: {writer: served}
source: {file: seeds.jsonl}
steps:
  - {generate: answer, model: writer, prompt: reply, max_tokens: LENGTH, temperature: 1.0}
  - {dataset: me/mine}
"""


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    prompts: int
    length: int
    """The tokens of a prompt."""
    answer: int
    """The tokens of an answer."""
    concurrency: int
    times: int


class Rate(NamedTuple):
    """Tokens answered per second."""

    asking: float
    """From the first request to the last answer."""
    whole: float
    """From the run's start to its end, including dataset, card and report."""


def served_by(place: Path, options: Options) -> Vllm:
    """Return how the model is served."""
    return Vllm(
        vllm=str(place / "model"),
        command=str(place / "env/bin/vllm"),
        dtype="float32",
        max_model_len=2048,
        args=(
            *("--max-num-seqs", str(options.concurrency), "--enforce-eager"),
            *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"),
        ),
        env=ON_THE_CPU,
    )


def theirs(place: Path, base_url: str, options: Options, seed: int) -> float:
    """Return the output throughput that `vllm bench serve` reports."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(str(place / "env/bin/vllm"), "bench", "serve", "--backend", "openai-chat"),
            *("--base-url", base_url.removesuffix("/v1"), "--endpoint", "/v1/chat/completions"),
            *("--model", "model", "--tokenizer", str(place / "model")),
            *("--dataset-name", "random", "--random-input-len", str(options.length)),
            *("--random-output-len", str(options.answer), "--ignore-eos"),
            *("--num-prompts", str(options.prompts), "--seed", str(seed), "--temperature", "1"),
            *("--max-concurrency", str(options.concurrency), "--disable-tqdm"),
            *("--save-result", "--result-dir", folder, "--result-filename", "result.json"),
        ]
        environment = {**os.environ, **ON_THE_CPU, "OPENAI_API_KEY": os.environ[KEY]}
        subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603
        said: Mapping[str, float] = json.loads((Path(folder) / "result.json").read_text())
    assert said["completed"] == options.prompts, said
    assert said["total_output_tokens"] == options.prompts * options.answer, said
    return said["output_throughput"]


def ours(place: Path, base_url: str, options: Options, seed: int) -> Rate:
    """Return the output throughput of a run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = {
            "pipelines/mine.yaml": PIPELINE.replace("LENGTH", str(options.answer)),
            "prompts/reply.md": "{{ text }}",
            "seeds.jsonl": "".join(
                json.dumps({"text": text}) + "\n" for text in texts(place, options, seed)
            ),
            "pyproject.toml": (
                "[tool.soupstock.models.served]\n"
                f'base_url = "{base_url}"\nmodel = "model"\napi_key_env = "{KEY}"\n'
                f"concurrency = {options.concurrency}\nextra = {{ignore_eos = true}}\n"
            ),
        }
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        began = time.perf_counter()
        said = runs.run(plan_file("mine", Project(root))).manifest
        seconds = time.perf_counter() - began
    assert said.kept == options.prompts, said
    tokens = said.paid.tokens.completion
    assert tokens == options.prompts * options.answer, said
    return Rate(tokens / said.paid.servers[0].seconds, tokens / seconds)


def texts(place: Path, options: Options, seed: int) -> list[str]:
    """Return prompts of the wanted length that all begin differently."""
    tokenizer = Tokenizer.from_file(str(place / "model/tokenizer.json"))
    draw = random.Random(seed)  # noqa: S311 - no secret
    found = []
    while len(found) < options.prompts:
        tokens = [draw.randrange(1000, tokenizer.get_vocab_size()) for _ in range(options.length)]
        text = tokenizer.decode(tokens)
        if len(tokenizer.encode(text).ids) == options.length:
            found.append(text)
    return found


async def measured(place: Path, options: Options) -> list[tuple[float, Rate]]:
    """Serve the model, and measure by turns."""
    model = resolve("served", {"served": served_by(place, options)})
    with tempfile.TemporaryDirectory() as logs:
        async with Servers(Path(logs), print) as servers:
            base_url, key = await servers.address(model)
            os.environ[KEY] = key or ""
            found = []
            for seed in range(options.times + 1):
                they = await asyncio.to_thread(theirs, place, base_url, options, seed)
                we = await asyncio.to_thread(ours, place, base_url, options, 1000 + seed)
                print(f"vllm bench serve {they:.1f}, soupstock {we.asking:.1f} ({we.whole:.1f})")
                found.append((they, we))
    # In the first turn the server is not warmed up.
    return found[1:]


def line(options: Options, found: Sequence[tuple[float, Rate]]) -> str:
    """Return the results as a line of a table."""
    shares = [b.asking / a for a, b in found]
    they = statistics.median(a for a, _ in found)
    we = statistics.median(b.asking for _, b in found)
    whole = statistics.median(b.whole / a for a, b in found)
    what = (
        f"{options.prompts} prompts of {options.length} tokens, answers of {options.answer}, "
        f"{options.concurrency} at once: share of the output throughput of `vllm bench serve`"
    )
    return (
        f"| {what} | ≥ .95 | {statistics.median(shares):.2f} ({min(shares):.2f} to "
        f"{max(shares):.2f}); with start, dataset and report {whole:.2f} | "
        f"{we:.0f} against {they:.0f} tokens/s |"
    )


def main() -> None:
    """Measure, and print a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--answer", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--times", type=int, default=3)
    options = Options(**vars(parser.parse_args()))
    made = subprocess.run([ENVIRONMENT], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    place = Path(made.stdout.splitlines()[-1])
    print(line(options, asyncio.run(measured(place, options))))


if __name__ == "__main__":
    main()
