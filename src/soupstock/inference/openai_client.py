"""The official openai client, for what is not sent for every row: batches and lists of models.

Importing it takes most of a second, so this module is imported where it is used. The client sends
to a server what `Address` says, and nothing else of the environment; its errors become
`RequestError`.
Which HTTP library it uses depends on its version, so that library's errors are known by name.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from soupstock.inference.call import Failure
from soupstock.inference.retry import RequestError
from soupstock.inference.transport import CONNECT_SECONDS, Address, status_trouble, unreachable

MISSHAPEN = "APIResponseValidationError"
"""The cause of a failure if a reply has no known form."""


class _Client(AsyncOpenAI):
    """The official client without the headers that it makes of the environment by itself.

    They name an account's organisation and project, and hold whatever OPENAI_CUSTOM_HEADERS says,
    which is meant for OpenAI and not for every server; and they describe this machine. The key is
    among the headers of the address.
    """

    sent_headers: dict[str, str]

    @property
    def default_headers(self) -> dict[str, Any]:
        return {"Accept": "application/json", "User-Agent": "soupstock", **self.sent_headers}

    @property
    def auth_headers(self) -> dict[str, str]:
        return {}

    def _auth_headers(self, security: object) -> dict[str, str]:  # noqa: ARG002 - as the client's
        return {}

    def _validate_headers(self, headers: object, custom_headers: object) -> None:
        """Let requests to servers go without a key."""


def client(address: Address) -> AsyncOpenAI:
    """Open a client for the server at an address. It tries nothing twice; close it after use."""
    timeout = address.timeout.total
    # The certificates and proxies of the transport that carries rows, and no key but the address's.
    http = DefaultAsyncHttpxClient(
        verify=ssl.create_default_context(), proxy=address.proxy, trust_env=False
    )
    made = _Client(
        # Never sent; without one, the client would take a key from the environment.
        api_key="none",
        base_url=str(address.base_url),
        timeout=openai.Timeout(timeout, connect=address.timeout.sock_connect or CONNECT_SECONDS),
        max_retries=0,
        http_client=http,
    )
    made.sent_headers = dict(address.headers)
    return made


@contextmanager
def troubles(address: Address) -> Iterator[None]:
    """Raise RequestError for whatever goes wrong with the server at an address."""
    try:
        yield
    except openai.APIStatusError as error:
        response = error.response
        raise status_trouble(
            address, error.status_code, response.headers, response.content
        ) from None
    except openai.APITimeoutError as error:
        if type(error.__cause__).__name__ == "ConnectTimeout":
            raise unreachable(address, "no connection in time") from None
        failure = Failure("APITimeoutError", f"no answer within {address.timeout.total:g} seconds")
        raise RequestError(failure) from None
    except openai.APIConnectionError as error:
        why = str(error.__cause__ or error) or type(error.__cause__).__name__
        if type(error.__cause__).__name__ == "ConnectError":
            raise unreachable(address, why) from None
        raise RequestError(Failure("APIConnectionError", address.redacted(why))) from None
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        # What is no JSON, or JSON of another form, meets the client unprepared.
        raise _misshapen(address, str(error)) from None


async def model_names(address: Address) -> list[str] | None:
    """Return the names of the models that a server lists; None if the list has no known form.

    Raises RequestError if it lists none or refuses the key.
    """
    async with client(address) as opened:
        try:
            with troubles(address):
                return [field(address, one, "id") for one in (await opened.models.list()).data]
        except RequestError as trouble:
            if trouble.failure.cause == MISSHAPEN:
                return None
            raise


def field(address: Address, value: object, name: str) -> str:
    """Return a required field of a reply; raises RequestError if it is missing.

    The client takes whatever JSON a server sends, whether it has the form that it should have.
    """
    found = getattr(value, name, None)
    if not isinstance(found, str):
        raise _misshapen(address, f"the reply has no {name}")
    return found


def _misshapen(address: Address, why: str) -> RequestError:
    message = f"{address.base_url}: the reply is not of the form that it should have ({why})"
    return RequestError(Failure(MISSHAPEN, address.redacted(message)))
