"""`soupstock calibrate` says how far a judge agrees with people, and what its scores are worth."""

import csv
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conftest import Folder
from soupstock.artifacts.judges import CalibrationRecord
from soupstock.cli.main import main
from soupstock.errors import MistakeError
from soupstock.judging.labels import read_labels
from soupstock.project.project import Project
from soupstock.runs import calibration
from soupstock.runs.run import Run
from soupstock.testing import Request, Server
from soupstock.testing.imitation import write

CRITERIA = {"right": ["wrong", "half", "right"], "kind": ["rude", "kind"]}


def sound(answer: str) -> bool:
    """Say whether a row is good: the same for judge and people."""
    return len(answer) % 3 > 0


def judge(request: Request) -> str:
    """Judge `right` well, and guess `kind`."""
    if "response_format" not in request.body:
        return write(request.body, 0)
    answer = request.prompt.split("<answer")[1].split(">\n")[1].split("\n</")[0]
    draw = random.Random(request.prompt)  # noqa: S311 - the same each time
    right = 3 if sound(answer) else 1
    if draw.random() < 0.1:
        right = 4 - right
    levels = {"right": right, "kind": draw.choice([1, 2])}
    return json.dumps({name: {"reason": "x", "level": level} for name, level in levels.items()})


@pytest.fixture
def judged(folder: Folder) -> Run:
    """Run a project of 200 rows, whose judge counts `right` nine times as much as `kind`."""
    folder.replace("pipelines/mine.yaml", "rows: 20", "rows: 200")
    folder.replace("pipelines/mine.yaml", "canaries: false", "canaries: false\n    logprobs: false")
    folder.replace("prompts/rubrics/plain.yaml", "weight: 3", "weight: 1")
    folder.replace("prompts/rubrics/plain.yaml", "right]}", "right], weight: 9}")
    with Server(judge) as server:
        folder.point_at(server.base_url)
        return folder.run()


def labels(folder: Folder, lines: Iterable[Mapping[str, Any]], name: str = "labels.jsonl") -> Path:
    return folder.write(name, "\n".join(json.dumps(line) for line in lines) + "\n")


def truths(run: Run, most: int = 200) -> list[dict[str, Any]]:
    return [
        {"id": row["id"], "label": "keep" if sound(row["answer"]) else "drop"}
        for row in run.rows.head(most).to_dicts()
    ]


def command(folder: Folder, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--project", str(folder.root), *arguments])


def kept(folder: Folder) -> CalibrationRecord:
    return calibration.read(folder.root, "mine")["quality"]


def again(folder: Folder) -> Run:
    """Run again: all answers are in the cache."""
    with Server(judge) as server:
        folder.replace("pyproject.toml", "base_url = ", f'base_url = "{server.base_url}" #')
        return folder.run()


def test_a_judge_is_compared_with_people_and_with_who_says_always_the_same(
    folder: Folder, judged: Run
) -> None:
    path = labels(folder, truths(judged))
    ended = command(folder, "calibrate", "mine", "--labels", str(path), "--bad", "0.2")
    assert ended.exit_code == 0, ended.output
    found = kept(folder)
    assert (found.labels, found.unscored, found.annotators) == (200, 0, 1)
    assert found.threshold == 0.5
    assert found.accuracy is not None
    assert 0.8 < found.accuracy.estimate < 0.98
    assert found.base_rate is not None
    assert 0.5 < found.base_rate < 0.75
    assert found.kappa is not None
    assert found.kappa.low > 0.6
    assert found.promise is not None
    assert found.promise.threshold is not None
    assert found.rate is not None
    assert found.rate.rate is not None
    truth = sum(line["label"] == "keep" for line in truths(judged)) / 200
    assert found.rate.rate.low <= truth <= found.rate.rate.high
    said = " ".join(ended.output.split())
    assert "always giving the most common level is right in" in said
    assert "leaves at most 20 % bad rows at 95 % confidence" in said


def test_criteria_that_are_no_better_than_chance_are_named(folder: Folder, judged: Run) -> None:
    path = labels(folder, truths(judged))
    ended = command(folder, "calibrate", "mine", "--labels", str(path))
    assert "Not provably better than chance: kind." in " ".join(ended.output.split())
    found = {one.name: (one.statistic, one.is_beyond_chance) for one in kept(folder).criteria}
    assert found == {"right": ("AUC", True), "kind": ("AUC", False)}


def test_levels_of_several_people_are_compared_criterion_by_criterion(
    folder: Folder, judged: Run, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "annotator", "right", "kind", "answer"])
        for number, row in enumerate(judged.rows.to_dicts()):
            level = "right" if sound(row["answer"]) else "1"
            writer.writerow([row["id"], "ann", level, "2" if number % 3 else "rude", "a, b"])
            writer.writerow([row["id"], "bob", level, "", ""])
    ended = command(folder, "calibrate", "mine", "--labels", str(path))
    assert ended.exit_code == 0, ended.output
    found = {one.name: one for one in kept(folder).criteria}
    assert {one.statistic for one in found.values()} == {"kappa"}
    assert found["right"].is_beyond_chance
    assert not found["kind"].is_beyond_chance
    assert kept(folder).annotators == 2
    assert kept(folder).accuracy is None
    assert "ignored, because they hold no labels: answer" in ended.output


