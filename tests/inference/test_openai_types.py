"""What is asked and answered has the form that the official library's types say."""

from typing import Any

import orjson
import pytest
from clients import model_at
from openai.types import Completion, CreateEmbeddingResponse, EmbeddingCreateParams
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming as ContinuationCreateParams,
)
from pydantic import TypeAdapter

from soupstock.inference.call import Call, CallForm
from soupstock.inference.completion import read_completion, read_continuation, read_embedding
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.servers.endpoint import MODES, Mode

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}
SAMPLING = {"max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "stop": ["END"]}
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
OWN = {"structured_outputs"}
"""Fields of vLLM's own."""


def held(call: Call, kind: Any) -> dict[str, Any]:
    """Hold a call's body against a type: all that it has is known there, and has its form."""
    body: dict[str, Any] = orjson.loads(call.body)
    assert body.keys() - OWN <= kind.__annotations__.keys()
    TypeAdapter(kind).validate_python(body, strict=True)
    return body


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length_field", ["max_tokens", "max_completion_tokens"])
def test_a_chat_is_asked_for_as_the_type_says(mode: Mode, length_field: str) -> None:
    model = model_at("http://test/v1", length_field=length_field, structured_output=mode)
    form = CallForm(model, SAMPLING, SCHEMA, top_logprobs=5)
    body = held(form.call(QUESTION, "row", attempt=1), CompletionCreateParamsNonStreaming)
    assert (body[length_field], body["top_logprobs"]) == (64, 5)
    assert len(body["messages"]) == 2


def test_a_text_is_completed_as_the_type_says() -> None:
    form = CallForm(model_at("http://test/v1"), SAMPLING)
    body = held(form.completion("Once upon", "row", stop="\n"), ContinuationCreateParams)
    assert body["stop"] == ["END", "\n"]


def test_a_text_is_embedded_as_the_type_says() -> None:
    assert held(EmbeddingForm(model_at("http://test/v1")).call("text"), EmbeddingCreateParams)


USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def test_an_answer_of_the_official_type_is_read() -> None:
    alternative = {"token": "7", "logprob": -0.1, "bytes": None}
    reply = ChatCompletion.model_validate(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "gpt",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "length",
                    "message": {"role": "assistant", "content": "7"},
                    "logprobs": {
                        "content": [alternative | {"top_logprobs": [alternative]}],
                        "refusal": None,
                    },
                }
            ],
            "usage": USAGE,
        }
    )
    answer = read_completion(reply.model_dump_json().encode())
    assert (answer.text, answer.finish, answer.served) == ("7", "length", "gpt")
    assert (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens) == (9, 4, 3)
    assert answer.numbers == [(0, [("7", -0.1)])]


def test_a_continuation_of_the_official_type_is_read() -> None:
    choice = {"index": 0, "finish_reason": "stop", "text": " a time", "logprobs": None}
    reply = Completion.model_validate(
        {
            "id": "c",
            "object": "text_completion",
            "created": 0,
            "model": "gpt",
            "choices": [choice],
            "usage": USAGE,
        }
    )
    answer = read_continuation(reply.model_dump_json().encode())
    assert (answer.text, answer.finish, answer.cached_tokens) == ("a time", "stop", 4)


def test_a_vector_of_the_official_type_is_read() -> None:
    reply = CreateEmbeddingResponse.model_validate(
        {
            "object": "list",
            "model": "embedder",
            "data": [{"object": "embedding", "index": 0, "embedding": [1.0, -0.5]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
    )
    answer = read_embedding(reply.model_dump_json().encode())
    assert (answer.prompt_tokens, answer.served) == (2, "embedder")
