"""What a model's reference means, before anything runs."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from soupstock.errors import MistakeError, Place, hint, quoted, shown
from soupstock.inference.servers.endpoint import Endpoint, Mode, Price
from soupstock.inference.servers.vllm import (
    VLLM,
    Launch,
    Vllm,
    launch_of,
    missing,
    name_of,
    revision_of,
)
from soupstock.inference.servers.weights import SMOLLM2

EMBEDDED = "embedded"


SLOTS = 8
"""How many answers the embedded server writes at once.

With 16 the pipeline `chat` takes no less time, and half as much memory again.
"""


_NO_RUNTIME = "xllamacpp is not installed: pip install 'soupstock[embedded]'"


@dataclass(frozen=True, eq=False)
class Model:
    """What a model's reference means, before anything runs.

    Compared by identity: a plan resolves each reference once, and its roles share the model.
    """

    reference: str
    name: str
    """The name that its server knows it by."""
    revision: str | None = None
    license: str | None = None
    base_url: str | None = None
    """Where it answers; None if the run starts its server."""
    replicas: tuple[str, ...] = ()
    """Where else it answers."""
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    """The environment variable that the key is read from."""
    length_field: str = "max_tokens"
    """Which field of a request says how long an answer may be."""
    missing: str | None = None
    """What the user must fix before it can be asked, in words."""
    mode: Literal["live", "batch", "batch_file"] = "live"
    """Whether calls are sent one by one or handed in together."""
    poll: float = 60.0
    """Seconds between two looks at a batch that is under way."""
    concurrency: int | None = None
    timeout: float = 600.0
    attempts: int = 6
    input_price: float | None = None
    output_price: float | None = None
    """US dollars per million tokens."""
    cached_price: float | None = None
    """The same for those of a prompt that the server had computed before."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    structured_output: Mode | None = None
    """How its server holds it to a JSON Schema; None if that must be found out."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of each request's body."""
    launch: Launch | None = None
    """How a run starts its server, if that is vLLM."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All base URLs; none for a server that the run starts."""
        return () if self.base_url is None else (self.base_url, *self.replicas)

    @property
    def price(self) -> Price:
        """What its tokens cost."""
        return Price(self.input_price, self.output_price, self.cached_price)


def resolve_all(
    references: Mapping[str, str],
    endpoints: Mapping[str, Endpoint | Vllm],
    place: Callable[[str], Place | None],
    root: Path,
) -> dict[str, Model]:
    """Find the model of each role; roles of one reference share it. Raises MistakeError."""
    models: dict[str, Model] = {}
    for role, reference in references.items():
        if reference not in models:
            models[reference] = resolve(reference, endpoints, place(role), root)
    return {role: models[reference] for role, reference in references.items()}


def resolve(
    reference: str,
    endpoints: Mapping[str, Endpoint | Vllm],
    place: Place | None = None,
    root: Path = Path(),
) -> Model:
    """Find what a reference means, in a project's folder; raises MistakeError."""
    if reference in endpoints:
        return _declared(reference, None, endpoints[reference], root)
    if reference == EMBEDDED:
        return Model(
            EMBEDDED,
            SMOLLM2.model,
            revision=SMOLLM2.revision,
            license=SMOLLM2.license,
            concurrency=SLOTS,
            input_price=0.0,
            output_price=0.0,
            structured_output="json_schema",
            missing=None if importlib.util.find_spec("xllamacpp") else _NO_RUNTIME,
        )
    server, slash, name = reference.partition("/")
    if name.startswith("-"):
        name = ""
    if slash and name and server in endpoints:
        return _declared(reference, name, endpoints[server], root)
    if slash and name and server == VLLM:
        return _from_vllm(reference, Vllm(vllm=name), root)
    if slash and name and server == "openai":
        return _from_endpoint(reference, name, _openai())
    known = [EMBEDDED, "openai/NAME", "vllm/NAME", *endpoints]
    raise MistakeError(
        f"no model is called {quoted(reference)}{hint(reference, known)}"
        " (further ones are declared in [tool.soupstock.models.NAME] of pyproject.toml)",
        place,
    )


def _declared(reference: str, name: str | None, entry: Endpoint | Vllm, root: Path) -> Model:
    """Return a model as the settings have it; `name` is another model of the same settings."""
    if isinstance(entry, Vllm):
        own = entry if name is None else entry.model_copy(update={"vllm": name})
        return _from_vllm(reference, own, root)
    return _from_endpoint(reference, name or entry.model or reference, entry)


def _from_vllm(reference: str, entry: Vllm, root: Path) -> Model:
    shared = {"license", "concurrency", "timeout", "attempts", "input_price", "output_price"}
    return Model(
        reference,
        name_of(entry, root),
        revision=revision_of(entry, root),
        missing=missing(entry, root),
        launch=launch_of(entry, root),
        structured_output="json_schema",
        **entry.model_dump(include=shared | {"extra"}),
    )


def _openai() -> Endpoint:
    base_url = os.environ.get("OPENAI_BASE_URL") or Endpoint().base_url
    try:
        return Endpoint(base_url=base_url, api_key_env="OPENAI_API_KEY")
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise MistakeError(f"OPENAI_BASE_URL cannot be used: {shown(reason)}") from error


def _from_endpoint(reference: str, name: str, endpoint: Endpoint) -> Model:
    variable = endpoint.api_key_env
    key = os.environ.get(variable) if variable else None
    missing = _missing(variable, key) if variable else None
    first, *further = endpoint.addresses
    # No server can be probed for files; they are for vLLM, which takes a schema so.
    assumed: Mode | None = "json_schema" if endpoint.mode == "batch_file" else None
    return Model(
        reference,
        name,
        base_url=first,
        replicas=tuple(further),
        api_key=key,
        missing=missing,
        structured_output=endpoint.structured_output or assumed,
        length_field=endpoint.length_field or _length_field(first),
        **endpoint.model_dump(exclude={"model", "base_url", "structured_output", "length_field"}),
    )


def _length_field(base_url: str) -> str:
    is_openai = urlsplit(base_url).hostname == "api.openai.com"
    return "max_completion_tokens" if is_openai else "max_tokens"


def _missing(variable: str, key: str | None) -> str | None:
    """Say what is wrong with a key, and never what it is."""
    if not key:
        return f"the environment variable {variable} is not set"
    if not (key.isascii() and key.isprintable()) or " " in key:
        return (
            f"the environment variable {variable} holds no key: one is a line of plain "
            "characters, without spaces"
        )
    return None
