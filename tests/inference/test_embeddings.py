"""Texts into vectors, asked of a real server and kept in a real cache."""

import base64
import math
from pathlib import Path

import numpy as np
import orjson
import pytest
from clients import ask, opened

from soupstock.inference.call import Answer, Failure, Reply
from soupstock.inference.completion import read_embedding
from soupstock.inference.embeddings import EmbeddingForm, Vectors, vector_of
from soupstock.inference.servers.model import Model
from soupstock.testing import Server, error

TEXTS = ["a cat", "a dog", "a cat", "ein Käfer"]


async def asked(
    root: Path, server: Server, texts: list[str], *, stopped: bool = False, **settings: str
) -> list[Reply]:
    """Take what the cache has, and ask for the rest; the replies come in the texts' order."""
    model = Model("test", "tester", base_url=server.base_url, **settings)  # type: ignore[arg-type]
    calls = [EmbeddingForm(model).call(text) for text in texts]
    async with opened(root) as client:
        if stopped:
            client.stop(Failure("Interrupted", "the run was interrupted"))
        found: dict[bytes, Reply] = dict(client.found(calls))
        missing = [call for call in calls if call.key not in found]
        replies = await ask(client, missing) if missing else []
        found.update(zip((call.key for call in missing), replies, strict=True))
        return [found[call.key] for call in calls]


async def embedded(
    root: Path, server: Server, texts: list[str], *, stopped: bool = False, **settings: str
) -> Vectors:
    replies = await asked(root, server, texts, stopped=stopped, **settings)
    return np.stack([vector_of(reply) for reply in replies if isinstance(reply, Answer)])


async def test_each_text_gets_its_vector_and_is_asked_for_once(tmp_path: Path) -> None:
    with Server() as server:
        vectors = await embedded(tmp_path, server, TEXTS)
        assert server.count == 3
        again = await embedded(tmp_path, server, ["more", *reversed(TEXTS)])
        assert server.count == 4
    assert vectors.shape == (4, 64)
    assert math.isclose(float(np.linalg.norm(vectors[0])), 1, rel_tol=1e-6)
    assert (vectors[0] == vectors[2]).all()
    assert (vectors[0] != vectors[1]).any()
    assert (again[1:][::-1] == vectors).all()


async def test_another_revision_is_asked_anew(tmp_path: Path) -> None:
    with Server() as server:
        await embedded(tmp_path, server, TEXTS)
        await embedded(tmp_path, server, TEXTS, revision="2")
        assert server.count == 6


async def test_a_text_without_a_vector_says_why(tmp_path: Path) -> None:
    with Server() as server:
        server.fail(lambda _: error(400, "this model embeds nothing"))
        why = Failure("BadRequestError", "400: this model embeds nothing")
        assert await asked(tmp_path, server, TEXTS) == [why] * 4


async def test_what_the_cache_has_is_found_even_after_a_stop(tmp_path: Path) -> None:
    with Server() as server:
        vectors = await embedded(tmp_path, server, TEXTS)
        again = await embedded(tmp_path, server, TEXTS, stopped=True)
        assert (again == vectors).all()
        why = Failure("Interrupted", "the run was interrupted")
        assert await asked(tmp_path, server, ["new"], stopped=True) == [why]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"data":[]}', b'{"data":[{"embedding":[]}]}', b'{"data":[{"embedding":["x"]}]}'],
)
def test_a_reply_without_a_vector_is_no_embedding(body: bytes) -> None:
    with pytest.raises(ValueError, match="the reply is no embedding"):
        read_embedding(body)


def test_a_vector_is_read_as_numbers_or_as_base64() -> None:
    plain = read_embedding(orjson.dumps({"data": [{"embedding": [1.0, -0.5]}]}))
    packed = read_embedding(orjson.dumps({"data": [{"embedding": plain.text}]}))
    assert np.frombuffer(base64.b64decode(packed.text), "<f4").tolist() == [1.0, -0.5]
