"""One row's history is read from its run alone, even if files have changed since."""

import json

import polars as pl
import pytest
from click.testing import CliRunner, Result

from conftest import Folder
from soupstock.cli.main import main
from soupstock.errors import MistakeError
from soupstock.inference.budget import Budget
from soupstock.project.project import Project
from soupstock.reports.filter_figures import figures_of
from soupstock.reports.life import Life, explain
from soupstock.runs.run import Run
from soupstock.testing import Request, Server, imitation

HOSTILE = "\x1b[2Jclean \u202ebidi <script>alert(1)</script>\r\n[bold]rich[/bold] **md**"
FILTERS = """\
  - filter:
      - length: {column: answer, min: 5, max: 2000}
      - short: {column: answer}
"""
SHORT = "import polars as pl\n\n\ndef short(column: str, most: int = 9000) -> pl.Expr:\n    "


def life_of(folder: Folder, row_id: str, name: str = "mine") -> Life:
    return explain(Project(folder.root), name, row_id)


def ids(run: Run, keep: pl.Expr) -> list[str]:
    return run.rows.filter(keep)["id"].to_list()


IS_KEPT = pl.col("dropped_by").list.len() == 0


@pytest.fixture
def run(folder: Folder, server: Server) -> Run:  # noqa: ARG001 - it must be up
    return folder.run()


def test_a_kept_rows_life_has_a_chapter_for_each_step(folder: Folder, run: Run) -> None:
    (row_id, *_) = ids(run, IS_KEPT)
    life = life_of(folder, row_id)
    assert life.row["id"] == row_id
    assert life.source == {name: life.row[name] for name in ("topic", "style")}
    ask, reply, judge, filters, dataset = life.chapters
    assert ask.title == "generate: question"
    assert ask.model == "tester"
    assert ask.messages == [
        {"role": "user", "content": f"Ask about {life.row['topic']}, {life.row['style']}."}
    ]
    assert ask.value == life.row["question"]
    assert [message["role"] for message in reply.messages] == ["system", "user"]
    assert reply.messages[1]["content"] == life.row["question"]
    assert "rude" in judge.messages[0]["content"]
    assert life.row["answer"] in judge.messages[-1]["content"]
    assert judge.value == life.row["quality"]
    score = life.row["quality"]["score"]
    assert filters.value == {"score(quality)": f"keeps it: {score:.3g} (min=0.5)"}
    assert dataset.title == "dataset: me/mine"
    assert not any(chapter.reasons or chapter.failures for chapter in life.chapters)
    assert life.twin is None


def test_a_dropped_rows_life_ends_with_the_step_that_dropped_it_and_its_figure(
    folder: Folder, run: Run
) -> None:
    (row_id, *_) = ids(run, ~IS_KEPT)
    life = life_of(folder, row_id)
    last = life.chapters[-1]
    score = life.row["quality"]["score"]
    assert last.reasons == ["filter: score(quality)"]
    assert last.value == {"score(quality)": f"drops it: {score:.3g} (min=0.5)"}


def test_every_row_of_a_run_is_found_by_its_id_and_by_the_beginning_of_its_id(
    folder: Folder, run: Run
) -> None:
    every = run.rows["id"].to_list()
    for row_id in every:
        assert life_of(folder, row_id).row["id"] == row_id
    lone = next(i for i in every if sum(other.startswith(i[:6]) for other in every) == 1)
    assert life_of(folder, lone[:6]).row["id"] == lone


def test_a_twin_is_shown_beside_the_row(folder: Folder) -> None:
    def answer(request: Request) -> str:
        return (
            "What should one know before the winter?"
            if request.prompt.startswith("Ask")
            else imitation.write(request.body, 0)
        )

    folder.replace(
        "pipelines/mine.yaml", "  - generate: answer", "  - dedup: question\n  - generate: answer"
    )
    with Server(answer) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    repeats = ids(run, pl.col("twin").is_not_null())
    assert len(repeats) == 19
    life = life_of(folder, repeats[-1])
    assert life.twin is not None
    assert life.twin["id"] == life.row["twin"]
    assert life.chapters[-1].reasons == ["dedup: question"]
    assert life.chapters[-1].value == {"similarity": 1.0}


