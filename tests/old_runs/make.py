"""Run the pipelines of sources/ and record them: project.tar.xz and expected.json.

From the root of the repository, with every extra installed:

    PYTHONPATH=$PWD/src:tests:tests/support python -m old_runs.make
"""

import hashlib
import json
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from embedders import static_model
from recorded_runs import (
    CALIBRATED,
    EXPECTED,
    FOLDER,
    MIX,
    MIXED,
    PACKED,
    RUNS,
    hash_of,
    hashes,
    latest,
    record,
    soupstock,
)

from old_runs.answers import answer
from soupstock import testing
from soupstock.testing import Reply, Request, Server

UNREACHABLE = "http://127.0.0.1:9/v1"
"""The address of every model in what is recorded: nothing listens at it."""

MODELS: dict[str, dict[str, Any]] = {
    "writer": {
        "model": "writer-1",
        "revision": "abc123",
        "license": "apache-2.0",
        "input_price": 0.5,
        "output_price": 2.0,
    },
    "thinker": {
        "model": "thinker-1",
        "input_price": 1.0,
        "output_price": 3.0,
        "cached_price": 0.1,
    },
    "judge": {"model": "judge-1", "license": "llama3.1", "input_price": 0.1, "output_price": 0.4},
    "second": {"model": "judge-2"},
    # The run asks what this one supports.
    "third": {"model": "judge-3", "structured_output": None},
    "solver": {
        "model": "solver-1",
        "extra": {"chat_template_kwargs": {"enable_thinking": False}},
    },
    "caller": {"model": "caller-1"},
    "rater": {"model": "rater-1"},
    "asker": {"model": "asker-1"},
    "embed": {"model": "embed-1"},
    "batch": {
        "model": "batch-1",
        "mode": "batch",
        "poll": 0.01,
        "input_price": 0.2,
        "output_price": 0.8,
    },
    "files": {"model": "files-1", "mode": "batch_file"},
    "faulty": {"model": "faulty-1", "attempts": 1},
}


def settings(base_url: str) -> str:
    """Write the project's pyproject.toml, with every model at one address."""
    lines = []
    for name, given in MODELS.items():
        entries = {"base_url": base_url, "structured_output": "json_schema"} | given
        lines += ["", f"[tool.soupstock.models.{name}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in entries.items() if value is not None]
    return "\n".join(lines).lstrip() + "\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + "}"
    return json.dumps(value)


def lay_out(project: Path) -> None:
    """Copy the sources, and add the files that are no text."""
    shutil.copytree(FOLDER / "sources", project)
    static_model(project / "static")
    texts = [text.split("\n")[-1] for text in pl.read_csv(project / "texts.csv")["response"]]
    words = ["cat", "kitten", "pet", "car", "automobile", "vehicle", "soup", "broth", "stew"]
    rows = [
        {
            "text": " ".join(words[_byte(f"{n} {k}") % 9] for k in range(2 + n % 5)),
            "other": texts[n] if n % 6 else texts[12],
            "stars": n * 7 % 10,
        }
        for n in range(48)
    ]
    (project / "seeded").mkdir()
    pl.DataFrame(rows).write_parquet(project / "seeded/train.parquet")


def _byte(text: str) -> int:
    return hashlib.blake2b(text.encode()).digest()[0]


def refuse(server: Server) -> None:
    """Let some calls of two models fail, always the same ones."""

    def broken(request: Request) -> Reply | None:
        if request.body.get("model") != "faulty-1":
            return None
        if request.share("bad") < 0.2:
            return testing.error(400, "not this one")
        return testing.error(500, "it is broken") if request.share("worse") < 0.1 else None

    def without_logprobs(request: Request) -> Reply | None:
        is_asked = request.body.get("model") == "judge-2" and "logprobs" in request.body
        return testing.unsupported("logprobs") if is_asked else None

    server.fail(broken)
    server.fail(without_logprobs)


def run(project: Path, name: str, server: Server) -> None:
    """Run a pipeline to its end; one whose model reads files of calls, as often as it needs."""
    while soupstock(project, "run", name).exit_code:
        if not answer_files(project, server):
            must(project, "run", name)


def must(project: Path, *arguments: str) -> None:
    """Run a command that has to work."""
    result = soupstock(project, *arguments)
    print(" ".join(arguments), flush=True)  # noqa: T201 - a script that says how far it is
    if result.exit_code:
        sys.exit(result.output[-2000:])


