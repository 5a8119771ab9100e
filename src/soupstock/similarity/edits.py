"""Make canaries: items of an evaluation set, edited to measure whether they are still found.

The edits imitate somebody who copies an item, quotes it or says it in other words. They are rules,
without a model: a paraphrase by a person or a large model differs more than any of these.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

MAX_ITEMS = 200
"""The maximum number of items with canaries."""

MIN_WORDS = 6
"""Shorter items are not edited, because too little of them would be left."""

_WORD = re.compile(r"[A-Za-z]+")
_BREAK = re.compile(r"(?<=[.!?;,])\s+")

_SAME = (
    "answer reply", "area region", "arrive come", "ask request", "assume suppose", "automobile car",
    "begin start", "big large", "boy lad", "build construct", "buy purchase", "calculate compute",
    "child kid", "choose pick", "complete finish", "correct right", "daily everyday",
    "decide determine", "describe depict", "different distinct", "each every", "earn make",
    "end conclude", "error mistake", "evaluate assess", "example instance", "explain clarify",
    "fast quick", "find determine", "following next", "function routine", "gift present",
    "give hand", "happen occur", "help assist", "house home", "however but", "idea notion",
    "identify recognise", "important crucial", "increase rise", "input argument", "job task",
    "kind type", "leave depart", "list sequence", "little small", "many numerous", "method way",
    "money cash", "month month's", "most majority", "need require", "new recent", "number count",
    "obtain get", "often frequently", "old elderly", "order sequence", "part portion",
    "people persons", "person individual", "place location", "price cost", "problem question",
    "provide supply", "quickly rapidly", "remaining leftover", "result outcome", "return yield",
    "sell vend", "several multiple", "shop store", "show demonstrate", "sick ill", "speak talk",
    "spend use", "statement claim", "street road", "string text", "student pupil", "sum total",
    "take grab", "teacher instructor", "think believe", "total overall", "trip journey", "true so",
    "value figure", "want wish", "week week's", "which what", "whole entire", "word term",
    "work labour", "write compose", "wrong false", "year annum",
)  # fmt: skip
SYNONYMS: Mapping[str, str] = {
    word: other
    for pair in _SAME
    for one, two in [pair.split()]
    for word, other in ((one, two), (two, one))
}

_BEFORE = "Hello, I am preparing for an exam and came across this one."
_AFTER = "Please show how you get there, step by step, and check the result at the end."


def copied(text: str) -> str:
    """Change case and spaces, and remove punctuation."""
    return re.sub(r"[,;:!?.]", "", text.upper()).replace(" ", "  ")


def cut(text: str) -> str:
    """Remove the last quarter."""
    words = text.split()
    return " ".join(words[: max(1, len(words) * 3 // 4)])


def framed(text: str) -> str:
    """Add sentences before and after."""
    return f"{_BEFORE} {text} {_AFTER}"


def reordered(text: str) -> str:
    """Reverse the order of sentences and clauses, or of the two halves."""
    parts = _BREAK.split(text)
    if len(parts) == 1:
        words = text.split()
        parts = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    return " ".join(reversed(parts))


def reworded(text: str) -> str:
    """Replace words by their synonyms."""
    return _WORD.sub(_synonym, text)


def _synonym(found: re.Match[str]) -> str:
    other = SYNONYMS.get(found[0].lower(), found[0])
    return other.capitalize() if found[0][0].isupper() else other


def rewritten(text: str) -> str:
    """Use synonyms, reverse clauses, and swap every sixth word with the next."""
    words = reordered(reworded(text)).split()
    for place in range(2, len(words) - 1, 6):
        words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


EDITS: Mapping[str, Callable[[str], str]] = {
    "case, spaces and signs": copied,
    "last quarter cut off": cut,
    "text put around it": framed,
    "clauses turned around": reordered,
    "synonyms": reworded,
    "synonyms, clauses and word order": rewritten,
}
"""The edits, by their descriptions."""


def planted(items: Sequence[str], most: int = MAX_ITEMS) -> dict[str, list[str]]:
    """Edit some of the items in each way; leave out items that an edit does not change.

    The choice of items depends on their content, not on their order.
    """
    some = choose_items(items, most)
    return {
        name: [edited for item in some if (edited := edit(item)) != item]
        for name, edit in EDITS.items()
    }


def choose_items(items: Sequence[str], most: int) -> list[str]:
    """Choose items that are long enough, each once: by content, not by order."""
    return sorted({item for item in items if len(item.split()) >= MIN_WORDS}, key=_draw)[:most]


def _draw(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