def test_a_row_that_no_prompt_fits_is_shown_with_its_failure(
    folder: Folder, server: Server
) -> None:
    folder.replace(
        "prompts/reply.md", "{{ question }}", "{{ question }} {{ 1 / (topic | length - 6) }}"
    )
    run = folder.run()
    (row_id, *_) = ids(run, pl.col("answer").is_null())
    life = life_of(folder, row_id)
    last = life.chapters[-1]
    assert last.title == "generate: answer"
    assert last.messages == ()
    assert last.value is None
    (failure,) = last.failures
    assert failure == (
        "PromptError",
        "reply:4: the prompt cannot be rendered: division by zero",
    )
    assert last.reasons == ["generate: answer failed"]
    assert server.count > 0


def test_a_failed_verdict_is_shown_and_is_not_a_score(folder: Folder) -> None:
    def answer(request: Request) -> str:
        is_judge = "response_format" in request.body
        return "I cannot say." if is_judge else imitation.write(request.body, 0)

    with Server(answer) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    life = life_of(folder, run.rows["id"][0])
    judge, filters = life.chapters[2:4]
    assert judge.value is None
    cause, message = judge.failures[0]
    assert cause == "Unreadable"
    assert message.startswith("the reply is no JSON object")
    assert filters.value == {"score(quality)": "drops it: None (min=0.5)"}


def test_a_row_that_a_budget_stopped_says_so(folder: Folder, server: Server) -> None:
    run = folder.run(budget=Budget(max_calls=25))
    assert server.count == 25
    stopped = ids(run, pl.col("dropped_by").list.first().str.starts_with("stopped"))
    life = life_of(folder, stopped[-1])
    assert any("stopped: Budget" in chapter.reasons for chapter in life.chapters)


def test_prompts_and_rubrics_are_shown_as_they_were(folder: Folder, run: Run) -> None:
    (row_id, *_) = ids(run, IS_KEPT)
    before = life_of(folder, row_id)
    folder.write("prompts/ask.md", "Something else.")
    folder.write("prompts/rubrics/plain.yaml", "broken: [")
    (folder.root / "prompts/reply.md").unlink()
    (folder.root / "pipelines/mine.yaml").unlink()
    assert life_of(folder, row_id) == before


def test_a_filter_that_is_another_by_now_is_not_asked(folder: Folder, server: Server) -> None:
    folder.write("filters/own.py", SHORT + "return pl.col(column).str.len_chars() < most\n")
    folder.replace("pipelines/mine.yaml", "  - dataset", FILTERS + "  - dataset")
    run = folder.run()
    assert server.count
    (row_id, *_) = ids(run, IS_KEPT)
    value = life_of(folder, row_id).chapters[4].value
    length = len(life_of(folder, row_id).row["answer"])
    assert value == {
        "length(answer)": f"keeps it: {length} (min=5, max=2000)",
        "short(answer)": f"keeps it: {length} (no limits)",
    }
    folder.write("filters/own.py", SHORT + "return pl.col(column).is_null()\n")
    assert life_of(folder, row_id).chapters[4].value == {
        "length(answer)": f"keeps it: {length} (min=5, max=2000)",
        "short": "(its file has changed since the run)",
    }
    # What is broken by now, or was never of the run, hides nothing of the others.
    folder.write("filters/own.py", "raise ValueError")
    folder.write("filters/new.py", SHORT.replace("short", "length") + "raise ValueError\n")
    assert life_of(folder, row_id).chapters[4].value == {
        "length(answer)": f"keeps it: {length} (min=5, max=2000)",
        "short": "(its file has changed since the run)",
    }


def test_a_filter_that_is_the_same_and_cannot_be_imported_any_more_says_why(
    folder: Folder, server: Server
) -> None:
    folder.write("filters/_limits.py", "MOST = 9000\n")
    folder.write(
        "filters/own.py",
        "from ._limits import MOST\n" + SHORT + "return pl.col(column).str.len_chars() < MOST\n",
    )
    folder.replace("pipelines/mine.yaml", "  - dataset", FILTERS + "  - dataset")
    run = folder.run()
    assert server.count
    (row_id, *_) = ids(run, IS_KEPT)
    assert life_of(folder, row_id).chapters[4].value["short(answer)"].startswith("keeps it: ")
    folder.write("filters/_limits.py", "raise ValueError\n")
    value = life_of(folder, row_id).chapters[4].value
    assert value["short"].startswith("(it can no longer be applied: ")


