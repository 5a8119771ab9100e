"""How chat templates frame a turn, for texts that are completed past them.

With Magpie a model writes the user's turn: it gets the conversation so far and the beginning of a
user's turn, and completes it. A server's chat endpoint cannot do that, so the text is put together
here, for the two families of templates that most open models use. The server itself adds the token
that begins every text.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class ChatTemplate(NamedTuple):
    """What a template puts before and after a turn."""

    head: str
    """Holds `{role}` in place of the role."""
    end: str

    def opened(self, messages: Sequence[Mapping[str, str]], role: str = "user") -> str:
        """Write the conversation, and the head of the turn that comes next."""
        turns = [f"{self._head(one['role'])}{one['content']}{self.end}" for one in messages]
        return "".join([*turns, self._head(role)])

    def _head(self, role: str) -> str:
        return self.head.replace("{role}", role)


_CHATML = ChatTemplate("<|im_start|>{role}\n", "<|im_end|>\n")

CHAT_TEMPLATES: Mapping[str, ChatTemplate] = {
    "chatml": _CHATML,
    "qwen2": _CHATML,
    "llama3": ChatTemplate("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
}
"""The families, by name; `qwen2` is what distilabel calls ChatML."""
