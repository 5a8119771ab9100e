"""Texts into vectors, asked of a real server and kept in a real store."""

import base64
import math
from pathlib import Path

import numpy as np
import orjson
import pytest

from soupstock.errors import ModelError
from soupstock.inference.call import Failure
from soupstock.inference.client import Client
from soupstock.inference.completion import read_embedding
from soupstock.inference.embeddings import EmbeddingForm, Vectors, embed
from soupstock.inference.servers.model import Model
from soupstock.inference.servers.pool import Servers
from soupstock.inference.store import Store
from soupstock.testing import Server, error

TEXTS = ["a cat", "a dog", "a cat", "ein Käfer"]


async def embedded(
    root: Path, server: Server, texts: list[str], *, stopped: bool = False, **settings: str
) -> Vectors:
    model = Model("test", "tester", base_url=server.base_url, **settings)  # type: ignore[arg-type]
    async with (
        Store(root / "calls.sqlite") as store,
        Servers(root / "logs", print) as servers,
        Client(store, servers) as client,
    ):
        if stopped:
            client.stop(Failure("Interrupted", "the run was interrupted"))
        return await embed(EmbeddingForm(model), texts, client)


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


async def test_a_failure_says_which_model_and_why(tmp_path: Path) -> None:
    with Server() as server:
        server.fail(lambda _: error(400, "this model embeds nothing"))
        with pytest.raises(ModelError, match="test gave no vector: 400: this model embeds nothing"):
            await embedded(tmp_path, server, TEXTS)


async def test_what_the_store_has_is_there_even_after_a_stop(tmp_path: Path) -> None:
    with Server() as server:
        vectors = await embedded(tmp_path, server, TEXTS)
        again = await embedded(tmp_path, server, TEXTS, stopped=True)
        assert (again == vectors).all()
        with pytest.raises(ModelError, match="the run was interrupted"):
            await embedded(tmp_path, server, ["new"], stopped=True)


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
