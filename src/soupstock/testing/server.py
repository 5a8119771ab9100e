"""The test server: a thread with an event loop, its behaviour, and its command line."""

import argparse
import asyncio
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import orjson
from aiohttp import web

from soupstock.testing.batches import Batches
from soupstock.testing.imitation import (
    completion,
    continuation,
    embeddings,
    streamed,
    write,
)
from soupstock.testing.replies import (
    Answer,
    Reply,
    Request,
    When,
    between,
    error,
    refused,
    unauthorized,
    unknown_model,
    unsupported,
)


class Server:
    """A model server in a thread of its own; use it in a `with` statement.

    `answer` says what to answer and `delay` after how many seconds (a number, or a function of the
    request); `seed` changes the texts that are written without `answer`. With `api_key` requests
    must carry that key, with `models` they must name one of those. `capacity` is how many requests
    are held at once, before further ones are refused; set it at any time. `ignores` and `refuses`
    name fields of a request's body (`response_format`, `logprobs`, `seed`): without `answer`, the
    first are as if they were not there; what holds one of the second gets a 400. `record=False`
    keeps no requests, for benchmarks.
    """

    def __init__(  # noqa: PLR0913 - each is one thing a server can be told
        self,
        answer: Answer | None = None,
        *,
        delay: float | Callable[[Request], float] = 0.0,
        capacity: int | None = None,
        api_key: str | None = None,
        models: Sequence[str] | None = None,
        ignores: Collection[str] = (),
        refuses: Collection[str] = (),
        seed: int = 0,
        record: bool = True,
        port: int = 0,
    ) -> None:
        self.answer = answer or (lambda request: write(self._heeded(request), seed))
        self.delay = delay
        self.capacity = capacity
        self.listing: bytes | None = None
        """What it says of its models, in place of a list of them."""
        self.count = 0
        """How many requests for answers or embeddings came in."""
        self.in_flight = 0
        self.max_in_flight = 0
        self.refusals = 0
        """How many requests were refused because of `capacity`."""
        self._api_key = api_key
        self._models = models
        self._ignores = frozenset(ignores)
        self._refuses = frozenset(refuses)
        self._seed = seed
        self._record = record
        self._port = port
        self._failures: list[When] = []
        self._requests: list[Request] = []
        self.batches = Batches(self._carried_out)
        """What it holds of its batch API; `server.batches.hold()` lets no batch end."""
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="testing server", daemon=True)

    @property
    def base_url(self) -> str:
        """Where it answers, as clients of the OpenAI protocol want it: with `/v1`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def requests(self) -> list[Request]:
        """The requests for answers or embeddings so far, in the order they came."""
        with self._lock:
            return list(self._requests)

    def fail(self, when: When) -> None:
        """Fail the requests for which `when` returns a reply; the first told is asked first."""
        self._failures.append(when)

    def forget(self) -> None:
        """Fail no more, and forget the requests so far; `count` goes on."""
        self._failures.clear()
        with self._lock:
            self._requests.clear()
            self.max_in_flight = self.in_flight

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._broken is not None:
            raise self._broken
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer nothing more, from any thread; when it returns, all connections are closed."""
        if self._loop is not None and self._stopping is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self.serve(lambda _: self._started.set()))
        except OSError as error:
            self._broken = error
            self._started.set()
        finally:
            self._loop = None

    async def serve(self, ready: Callable[[str], object]) -> None:
        """Serve in the running event loop, until it is stopped; `ready` is given the base_url."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port, backlog=4096).start()
            self._port = runner.addresses[0][1]
            ready(self.base_url)
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        path = http.path
        match http.method, path:
            case "POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings":
                pass
            case _, _ if path.startswith(("/v1/files", "/v1/batches")):
                if self._is_stranger(http.headers):
                    return _response(unauthorized(), unauthorized().body or b"")
                return await _deliver(http, *await self.batches.handle(http))
            case "GET", "/health":
                return _response(Reply(), b'{"status":"ok"}')
            case "GET", "/v1/models":
                if self._is_stranger(http.headers):
                    return _response(unauthorized(), unauthorized().body or b"")
                return _response(Reply(), self._list() if self.listing is None else self.listing)
            case _:
                unknown = error(404, f"Unknown request URL: {http.method} {path}")
                return _response(unknown, unknown.body or b"")
        raw = await http.read()
        self.in_flight += 1
        try:
            return await self._serve(http, self._noted(http, raw))
        finally:
            self.in_flight -= 1

    def _noted(self, http: web.BaseRequest, raw: bytes) -> Request:
        self.count += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        request = Request(self.count, http.path, http.headers, raw, time.monotonic())
        if self._record:
            with self._lock:
                self._requests.append(request)
        return request

    async def _serve(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        reply = self._refusal(request)
        wait = 0.0
        if reply is None:
            wait = self.delay(request) if callable(self.delay) else self.delay
            reply = self._reply(request)
        return await _deliver(http, reply, self._body(request, reply), wait)

    def _carried_out(self, path: str, headers: Mapping[str, str], raw: bytes) -> tuple[int, bytes]:
        """Answer one call of a batch: its status and its body."""
        self.count += 1
        request = Request(self.count, path, headers, raw, time.monotonic())
        if self._record:
            with self._lock:
                self._requests.append(request)
        reply = self._refusal(request) or self._reply(request)
        return reply.status, self._body(request, reply)

    def _is_stranger(self, headers: Mapping[str, str]) -> bool:
        return bool(self._api_key) and headers.get("Authorization") != f"Bearer {self._api_key}"

    def _refusal(self, request: Request) -> Reply | None:
        """Return why a request gets no answer, if it gets none."""
        if self._is_stranger(request.headers):
            return unauthorized()
        if self.capacity is not None and self.in_flight > self.capacity:
            self.refusals += 1
            return refused()
        for when in self._failures:
            if (reply := when(request)) is not None:
                return reply
        if self._models is not None and request.body.get("model") not in self._models:
            return unknown_model(str(request.body.get("model")))
        if refused_fields := sorted(self._refuses & request.body.keys() if self._refuses else ()):
            return unsupported(refused_fields[0])
        return None

    def _heeded(self, request: Request) -> Mapping[str, Any]:
        """Return a request's body without what the server ignores."""
        if not self._ignores:
            return request.body
        return {name: value for name, value in request.body.items() if name not in self._ignores}

    def _reply(self, request: Request) -> Reply:
        if request.path == "/v1/embeddings":
            return Reply(body=embeddings(request.body, self._seed))
        if not request.messages and request.path != "/v1/completions":
            return error(400, "'messages' must be a list of messages", param="messages")
        try:
            answer = self.answer(request)
        except Exception as mistake:  # noqa: BLE001 - the test that sent the request should see it
            return error(500, f"the test's answer() failed: {mistake!r}")
        if isinstance(answer, dict):
            answer = orjson.dumps(answer).decode()
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        if request.body.get("stream") and reply.body is None:
            events = streamed(request.body, reply.text, reply.finish)
            return replace(reply, body=events, headers={"Content-Type": "text/event-stream"})
        return reply

    def _body(self, request: Request, reply: Reply) -> bytes:
        if reply.body is not None:
            return reply.body
        if request.path == "/v1/completions":
            return continuation(request.body, reply.text, reply.finish)
        return completion(
            self._heeded(request),
            reply.text,
            reply.finish,
            reasoning=reply.reasoning,
            cached=reply.cached,
            logprobs=reply.logprobs,
        )

    def _list(self) -> bytes:
        entries = [
            {"id": name, "object": "model", "created": 0, "owned_by": "soupstock"}
            for name in self._models or ("test",)
        ]
        return orjson.dumps({"object": "list", "data": entries})