def test_people_who_disagree_are_compared_too(folder: Folder, judged: Run) -> None:
    lines = truths(judged, 60)
    both = [line | {"annotator": person} for line in lines for person in ("ann", "bob", "cy")]
    for line in both[1::9]:
        line["label"] = "drop" if line["label"] == "keep" else "keep"
    command(folder, "calibrate", "mine", "--labels", str(labels(folder, both)))
    found = kept(folder)
    assert (found.labels, found.annotators) == (60, 3)
    assert found.people is not None
    assert 0.5 < found.people.estimate < 0.95
    assert any(said.startswith("People among themselves: ") for said in found.sentences)


def test_what_few_labels_do_not_prove_is_said(folder: Folder, judged: Run) -> None:
    path = labels(folder, truths(judged, 40))
    ended = command(folder, "calibrate", "mine", "--labels", str(path))
    assert "Not proven with 40 labels: at most 5 % bad rows" in " ".join(ended.output.split())
    promise = kept(folder).promise
    assert promise is not None
    assert promise.threshold is None


def test_rows_that_were_chosen_promise_nothing(folder: Folder, judged: Run) -> None:
    lines = truths(judged)
    good = [line for line in lines if line["label"] == "keep"][:30]
    bad = [line for line in lines if line["label"] == "drop"][:30]
    path = labels(folder, [*good, *bad])
    command(folder, "calibrate", "mine", "--labels", str(path), "--chosen")
    found = kept(folder)
    assert found.are_chosen
    assert found.promise is None
    assert found.rate is not None
    assert (found.rate.method, found.rate.rows) == ("Rogan-Gladen", 140)


def test_the_next_run_tells_of_the_calibration_everywhere(folder: Folder, judged: Run) -> None:
    path = labels(folder, truths(judged))
    command(folder, "calibrate", "mine", "--labels", str(path), "--bad", "0.2")
    run = again(folder)
    assert run.manifest.paid.calls == 0
    found = run.manifest.judges[0].calibration
    assert found is not None
    assert found.void == ()
    assert found == kept(folder)
    sentence = "The judge was calibrated with 200 labels of 1 person."
    for name in ("report.html", "dataset/README.md"):
        said = (run.folder / name).read_text(encoding="utf-8")
        assert sentence in said, name
        assert "Not provably better than chance: kind." in said, name
        assert "has not been measured against people" not in said, name


@pytest.mark.parametrize(
    ("file", "swap", "changed"),
    [
        ("prompts/rubrics/plain.yaml", ("Is it kind?", "Is it friendly?"), ("rubric",)),
        ("pyproject.toml", ('model = "tester"', 'model = "other"'), ("model",)),
        (
            "pipelines/mine.yaml",
            ("rubric: plain", "rubric: plain\n    temperature: 1"),
            ("settings",),
        ),
    ],
)
def test_a_calibration_is_void_when_the_judge_is_another(
    folder: Folder, judged: Run, file: str, swap: tuple[str, str], changed: tuple[str, ...]
) -> None:
    command(folder, "calibrate", "mine", "--labels", str(labels(folder, truths(judged))))
    folder.replace(file, *swap)
    run = again(folder)
    found = run.manifest.judges[0].calibration
    assert found is not None
    assert found.void == changed
    have = "have" if changed == ("settings",) else "has"
    void = f"calibration (200 labels) is void: its {changed[0]} {have} changed since."
    for name in ("report.html", "dataset/README.md"):
        said = (run.folder / name).read_text(encoding="utf-8").replace("&#39;", "'")
        assert void in said, name
        assert "Not provably better than chance" not in said, name


