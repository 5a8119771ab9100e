"""Sends one request to one server, and names what goes wrong as the openai library names it.

Knows no store, no budget and no second try: what to do about a trouble, the client decides.
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
from soupstock.inference.servers.model import Model

CAUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "APITimeoutError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""The openai library's names of errors, by status."""

REFUSALS = frozenset({429, 503})
"""Statuses by which a server says that it has too much to do; the call was not carried out."""

REJECTIONS = frozenset({401, 402, 403, 404})
"""Statuses that are about the key, the account or the model: hardly ever about one call."""

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that are worth another try."""

GATEWAY = frozenset({502, 504, 520, 522, 524})
"""Statuses of a gateway that had no answer from the server behind it, which may be at work."""

NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Error codes that come with a 429, though no waiting helps."""

_UNWEIGHED = frozenset({400, 403, 422})
_CONNECT_SECONDS = 15.0
_IDLE_SECONDS = 4.0
"""Servers close idle connections too, some after 5 seconds: who comes first is not in doubt."""

_OPEN_FILES = 8192
_LONGEST_RETRY_AFTER = 3600.0
_LONGEST_MESSAGE = 300
_SHORTEST_SECRET = 8
_OK = 200
_SERVER_ERROR = 500


class Trouble(Exception):  # noqa: N818 - it is caught by the client, always
    """A request that brought no answer."""

    def __init__(
        self,
        failure: Failure,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        is_unreachable: bool = False,
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status
        self.retry_after = retry_after
        """How many seconds the server asks to wait."""
        self.is_unreachable = is_unreachable
        """Whether not even a connection came about."""
        self.is_rejection = status in REJECTIONS or code in NO_CREDIT
        """Whether most likely every other call would fail too."""
        self.is_refusal = status in REFUSALS and not self.is_rejection
        """Whether the server has too much to do."""

    @property
    def is_passing(self) -> bool:
        """Whether another try may help."""
        if self.is_rejection:
            return False
        return self.status is None or self.status in PASSING or self.status >= _SERVER_ERROR

    @property
    def is_about_logprobs(self) -> bool:
        """Whether the server will not tell log-probabilities."""
        return self.status in _UNWEIGHED and "logprobs" in self.failure.message

    @property
    def may_be_billed(self) -> bool:
        """Whether the server may have worked on the request although no answer came."""
        return self.status in GATEWAY or (self.status is None and not self.is_unreachable)


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
        """Return a model's address at a base URL; raises ModelError where that is none."""
        headers = {"Content-Type": "application/json", **model.headers}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        base = _url(model, base_url)
        url = base / CHAT
        connect = min(_CONNECT_SECONDS, model.timeout)
        timeout = aiohttp.ClientTimeout(total=model.timeout, sock_connect=connect)
        return cls(base, url, headers, timeout, _proxy(url))

    def told(self, message: str) -> str:
        """Make a server's message fit to be shown and kept: one short line without the key."""
        for value in self.headers.values():
            secret = value.removeprefix("Bearer ")
            # Shorter ones are words, not keys.
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
        """Send one call and read its answer; raises Trouble."""
        url = address.url if call.path == CHAT else address.base_url / call.path
        raw = await self._exchange(address, "POST", url, call.body)
        try:
            return READERS[call.path](raw)
        except ValueError as error:
            message = address.told(str(error))
            raise Trouble(Failure("APIResponseValidationError", message)) from None

    async def request(
        self, address: Address, method: str, path: str, data: aiohttp.FormData | bytes | None = None
    ) -> bytes:
        """Send a request to any path under the server's base URL; raises Trouble."""
        return await self._exchange(address, method, URL(f"{address.base_url}/{path}"), data)

    async def _exchange(
        self, address: Address, method: str, url: URL, data: aiohttp.FormData | bytes | None
    ) -> bytes:
        headers = address.headers
        if isinstance(data, aiohttp.FormData):
            headers = {name: headers[name] for name in headers if name != "Content-Type"}
        try:
            async with self._http.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=address.timeout,
                proxy=address.proxy,
            ) as response:
                raw = await response.read()
            if response.status == _OK:
                return raw
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(address, error.strerror or "no connection") from None
        except aiohttp.ConnectionTimeoutError:
            raise _unreachable(address, "no connection in time") from None
        except TimeoutError:
            seconds = address.timeout.total
            failure = Failure("APITimeoutError", f"no answer within {seconds:g} seconds")
            raise Trouble(failure) from None
        except (aiohttp.ClientError, OSError) as error:
            message = address.told(str(error) or type(error).__name__)
            raise Trouble(Failure("APIConnectionError", message)) from None
        raise refused(address, response.status, response.headers, raw)


def _url(model: Model, base_url: str) -> URL:
    try:
        url = URL(base_url.rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ModelError(
            f"{shown(model.reference)}: its base_url {quoted(base_url)} is no address of a server; "
            "one begins with http:// or https://"
        )
    return url


def _allow_connections() -> None:
    """Ask for enough open files: a connection is one, and many systems give 1,024 unasked."""
    given, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = _OPEN_FILES if most == unlimited else min(_OPEN_FILES, most)
    if given != unlimited and given < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _proxy(url: URL) -> str | None:
    """Find the proxy that the environment names for a server: HTTPS_PROXY, NO_PROXY."""
    host = url.host or ""
    # A proxy does not know what is on this machine.
    if host in {"localhost", "127.0.0.1", "::1"} or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _unreachable(address: Address, why: str) -> Trouble:
    message = f"nothing answers at {address.url} ({why})"
    return Trouble(Failure("APIConnectionError", address.told(message)), is_unreachable=True)


def refused(address: Address, status: int, headers: Mapping[str, str], raw: bytes) -> Trouble:
    """Say what a server that answered with an error means by it."""
    default = "InternalServerError" if status >= _SERVER_ERROR else "APIStatusError"
    message, code = _read_error(raw)
    return Trouble(
        Failure(CAUSES.get(status, default), f"{status}: {address.told(message)}"),
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
