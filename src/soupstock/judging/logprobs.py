"""How likely a judge's levels were, from the probabilities of the tokens that it might have said.

A server that gives log-probabilities tells for each token of an answer what else could have stood
there. The mean over the levels' probabilities is a finer score than the level that was said.
"""

import math
import re
from collections.abc import Iterator, Sequence

Numbers = Sequence[tuple[int, Sequence[tuple[str, float]]]] | None
"""For each number in an answer its place, in characters, and which tokens could have stood there,
each with its log-probability. None where the server does not say."""

Path = tuple[str, ...]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)


def token_probabilities(text: str, numbers: Numbers) -> dict[Path, dict[str, float]]:
    """Return for the numbers in a JSON object, by their keys, how likely each token was there.

    The probabilities of tokens that differ in blanks alone are one.
    """
    given = {_past_blanks(text, place): tokens for place, tokens in numbers or ()}
    found: dict[Path, dict[str, float]] = {}
    for path, place in value_positions(text):
        shares: dict[str, float] = {}
        for token, likelihood in given.get(place, ()):
            word = token.strip()
            shares[word] = shares.get(word, 0.0) + math.exp(min(0.0, likelihood))
        if shares:
            found[path] = shares
    return found


def _past_blanks(text: str, place: int) -> int:
    """Say where a token's first letter stands: a blank often belongs to the number after it."""
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def value_positions(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the plain values of a JSON object in a text, each by its keys, and where it stands.

    The text may be anything; what it yields for one that holds no JSON object means nothing.
    """
    keys: list[str] = []
    key: str | None = None
    for found in _TOKEN.finditer(text, max(0, text.find("{"))):
        token = found[0]
        match token[0]:
            case "{" | "[":
                keys.append(key or "")
                key = None
            case "}" | "]":
                keys = keys[:-1]
                key = None
            case ",":
                key = None
            case ":":
                pass
            case _ if key is None:
                key = token[1:-1]
            case _:
                yield (*keys[1:], key), found.start()


def entropy(shares: Sequence[float]) -> float:
    """Return the entropy of probabilities, in nats."""
    return abs(-math.fsum(share * math.log(share) for share in shares if share > 0))
