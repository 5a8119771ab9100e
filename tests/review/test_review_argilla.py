"""What goes to Argilla and comes back, within its limits; and servers that misbehave."""

import asyncio
import html
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from soupstock.errors import MistakeError
from soupstock.review.argilla_api import Api, ArgillaSettings, RefusedError, find_settings
from soupstock.review.argilla_forms import record_body
from soupstock.review.form import FormRecord, Suggestion
from soupstock.review.tool import ReviewError

Answers = Callable[[int, str, str], tuple[int, str]]
"""Answers a request, by its number, method and path: a status and a text."""


@contextmanager
def answering(answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """Serve on loopback; yields the address and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.command} {self.path}")
            status, text = answers(len(asked), self.command, self.path)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - they are called so

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, method: str = "get") -> Any:
    async def asked() -> Any:
        async with Api(ArgillaSettings(url, "the-key")) as api:
            return await getattr(api, method)("me")

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (401, "{}", MistakeError, "does not know the key in ARGILLA_API_KEY"),
        (403, "{}", MistakeError, "use the key of an owner, or of an admin of the workspace"),
        (302, "", MistakeError, "redirects: set ARGILLA_API_URL"),
        (200, "<html>Welcome</html>", MistakeError, "is not an Argilla server"),
        (404, "<html>None</html>", RefusedError, "404 <html>None</html>"),
        (422, '{"detail": "bad \\u001b[31m"}', RefusedError, "422 bad \\x1b[31m"),
        (
            422,
            '{"detail": {"params": {"errors": [{"loc": ["body", 0], "msg": "no"}]}}}',
            RefusedError,
            "422 body.0: no",
        ),
    ],
)
def test_what_a_server_refuses_is_one_clear_line(
    status: int, text: str, kind: type[Exception], said: str
) -> None:
    with answering(lambda *_: (status, text)) as (url, asked):
        with pytest.raises(kind) as error:
            ask(url)
        assert said in str(error.value)
        assert "the-key" not in str(error.value)
        assert "\n" not in str(error.value)
        assert len(asked) == 1


@pytest.mark.parametrize("fault", [500, 503, 0])
def test_a_server_that_stumbles_once_is_asked_again(fault: int) -> None:
    with answering(lambda n, *_: (fault, "") if n == 1 else (200, '{"id": 1}')) as (url, asked):
        assert ask(url) == {"id": 1}
        assert len(asked) == 2


def test_what_cannot_be_asked_twice_is_asked_once() -> None:
    with answering(lambda *_: (500, "{}")) as (url, asked):
        with pytest.raises(RefusedError):
            ask(url, "post")
        assert asked == ["POST /api/v1/me"]


def test_a_server_that_is_away_is_one_line_too() -> None:
    with answering(lambda *_: (200, "{}")) as (url, _):
        pass
    with pytest.raises(ReviewError, match="does not answer"):
        ask(url)


def test_the_server_is_that_of_the_environment_or_the_one_that_was_started(
    tmp_path: Path,
) -> None:
    variables = {"ARGILLA_API_URL": "http://localhost:6900/", "ARGILLA_API_KEY": "k"}
    found = find_settings(variables | {"ARGILLA_WORKSPACE": "w"}, tmp_path)
    assert (found.url, found.key, found.workspace) == ("http://localhost:6900", "k", "w")
    assert "k" not in repr(found).replace("workspace", "")
    with pytest.raises(MistakeError, match="ARGILLA_API_KEY is missing"):
        find_settings({"ARGILLA_API_URL": "http://localhost:6900"}, tmp_path)
    with pytest.raises(MistakeError, match="make review"):
        find_settings({}, tmp_path)
    place = tmp_path / ".argilla"
    place.mkdir()
    (place / "key").write_text("own\n")
    said = {"url": "http://127.0.0.1:1", "user": "argilla", "key_file": str(place / "key")}
    (place / "server.json").write_text(json.dumps(said | {"password_file": "p"}))
    assert find_settings({}, tmp_path).key == "own"
    assert find_settings({}, tmp_path).details == {"user": "argilla", "password": "in p"}


@pytest.mark.parametrize(
    "url", ["127.0.0.1:6900", "ftp://x", "http://", "http://u:p@x", "http://["]
)
def test_an_address_that_is_none_is_a_mistake(url: str, tmp_path: Path) -> None:
    with pytest.raises(MistakeError, match="ARGILLA_API_URL"):
        find_settings({"ARGILLA_API_URL": url, "ARGILLA_API_KEY": "k"}, tmp_path)


def test_long_messages_are_taken_apart_and_nothing_of_them_is_lost() -> None:
    text = "<&>" * 30_000 + "end"
    turns = [{"role": "assistant", "content": text}, {"role": "a" * 30, "content": ""}]
    body = record_body(FormRecord("k", "r", {"chat": turns, "text": text}), {})
    *parts, last = body["fields"]["chat"]
    assert all(len(part["content"]) <= 20_000 for part in parts)
    assert html.unescape("".join(part["content"] for part in parts)) == text
    assert last == {"role": "other", "content": "(empty)"}
    assert html.unescape(body["fields"]["text"]) == text


def test_suggestions_keep_to_what_argilla_takes() -> None:
    given = (
        Suggestion("verdict", "keep", 1.2, "meta/llama (judge), été"),
        Suggestion("verdict", "keep", -0.1, "(?)"),
        Suggestion("unknown", "1"),
        Suggestion("correction", ""),
    )
    body = record_body(FormRecord("k", "r", {}, given), {"verdict": "q1", "correction": "q2"})
    first, second = body["suggestions"]
    assert first == {
        "question_id": "q1",
        "value": "keep",
        "type": "model",
        "agent": "meta/llama judge t",
        "score": 1.0,
    }
    assert "agent" not in second
    assert second["score"] == 0
