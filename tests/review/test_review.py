"""People read a sample by file, and what they say comes back into the dataset."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from reviewing import answer, lines, out, review, with_review

from conftest import Folder
from soupstock.artifacts import manifest
from soupstock.project.project import Project
from soupstock.reports.life import explain
from soupstock.runs.run import Run
from soupstock.testing import Server


def drawn(run: Run) -> pl.DataFrame:
    return run.rows.filter(pl.col("review").struct.field("chance").is_not_null())


def published(run: Run) -> pl.DataFrame:
    return pl.read_parquet(run.folder / "dataset/data/*.parquet")


def made(run: Run) -> dict[str, str]:
    """Return the hashes of a run's files, without the report, which tells how long it took."""
    return {name: one for name, one in run.manifest.files.items() if name != "report.html"}


def test_a_run_draws_the_sample_and_tells_how_likely_each_row_was(
    folder: Folder, server: Server
) -> None:
    run = with_review(folder, "review: file\n    sample: 5").run()
    assert drawn(run).height == 5
    chances = drawn(run)["review"].struct.field("chance")
    assert chances.to_list() == [5 / 20] * 5
    told = run.manifest.review
    assert told is not None
    assert (told.rows, told.sampled, told.answered, told.waiting) == (20, 5, 0, 5)
    assert server.count == 60


