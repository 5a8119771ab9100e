"""What trainers read: rows of each standard schema load with their types, and chats render."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import DatasetCard
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import ValidationError

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.runs.run import Run

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
"""The template that most small chat models have."""

ROWS = [
    {
        "system": system,
        "instruction": f"Ask {number}?",
        "response": f"Good {number}.",
        "rejected": f"Bad {number}." if number % 2 else None,
    }
    for number, system in enumerate([None, "Be kind.", None, "Be brief."])
]

PUBLISH = """\
source:
  file: seeds.parquet
steps:
  - filter: [length: {column: response, min: 1}]
  - publish: me/formats
"""

CONFIGS = """\
    configs:
      sft: {schema: Conversation}
      preference: {schema: Preference}
      raw: {}
    splits: {test: 0.5}
"""


def rendered(messages: list[dict[str, str]]) -> str:
    """Render messages as `apply_chat_template` does: in the same sandbox."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(CHATML).render(messages=messages)


def published(folder: Folder, keys: str) -> Run:
    folder.root.mkdir(exist_ok=True)
    pl.DataFrame(ROWS).write_parquet(folder.root / "seeds.parquet")
    folder.write("pipelines/formats.yaml", PUBLISH + keys)
    return folder.run("formats")


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()

    def loaded(run: Run, name: str | None = None) -> Any:
        place = str(run.folder / "dataset")
        return load_dataset(place, name, cache_dir=str(tmp_path / "cache"))

    return loaded


def text(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


def test_a_conversation_is_rendered_by_a_chat_template(
    folder: Folder, load: Callable[..., Any]
) -> None:
    data = load(published(folder, "    schema: Conversation\n"))["train"]
    assert [rendered(row["messages"]) for row in data] == [
        (text("system", row["system"]) if row["system"] else "")
        + text("user", str(row["instruction"]))
        + text("assistant", str(row["response"]))
        for row in ROWS
    ]


def test_a_prompt_and_its_completion_are_texts(folder: Folder, load: Callable[..., Any]) -> None:
    data = load(published(folder, "    schema: PromptCompletion\n"))["train"]
    assert {name: kind.dtype for name, kind in data.features.items()} == {
        "prompt": "string",
        "completion": "string",
    }
    assert data[1] == {"prompt": "Ask 1?", "completion": "Good 1."}


def test_a_preference_is_a_prompt_that_either_answer_goes_on(
    folder: Folder, load: Callable[..., Any]
) -> None:
    run = published(folder, "    schema: Preference\n")
    data = load(run)["train"]
    assert data.num_rows == 2
    assert rendered(data[1]["prompt"] + data[1]["rejected"]) == (
        text("system", "Be brief.") + text("user", "Ask 3?") + text("assistant", "Bad 3.")
    )
    assert data[0]["chosen"] == [{"role": "assistant", "content": "Good 1."}]
    assert run.manifest.steps[-1].dropped == {"publish: no Preference": 2}


def test_sharegpt_says_from_and_value(folder: Folder, load: Callable[..., Any]) -> None:
    data = load(published(folder, "    schema: ShareGPT\n"))["train"]
    assert data[1] == {
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "Ask 1?"},
            {"from": "gpt", "value": "Good 1."},
        ]
    }


def test_alpaca_has_an_empty_input_where_there_is_none(
    folder: Folder, load: Callable[..., Any]
) -> None:
    data = load(published(folder, "    schema: Alpaca\n"))["train"]
    assert data[0] == {"instruction": "Ask 0?", "input": "", "output": "Good 0."}


def test_one_repository_has_several_configurations_with_the_same_splits(
    folder: Folder, load: Callable[..., Any]
) -> None:
    run = published(folder, CONFIGS)
    by_name = {name: load(run, name) for name in ("sft", "preference", "raw")}
    assert load(run)["train"].features == by_name["sft"]["train"].features
    sizes = {
        name: {split: len(rows) for split, rows in data.items()} for name, data in by_name.items()
    }
    assert sum(sizes["sft"].values()) == sum(sizes["raw"].values()) == 4
    assert sum(sizes["preference"].values()) == 2
    raw = {row["instruction"]: split for split, rows in by_name["raw"].items() for row in rows}
    for name, field in (("sft", "messages"), ("preference", "prompt")):
        for split, rows in by_name[name].items():
            for row in rows:
                assert raw[row[field][-2 if name == "sft" else -1]["content"]] == split
    assert by_name["raw"]["train"].column_names == ["id", *ROWS[0]]
    data = DatasetCard.load(run.folder / "dataset" / "README.md").data
    configs = data.get("configs")
    assert [(one["config_name"], one.get("default")) for one in configs] == [
        ("sft", True),
        ("preference", None),
        ("raw", None),
    ]
    infos = {one["config_name"]: one for one in data.get("dataset_info")}
    for name, found in sizes.items():
        told = {one["name"]: one["num_examples"] for one in infos[name]["splits"]}
        assert told == found


def test_a_row_that_no_schema_takes_is_dropped(folder: Folder) -> None:
    keys = "    configs: {a: {schema: Preference}, b: {schema: Preference}, raw: {}}\n"
    run = published(folder, keys)
    assert run.manifest.kept == 2
    assert run.manifest.steps[-1].dropped == {"publish: no Preference or Preference": 2}


def test_a_schema_beside_configs_is_a_mistake(folder: Folder) -> None:
    with pytest.raises(
        MistakeError, match=r"formats.yaml:6: with `configs`, give each config its own"
    ):
        published(folder, "    schema: Alpaca\n" + CONFIGS)
    with pytest.raises(MistakeError, match=r"formats.yaml:7: no schema is called 'Chat'"):
        published(folder, "    configs:\n      sft: {schema: Chat}\n")


def test_formats_are_made_of_each_other(folder: Folder) -> None:
    project = Project(folder.root)

    def shaped(name: str, row: dict[str, Any]) -> dict[str, Any]:
        return project.schema(name).value.model_validate(row).model_dump(mode="json")

    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert shaped("ShareGPT", {"messages": messages}) == {"conversations": turns}
    assert shaped("ShareGPT", {"conversations": turns}) == {"conversations": turns}
    told = {"prompt": messages[:1], "chosen": messages[1:], "rejected": "c"}
    assert shaped("Preference", told)["rejected"] == [{"role": "assistant", "content": "c"}]
    assert shaped("Alpaca", {"instruction": "a", "input": "i", "output": "o"})["input"] == "i"
    with pytest.raises(ValidationError, match="are the same"):
        shaped("Preference", told | {"rejected": "b"})
    for name in ("Conversation", "PromptCompletion", "Preference", "ShareGPT", "Alpaca"):
        with pytest.raises(ValidationError):
            shaped(name, {"question": "of no name that it reads"})