def _response(reply: Reply, body: bytes) -> web.Response:
    headers = {"Content-Type": "application/json", **reply.headers}
    return web.Response(body=body, status=reply.status, headers=headers)


async def _deliver(
    http: web.BaseRequest, reply: Reply, body: bytes, wait: float = 0.0
) -> web.StreamResponse:
    """Send a body when its time has come, whole or as the reply says."""
    wait += reply.after
    if wait > 0:
        await asyncio.sleep(wait)
    if reply.is_reset or reply.drip:
        return await _trickle(http, reply, body)
    return _response(reply, body)


async def _trickle(http: web.BaseRequest, reply: Reply, body: bytes) -> web.StreamResponse:
    """Send a body slowly, or only half of it."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(http)
    if reply.is_reset:
        await response.write(body[: len(body) // 2])
        _break(http)
        return response
    pieces = [body[start : start + 16] for start in range(0, len(body), 16)]
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(reply.drip / len(pieces))
    return response


def _break(http: web.BaseRequest) -> None:
    """Reset the connection, as a crashing server does: no farewell, the peer sees an error."""
    if http.transport is not None:
        connection = http.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.transport.abort()


async def _serve_until_signal(server: Server) -> None:
    def ready(base_url: str) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        sys.stdout.write(f"{base_url}\n")
        sys.stdout.flush()

    await server.serve(ready)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a server as a process; its first line of output is its base_url."""
    parser = argparse.ArgumentParser(prog="python -m soupstock.testing", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="how long an answer takes")
    parser.add_argument("--jitter-ms", type=float, default=0.0, help="by how much that varies")
    parser.add_argument("--capacity", type=int, help="requests at once, before 429")
    told = parser.parse_args(arguments)
    delay, jitter = told.delay_ms / 1000, told.jitter_ms / 1000
    server = Server(
        delay=between(max(0.0, delay - jitter), delay + jitter) if jitter else delay,
        capacity=told.capacity,
        port=told.port,
        record=False,
    )
    asyncio.run(_serve_until_signal(server))
