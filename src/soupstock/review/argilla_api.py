"""The HTTP API of an Argilla server (2.8): requests, and their errors.

Plain HTTP rather than Argilla's own client, which is synchronous, has no place for a dataset's own
metadata (where ours name their pipeline), and does not declare all its dependencies. The client is
the extra `argilla`, nine packages, for people; a test holds that it reads what is sent here.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

from soupstock.errors import MistakeError, quoted, shown
from soupstock.review.tool import ReviewError

URL_VARIABLE, KEY_VARIABLE = "ARGILLA_API_URL", "ARGILLA_API_KEY"
WORKSPACE_VARIABLE = "ARGILLA_WORKSPACE"
WORKSPACE = "soupstock"
SERVER = ".argilla/server.json"
"""The file, in the folder of runs, in which `make review` describes the server that it started."""

_TRIES = 3
_SECONDS = 300
_PAUSE = 0.5
_LONGEST_REASON = 300


class RefusedError(ReviewError):
    """The server refused a request; `status` says why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ArgillaSettings:
    """The address of an Argilla server, and the key to use."""

    url: str
    key: str = field(repr=False)
    workspace: str | None = None
    """Default: soupstock's own."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What a person needs to sign in, if we started the server."""


def find_settings(environment: Mapping[str, str], runs: Path) -> ArgillaSettings:
    """Find the server: from the environment, or else the one that `make review` started.

    Raises:
        MistakeError: No server is named, or its address is invalid.
    """
    workspace = environment.get(WORKSPACE_VARIABLE) or None
    url, key = environment.get(URL_VARIABLE), environment.get(KEY_VARIABLE)
    if url and key:
        return ArgillaSettings(_checked(url), key, workspace)
    if url or key:
        missing = KEY_VARIABLE if url else URL_VARIABLE
        raise MistakeError(f"{missing} is missing: set it in the environment, too")
    try:
        said = json.loads((runs / SERVER).read_text(encoding="utf-8"))
        key = Path(said["key_file"]).read_text(encoding="utf-8").strip()
        details = {"user": said["user"], "password": f"in {said['password_file']}"}
        return ArgillaSettings(_checked(said["url"]), key, workspace, details)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = (
            "no Argilla server is known: start one with `make review NAME=…`, or set "
            f"{URL_VARIABLE} and {KEY_VARIABLE}"
        )
        raise MistakeError(problem) from error


def _checked(url: str) -> str:
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        problem = (
            f"{URL_VARIABLE} should be an address like http://127.0.0.1:6900, not {quoted(url)}"
        )
        raise MistakeError(problem)
    if parsed.user or parsed.password:
        raise MistakeError(f"remove the password from {URL_VARIABLE}; only the key is needed")
    return url.rstrip("/")


class Api:
    """A connection to a server; use it in an `async with` statement."""

    def __init__(self, settings: ArgillaSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"X-Argilla-Api-Key": self._settings.key},
            timeout=aiohttp.ClientTimeout(total=_SECONDS, sock_connect=10),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: Any) -> Any:
        """Send a GET request."""
        return await self._sent("GET", path, query=query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Send a POST request; it is not repeated."""
        return await self._sent("POST", path, body, query)

    async def put(self, path: str, body: Any = None) -> Any:
        """Send a PUT request."""
        return await self._sent("PUT", path, body)

    async def delete(self, path: str) -> Any:
        """Send a DELETE request."""
        return await self._sent("DELETE", path)

    async def _sent(
        self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send a request, and repeat an idempotent one after a server error.

        After an internal error the server may close the next connection without a response.
        """
        tries = _TRIES if method != "POST" else 1
        for attempt in range(1, tries + 1):
            try:
                return await self._answered(method, path, body, query)
            except RefusedError as error:
                if error.status < 500 or attempt == tries:  # noqa: PLR2004 - its own faults
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if attempt == tries or isinstance(error, aiohttp.ClientConnectorError):
                    raise self._away(error) from error
            await asyncio.sleep(_PAUSE * attempt)
        raise AssertionError(tries)

    async def _answered(
        self, method: str, path: str, body: Any, query: Mapping[str, Any] | None
    ) -> Any:
        if self._session is None:
            raise RuntimeError("use the connection in an `async with` statement")
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        # The key must not be sent to the target of a redirection.
        async with self._session.request(
            method,
            f"{self._settings.url}/api/v1/{path}",
            data=data,
            params=query or {},
            headers=headers,
            allow_redirects=False,
        ) as answer:
            text = await answer.read()
            if answer.status >= 300:  # noqa: PLR2004 - not a success
                raise self._refusal(answer.status, text)
        try:
            return orjson.loads(text) if text else None
        except orjson.JSONDecodeError as error:
            problem = f"the server at {shown(self._settings.url)} is not an Argilla server"
            raise MistakeError(problem) from error

    def _away(self, error: Exception) -> ReviewError:
        reason = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
        return ReviewError(
            f"Argilla at {shown(self._settings.url)} does not answer ({reason}): try again when it "
            "is up; what was fetched and sent is kept"
        )

    def _refusal(self, status: int, text: bytes) -> Exception:
        where = shown(self._settings.url)
        match status:
            case 401:
                return MistakeError(f"Argilla at {where} does not know the key in {KEY_VARIABLE}")
            case 403:
                return MistakeError(
                    f"the key in {KEY_VARIABLE} does not allow this at {where}: use the key of an "
                    "owner, or of an admin of the workspace"
                )
            case _ if 300 <= status < 400:  # noqa: PLR2004 - redirections
                return MistakeError(f"{where} redirects: set {URL_VARIABLE} to the final address")
            case _:
                return RefusedError(f"Argilla at {where}: {status} {_reason(text)}", status)


def _reason(text: bytes) -> str:
    """Return the reason in a server's reply."""
    try:
        detail = orjson.loads(text)
    except orjson.JSONDecodeError:
        detail = text.decode(errors="replace")
    for name in ("detail", "message", "params", "errors", "detail"):
        if isinstance(detail, dict) and name in detail:
            detail = detail[name]
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg')}"
            if isinstance(one, dict)
            else str(one)
            for one in detail[:3]
        )
    return shown(detail)[:_LONGEST_REASON]
