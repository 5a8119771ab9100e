"""What a review step can say, and what is wrong with one."""

import pytest
from reviewing import with_review

from conftest import Folder
from soupstock.errors import MistakeError
from soupstock.steps.review import BoundReview


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("review: paper", "paper"),
        ("review: file\n    sample: 0", "sample"),
        ("review: file\n    vetoes: [keep]", "'keep' cannot be a veto: it is the answer"),
        ("review: file\n    columns: [answr]", "did you mean 'answer'?"),
        ("review: file\n    column: topic", "'topic' is not among the columns that people read"),
        (
            "review: file\n    columns: [answer, quality]\n    column: quality",
            "'quality' is not a column of texts",
        ),
        ("review: file\n    rubric: plane", "did you mean 'plain'?"),
        ("review: file\n    strategy: {stratified: topik}", "did you mean 'topic'?"),
        ("review: file\n    strategy: {stratified: quality.criteria}", "neither texts, numbers"),
        ("review: file\n  - review: file", "a pipeline can have only one review"),
    ],
)
def test_a_mistake_in_a_review_step_is_named_with_its_line(
    folder: Folder, step: str, said: str
) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    with_review(folder, step)
    with pytest.raises(MistakeError, match=r"mine\.yaml:\d+: ") as error:
        folder.plan()
    assert said in str(error.value)


def test_without_a_judge_people_are_told_what_they_are_asked_about(folder: Folder) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    start = "models: {writer: test}\nsource: {rows: 2, sample: {topic: [a]}}\nsteps:\n"
    generate = "  - {generate: answer, model: writer, prompt: ask2}\n"
    folder.write("prompts/ask2.md", "{{ topic }}")
    folder.write("pipelines/mine.yaml", f"{start}{generate}  - review: file\n")
    with pytest.raises(MistakeError, match="no columns are shown to people"):
        folder.plan()
    uncertain = "  - {review: file, columns: [answer], strategy: uncertain}\n"
    folder.write("pipelines/mine.yaml", f"{start}{generate}{uncertain}")
    with pytest.raises(MistakeError, match="`strategy: uncertain` needs a judge"):
        folder.plan()
    folder.write(
        "pipelines/mine.yaml", f"{start}{generate}  - {{review: file, columns: [answer]}}\n"
    )
    bound = folder.plan().steps[-1].bound
    assert isinstance(bound, BoundReview)
    asked = bound.reviewing
    assert (asked.subject, asked.corrected, asked.judge) == ("answer", "answer", None)


def test_the_threshold_is_what_the_filters_before_ask(folder: Folder) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    bound = with_review(folder, threshold=0.7).plan().steps[-2].bound
    assert isinstance(bound, BoundReview)
    asked = bound.reviewing
    assert (asked.threshold, asked.judge, asked.shown) == (0.7, "quality", ("question", "answer"))


def test_a_column_of_the_same_name_is_in_the_way(folder: Folder) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    with_review(folder)
    folder.replace("pipelines/mine.yaml", "    topic:", "    review: [a]\n    topic:")
    with pytest.raises(MistakeError, match="there is a column 'review' already"):
        folder.plan()


@pytest.mark.parametrize(
    "strategy", ["random", "uncertain", "{stratified: topic}", "{stratified: quality}"]
)
def test_every_strategy_plans_and_is_part_of_what_a_run_is(folder: Folder, strategy: str) -> None:
    folder.point_at("http://127.0.0.1:9/v1")
    plain = with_review(folder).plan().fingerprint
    plan = with_review(folder, f"review: file\n    strategy: {strategy}").plan()
    assert (plan.fingerprint == plain) == (strategy == "random")