def answer_files(project: Path, server: Server) -> bool:
    """Do what `vllm run-batch` does; return whether there was a file to answer."""
    waiting = [
        path
        for path in sorted((project / "runs/batches").glob("*[0-9].jsonl"))
        if not path.with_suffix(".out.jsonl").exists()
    ]
    for path in waiting:
        lines = []
        for line in path.read_bytes().splitlines():
            call = json.loads(line)
            url = server.base_url.removesuffix("/v1") + call["url"]
            reply = httpx.post(url, json=call["body"])
            response = {"status_code": reply.status_code, "request_id": "r", "body": reply.json()}
            lines.append(json.dumps({"custom_id": call["custom_id"], "response": response}))
        path.with_suffix(".out.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return bool(waiting)


def review(project: Path) -> None:
    """Let two people answer the review of `docs`: they agree, disagree, correct and leave out."""
    must(project, "review", "docs")
    folder = project / "runs/docs/review/files"
    text = (folder / "to-review.jsonl").read_text(encoding="utf-8")
    keys = sorted(json.loads(line)["key"] for line in text.splitlines())
    for shift, person in enumerate(("ann", "bob")):
        lines = []
        for number, key in enumerate(keys):
            criteria = {"right": 1 + (number + shift) % 3, "kind": "kind"}
            said: dict[str, Any] = {"verdict": "keep", "criteria": criteria}
            if number % 6 == 2:
                verdict = "unsafe" if shift else "bad"
                said = {"verdict": verdict, "comment": "It names a person."}
            if number % 6 == 4:
                said["correction"] = f"A better answer, number {number}, that people wrote."
            if not (number == 5 and shift):
                lines.append(json.dumps({"key": key, "answers": said, "annotator": person}))
        (folder / f"{person}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    must(project, "review", "docs")


def label(project: Path) -> None:
    """Write people's labels of `qa`: by the judge's scores, with some mistakes."""
    lines = []
    rows = pl.read_parquet(latest(project, "qa") / "rows.parquet").to_dicts()
    for number, row in enumerate(rows):
        score = (row["quality"] or {}).get("score")
        if score is None:
            continue
        is_good = (score >= 0.5) != (number % 7 == 3)
        said = {"label": "keep" if is_good else "drop", "right": 3 if is_good else 1}
        people = ("ann", "bob") if number % 4 == 0 else ("ann",)
        lines += [json.dumps({"id": row["id"], "annotator": who, **said}) for who in people]
    (project / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tidy(project: Path) -> None:
    """Remove what no run needs: locks, logs, and the folders of replaced plans."""
    runs = project / "runs"
    with sqlite3.connect(runs / "calls.sqlite") as cache:
        cache.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cache.execute("PRAGMA journal_mode=DELETE")
        cache.execute("VACUUM")
    cache.close()
    for path in [*runs.rglob(".lock"), *runs.rglob("*.ballast"), *runs.glob("calls.sqlite-*")]:
        path.unlink()
    for link in runs.glob("*/latest"):
        for other in link.parent.iterdir():
            is_run = (other / "manifest.json").exists() and not other.is_symlink()
            if is_run and other.resolve() != link.resolve():
                shutil.rmtree(other)
    for folder in [runs / "logs", *project.rglob("__pycache__")]:
        shutil.rmtree(folder, ignore_errors=True)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def expected(project: Path) -> dict[str, Any]:
    """Describe what has to come out again."""
    folders = {name: latest(project, name) for name in (*RUNS, MIX)}
    return {
        "runs": {
            name: {"fingerprint": record(folder)["fingerprint"], "files": hashes(folder)}
            for name, folder in folders.items()
        },
        "calibrations": {
            name: hash_of(project / f"runs/{name}/calibration.json") for name in CALIBRATED
        },
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        project = Path(place) / "project"
        lay_out(project)
        with Server(answer=answer) as server:
            refuse(server)
            config = project / "pyproject.toml"
            config.write_text(settings(server.base_url), encoding="utf-8")
            for name in RUNS:
                run(project, name, server)
            review(project)
            label(project)
            must(project, "run", "docs")
            for name, command in CALIBRATED.items():
                must(project, *command)
                must(project, "run", name)
        config.write_text(settings(UNREACHABLE), encoding="utf-8")
        must(project, *MIXED)
        facts = expected(project)
        tidy(project)
        with tarfile.open(PACKED, "w:xz", preset=9) as packed:
            packed.add(project, "project", filter=_without_owner)
        EXPECTED.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
