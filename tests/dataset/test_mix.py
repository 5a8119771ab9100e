"""A mix has exact shares, no row twice, and says what came from where."""

import json
import random
import re
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from evaluation_set import CLEAN, ITEMS, SAID
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from conftest import Folder
from soupstock.artifacts.mix import Mixture
from soupstock.cli.main import main
from soupstock.dataset.mix import Mixed, mix
from soupstock.dataset.reproduce import reproduce
from soupstock.errors import MistakeError
from soupstock.project.project import Project
from soupstock.stats.apportionment import largest_remainder

PIPELINE = """\
source: {{file: {name}.jsonl}}
steps:
  - filter: [length: {{column: response, min: 1}}]
{more}  - dataset: me/{name}
    schema: Conversation
    license: mit
    language: [en]
"""


def texts(seed: int, number: int) -> list[str]:
    drawn = random.Random(seed)  # noqa: S311 - words, no secret
    return [" ".join(f"w{drawn.randrange(5000)}" for _ in range(30)) for _ in range(number)]


def run_of(folder: Folder, name: str, answers: list[str], more: str = "") -> None:
    rows = [{"instruction": f"{name} {n}?", "response": text} for n, text in enumerate(answers)]
    folder.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    folder.write(f"pipelines/{name}.yaml", PIPELINE.format(name=name, more=more))
    folder.run(name)


@pytest.fixture
def runs(folder: Folder) -> Folder:
    """Make two runs; a fifth of the second's answers are those of the first, with a word more."""
    chat = texts(1, 100)
    run_of(folder, "talk", chat)
    run_of(folder, "think", [*(f"{text} indeed" for text in chat[:10]), *texts(2, 40)])
    return folder


def mixed(folder: Folder, rows: int | None = None, **more: Any) -> Mixed:
    shares = more.pop("shares", {"talk": 0.7, "think": 0.3})
    return mix(Mixture(shares, "soup", rows, **more), Project(folder.root))


def rows_of(done: Mixed) -> pl.DataFrame:
    return pl.read_parquet(sorted((done.folder / "dataset/data").iterdir()), glob=False)


def test_shares_are_exact_and_no_row_is_there_twice(runs: Folder) -> None:
    done = mixed(runs, 100)
    rows = rows_of(done)
    assert Counter(rows["origin"].to_list()) == {"talk": 70, "think": 30}
    answers = [messages[1]["content"] for messages in rows["messages"].to_list()]
    assert len({answer.removesuffix(" indeed") for answer in answers}) == 100
    (talk, think) = done.record.ingredients
    assert (talk.rows, talk.repeats, talk.taken) == (100, 0, 70)
    assert (think.rows, think.repeats, think.taken) == (50, 10, 30)


def test_without_a_number_as_many_rows_are_taken_as_the_shares_allow(runs: Folder) -> None:
    taken = [one.taken for one in mixed(runs).record.ingredients]
    assert taken == [95, 40]
    with pytest.raises(MistakeError, match=r"think has 40 rows left .* 41 are needed; .*-n 135"):
        mixed(runs, 136)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_parts_add_up_and_are_less_than_one_from_their_share(rows: int, weights: list[int]) -> None:
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    parts = largest_remainder(rows, shares)
    assert sum(parts) == rows
    assert all(abs(part - rows * share) < 1 for part, share in zip(parts, shares, strict=True))


def test_the_same_mix_has_the_same_bytes_and_a_larger_one_holds_it(runs: Folder) -> None:
    one = mixed(runs, 50)
    before = {name: (one.folder / name).read_bytes() for name in one.record.files}
    again = mixed(runs, 50)
    assert again.folder == one.folder
    assert {name: (again.folder / name).read_bytes() for name in again.record.files} == before
    assert set(before) == {"dataset/README.md", "dataset/data/train-00000-of-00001.parquet"}
    small = rows_of(one).rows()
    assert all(row in rows_of(mixed(runs, 100)).rows() for row in small)
    assert rows_of(mixed(runs, 50, seed=1)).rows() != small


