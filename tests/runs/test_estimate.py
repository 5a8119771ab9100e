"""An estimate costs a few rows, which are not paid for again, and holds what a run then takes."""

import pytest

from conftest import Folder
from soupstock.runs.estimate import PROBE, estimate
from soupstock.testing import Request, Server, imitation


def lengths(request: Request) -> str:
    """Answer in texts of very different lengths, each by what is asked."""
    if "response_format" in request.body:
        return imitation.write(request.body, 0)
    return "word " * int(5 + 60 * request.share())


def test_the_intervals_hold_what_the_run_then_takes(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "rows: 20", "rows: 200")
    with Server(lengths) as server:
        folder.point_at(server.base_url, input_price=1.0, output_price=10.0)
        told = estimate(folder.plan())
        probed = server.count
        assert probed == told.found == 3 * PROBE
        paid = folder.run().manifest.paid
    assert told.calls.low <= paid.calls <= told.calls.high
    assert told.prompt_tokens.low <= paid.tokens.prompt <= told.prompt_tokens.high
    assert told.completion_tokens.low <= paid.tokens.completion <= told.completion_tokens.high
    assert told.cost is not None
    assert paid.cost is not None
    assert told.cost.low <= paid.cost <= told.cost.high
    assert told.seconds is not None
    assert told.seconds.low > 0
    # The interval is one: for each figure it says something.
    assert told.completion_tokens.high < 3 * told.completion_tokens.low


def test_the_rows_of_the_probe_are_not_paid_for_again(folder: Folder, server: Server) -> None:
    estimate(folder.plan())
    folder.run()
    assert server.count == 60


def test_what_trying_the_judge_takes_is_estimated_too(folder: Folder, server: Server) -> None:
    folder.replace("pipelines/mine.yaml", "    canaries: false\n", "")
    told = estimate(folder.plan())
    # Answers in the test are so short that none is cut off.
    run = folder.run()
    assert server.count - 3 * PROBE == run.manifest.paid.calls
    assert told.calls.low <= run.manifest.paid.calls <= told.calls.high
    assert run.manifest.paid.calls > 36 + 80
    assert estimate(folder.plan()).calls.high < 30


def test_with_everything_in_the_cache_nothing_is_left_to_do(folder: Folder, server: Server) -> None:
    kept = folder.run().manifest.kept
    server.forget()
    told = estimate(folder.plan())
    assert server.requests == []
    assert told.found == 60
    assert told.calls == (0, 0, 0)
    assert told.kept == (kept, kept, kept)


@pytest.mark.usefixtures("server")
def test_without_prices_the_cost_is_not_known(folder: Folder) -> None:
    assert estimate(folder.plan()).cost is None


@pytest.mark.usefixtures("server")
def test_a_target_is_estimated_by_the_yield_so_far(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "  rows: 20\n", "")
    folder.replace("pipelines/mine.yaml", "steps:", "target: 100\nsteps:")
    told = estimate(folder.plan())
    run = folder.run()
    assert run.manifest.kept == 100
    assert told.kept.median == 100
    assert told.calls.low <= run.manifest.paid.calls


def test_a_step_that_no_row_reaches_is_named(folder: Folder, server: Server) -> None:
    folder.replace(
        "pipelines/mine.yaml",
        "  - generate: answer",
        "  - filter: [length: {column: question, min: 100000}]\n  - generate: answer",
    )
    told = estimate(folder.plan())
    assert server.count == PROBE
    assert told.unknown == ("generate: answer", "judge: quality")


def test_each_judge_of_a_jury_is_estimated_at_its_own_price(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "judge: test}", "judge: test, dear: dear}")
    folder.replace("pipelines/mine.yaml", "model: judge\n", "model: [judge, dear]\n")
    with Server(lengths) as server:
        folder.point_at(server.base_url, input_price=0.0, output_price=0.0)
        settings = (folder.root / "pyproject.toml").read_text(encoding="utf-8")
        priced = settings.replace("test", "dear").replace("= 0.0", "= 5.0")
        folder.write("pyproject.toml", settings + priced)
        told = estimate(folder.plan())
        paid = folder.run().manifest.paid
    assert told.cost is not None
    assert paid.cost
    assert told.cost.low <= paid.cost <= told.cost.high


@pytest.mark.usefixtures("server")
def test_no_more_rows_are_expected_than_a_selection_keeps(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "  - dataset", "  - select: 12\n  - dataset")
    folder.replace("pipelines/mine.yaml", "rows: 20", "rows: 200")
    told = estimate(folder.plan())
    assert told.kept.high == folder.run().manifest.kept == 12
