"""Asks a server small questions, to find how it holds a model to a JSON Schema. Sends nothing.

The schema of a question allows one answer, which has nothing to do with the question: a server that
heeds the schema gives it, and one that ignores it does not give it by chance.
"""

from collections.abc import Iterator

import orjson

from soupstock.inference.call import Answer, Call, Failure, Form, Reply
from soupstock.inference.servers.endpoint import MODES, Mode
from soupstock.inference.servers.model import Model

VALUE = "soup-4711"
"""What only a server that heeds the schema answers."""

SHORT, LONG = 256, 4096
"""How long an answer may be, in tokens: at first, and where the model thinks for longer."""

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
    """Finds a model's mode: ask `call`, tell the reply, until `mode` or `failure` is there."""

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
        form = Form(self._model, {"max_tokens": self._most}, _SCHEMA, "probe")
        return form.call(_QUESTION, "", mode=self._asked)

    def told(self, reply: Reply) -> None:
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
