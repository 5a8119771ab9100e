"""Batches and lists of models go through the official client, which says and shows nothing more."""

import subprocess
import sys

import pytest
from clients import model_at
from openai import types
from pydantic import TypeAdapter

from conftest import Folder, running
from soupstock import testing
from soupstock.inference.batch.ledger import Batch
from soupstock.inference.batch.provider import Provider
from soupstock.inference.openai_client import client, model_names
from soupstock.inference.retry import RequestError
from soupstock.inference.transport import Address
from soupstock.testing import Server

KEY, HEADER = "sk-planted-4711-key", "planted-0815-header"
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-planted-other",
    "OPENAI_ADMIN_KEY": "sk-planted-admin",
    "OPENAI_ORG_ID": "planted-organisation",
    "OPENAI_PROJECT_ID": "planted-project",
    "OPENAI_CUSTOM_HEADERS": "X-Planted: planted-custom",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_LOG": "debug",
}


@pytest.fixture
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def address(base_url: str, key: str | None = None, timeout: float = 30.0) -> Address:
    headers = {"X-Secret": HEADER}
    return Address.of(model_at(base_url, headers=headers, timeout=timeout), base_url, key)


def test_a_run_without_batches_does_not_import_the_openai_library() -> None:
    code = "import soupstock.runs.run, soupstock.runs.survey, sys; print(*sys.modules)"
    ended = subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(ended.stdout.split())
    assert "soupstock.inference.batch.batch_queue" in loaded
    assert not loaded & {"openai", "httpx2"}


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize("key", [KEY, None])
async def test_a_server_gets_its_own_key_and_headers_and_nothing_of_the_environment(
    key: str | None,
) -> None:
    with Server(api_key=key) as server:
        provider = Provider(address(server.base_url, key))
        line = b'{"custom_id":"00","method":"POST","url":"/v1/embeddings","body":{"input":"a"}}\n'
        file = await provider.upload("calls.jsonl", line)
        made = await provider.create(file, "embeddings")
        assert await provider.find(file) == made
        await provider.progress(Batch(file, made, provider.name, "tester", frozenset()))
        (request,) = server.requests
        await provider.close()
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert sent.get("authorization") == (f"Bearer {KEY}" if key else None)
    assert sent["x-secret"] == HEADER
    assert "planted" not in str({**sent, "authorization": "", "x-secret": ""})
    assert set(sent) == {"host", "accept", "accept-encoding", "connection", "user-agent"} | {
        *("x-secret", "x-stainless-retry-count", "x-stainless-read-timeout"),
        *(["authorization"] if key else []),
    }


@pytest.mark.usefixtures("_planted")
def test_nothing_that_a_run_by_batches_says_or_logs_holds_a_secret(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    with Server(api_key=KEY) as server:
        folder.point_at(server.base_url, mode="batch", poll=0.01, api_key_env="PLANTED_KEY")
        settings = folder.root / "pyproject.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(f'{text}headers = {{ X-Secret = "{HEADER}" }}\n', encoding="utf-8")
        with running(folder) as process:
            said = "".join(process.communicate())
            assert process.returncode == 0, said
    assert "openai._base_client" in said
    assert "planted-" not in said
    files = [path for path in (folder.root / "runs").rglob("*") if path.is_file()]
    assert not [path for path in files if b"planted-" in path.read_bytes()]


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (testing.silence(), "APITimeoutError"),
        (testing.reset(), "APIConnectionError"),
        (testing.garbage(), "APIResponseValidationError"),
        (testing.misshapen(), "APIResponseValidationError"),
        (testing.error(500), "InternalServerError"),
        (testing.error(429), "RateLimitError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_goes_wrong_is_a_trouble_with_the_name_that_it_has_for_a_row(
    reply: testing.Reply, cause: str
) -> None:
    with Server() as server:
        server.batches.fail(lambda _: reply)
        seconds = 0.3 if cause == "APITimeoutError" else 30.0
        provider = Provider(address(server.base_url, timeout=seconds))
        batch = Batch("file", "batch", provider.name, "tester", frozenset())
        with pytest.raises(RequestError) as raised:
            await provider.progress(batch)
        await provider.close()
    assert raised.value.failure.cause == cause
    assert raised.value.is_passing
    assert not raised.value.is_unreachable


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(RequestError, match=r"nothing answers at http://127.0.0.1:9/v1") as raised:
        await model_names(address("http://127.0.0.1:9/v1"))
    assert raised.value.is_unreachable
    assert raised.value.failure.cause == "APIConnectionError"


async def test_an_error_that_echoes_the_key_is_shown_without_it() -> None:
    with Server() as server:
        server.batches.fail(lambda _: testing.error(401, f"I do not like {KEY} and {HEADER}"))
        provider = Provider(address(server.base_url, KEY))
        with pytest.raises(RequestError) as raised:
            await provider.find("file")
        await provider.close()
    assert raised.value.is_rejection
    assert raised.value.failure.message == "401: I do not like [key] and [key]"


async def test_the_imitation_of_a_batch_api_speaks_as_the_official_types_say() -> None:
    with Server() as server:
        one = client(address(server.base_url))
        async with one:
            file = await one.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
            made = await one.batches.create(
                input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
            )
            server.batches.hold()
            looked = await one.batches.retrieve(made.id)
            listed = [batch async for batch in one.batches.list()]
            models = (await one.models.list()).data
    for reply in (file, made, looked, *listed, *models):
        TypeAdapter(type(reply)).validate_python(reply.model_dump(exclude_unset=True))
    assert isinstance(listed[0], types.Batch)


async def test_the_imitation_lists_batches_page_by_page_and_the_newest_first() -> None:
    with Server() as server:
        async with client(address(server.base_url)) as one:
            file = await one.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
            made = [
                await one.batches.create(
                    input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
                )
                for _ in range(7)
            ]
            page = await one.batches.list(limit=3)
            assert [batch.id for batch in page.data] == [batch.id for batch in made[:3:-1]]
            assert page.has_more
            listed = [batch.id async for batch in one.batches.list(limit=3)]
    assert listed == [batch.id for batch in made[::-1]]
