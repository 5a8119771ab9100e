"""Several people's answers to a text become one, by a rule; none is lost on the way."""

from pathlib import Path

import pytest

from soupstock.review.answers import (
    Conflicts,
    ReviewAnswer,
    ReviewAnswers,
    read_answers,
    write_answers,
)
from soupstock.review.figures import agreement_records
from soupstock.review.form import Form, FormReply, Option, Question, printable, read_reply


def said(verdict: str | None, annotator: str, when: str = "", **more: str) -> ReviewAnswer:
    return ReviewAnswer(key="k", annotator=annotator, verdict=verdict, when=when, **more)


@pytest.mark.parametrize(
    ("conflicts", "verdicts", "settled"),
    [
        ("majority", ["keep", "keep", "bad"], "keep"),
        ("majority", ["keep", "bad", "unsafe"], "bad"),
        ("majority", ["keep", "bad"], None),
        ("majority", ["unsafe", "bad", "unsafe"], "unsafe"),
        ("majority", [None], None),
        ("strictest", ["keep", "keep", "unsafe"], "unsafe"),
        ("strictest", ["keep", "keep"], "keep"),
        ("latest", ["bad", "keep"], "keep"),
        ("latest", ["keep", "unsafe"], "unsafe"),
    ],
)
def test_people_who_differ_are_settled_by_the_rule(
    conflicts: Conflicts, verdicts: list[str | None], settled: str | None
) -> None:
    given = tuple(said(v, f"p{n}", f"2026-01-0{n + 1}") for n, v in enumerate(verdicts))
    found = ReviewAnswers(given).settled(conflicts)["k"]
    assert found.verdict == settled
    assert found.people == len(verdicts)


def test_of_several_corrections_the_one_that_most_wrote_counts_and_else_the_last() -> None:
    ways = ["one", "two", "two", "three"]
    given = tuple(said("keep", f"p{n}", f"{n}", correction=w) for n, w in enumerate(ways))
    assert ReviewAnswers(given).settled("majority")["k"].correction == "two"
    assert ReviewAnswers(given[:2]).settled("majority")["k"].correction == "two"
    assert ReviewAnswers(given).settled("latest")["k"].correction == "three"


def test_a_row_that_is_dropped_is_not_corrected_too() -> None:
    given = (said("bad", "a"), said("bad", "b"), said("keep", "c", correction="better"))
    assert ReviewAnswers(given).settled("majority")["k"].correction is None


def test_a_person_who_answers_in_two_places_counts_once_with_the_last_word() -> None:
    given = (
        said("keep", "ann", "2", source="argilla:2"),
        said("bad", "ann", "1", source="argilla:1"),
    )
    found = ReviewAnswers(given).settled("majority")["k"]
    assert (found.people, found.verdict) == (1, "keep")


def test_what_is_fetched_anew_takes_the_place_of_what_was_fetched_from_there_alone() -> None:
    old = ReviewAnswers(
        (said("keep", "ann", source="argilla:1"), said("keep", "bob", source="file"))
    )
    fresh = old.updated([said("bad", "cid", source="argilla:1")], [("k", "argilla:1")])
    assert [one.annotator for one in fresh.given] == ["bob", "cid"]
    assert old.updated([], []) == old


def test_answers_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    answers = ReviewAnswers((said("keep", "ann\n", comment="\u2028 <b>\0", correction="x\r\ny"),))
    write_answers(tmp_path, "my/chat", answers)
    assert read_answers(tmp_path, "my/chat") == answers
    assert read_answers(tmp_path, "another") == ReviewAnswers()
    assert ReviewAnswers().content == ""
    assert answers.content != ReviewAnswers((said("bad", "ann\n"),)).content


def test_agreement_needs_two_people_who_read_the_same() -> None:
    def one(key: str, person: str, verdict: str) -> ReviewAnswer:
        return ReviewAnswer(key=key, annotator=person, verdict=verdict)

    alone = [one(f"{n}", "ann", "keep") for n in range(5)]
    apart = [*alone, *(one(f"{n}", "bob", "bad") for n in range(5, 9))]
    assert not list(agreement_records(alone))
    assert not list(agreement_records(apart))
    both = [
        one(f"{n}", person, "bad" if n % 2 else "keep") for n in range(20) for person in ("a", "b")
    ]
    alpha, kappa = agreement_records(both)
    for found in (alpha, kappa):
        assert found.value is not None
        assert found.value.estimate == 1


FORM = Form(
    (),
    (
        Question("verdict", "?", (Option("keep", "Keep"), Option("bad", "Drop: bad"))),
        Question(
            "criterion_1_kind", "?", (Option("1", "rude"), Option("2", "kind")), criterion="Kind"
        ),
        Question("correction", "?"),
        Question("comment", "?"),
    ),
)


def test_a_reply_is_read_by_values_or_words() -> None:
    for verdict, level in (("bad", "2"), ("Drop: bad", "kind"), (" bad ", " 2 ")):
        reply = FormReply("k", "ann", {"verdict": verdict, "criterion_1_kind": level, "other": "x"})
        found = read_reply(FORM, reply, None, "file")
        assert (found.verdict, found.criteria) == ("bad", {"Kind": "kind"})


@pytest.mark.parametrize("correction", ["a\nb", "a\r\nb\n", " a\nb", "a\nb "])
def test_a_text_that_was_left_as_it_was_is_no_correction(correction: str) -> None:
    reply = FormReply("k", "ann", {"correction": correction})
    assert read_reply(FORM, reply, "a\nb", "file").correction is None
    assert read_reply(FORM, reply, "a b", "file").correction == correction


def test_what_a_page_would_not_show_is_shown_and_half_characters_are_replaced() -> None:
    assert printable("a\0b\x1b[31m\tc\n") == "a␀b␛[31m\tc\n"
    assert printable("a\ud800b").encode()
    # Left as it was shown, such a text is not corrected.
    reply = FormReply("k", "ann", {"correction": "a␀b"})
    assert read_reply(FORM, reply, "a\0b", "file").correction is None
