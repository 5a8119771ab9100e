"""The question whether a text gives an item away: how a model is asked it, and what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from soupstock.inference.call import Ask, CallForm, Failure, read_reply
from soupstock.judging.judge_input import mark
from soupstock.judging.rubric import MAX_REASON, object_schema, read_choice
from soupstock.spec.prompt import Prompt, PromptError

COMPARED = ("item", "text", "mark")
"""What the prompt is given: both texts, and a mark for the tags between which they stand."""

Verdict = Literal["yes", "no", "unclear", "not asked"]
"""`unclear`: there is no answer, or none that can be read."""

_SAID = {"yes": True, "no": False}


class Sameness(NamedTuple):
    """What a model says of a text and an item."""

    is_same: bool
    reason: str


@dataclass(frozen=True)
class SameQuestion:
    """How a model is asked."""

    role: str
    form: CallForm
    prompt: Prompt
    into: str
    """The column that holds what it says."""
    ask_from: float
    """From which cosine on it is asked."""
    retries: int = 2
    """How often it is asked again, with another seed, where its answer cannot be read."""

    async def put(self, item: str, text: str, purpose: str, ask: Ask) -> Sameness | Failure:
        """Ask about a text and an item, and again where the answer cannot be read."""
        given = {"item": item, "text": text}
        try:
            messages = self.prompt.messages(given | {"mark": mark(given)})
        except PromptError as error:
            return Failure("PromptError", str(error))
        return await self._answer(messages, purpose, ask)

    async def _answer(
        self, messages: Sequence[Mapping[str, str]], purpose: str, ask: Ask
    ) -> Sameness | Failure:
        said: Sameness | Failure = Failure("Unreadable", "no verdict")
        for attempt in range(self.retries + 1):
            (reply,) = await ask([self.form.call(messages, purpose, attempt=attempt)])
            said = read_reply(reply, lambda answer: read_sameness(answer.text))
            if isinstance(said, Sameness) or said.cause != "Unreadable":
                break
        return said


def schema() -> dict[str, Any]:
    """Return the JSON Schema of an answer: a reason, and only then whether it is the same."""
    return object_schema(
        {
            "reason": {"type": "string", "maxLength": MAX_REASON},
            "same": {"type": "string", "enum": list(_SAID)},
        }
    )


def read_sameness(text: str) -> Sameness | str:
    """Read a model's reply, or say in a sentence why it cannot be read; never raises."""
    found = read_choice(text, "same", tuple(_SAID))
    return found if isinstance(found, str) else Sameness(_SAID[found.word], found.reason)
