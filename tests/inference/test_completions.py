"""What is read of a server's answer: text, reasoning, tokens, and what could have stood there."""

import math
from collections.abc import Mapping

import orjson
import pytest

from soupstock.inference.call import Answer, decode, encode
from soupstock.inference.completion import read_completion, split_reasoning
from soupstock.testing.imitation import completion


def body(message: Mapping[str, object], **choice: object) -> bytes:
    return orjson.dumps({"choices": [{"message": message, **choice}]})


def token(text: str, *others: tuple[str, float], raw: bytes | None = None) -> dict[str, object]:
    top = [{"token": other, "logprob": math.log(chance)} for other, chance in others]
    told = {} if raw is None else {"bytes": list(raw)}
    return {"token": text, "logprob": -0.1, "top_logprobs": top, **told}


def test_reasoning_is_kept_apart_from_the_answer() -> None:
    answer = read_completion(body({"content": "Four.", "reasoning_content": "2 + 2"}))
    assert (answer.text, answer.reasoning) == ("Four.", "2 + 2")


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ("<think>2 + 2</think>\n\nFour.", "Four.", "2 + 2"),
        ("\n<think>\n2 + 2\n</think>Four.", "Four.", "2 + 2"),
        ("2 + 2\n</think>\nFour.", "Four.", "2 + 2"),
        ("<think>2 + 2, and then", "", "2 + 2, and then"),
        ("<think>\n\n</think>\n\nFour.", "Four.", None),
        ("Write <think> before it and </think> after it.", None, None),
        ("No tags at all.", None, None),
    ],
)
def test_think_tags_at_the_beginning_are_reasoning_and_those_in_a_text_are_text(
    content: str, text: str | None, reasoning: str | None
) -> None:
    assert split_reasoning(content) == (content if text is None else text, reasoning)


def test_tokens_that_the_server_had_in_its_cache_are_counted() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
    answer = read_completion(completion(asked, "Yes.", cached=64))
    assert (answer.cached_tokens, answer.prompt_tokens) == (64, 104)


def test_alternatives_are_kept_where_the_text_has_a_number_and_nowhere_else() -> None:
    text = '{"reason": "grün", "level": 3}'
    pieces = [
        token('{"reason": "gr'),
        token("�", raw=b"\xc3"),
        token("�", raw=b"\xbc"),
        token('n", "level":'),
        token(" 3", (" 3", 0.75), (" 2", 0.25)),
        token("}"),
        token("<|im_end|>"),
    ]
    answer = read_completion(body({"content": text}, logprobs={"content": pieces}))
    assert answer.numbers is not None
    ((place, alternatives),) = answer.numbers
    assert text[place] == "3"
    assert [name for name, _ in alternatives] == [" 3", " 2"]
    assert math.exp(alternatives[1][1]) == pytest.approx(0.25)


def test_the_reasoning_has_tokens_too_and_they_are_not_taken_for_the_texts() -> None:
    pieces = [token("1"), token("</think>"), token("\n\n"), token("2", ("2", 1.0))]
    message = {"content": "2", "reasoning_content": "1"}
    answer = read_completion(body(message, logprobs={"content": pieces}))
    assert answer.numbers == [(0, [("2", 0.0)])]


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": [token("else")]}])
def test_without_log_probabilities_of_the_text_there_are_no_alternatives(logprobs: object) -> None:
    assert read_completion(body({"content": "3"}, logprobs=logprobs)).numbers is None


def test_an_answer_comes_back_from_the_store_as_it_was() -> None:
    told = Answer("3", "stop", 5, 1, "so", "m-1", 2, [(0, [("3", -0.5), ("2", -1.0)])])
    again = decode(encode(told))
    assert orjson.dumps(tuple(again)) == orjson.dumps(tuple(told))
    assert again[:7] == told[:7]
