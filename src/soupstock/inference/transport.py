"""Sends one call to one server, and names what goes wrong as the openai library names it.

Knows no cache, no budget and no second try: what to do about a trouble, `retry` decides.
"""

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from yarl import URL

from soupstock.errors import ModelError, quoted, shown
from soupstock.inference.call import CHAT, Answer, Call, Failure
from soupstock.inference.completion import READERS
from soupstock.inference.retry import CAUSES, RequestError
from soupstock.inference.servers.model import Model

CONNECT_SECONDS = 15.0
"""How long a connection may take to come about, in seconds."""

_IDLE_SECONDS = 4.0
"""Some servers close idle connections after 5 seconds; this side closes them before."""

_OPEN_FILES = 8192
_LONGEST_RETRY_AFTER = 3600.0
_LONGEST_MESSAGE = 300
_SHORTEST_SECRET = 8
_OK = 200
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Address:
    """Where a model answers, and how to ask there."""

    base_url: URL
    url: URL
    """The address for chats under it."""
    headers: Mapping[str, str] = field(repr=False)
    timeout: aiohttp.ClientTimeout
    proxy: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, model: Model, base_url: str, key: str | None) -> "Address":
        """Return a model's address at a base URL; raises ModelError if that is none."""
        headers = {"Content-Type": "application/json", **model.headers}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        base = _url(model, base_url)
        url = base / CHAT
        connect = min(CONNECT_SECONDS, model.timeout)
        timeout = aiohttp.ClientTimeout(total=model.timeout, sock_connect=connect)
        return cls(base, url, headers, timeout, _proxy(url))

    def redacted(self, message: str) -> str:
        """Make a server's message fit to be shown and kept: one short line without the key."""
        for value in self.headers.values():
            secret = value.removeprefix("Bearer ")
            # Shorter values are words, not keys.
            if len(secret) >= _SHORTEST_SECRET:
                message = message.replace(secret, "[key]")
        line = " ".join(message.split())
        return shown(line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 1]}…")


class Transport:
    """Connections to all servers of a run."""

    def __init__(self) -> None:
        _allow_connections()
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=300, keepalive_timeout=_IDLE_SECONDS
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def post(self, address: Address, call: Call) -> Answer:
        """Send one call and read its answer; raises RequestError."""
        url = address.url if call.path == CHAT else address.base_url / call.path
        raw = await self._exchange(address, url, call.body)
        try:
            return READERS[call.path](raw)
        except ValueError as error:
            message = address.redacted(str(error))
            raise RequestError(Failure("APIResponseValidationError", message)) from None

    async def _exchange(self, address: Address, url: URL, body: bytes) -> bytes:
        try:
            async with self._http.post(
                url,
                data=body,
                headers=address.headers,
                timeout=address.timeout,
                proxy=address.proxy,
            ) as response:
                raw = await response.read()
            if response.status == _OK:
                return raw
        except aiohttp.ClientConnectorError as error:
            raise unreachable(address, error.strerror or "no connection") from None
        except aiohttp.ConnectionTimeoutError:
            raise unreachable(address, "no connection in time") from None
        except TimeoutError:
            seconds = address.timeout.total
            failure = Failure("APITimeoutError", f"no answer within {seconds:g} seconds")
            raise RequestError(failure) from None
        except (aiohttp.ClientError, OSError) as error:
            message = address.redacted(str(error) or type(error).__name__)
            raise RequestError(Failure("APIConnectionError", message)) from None
        raise status_trouble(address, response.status, response.headers, raw)


def _url(model: Model, base_url: str) -> URL:
    try:
        url = URL(base_url.rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ModelError(
            f"{shown(model.reference)}: its base_url {quoted(base_url)} is no address of a server; "
            "let it begin with http:// or https://"
        )
    return url


def _allow_connections() -> None:
    """Ask for enough open files: each connection is one, and many systems allow only 1,024."""
    given, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = _OPEN_FILES if most == unlimited else min(_OPEN_FILES, most)
    if given != unlimited and given < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _proxy(url: URL) -> str | None:
    """Find the proxy that the environment names for a server: HTTPS_PROXY, NO_PROXY."""
    host = url.host or ""
    # A proxy cannot reach this machine's own servers.
    if host in {"localhost", "127.0.0.1", "::1"} or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def unreachable(address: Address, why: str) -> RequestError:
    """Say that no connection to a server could be made."""
    message = f"nothing answers at {address.url} ({why})"
    return RequestError(
        Failure("APIConnectionError", address.redacted(message)), is_unreachable=True
    )


def status_trouble(
    address: Address, status: int, headers: Mapping[str, str], raw: bytes
) -> RequestError:
    """Return the trouble that a server's error means."""
    default = "InternalServerError" if status >= _SERVER_ERROR else "APIStatusError"
    message, code = _read_error(raw)
    return RequestError(
        Failure(CAUSES.get(status, default), f"{status}: {address.redacted(message)}"),
        status=status,
        code=code,
        retry_after=_retry_after(headers),
    )


def _read_error(raw: bytes) -> tuple[str, str | None]:
    """Find an error's sentence and code; OpenAI, vLLM and llama.cpp each put them elsewhere."""
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw[: 2 * _LONGEST_MESSAGE].decode(errors="replace"), None
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error), None
    code = error.get("code")
    message = error.get("message") or error.get("detail") or error
    return str(message), code if isinstance(code, str) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long to wait: in milliseconds, in seconds, or until a date."""
    value = headers.get("Retry-After", "")
    try:
        if milliseconds := headers.get("retry-after-ms"):
            seconds = float(milliseconds) / 1000
        elif value[:1].isdigit():
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
    return min(seconds, _LONGEST_RETRY_AFTER) if seconds > 0 else 0.0
