"""Reasoning and cached tokens, from a server's reply to the dataset, the manifest and the card."""

from conftest import Folder
from soupstock.testing import Reply, Request, Server

THINK = "  - generate: answer\n    reasoning: thoughts"


def thoughtful(request: Request) -> Reply:
    return Reply(f"Said {request.share():.4f}.", reasoning="step by step", cached=4)


def test_reasoning_gets_a_column_of_its_own_and_is_never_in_the_answer(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "  - generate: answer", THINK)
    tagged = Server(lambda request: f"<think>by tag</think>Said {request.share():.4f}.")
    for make, thought in ((Server(thoughtful), "step by step"), (tagged, "by tag")):
        with make as server:
            folder.point_at(server.base_url, revision=thought)
            rows = folder.run().rows
        assert rows["thoughts"].to_list() == [thought] * 20
        assert rows["answer"].str.starts_with("Said 0.").all()


def test_tokens_of_each_answer_are_a_column_as_the_server_counts_them(folder: Folder) -> None:
    counted = f"{THINK}\n    tokens: counts\n    n: 2"
    folder.replace("pipelines/mine.yaml", "  - generate: answer", counted)
    with Server(thoughtful) as server:
        folder.point_at(server.base_url)
        done = folder.run()
    counts = done.rows["counts"].to_list()
    assert all(len(both) == 2 and min(both) > 0 for both in counts)
    (step,) = (step for step in done.manifest.steps if step.label == "generate: answer")
    assert sum(map(sum, counts)) == step.tokens.completion


def test_without_reasoning_the_column_is_null_and_without_the_column_it_goes_nowhere(
    folder: Folder,
) -> None:
    with Server(thoughtful) as server:
        folder.point_at(server.base_url)
        assert "step by step" not in str(folder.run().rows.to_dicts())
    folder.replace("pipelines/mine.yaml", "  - generate: answer", THINK)
    with Server() as server:
        folder.point_at(server.base_url, revision="2")
        assert folder.run().rows["thoughts"].null_count() == 20


def test_each_of_several_answers_has_its_own_reasoning(folder: Folder) -> None:
    folder.replace("pipelines/mine.yaml", "  - generate: answer", f"{THINK}\n    n: 3")
    with Server(
        lambda request: Reply(f"{request.share()}", reasoning=f"so {request.share()}")
    ) as server:
        folder.point_at(server.base_url)
        row = folder.run().rows.row(0, named=True)
    assert row["thoughts"] == [f"so {answer}" for answer in row["answer"]]
    assert len(set(row["answer"])) == 3


def test_an_answer_that_ended_while_the_model_was_thinking_says_so(folder: Folder) -> None:
    with Server(lambda _: Reply("", "length", reasoning="and then, and then")) as server:
        folder.point_at(server.base_url)
        run = folder.run()
    assert "while it still was thinking" in run.manifest.steps[0].failures[0].example


def test_cached_tokens_and_their_price_are_traced_from_the_reply_to_the_card(
    folder: Folder,
) -> None:
    prices = {"input_price": 2.0, "cached_price": 0.5, "output_price": 10.0}
    with Server(thoughtful) as server:
        folder.point_at(server.base_url, **prices)
        said = folder.run().manifest
    tokens = said.tokens
    assert tokens.cached == 4 * said.answers
    fresh = tokens.prompt - tokens.cached
    expected = (fresh * 2.0 + tokens.cached * 0.5 + tokens.completion * 10.0) / 1e6
    assert said.cost is not None
    assert abs(said.cost - expected) < 1e-9
    assert said.paid.cost == said.cost
    assert said.paid.servers[0].served == ("tester",)