def test_the_prompt_is_part_of_what_a_judge_is(folder: Folder, judged: Run) -> None:
    command(folder, "calibrate", "mine", "--labels", str(labels(folder, truths(judged))))
    standard = Project(folder.root).prompt("judge").record.text
    folder.write("prompts/judge.md", standard.replace("You judge texts", "You grade texts"))
    found = again(folder).manifest.judges[0].calibration
    assert found is not None
    assert found.void == ("prompt",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "labels.jsonl",
            '{"id": "a", "label": "keep"}\n{"id": "b", "label": "kep"}\n',
            ":2: a label should be keep or drop, not 'kep'",
        ),
        ("labels.jsonl", "keep\n", ":1: the line is not JSON"),
        ("labels.jsonl", "[1]\n", ":1: each line should be an object"),
        ("labels.jsonl", "\n", ": the file has no labels"),
        (
            "labels.jsonl",
            '{"row": "a", "label": "keep"}\n',
            ": no line has a field 'id'; there are:",
        ),
        (
            "labels.jsonl",
            '{"id": "a", "labels": "keep"}\n',
            ": no line has a field 'label'; there are:",
        ),
        (
            "labels.jsonl",
            '{"id": 7, "label": "keep"}\n',
            ":1: the id of a row should be text, not '7'",
        ),
        (
            "labels.jsonl",
            '{"id": "a", "right": 4}\n',
            ":1: right should be a level from 1 to 3 or its words, not '4'",
        ),
        (
            "labels.csv",
            "id,label\na,keep\nb,maybe\n",
            ":3: a label should be keep or drop, not 'maybe'",
        ),
        ("labels.txt", "a keep\n", ": labels should be a .jsonl or .csv file, not '.txt'"),
    ],
)
def test_a_mistake_in_labels_names_its_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MistakeError) as caught:
        read_labels(path, CRITERIA)
    assert str(caught.value).startswith(f"{path}{said}")


def test_labels_of_other_rows_are_a_mistake(folder: Folder, judged: Run) -> None:
    del judged
    path = labels(folder, [{"id": "0" * 16, "label": "keep"}])
    ended = command(folder, "calibrate", "mine", "--labels", str(path))
    assert ended.exit_code == 2
    assert "the judge of quality scored none of these ids in the last run" in ended.output


def test_a_judge_is_named_by_its_column(folder: Folder, judged: Run) -> None:
    path = labels(folder, truths(judged))
    ended = command(folder, "calibrate", "mine", "--labels", str(path), "--column", "qualty")
    assert ended.exit_code == 2
    assert "no judge's column is called 'qualty'; did you mean 'quality'?" in ended.output


def test_labels_are_put_together_by_majority_and_median(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    lines = [
        {"id": "a", "annotator": "1", "label": "keep", "right": 1},
        {"id": "a", "annotator": "2", "label": True, "right": "half"},
        {"id": "a", "annotator": "3", "label": 0, "right": 3},
        {"id": "b", "annotator": "1", "label": "yes", "right": 2},
        {"id": "b", "annotator": "2", "label": "no", "right": 3},
        {"id": "c", "annotator": "1", "label": ""},
        {"id": "d", "annotator": "1", "label": "drop"},
        {"id": "d", "annotator": "1", "label": "Keep "},
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = read_labels(path, CRITERIA)
    assert found.rows == ["a", "b", "d"]
    assert found.keeps() == {"a": 1.0, "b": None, "d": 1.0}
    assert found.levels("right") == {"a": 2.0, "b": 2.0, "d": None}
    assert found.by_annotator() == [[1.0, 1.0, 1.0], [1.0, 0.0, None], [0.0, None, None]]
