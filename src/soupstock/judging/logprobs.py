"""The probabilities of a judge's levels, from the log-probabilities of an answer's tokens.

A server that returns log-probabilities lists the alternatives to each token of an answer. The mean
over the levels' probabilities is a finer score than the level that was chosen.
"""

import math
import re
from collections.abc import Iterator, Sequence

Numbers = Sequence[tuple[int, Sequence[tuple[str, float]]]] | None
"""For each number in an answer: its position, in characters, and the tokens that were possible at
that position, each with its log-probability. None where the server returns none."""

Path = tuple[str, ...]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)


def token_probabilities(text: str, numbers: Numbers) -> dict[Path, dict[str, float]]:
    """Return the probabilities of tokens for each number in a JSON object, by the number's keys.

    Tokens that differ only in white space count as one.
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
    """Return the position of a token's first letter: a token often begins with a space."""
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def value_positions(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the keys and the position of each plain value of a JSON object in a text.

    The text may be anything; for one without a JSON object the result is meaningless.
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
