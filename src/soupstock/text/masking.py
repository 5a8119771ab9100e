"""Replace personal data and secrets by placeholders.

Only what `pii` confirms is replaced: names and streets stay. Knows no rows and no steps.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from soupstock.spec.pruning import KINDS, IdentifierKind
from soupstock.text.pii import IDENTIFIERS, iban_length

PLACEHOLDERS: dict[IdentifierKind, str] = {
    "secrets": "[secret]",
    "emails": "[email]",
    "ibans": "[iban]",
    "cards": "[card]",
    "phones": "[phone]",
    "ips": "[ip]",
}

# Only the first line of a private key is found, but the lines after it must go too.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:(?:\s|\\n)*[A-Za-z0-9+/]{16,}={0,2})*(?:\s*[A-Za-z0-9+/]+={1,2})?)",
    re.DOTALL,
)


class Masked(NamedTuple):
    """Texts with placeholders, and how many identifiers of each kind were replaced."""

    texts: pl.Series
    counts: Counter[str]


def mask(values: pl.Series, kinds: Iterable[IdentifierKind] = KINDS, role: str = "") -> Masked:
    """Mask texts, lists of texts or conversations; null stays null.

    In conversations, the messages of `role` are masked, or of all roles if it is empty.
    """
    chosen = [kind for kind in KINDS if kind in set(kinds)]
    if values.dtype == pl.String:
        return _mask_texts(values, chosen)
    counts: Counter[str] = Counter()
    rows = values.to_list()
    flat = [text for row in rows for text in _texts(row, role)]
    found = _mask_texts(pl.Series(flat, dtype=pl.String), chosen)
    counts.update(found.counts)
    left = iter(found.texts.to_list())
    written = [_rewritten(row, role, left) for row in rows]
    return Masked(pl.Series(values.name, written, dtype=values.dtype), counts)


def _texts(row: Sequence[Any] | None, role: str) -> Iterable[str | None]:
    for item in row or ():
        if not isinstance(item, dict):
            yield item
        elif not role or item["role"] == role:
            yield item["content"]


def _rewritten(row: Sequence[Any] | None, role: str, texts: Any) -> list[Any] | None:
    if row is None:
        return None
    return [
        next(texts)
        if not isinstance(item, dict)
        else item | {"content": next(texts)}
        if not role or item["role"] == role
        else item
        for item in row
    ]


def _mask_texts(texts: pl.Series, kinds: Sequence[IdentifierKind]) -> Masked:
    counts: Counter[str] = Counter()
    for kind in kinds:
        matching = (IDENTIFIERS[kind].count(texts) > 0).arg_true()
        if matching.is_empty():
            continue
        written = []
        for text in texts.gather(matching).to_list():
            masked, number = _mask_one(kind, text)
            counts[kind] += number
            written.append(masked)
        texts = texts.scatter(matching, written)
    return Masked(texts, counts)


def _mask_one(kind: IdentifierKind, text: str) -> tuple[str, int]:
    number = 0
    if kind == "secrets":
        text, number = _PRIVATE_KEY.subn(PLACEHOLDERS[kind], text)
    parts, place = [], 0
    for found in IDENTIFIERS[kind].find(text):
        start = text.index(found, place)
        end = start + (_iban_end(found) if kind == "ibans" else len(found))
        parts += [text[place:start], PLACEHOLDERS[kind]]
        place = end
        number += 1
    return "".join([*parts, text[place:]]), number


def _iban_end(found: str) -> int:
    """Return the end of the account number in a candidate that may be longer."""
    letters = [place for place, letter in enumerate(found) if not letter.isspace()]
    return letters[iban_length(found) - 1] + 1
