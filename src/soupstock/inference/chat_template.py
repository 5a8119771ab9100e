"""How chat templates frame a turn, for texts that are completed past them.

Magpie has a model write the user's turn: it is shown the conversation so far and the head of a
user's turn, and completes it. A server's chat endpoint cannot be asked for that, so the text is put
together here, for the two families of templates that most open models use. The token that begins
every text is left to the server, which adds it to any prompt.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Framing(NamedTuple):
    """What stands before and after what somebody says."""

    head: str
    """With `{role}` in it, in place of the role."""
    end: str

    def opened(self, messages: Sequence[Mapping[str, str]], role: str = "user") -> str:
        """Write the conversation, and the head of the turn that comes next."""
        told = [f"{self._head(one['role'])}{one['content']}{self.end}" for one in messages]
        return "".join([*told, self._head(role)])

    def _head(self, role: str) -> str:
        return self.head.replace("{role}", role)


_CHATML = Framing("<|im_start|>{role}\n", "<|im_end|>\n")

FRAMINGS: Mapping[str, Framing] = {
    "chatml": _CHATML,
    "qwen2": _CHATML,
    "llama3": Framing("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
}
"""The families, by name; `qwen2` is what distilabel calls ChatML."""