def test_a_typed_answer_and_several_answers_are_shown_in_full(
    folder: Folder, server: Server
) -> None:
    folder.replace("pipelines/mine.yaml", "prompt: ask", "prompt: ask\n    n: 3")
    folder.replace("prompts/reply.md", "{{ question }}", "{{ question | join('; ') }}")
    run = folder.run()
    assert server.count
    life = life_of(folder, run.rows["id"][0])
    assert len(life.chapters[0].value) == 3
    assert life.chapters[1].messages[1]["content"] == "; ".join(life.row["question"])


def mistake_of(folder: Folder, row_id: str, name: str = "mine") -> str:
    with pytest.raises(MistakeError) as caught:
        life_of(folder, row_id, name)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_row_that_cannot_be_explained_is_an_error_of_one_line(folder: Folder, run: Run) -> None:
    assert mistake_of(folder, "zz") == "no row has an id that begins with 'zz'"
    assert mistake_of(folder, "\x1b[2J") == "no row has an id that begins with '\\x1b[2J'"
    assert mistake_of(folder, "").startswith("several rows have an id that begins with '': ")
    assert mistake_of(folder, "0", "chat") == "chat has not been run yet: soupstock run chat"
    assert mistake_of(folder, "0", "mnie") == "no pipeline is called 'mnie'; did you mean 'mine'?"
    row_id = run.rows["id"][0]
    manifest = run.folder / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    for broken in ("", "{}", text[:100], json.dumps(json.loads(text) | {"pipeline": {}})):
        manifest.write_text(broken, encoding="utf-8")
        assert mistake_of(folder, row_id).endswith(
            "manifest.json: it was not made by this version of soupstock; run the pipeline again"
        )
    manifest.write_text(text, encoding="utf-8")
    (run.folder / "rows.parquet").write_bytes(b"PAR1")
    assert "rows.parquet: the run's rows cannot be read: " in mistake_of(folder, row_id)
    (run.folder / "rows.parquet").unlink()
    assert "rows.parquet: the run's rows cannot be read: " in mistake_of(folder, row_id)


def shown(folder: Folder, row_id: str) -> Result:
    return CliRunner().invoke(main, ["--project", str(folder.root), "explain", "mine", row_id])


def test_hostile_text_is_shown_without_control_characters_and_without_markup(
    folder: Folder,
) -> None:
    def answer(request: Request) -> str:
        verdict = {name: {"reason": HOSTILE, "level": 2} for name in ("right", "kind")}
        return json.dumps(verdict) if "response_format" in request.body else HOSTILE

    with Server(answer) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    result = shown(folder, run.rows["id"][0])
    assert result.exit_code == 0
    assert all(character.isprintable() or character == "\n" for character in result.output)
    assert "\\x1b[2Jclean \\u202ebidi <script>" in result.output
    assert "[bold]rich[/bold]" in result.output


def test_a_file_may_be_given_for_the_pipelines_name(folder: Folder, run: Run) -> None:
    row_id = run.rows["id"][0]
    assert life_of(folder, row_id, "pipelines/mine.yaml") == life_of(folder, row_id)


FRAME = pl.DataFrame({"a": ["four"], "n": [3], "tags": [["x", "y"]], "is_new": [None]})


@pytest.mark.parametrize(
    ("keep", "answer", "figures"),
    [
        (pl.col("n") > 2, True, ["3"]),
        (pl.col("a").str.len_chars().is_between(5, 9), False, ["4"]),
        ((pl.col("n") > 2) & ~(pl.col("a") == "four"), False, ["3", "'four'"]),
        (pl.col("is_new").cast(pl.Boolean), None, ["None"]),
        (pl.col("tags").list.len() < pl.col("n"), True, ["2", "3"]),
        (pl.all_horizontal(pl.col("n") > 1, pl.col("n") > 2), True, ["3", "3"]),
        (pl.col("tags").explode().is_in(["x"]).all() & (pl.col("n") == 3), False, ["3"]),
    ],
)
def test_a_condition_is_taken_apart_into_the_figures_that_it_compares(
    keep: pl.Expr, answer: object, figures: list[str]
) -> None:
    (seen,) = figures_of([keep], FRAME)
    assert seen.keeps is answer
    assert seen.figures == figures


def test_several_filters_are_asked_at_once() -> None:
    keeps = [pl.col("n") > 5, pl.col("a") == "four"]
    assert [(seen.keeps, seen.figures) for seen in figures_of(keeps, FRAME)] == [
        (False, ["3"]),
        (True, ["'four'"]),
    ]
    assert figures_of([], FRAME) == []
