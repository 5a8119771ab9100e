"""A model server that runs already, as pyproject.toml declares it. Keys are never in it."""

import json
import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue

from soupstock.errors import quoted
from soupstock.spec.fields import Spec

PICO = 10**12
"""Pico-dollars in a dollar."""


class Price(NamedTuple):
    """What tokens cost, in US dollars per million; a price that is not set counts as 0."""

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    """For prompt tokens that the server had computed before. None: as `input`."""

    @property
    def is_known(self) -> bool:
        """Whether prices are set."""
        return self.input is not None and self.output is not None

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Return what tokens cost, in pico-dollars; the cached ones are among the prompt's."""
        cached = self.input if self.cached is None else self.cached
        fresh = _pico(self.input) * (prompt_tokens - cached_tokens)
        return fresh + _pico(cached) * cached_tokens + _pico(self.output) * completion_tokens


def exactly(number: float) -> Fraction:
    """Take a number as it is written: 0.15, not the binary fraction that is nearest to it."""
    return Fraction(repr(number))


@lru_cache
def _pico(dollars_per_million: float | None) -> int:
    """Return the price of one token in pico-dollars, rounded up, so never less than is billed."""
    if dollars_per_million is None:
        return 0
    return math.ceil(exactly(dollars_per_million) * PICO / 10**6)


Mode = Literal["json_schema", "structured_outputs", "prompt"]
"""`json_schema`: OpenAI's `response_format`. `structured_outputs`: vLLM's own field. `prompt`: the
schema is put in words in the prompt, and nothing holds the model to it."""


MODES: tuple[Mode, ...] = ("json_schema", "structured_outputs", "prompt")
"""All, in the order in which they are tried, in the cache as well as at a server."""


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_address = is_address and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        is_address = False
    # The part before an @ or after a ? may be a secret, and is not shown.
    if "@" in url or "?" in url or "#" in url:
        raise ValueError(
            "base_url holds more than an address; a key goes into the environment variable "
            "that `api_key_env` names"
        )
    if not is_address:
        raise ValueError(f"base_url should be like `http://localhost:8000/v1`, not {quoted(url)}")
    return url


def _addresses(urls: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(urls, str):
        return _address(urls)
    if not urls:
        raise ValueError("base_url is an empty list; it should hold one address or more")
    for place, url in enumerate(urls):
        if _address(url).rstrip("/") in {other.rstrip("/") for other in urls[:place]}:
            raise ValueError(f"base_url holds {quoted(url)} twice")
    return urls


def _variable(name: str) -> str:
    # A key that was put here by mistake is not shown.
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ValueError(
            "api_key_env should be the name of an environment variable, such as OPENAI_API_KEY, "
            "never the key itself"
        )
    return name


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            raise ValueError(f"{quoted(name)} is not a header's name")
        if not value.isprintable():
            raise ValueError(f"the header {quoted(name)} should be one line of plain characters")
    return headers


OWN = frozenset({"messages", "model", "n", "seed", "stream"})
"""Fields of a request that the engine itself writes."""


def _extra(extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if taken := sorted(OWN & extra.keys()):
        raise ValueError(f"extra holds {quoted(taken[0])}, which soupstock itself writes")
    try:
        json.dumps(extra, allow_nan=False)
    except ValueError as error:
        raise ValueError("extra holds a number that is not finite") from error
    return extra


Extra = Annotated[dict[str, JsonValue], AfterValidator(_extra)]
"""Further fields of each request's body."""


class Endpoint(Spec):
    """A model server that runs already: `[tool.soupstock.models.NAME]` in pyproject.toml."""

    base_url: Annotated[str | tuple[str, ...], AfterValidator(_addresses)] = (
        "https://api.openai.com/v1"
    )
    """Where it answers, with the version: `http://localhost:8000/v1`; or a list, if several
    servers answer for the same model. Default: OpenAI's."""

    model: str | None = None
    """The model's name at that server. Default: the entry's own name."""

    api_key_env: Annotated[str, AfterValidator(_variable)] | None = None
    """The environment variable that holds the key."""

    revision: str | None = None
    """The model's revision. It is part of each call's key: another one is asked anew."""

    license: str | None = None
    """The model's licence, for the card."""

    length_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """Which field says how long an answer may be. Default: `max_completion_tokens` at
    api.openai.com, whose reasoning models take no other, and `max_tokens` elsewhere."""

    mode: Literal["live", "batch", "batch_file"] = "live"
    """`live`: calls are sent one by one. `batch`: they are handed in together by the provider's
    batch API, for half the price, and answered within a day. `batch_file`: they are written to a
    file for `vllm run-batch`. Default: `live`."""

    poll: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between two looks at a batch that is under way. Default: 60."""

    concurrency: Annotated[int, Field(gt=0)] | None = None
    """How many requests to send at once to each address. Default: found by trial."""

    requests_per_minute: Annotated[int, Field(gt=0)] | None = None
    """How many requests to send in any minute, to all addresses together. Default: no limit."""

    tokens_per_minute: Annotated[int, Field(gt=0)] | None = None
    """How many tokens to use in any minute, of prompts and answers, at all addresses together.
    Default: no limit."""

    timeout: Annotated[float, Field(gt=0)] = 600.0
    """How long one request may take, in seconds. Default: 600."""

    attempts: Annotated[int, Field(gt=0)] = 6
    """How often to send a request before its failure counts. Default: 6."""

    input_price: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million prompt tokens."""

    output_price: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million answered tokens."""

    cached_price: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million prompt tokens that the server says it had computed before.
    Default: input_price."""

    structured_output: Mode | None = None
    """How the server holds an answer to a JSON Schema: `json_schema` (as OpenAI does),
    `structured_outputs` (as vLLM does) or `prompt` (it does not). Default: found out by a small
    question."""

    headers: Annotated[dict[str, str], AfterValidator(_headers)] = {}
    """Further headers of each request."""

    extra: Extra = {}
    """Further fields of each request's body: `{chat_template_kwargs: {enable_thinking: false}}`."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All base URLs."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url
