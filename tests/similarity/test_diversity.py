"""A dataset that collapsed is told in plain words, and one that did not is left in peace."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_rows import pipeline, texts

from conftest import Folder
from soupstock.similarity.cosine import Vectors
from soupstock.similarity.diversity import (
    MIN_TEXTS,
    CommonPhrase,
    commonest,
    compression,
    distinct,
    diversity,
    effective_number,
    vendi,
)
from soupstock.testing import Request, Server, imitation


def prose(count: int, seed: int = 0) -> list[str]:
    """Write texts of made-up words, whose frequencies are about those of a language."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    letters = "etaoinshrdlucmfw"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(3000)]
    weights = [1 / (n + 3) for n in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=draw.randint(40, 90))) for _ in range(count)]


def alarms(some: Sequence[str], repeats: float = 0.0) -> str:
    return "; ".join(diversity(some, repeats).alarms())


@pytest.mark.parametrize("count", [MIN_TEXTS, 100, 1000])
def test_texts_that_differ_raise_no_alarm(count: int) -> None:
    assert alarms(prose(count)) == ""


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_templated_openings_are_told_with_their_words(share: float) -> None:
    some = prose(200)
    some[: int(200 * share)] = [f"Certainly! Here is {text}" for text in some[: int(200 * share)]]
    assert f"{share:.0%} of the texts begin with “certainly! here is”" in alarms(some)


def test_a_phrase_that_many_texts_end_with_is_told_once() -> None:
    some = [f"{text} I hope this helps you today" for text in prose(100)]
    assert alarms(some) == "100% of the texts contain “I hope this helps you today”"
    some = [f"Sure, here is all you need: {text}" for text in prose(100)]
    assert "say" not in alarms(some)


def test_a_few_answers_over_and_over_are_told() -> None:
    few = prose(4)
    said = alarms([few[n % 4] for n in range(400)], repeats=0.99)
    assert "99% of the texts are near-duplicates of another one" in said
    assert "times smaller" in said
    assert "400 texts are as diverse as" in said


def test_too_few_texts_raise_no_alarm() -> None:
    assert alarms(["The same text as before."] * (MIN_TEXTS - 1)) == ""


def test_an_opening_is_the_first_words_of_more_than_these() -> None:
    found = diversity(["One two three four", "one two THREE five", "one two three", "six"])
    assert found.opening == CommonPhrase("one two three", 0.5)


def test_a_phrase_counts_once_for_each_text() -> None:
    twice = "a b c d e f, a b c d e f"
    found = diversity([twice, "x A B c d e F y", "nothing of that kind at all here"])
    assert found.phrase == CommonPhrase("a b c d e f,", 2 / 3)
    assert diversity([twice, "nothing of that kind at all here"]).phrase == CommonPhrase("", 0.0)


def test_distinct_words_are_a_share_of_all() -> None:
    some = ["the cat saw the dog", "The dog"]
    assert distinct(some, 1) == 4 / 7
    assert distinct(some, 2) == 4 / 5
    assert distinct(some, 9) == distinct([], 1) == 1.0


def test_what_repeats_is_packed_smaller() -> None:
    assert compression([]) == 1.0
    assert compression(["a" * 5000]) > 50
    noise = random.Random(0).randbytes(3000).hex()  # noqa: S311 - no secret
    assert compression([noise]) < 2


def test_the_vendi_score_counts_what_has_nothing_in_common() -> None:
    axes = np.eye(8, dtype=np.float32).repeat(5, axis=0)
    # What they have in common takes one direction away.
    assert vendi(axes) == pytest.approx(7, rel=0.01)
    one = np.tile(np.array([[1, 2, 3]], np.float32), (20, 1))
    assert vendi(one) == pytest.approx(1, abs=1e-6)
    assert vendi(np.zeros((4, 3), np.float32)) == vendi(np.empty((0, 3), np.float32)) == 0.0


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_texts_makes_no_difference(rng: random.Random) -> None:
    some = [*prose(20), "", "!", "é 日本 é"]
    shuffled = list(some)
    rng.shuffle(shuffled)
    one, other = diversity(some), diversity(shuffled)
    assert one._replace(vendi=0) == other._replace(vendi=0)
    assert one.vendi == pytest.approx(other.vendi)


def test_how_many_equally_frequent_values_are_as_diverse() -> None:
    assert effective_number([5, 5, 5, 5]) == pytest.approx(4)
    assert effective_number([1000, 0]) == pytest.approx(1)
    assert 1 < effective_number([9, 1]) < 2
    assert effective_number([]) == 0.0
    assert commonest(["b", "a", ""], 4) == CommonPhrase("a", 0.25)


def test_given_vectors_are_compared_and_not_the_words() -> None:
    vectors: Vectors = np.eye(4, dtype=np.float32)
    assert diversity(["same words"] * 4, vectors=vectors).vendi > 2


def test_a_run_says_what_looks_collapsed_in_summary_card_and_report(
    folder: Folder, server: Server
) -> None:
    def answer(request: Request) -> str:
        if request.prompt.startswith("Ask") or "response_format" in request.body:
            return imitation.write(request.body, 0)
        return f"Sure! Here is <b>what</b> I know of it, {len(request.prompt)} times over."

    server.answer = answer
    folder.replace("pipelines/mine.yaml", "rows: 20", "rows: 120")
    run = folder.run()
    question, reply = run.manifest.diversity
    assert (question.column, reply.column) == ("question", "answer")
    assert reply.alarms[0] == "100% of the texts begin with “sure! here is”"
    (topic, style) = run.manifest.topics
    assert (topic.column, topic.values) == ("topic", 4)
    assert 1 < style.kept <= style.values + 1e-9
    assert 1 < topic.kept <= topic.values + 1e-9
    card = (run.folder / "dataset" / "README.md").read_text(encoding="utf-8")
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    for page in (card, report):
        assert "100% of the texts begin with" in page
    assert "<b>what" not in report


def test_rows_that_were_dropped_do_not_count(folder: Folder) -> None:
    pipeline(
        folder, "  - dedup: text\n", texts(*["The very same text again."] * 50, "Another one.")
    )
    (record,) = folder.run().manifest.diversity
    assert (record.texts, record.repeats, record.alarms) == (2, 0.0, ())