def test_rows_that_filters_dropped_are_read_too_and_those_dropped_wrongly_counted(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 3\n    dropped: 4", threshold=0.5)
    run = folder.run()
    why = [some[0] if some else "" for some in drawn(run)["dropped_by"].to_list()]
    assert sorted(why) == [""] * 3 + ["filter: score(quality)"] * 4
    assert review(folder).exit_code == 0
    answer(folder, lambda _, line: {"verdict": "keep" if line["metadata"] else "bad"})
    review(folder)
    told = folder.run().manifest.review
    assert told is not None
    assert told.false_drops is not None
    assert told.by_filter == {"filter: score(quality)": (4, 4)}
    assert told.vetoed == {}
    assert server.count == 60


def test_a_veto_drops_the_row_a_correction_replaces_its_text_and_no_model_is_asked_again(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 20")
    before = folder.run()
    asked = server.count
    assert "sent: 20 new; 0 were sent before" in review(folder).stdout
    texts = {line["row"]: line["answer"] for line in lines(folder)}
    vetoed, corrected = lines(folder)[0]["row"], lines(folder)[1]["row"]

    def says(number: int, _: Any) -> dict[str, Any]:
        if number == 0:
            return {"verdict": "unsafe", "comment": "It names a person."}
        better = {"correction": "A better answer."} if number == 1 else {}
        return {"verdict": "keep", "criteria": {"right": 3, "kind": "kind"}, **better}

    answer(folder, says)
    result = review(folder)
    assert "waiting: 0 of 20" in result.stdout
    assert "run the pipeline again to use them" in result.stdout
    after = folder.run()
    assert server.count == asked
    assert after.folder != before.folder
    rows = {row["id"]: row for row in after.rows.to_dicts()}
    assert rows[vetoed]["dropped_by"] == ["review: unsafe"]
    assert rows[corrected]["answer"] == "A better answer."
    assert rows[corrected]["answer_original"] == texts[corrected]
    others = [row for name, row in rows.items() if name not in {vetoed, corrected}]
    assert all(row["answer"] == texts[row["id"]] for row in others)
    assert not any(row["answer_original"] for row in others)
    told = after.manifest.review
    assert told is not None
    assert (told.vetoed, told.corrected, told.waiting) == ({"unsafe": 1}, 1, 0)
    step = next(step for step in after.manifest.steps if step.verb == "review")
    assert (step.rows_in, step.rows_kept, step.dropped) == (20, 19, {"review: unsafe": 1})
    kept = published(after)
    assert kept.height == 19
    assert "A better answer." in kept["answer"].to_list()
    assert not {"review", "answer_original"} & set(kept.columns)


def test_running_again_without_new_answers_is_the_same_run_with_the_same_bytes(
    folder: Folder, server: Server
) -> None:
    with_review(folder)
    first = folder.run()
    review(folder)
    assert made(folder.run()) == made(first)
    answer(folder, lambda number, _: {"verdict": "keep"} if number < 3 else None)
    review(folder)
    second, third = folder.run(), folder.run()
    assert second.folder == third.folder != first.folder
    assert made(second) == made(third)
    assert server.count == 60


def test_answers_belong_to_texts_so_a_row_whose_text_changed_asks_again(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 20")
    folder.run()
    review(folder)
    answer(folder, lambda *_: {"verdict": "keep"})
    review(folder)
    folder.replace("prompts/reply.md", "Answer well.", "Answer better.")
    changed = folder.run()
    assert changed.manifest.review is not None
    assert changed.manifest.review.waiting == 20
    assert "sent: 20 new" in review(folder).stdout
    folder.replace("prompts/reply.md", "Answer better.", "Answer well.")
    back = folder.run()
    assert back.manifest.review is not None
    assert back.manifest.review.waiting == 0
    assert server.count == 60 + 40


def test_publishing_waits_for_the_answers_where_the_step_says_so(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 2\n    wait: true")
    waiting = folder.run()
    assert waiting.manifest.outcome == "partial"
    assert "2 of 2 texts have none (soupstock review mine)" in str(waiting.manifest.reason)
    assert not (waiting.folder / "dataset").exists()
    assert waiting.manifest.dataset is None
    review(folder)
    answer(folder, lambda *_: {"verdict": "keep"})
    review(folder)
    done = folder.run()
    assert done.manifest.outcome == "complete"
    assert published(done).height == 20
    assert server.count == 60


def test_a_row_can_need_several_people(folder: Folder, server: Server) -> None:
    with_review(folder, "review: file\n    sample: 12\n    annotators: 2")
    folder.run()
    review(folder)
    answer(folder, lambda *_: {"verdict": "keep"}, "ann")
    assert "waiting: 12 of 12" in review(folder).stdout
    answer(folder, lambda number, _: {"verdict": "bad" if number < 3 else "keep"}, "bob")
    assert "waiting: 0 of 12" in review(folder).stdout
    told = folder.run().manifest.review
    assert told is not None
    assert told.annotators == 2
    assert [one.statistic.split(",")[0] for one in told.agreement] == [
        "Krippendorff's alpha",
        "Cohen's kappa",
    ]
    # As many say one thing as the other: such a row is not dropped, and counts for neither.
    assert told.vetoed == {}
    assert told.good is not None
    assert told.good.rows == 9
    assert server.count == 60


def test_people_can_pass_a_row_over(folder: Folder, server: Server) -> None:
    with_review(folder, "review: file\n    sample: 2")
    folder.run()
    review(folder)
    answer(folder, lambda *_: {"comment": "I do not know this field."})
    assert "waiting: 0 of 2" in review(folder).stdout
    told = folder.run().manifest.review
    assert told is not None
    assert (told.answered, told.vetoed, told.good) == (2, {}, None)
    assert server.count == 60


def test_the_file_says_what_is_asked_and_what_the_judge_said(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 1")
    folder.run()
    review(folder)
    (line,) = lines(folder)
    assert line["answers"] == {
        "verdict": None,
        "correction": None,
        "comment": None,
        "criteria": {"right": None, "kind": None},
    }
    assert set(line["suggested"]) == {"verdict", "right", "kind", "correction"}
    assert line["suggested"]["correction"] == line["answer"]
    assert line["metadata"]["source"][0].startswith("topic: ")
    asked = (out(folder).parent / "questions.md").read_text(encoding="utf-8")
    assert "Is it right?" in asked
    assert "- `2`: half" in asked
    assert server.count == 60


def test_sending_again_adds_what_is_new_and_leaves_answers_that_stand_in_the_file(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 3")
    folder.run()
    review(folder)
    first = lines(folder)
    filled = [line | {"annotator": "ann"} for line in first]
    filled[0]["answers"] = {"verdict": "bad"}
    out(folder).write_text("".join(json.dumps(line) + "\n" for line in filled), encoding="utf-8")
    folder.replace("pipelines/mine.yaml", "sample: 3", "sample: 5")
    folder.run()
    result = review(folder)
    assert "sent: 2 new; 2 were sent before" in result.stdout
    assert "waiting: 4 of 5" in result.stdout
    now = lines(folder)
    assert now[:3] == filled
    assert len({line["key"] for line in now}) == 5
    assert server.count == 60


def test_half_a_line_that_a_killed_process_left_is_written_whole_by_the_next(
    folder: Folder, server: Server
) -> None:
    with_review(folder, "review: file\n    sample: 3")
    folder.run()
    review(folder)
    text = out(folder).read_text(encoding="utf-8")
    out(folder).write_text(text[: -len(text.splitlines()[-1]) // 2], encoding="utf-8")
    assert "sent: 1 new; 2 were sent before" in review(folder).stdout
    assert out(folder).read_text(encoding="utf-8") == text
    assert server.count == 60


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no", "ann.jsonl:1: the line is not JSON"),
        ("[]", 'ann.jsonl:1: each line should be an object with a "key"'),
        (
            '{"key": "k", "answers": {"verdict": "perhaps"}}',
            "verdict should be one of keep, bad, unsafe",
        ),
        (
            '{"key": "k", "answers": {"criteria": {"right": 4}}}',
            "right should be one of 1, 2, 3, not '4'",
        ),
        ('{"key": "k", "answers": {"verdit": "bad"}}', "did you mean 'verdict'?"),
        ('{"key": "k", "answers": "bad"}', '"answers" and its "criteria" should be objects'),
    ],
)
def test_a_slip_in_an_answer_is_one_line_that_names_its_place(
    folder: Folder, server: Server, line: str, said: str
) -> None:
    with_review(folder, "review: file\n    sample: 1")
    folder.run()
    review(folder)
    (out(folder).parent / "ann.jsonl").write_text(line + "\n", encoding="utf-8")
    result = review(folder)
    assert result.exit_code == 2
    (told,) = result.stderr.splitlines()
    assert "ann.jsonl:1: " in told
    assert said in told
    assert server.count == 60


def test_texts_that_no_tool_likes_come_back_whole(folder: Folder, server: Server) -> None:
    with_review(folder, "review: file\n    sample: 20")
    folder.run()
    review(folder)
    huge = "a" * 100_000
    odd = "\ud800 half, \0 nothing, <script>alert(1)</script> ![x](http://x/y)"
    answer(
        folder,
        lambda number, _: {"verdict": "keep", "correction": (huge, odd, "ok")[min(number, 2)]},
    )
    assert review(folder).exit_code == 0
    texts = set(folder.run().rows["answer"].to_list())
    assert huge in texts
    assert odd.replace("\ud800", "\ufffd\ufffd\ufffd") in texts or any(
        "half, \0 nothing, <script>" in text for text in texts
    )
    assert server.count == 60


def test_answers_calibrate_the_judge(folder: Folder, server: Server) -> None:
    from soupstock.runs.calibration import calibrate

    with_review(folder, "review: file\n    sample: 15")
    folder.run()
    review(folder)
    answer(folder, lambda number, _: {"verdict": "bad" if number % 3 else "keep"})
    review(folder)
    folder.run()
    found = calibrate(Project(folder.root), "mine").record
    assert found.labels == 15
    assert not found.are_chosen
    folder.replace("pipelines/mine.yaml", "sample: 15", "sample: 15\n    strategy: uncertain")
    folder.run()
    assert calibrate(Project(folder.root), "mine").record.are_chosen
    assert server.count == 60


def test_calibrating_without_labels_says_where_they_would_come_from(
    folder: Folder, server: Server
) -> None:
    from soupstock.errors import MistakeError
    from soupstock.runs.calibration import calibrate

    folder.run()
    with pytest.raises(MistakeError, match="give a file with --labels"):
        calibrate(Project(folder.root), "mine")
    assert server.count == 60


def test_explaining_a_row_tells_what_people_said(folder: Folder, server: Server) -> None:
    with_review(folder, "review: file\n    sample: 20")
    folder.run()
    review(folder)
    answer(folder, lambda *_: {"verdict": "keep", "correction": "Better.", "comment": "Dull."})
    review(folder)
    run = folder.run()
    row = run.rows.row(0, named=True)
    life = explain(Project(folder.root), "mine", row["id"])
    told = next(one.value for one in life.chapters if one.title == "review: file")
    assert told["verdict"] == "keep"
    assert told["comment"] == "Dull."
    assert told["answer before"] == row["answer_original"]
    assert "review" not in life.source
    assert server.count == 60


def test_the_card_tells_what_people_did(folder: Folder, server: Server) -> None:
    with_review(folder, "review: file\n    sample: 20")
    folder.run()
    review(folder)
    answer(folder, lambda number, _: {"verdict": "unsafe" if number == 0 else "keep"})
    review(folder)
    card = (folder.run().folder / "dataset/README.md").read_text(encoding="utf-8")
    assert "**review**: one person reviewed 20 of 20 rows, drawn at random" in card
    assert "they dropped 1 as `unsafe`" in card
    assert server.count == 60


def test_reviewing_what_has_no_review_or_no_run_says_so(folder: Folder, server: Server) -> None:
    never = review(folder)
    assert "mine has not been run yet" in never.stderr
    folder.run()
    without = review(folder)
    assert without.exit_code == 2
    assert "mine has no review step" in without.stderr
    assert server.count == 60


def test_damaged_answers_are_named_and_never_overwritten(folder: Folder, server: Server) -> None:
    with_review(folder)
    folder.run()
    review(folder)
    path = folder.root / "runs/mine/review/answers.jsonl"
    path.write_text("half a li", encoding="utf-8")
    result = review(folder)
    assert result.exit_code == 2
    assert "answers.jsonl:1: this version of soupstock cannot read the answer" in result.stderr
    assert path.read_text(encoding="utf-8") == "half a li"
    assert server.count == 60


def test_pruning_a_file_leaves_the_review_out(folder: Folder, tmp_path: Path) -> None:
    from soupstock.runs.prune import Pruning, prune

    steps = (
        "  - filter: [{length: {column: answer, min: 2}}]\n  - {review: file, columns: [answer]}\n"
    )
    folder.write("pipelines/mine.yaml", f"source: {{file: rows.jsonl}}\nsteps:\n{steps}")
    rows = folder.write("rows.jsonl", '{"answer": "a"}\n{"answer": "abc"}\n')
    done = prune(Pruning(rows, tmp_path / "out.parquet"), Project(folder.root), "mine")
    assert [step.label for step in done.account.steps] == ["filter: length(answer)"]
    assert done.account.kept == 1


def test_the_manifest_reads_back_with_its_review(folder: Folder, server: Server) -> None:
    run = with_review(folder).run()
    assert manifest.read(run.folder).review == run.manifest.review
    assert server.count == 60
