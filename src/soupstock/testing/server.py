"""The test server: an event loop in a thread, its behaviour, and its command line."""

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

    Args:
        answer: Returns the answer to a request. Default: a made-up text or JSON.
        delay: The seconds before an answer: a number, or a function of the request.
        capacity: The most requests at once; further ones are refused. It can be set at any time.
        api_key: The key that requests must carry.
        models: The models that requests may name.
        ignores: Fields of a request's body (`response_format`, `logprobs`, `seed`) that the default
            `answer` ignores.
        refuses: Fields of a request's body that are answered with status 400.
        seed: Changes the texts of the default `answer`.
        record: Whether to keep the requests; turn it off for benchmarks.
        port: The port to listen on. Default: a free one.
    """

    def __init__(  # noqa: PLR0913 - each argument is one behaviour
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
        self.answer = answer or (lambda request: write(self._supported(request), seed))
        self.delay = delay
        self.capacity = capacity
        self.listing: bytes | None = None
        """The body of its list of models, instead of a generated one."""
        self.count = 0
        """How many requests for answers or embeddings were received."""
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
        self.batches = Batches(self._batch_answer)
        """The batches of its batch API; `server.batches.hold()` keeps them from ending."""
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="testing server", daemon=True)

    @property
    def base_url(self) -> str:
        """The address for clients of the OpenAI protocol, with `/v1`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def requests(self) -> list[Request]:
        """The requests for answers or embeddings so far, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    def fail(self, when: When) -> None:
        """Fail the requests for which `when` returns a reply; the first match decides."""
        self._failures.append(when)

    def forget(self) -> None:
        """Remove all failures, and forget the requests so far; `count` continues."""
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
        """Stop answering, from any thread, and return when all connections are closed."""
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
        """Serve in the running event loop until stopped; `ready` is called with the base_url."""
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
                if self._has_wrong_key(http.headers):
                    return _response(unauthorized(), unauthorized().body or b"")
                return await _deliver(http, *await self.batches.handle(http))
            case "GET", "/health":
                return _response(Reply(), b'{"status":"ok"}')
            case "GET", "/v1/models":
                if self._has_wrong_key(http.headers):
                    return _response(unauthorized(), unauthorized().body or b"")
                return _response(Reply(), self._list() if self.listing is None else self.listing)
            case _:
                unknown = error(404, f"Unknown request URL: {http.method} {path}")
                return _response(unknown, unknown.body or b"")
        raw = await http.read()
        self.in_flight += 1
        try:
            return await self._serve(http, self._recorded(http, raw))
        finally:
            self.in_flight -= 1

    def _recorded(self, http: web.BaseRequest, raw: bytes) -> Request:
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

    def _batch_answer(self, path: str, headers: Mapping[str, str], raw: bytes) -> tuple[int, bytes]:
        """Answer one call of a batch; return its status and body."""
        self.count += 1
        request = Request(self.count, path, headers, raw, time.monotonic())
        if self._record:
            with self._lock:
                self._requests.append(request)
        reply = self._refusal(request) or self._reply(request)
        return reply.status, self._body(request, reply)

    def _has_wrong_key(self, headers: Mapping[str, str]) -> bool:
        return bool(self._api_key) and headers.get("Authorization") != f"Bearer {self._api_key}"

    def _refusal(self, request: Request) -> Reply | None:
        """Return the reply that refuses a request; None if it is answered."""
        if self._has_wrong_key(request.headers):
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

    def _supported(self, request: Request) -> Mapping[str, Any]:
        """Return a request's body without the ignored fields."""
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
            self._supported(request),
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
    """Send a body slowly, or only the first half."""
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
    """Reset the connection, as a crashing server does, so that the client sees an error."""
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
    """Run a server as a process; the first line of its output is its base_url."""
    parser = argparse.ArgumentParser(prog="python -m soupstock.testing", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="Default: 0, a free port.")
    parser.add_argument(
        "--delay-ms", type=float, default=0.0, help="The delay of an answer. Default: 0."
    )
    parser.add_argument(
        "--jitter-ms", type=float, default=0.0, help="By how much the delay varies. Default: 0."
    )
    parser.add_argument(
        "--capacity",
        type=int,
        help="The most requests at once; further ones get 429. Default: no limit.",
    )
    options = parser.parse_args(arguments)
    delay, jitter = options.delay_ms / 1000, options.jitter_ms / 1000
    server = Server(
        delay=between(max(0.0, delay - jitter), delay + jitter) if jitter else delay,
        capacity=options.capacity,
        port=options.port,
        record=False,
    )
    asyncio.run(_serve_until_signal(server))
