"""Finds how a server holds a model to a JSON Schema, by small questions. Sends nothing itself.

The schema of a question allows one answer, which has nothing to do with the question: a server that
heeds the schema gives it, and one that ignores it does not give it by chance.
"""

from collections.abc import Callable, Iterator

import orjson

from soupstock.inference.call import Answer, Call, CallForm, Failure, Reply, Way
from soupstock.inference.model_queue import Job, QueueContext
from soupstock.inference.servers.endpoint import MODES, Mode
from soupstock.inference.servers.model import Model

VALUE = "soup-4711"
"""The answer that only a server that enforces the schema gives."""

SHORT, LONG = 256, 4096
"""How long an answer may be, in tokens: at first, and if the model needs more for its reasoning."""

UNSUPPORTED = frozenset(
    {"APIStatusError", "BadRequestError", "InternalServerError", "UnprocessableEntityError"}
)
"""How servers refuse a request for a schema; some break over it."""

_SCHEMA = {
    "type": "object",
    "properties": {"stock": {"type": "string", "enum": [VALUE]}},
    "required": ["stock"],
    "additionalProperties": False,
}
_QUESTION = [{"role": "user", "content": "Reply with the word hello, and nothing else."}]


class Probe:
    """Finds a model's mode: ask `call` and `note` the reply, until `mode` or `failure` is known."""

    def __init__(self, model: Model) -> None:
        self.mode: Mode | None = None
        """How the server holds the model to a schema, once it is known."""
        self.failure: Failure | None = None
        """Why it cannot be known."""
        self._model = model
        self._modes: Iterator[Mode] = iter(MODES)
        self._asked: Mode = next(self._modes)
        self._most = SHORT

    @property
    def call(self) -> Call:
        """The next question."""
        # No temperature: some models take none.
        form = CallForm(self._model, {"max_tokens": self._most}, _SCHEMA, "probe")
        return form.call(_QUESTION, "", mode=self._asked)

    def note(self, reply: Reply) -> None:
        """Take the reply to `call`."""
        if isinstance(reply, Failure):
            if reply.cause in UNSUPPORTED:
                self._next()
            else:
                self.failure = reply
        elif _is_heeded(reply):
            self.mode = self._asked
        elif reply.finish == "length" and not reply.text.strip() and self._most < LONG:
            self._most = LONG
        else:
            self._next()

    def _next(self) -> None:
        self._asked, self._most = next(self._modes), SHORT
        # Words in the prompt need no server's help.
        if self._asked == "prompt":
            self.mode = self._asked


def _is_heeded(answer: Answer) -> bool:
    try:
        return bool(orjson.loads(answer.text) == {"stock": VALUE})
    except orjson.JSONDecodeError:
        return False


class SchemaGate:
    """Holds calls with a schema back until a probe has found how their server takes one."""

    def __init__(
        self,
        model: Model,
        shared: QueueContext,
        send: Callable[[Job], None],
        admit: Callable[[Job], None],
    ) -> None:
        """Make a gate: `send` sends a probe before all else, `admit` takes calls that may go on."""
        self.mode: Mode | None = model.structured_output
        """How the server holds the model to a schema; None as long as that is not known."""
        self._model = model
        self._shared = shared
        self._send = send
        self._admit = admit
        self._gives_logprobs = True
        self._parked: list[Job] = []
        self._is_probing = False

    def add(self, job: Job) -> None:
        """Let a call go on in the way that its server takes, or keep it until that is known."""
        if job.call.otherwise is not None:
            if self.mode is None:
                self._parked.append(job)
                if not self._is_probing:
                    self._ask(Probe(self._model))
                return
            job.call = job.call.put(Way(self.mode, job.call.has_logprobs and self._gives_logprobs))
        self._admit(job)

    def drop_logprobs(self, job: Job) -> None:
        """Put a call, and all that follow, without log-probabilities: the server refused them."""
        # It says nothing else of the server, and no other call need find it out again.
        self._gives_logprobs = False
        job.call = job.call.put(Way(job.call.ways[0].mode))

    def stop(self, why: Failure) -> None:
        """Answer the calls that wait for a probe with a reason."""
        parked, self._parked = self._parked, []
        for job in parked:
            self._shared.finish(job, why)

    def _ask(self, probe: Probe) -> None:
        self._is_probing, call = True, probe.call
        self._send(Job(call.key, call, [lambda reply: self._note(probe, reply)], is_probe=True))

    def _note(self, probe: Probe, reply: Reply) -> None:
        if self._shared.shutdown.why is not None:
            return
        probe.note(reply)
        if probe.mode is None and probe.failure is None:
            self._ask(probe)
            return
        self._is_probing, self.mode = False, probe.mode
        parked, self._parked = self._parked, []
        for job in parked:
            # The first of them may have spent the budget.
            if (why := self._shared.shutdown.why or probe.failure) is not None:
                self._shared.finish(job, why)
            else:
                self.add(job)
        # Whoever asks waits already, and does not say so again.
        self._shared.hand_in()
