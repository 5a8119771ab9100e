"""Surveys models: resolves each reference, looks at its server, and asks what it can do.

Starts no server, keeps no answer and shows nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from soupstock.errors import MistakeError, ModelError, hint, quoted
from soupstock.inference.call import Answer, Call, CallForm, Failure, Reply
from soupstock.inference.embeddings import EmbeddingForm
from soupstock.inference.probe import Probe
from soupstock.inference.retry import RequestError
from soupstock.inference.servers.model import EMBEDDED, Model, resolve
from soupstock.inference.transport import Address, Transport
from soupstock.project.project import Project
from soupstock.spec.loader import load
from soupstock.spec.pipeline import Pipeline

PATIENCE = 60.0
"""How long a server may take for one answer here, in seconds."""

_REFUSED = frozenset({401, 403})
_UNLISTED = frozenset({404, 405, 501})
_STARTED_BY_RUN = {"structured output": "json_schema", "log-probabilities": "yes"}


@dataclass
class ModelSurvey:
    """What was found about one model."""

    reference: str
    roles: tuple[str, ...] = ()
    model: Model | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    """For each address what was found at it, in words."""
    started: str | None = None
    """Which server a run starts for it, in words."""
    abilities: dict[str, str] = field(default_factory=dict)
    """What it can do, each with how: `json_schema`, `yes`, `no`."""
    missing: list[str] = field(default_factory=list)
    """What keeps it from being asked."""
    advice: list[str] = field(default_factory=list)
    calls: int = 0
    tokens: int = 0
    """What its probes took."""


def survey(
    project: Project,
    pipeline: str | None = None,
    roles: Mapping[str, str] | None = None,
    *,
    is_probed: bool = True,
) -> list[ModelSurvey]:
    """Look at a pipeline's models, or at all that the project declares and the embedded one.

    `roles` replace what the pipeline says. Raises MistakeError if a file cannot be read.
    """
    findings = [
        _resolved(project, reference, names)
        for reference, names in _references(project, pipeline, roles or {}).items()
    ]
    asyncio.run(_look(findings, is_probed=is_probed))
    return findings


def _references(
    project: Project, pipeline: str | None, roles: Mapping[str, str]
) -> Mapping[str, tuple[str, ...]]:
    """Return the references, each with the roles that name it."""
    if pipeline is None:
        return dict.fromkeys((EMBEDDED, *project.endpoints()), ())
    named = dict(load(project.pipeline(pipeline), Pipeline).value.models)
    if unknown := [role for role in roles if role not in named]:
        raise MistakeError(f"no role is called {quoted(unknown[0])}{hint(unknown[0], named)}")
    found: dict[str, tuple[str, ...]] = {}
    for role, reference in {**named, **roles}.items():
        found[reference] = (*found.get(reference, ()), role)
    return found


def _resolved(project: Project, reference: str, roles: tuple[str, ...]) -> ModelSurvey:
    finding = ModelSurvey(reference, roles)
    try:
        model = resolve(reference, project.endpoints(), root=project.root)
    except MistakeError as error:
        finding.missing.append(error.message)
        return finding
    finding.model = model
    if model.missing:
        finding.missing.append(model.missing)
    if model.base_url is None:
        finding.started = "vLLM" if model.launch else "the embedded server (llama.cpp)"
        finding.abilities |= _STARTED_BY_RUN
    return finding


async def _look(findings: Sequence[ModelSurvey], *, is_probed: bool) -> None:
    transport = Transport()
    try:
        await asyncio.gather(
            *(
                _look_at(one, one.model, transport, is_probed=is_probed)
                for one in findings
                if one.model
            )
        )
    finally:
        await transport.close()


async def _look_at(
    finding: ModelSurvey, model: Model, transport: Transport, *, is_probed: bool
) -> None:
    """Look at a model's addresses, and ask at the first one that answers."""
    if model.mode == "batch_file" or model.missing:
        return
    model = replace(model, timeout=min(model.timeout, PATIENCE))
    usable: list[Address] = []
    unlisted: list[str] = []
    for url in model.addresses:
        try:
            address = Address.of(model, url, model.api_key)
        except ModelError as error:
            finding.missing.append(error.message)
            continue
        finding.addresses[url], is_usable = await _place(model, address, unlisted)
        if is_usable:
            usable.append(address)
    if model.addresses and not usable:
        found = (f"{url}: {what}" for url, what in finding.addresses.items())
        finding.missing.append("; ".join(found))
    elif usable and is_probed:
        answers = await _Questions(finding, model, transport, usable[0]).ask()
        if not answers:
            finding.missing += unlisted or ["it answers neither chats nor embeddings"]
    else:
        finding.missing += unlisted