def test_what_one_run_was_decontaminated_against_is_left_out_of_all(folder: Folder) -> None:
    test = texts(9, 5)
    folder.write("bench.jsonl", "".join(json.dumps({"question": text}) + "\n" for text in test))
    step = "  - decontaminate: response\n    against: [{file: bench.jsonl, column: question}]\n"
    run_of(folder, "talk", texts(1, 50), step)
    run_of(folder, "think", [*texts(2, 50), *test])
    done = mixed(folder, shares={"talk": 1, "think": 1})
    assert [one.contaminated for one in done.record.ingredients] == [0, 5]
    answers = {messages[1]["content"] for messages in rows_of(done)["messages"].to_list()}
    assert not answers & set(test)
    assert done.record.decontamination[0].sets[0].name == "bench.jsonl"
    assert "| `bench.jsonl` | `question` | 5 |" in (done.folder / "dataset/README.md").read_text()


def test_a_rephrased_question_is_found_beside_its_long_answer(folder: Folder) -> None:
    folder.write("bench.jsonl", "".join(json.dumps({"question": one}) + "\n" for one in ITEMS))
    rows = [{"instruction": one, "response": texts(3, 1)[0]} for one in (SAID, *CLEAN)]
    folder.write("think.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    folder.write("pipelines/think.yaml", PIPELINE.format(name="think", more=""))
    folder.run("think")
    step = "  - decontaminate: response\n    against: [{file: bench.jsonl, column: question}]\n"
    run_of(folder, "talk", texts(1, 50), step)
    done = mixed(folder, shares={"talk": 1, "think": 1})
    assert [one.contaminated for one in done.record.ingredients] == [0, 1]


def test_the_card_says_what_came_from_where_and_the_hub_reads_it(runs: Folder) -> None:
    done = mixed(runs, 100, splits={"test": 0.2}, repository="me/soup")
    text = (done.folder / "dataset/README.md").read_text()
    (talk, think) = done.record.ingredients
    assert f"| `talk` | `{talk.run}` | 0.7 | 100 | 0 | 0 | 70 | `mit` |" in text
    assert f"| `think` | `{think.run}` | 0.3 | 50 | 0 | 10 | 30 | `mit` |" in text
    assert "in the same shares for each value of `origin`" in text
    command = f"soupstock mix {talk.run}:0.7 {think.run}:0.3 -n 100 --split test=0.2 -o soup"
    assert command in text
    data = DatasetCard(text).data
    named = [data.get(key) for key in ("license", "language", "pretty_name")]
    assert named == ["mit", ["en"], "soup"]
    splits = {one["split"] for one in data.get("configs")[0]["data_files"]}
    assert splits == {"train", "test"}
    numbers = set(re.findall(r"\d+", done.record.model_dump_json()))
    body = text.split("\n---\n", 1)[1].split("The first row, one from")
    for number in re.findall(
        r"(?<![\w.-])\d[\d,]*(?![\w.-])", body[0] + body[1].split("```\n\n##")[1]
    ):
        assert number.replace(",", "") in numbers | {"2"}, number


def test_datasets_loads_a_mix_and_its_splits(runs: Folder, tmp_path: Path) -> None:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    done = mixed(runs, 100, splits={"test": 0.2})
    data = load_dataset(str(done.folder / "dataset"), cache_dir=str(tmp_path))
    assert {name: len(rows) for name, rows in data.items()} == {"train": 80, "test": 20}
    assert Counter(data["test"]["origin"]) == {"talk": 14, "think": 6}


def test_runs_of_other_columns_are_not_mixed(runs: Folder) -> None:
    runs.replace("pipelines/think.yaml", "Conversation", "Alpaca")
    runs.run("think")
    with pytest.raises(MistakeError, match=r"talk \(messages\) and think \(instruction, input,"):
        mixed(runs)


def test_the_command_mixes_and_says_what_it_took(runs: Folder) -> None:
    def command(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["--project", str(runs.root), *arguments])

    told = command("mix", "talk:0.7", "think:0.3", "-n", "100", "-o", "soup")
    assert told.exit_code == 0, told.output
    assert "think: 30 of 50 rows (10 repeats, 0 contaminated)" in told.output
    assert (runs.root / "runs/soup/latest/mix.json").is_file()
    same = command("diff", "soup", "soup")
    assert "no row is different" in same.output
    for arguments, said in (
        (["talk"], "talk is not NAME:SHARE"),
        (["talk:x"], "the share of talk should be a number above 0, not x"),
        (["talk:1", "talk:2"], "name each run only once"),
        (["talk:1", "--split", "test=1"], "above 0 and below 1, not 1"),
        (["tlak:1"], "no run and no folder is called 'tlak'; did you mean 'talk'?"),
    ):
        wrong = command("mix", *arguments, "-o", "soup")
        assert (wrong.exit_code, said in wrong.output) == (2, True), wrong.output
    taken = command("mix", "talk:1", "-o", "think")
    assert "think is the name of a pipeline already" in taken.output


# The Hub's client itself uses its HTTP library in a way that this one advises against.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_mix_is_pushed_as_a_run_is(runs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub_imitation import TOKEN, Hub
    from huggingface_hub import constants

    from soupstock.dataset import hub as hubs
    from soupstock.dataset import push
    from soupstock.dataset.push import Choices
    from soupstock.dataset.release import LOCK, read_release

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    mixed(runs, 100, splits={"test": 0.2}, repository="me/soup")
    project = Project(runs.root)
    release = read_release(project, "soup")
    with Hub() as hub:
        api = hubs.connect(hub.url, TOKEN)
        push.require_publishable(release, project, Choices())
        push.push(push.prepare(release, Choices(), api), api)
        lock = json.loads(hub.repositories["me/soup"].files[LOCK])
    assert [one["taken"] for one in lock["ingredients"]] == [70, 30]


def problems(folder: Folder, name: str = "soup") -> list[str]:
    return list(reproduce(Project(folder.root), name).problems)


@pytest.mark.parametrize("rows", [None, 90])
def test_a_mix_comes_out_the_same_from_the_runs_it_was_made_of(
    runs: Folder, rows: int | None
) -> None:
    third = {"talk": 2.0, "think": 1.0}
    done = mixed(runs, rows, shares=third, splits={"test": 0.2}, repository="me/soup", seed=3)
    found = reproduce(Project(runs.root), "soup")
    assert (found.problems, found.notes) == ((), ())
    assert (found.files, found.rows) == (len(done.record.files), done.record.dataset.rows)
    # A later run of the same pipeline makes no difference: the mix names the one that it is of.
    run_of(runs, "talk", texts(5, 30))
    told = CliRunner().invoke(main, ["--project", str(runs.root), "reproduce", "soup"])
    assert told.exit_code == 0, told.output
    assert told.output.endswith("files are the same, byte for byte\n")


def test_a_mix_that_was_changed_names_file_row_and_record(runs: Folder) -> None:
    done = mixed(runs, 100)
    path = done.folder / "dataset/data/train-00000-of-00001.parquet"
    rows = pl.read_parquet(path, glob=False)
    rows.with_columns(origin=pl.lit("talk")).write_parquet(path)
    named, *others = problems(runs)
    assert named == f"dataset/data/{path.name} is not the file that the run wrote"
    assert any("has another origin than when made again" in one for one in others)
    mixed(runs, 100)
    record = json.loads((done.folder / "mix.json").read_text())
    record["ingredients"][0]["taken"] += 1
    (done.folder / "mix.json").write_text(json.dumps(record))
    assert problems(runs) == ["mix.json has another value of ingredients than when made again"]


def test_a_run_that_is_gone_or_was_changed_since_it_was_mixed_is_named(runs: Folder) -> None:
    talk, think = (one.run for one in mixed(runs, 100).record.ingredients)
    file = runs.root / "runs" / talk / "dataset/data/train-00000-of-00001.parquet"
    pl.read_parquet(file, glob=False).reverse().write_parquet(file)
    shutil.rmtree(runs.root / "runs" / think)
    assert problems(runs) == [
        f"{talk}/dataset/data/train-00000-of-00001.parquet is not the file that was mixed",
        f"the run {think} that it was made of is missing",
    ]
    file.unlink()
    assert f"{talk}/dataset/data/{file.name}, which it was made of, is missing" in problems(runs)


def test_an_evaluation_set_that_changed_and_a_record_of_old_are_told(folder: Folder) -> None:
    folder.write("bench.jsonl", json.dumps({"question": texts(9, 1)[0]}) + "\n")
    step = "  - decontaminate: response\n    against: [{file: bench.jsonl, column: question}]\n"
    run_of(folder, "talk", texts(1, 50), step)
    done = mixed(folder, shares={"talk": 1})
    assert problems(folder) == []
    folder.write("bench.jsonl", json.dumps({"question": texts(8, 1)[0]}) + "\n")
    assert problems(folder) == [
        "it cannot be reproduced: an evaluation set that rows were compared with has changed since"
    ]
    record = json.loads((done.folder / "mix.json").read_text())
    del record["mixture"]
    (done.folder / "mix.json").write_text(json.dumps(record))
    (old,) = problems(folder)
    assert old.startswith("it cannot be reproduced: an earlier version made it")