async def _place(model: Model, address: Address, unlisted: list[str]) -> tuple[str, bool]:
    """Say what is at an address, and whether it can be asked."""
    # The openai library takes most of a second to import.
    from soupstock.inference.openai_client import model_names

    try:
        names = await model_names(address)
    except RequestError as trouble:
        if trouble.status in _UNLISTED:
            return "answers, but lists no models", True
        if trouble.status in _REFUSED:
            why = "the key is refused" if model.api_key else "it wants a key: set api_key_env"
            return f"{why} ({trouble.failure.message})", False
        # The address is shown beside it.
        return trouble.failure.message.replace(f" at {address.url}", ""), False
    if names is None or model.name in names:
        return "answers", True
    problem = f"the model {quoted(model.name)} is not among those served{hint(model.name, names)}"
    if problem not in unlisted:
        unlisted.append(problem)
    return "answers, but does not list the model", True


class _Questions:
    """Small questions to one server."""

    def __init__(
        self, finding: ModelSurvey, model: Model, transport: Transport, address: Address
    ) -> None:
        self._finding = finding
        self._model = model
        self._transport = transport
        self._address = address

    async def ask(self) -> bool:
        """Find out what the model can do; returns whether it answers at all."""
        can, model = self._finding.abilities, self._model
        vector = await self._reply(EmbeddingForm(model).call("stock"))
        can["embeddings"] = "yes" if isinstance(vector, Answer) else "no"
        chat = await self._reply(self._chat(8, "hello", "hello"))
        if isinstance(chat, Failure):
            if isinstance(vector, Failure):
                self._finding.advice.append(f"a chat failed: {chat.message}")
                can.clear()
            return isinstance(vector, Answer)
        can["structured output"] = await self._structured()
        can["log-probabilities"] = await self._logprobs()
        can["seed"] = await self._seed()
        return True

    async def _reply(self, call: Call) -> Reply:
        self._finding.calls += 1
        try:
            answer = await self._transport.post(self._address, call)
        except RequestError as trouble:
            return trouble.failure
        self._finding.tokens += answer.prompt_tokens + answer.completion_tokens
        return answer

    def _chat(self, most: int, words: str, purpose: str, top_logprobs: int = 0) -> Call:
        form = CallForm(self._model, {"max_tokens": most}, top_logprobs=top_logprobs)
        return form.call([{"role": "user", "content": words}], purpose)

    async def _structured(self) -> str:
        if self._model.structured_output:
            return f"{self._model.structured_output}, as set"
        probe = Probe(self._model)
        while probe.mode is None and probe.failure is None:
            probe.note(await self._reply(probe.call))
        return "no, only by the prompt" if probe.mode == "prompt" else probe.mode or "unknown"

    async def _logprobs(self) -> str:
        reply = await self._reply(self._chat(8, "Reply with the number 7.", "logprobs", 5))
        return "yes" if isinstance(reply, Answer) and reply.numbers is not None else "no"

    async def _seed(self) -> str:
        """Ask the same twice with one seed, and once with another."""
        words = "Write any sentence that comes to your mind."
        calls = [self._chat(24, words, purpose) for purpose in ("one", "one", "other")]
        replies = [await self._reply(call) for call in calls]
        texts = [reply.text for reply in replies if isinstance(reply, Answer)]
        if len(texts) < len(calls):
            return "unknown"
        if texts[0] != texts[1]:
            return "no"
        return "yes" if texts[0] != texts[2] else "unknown: its answers are always the same"
