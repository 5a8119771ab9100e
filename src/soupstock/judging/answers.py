"""Compare answers by rule: the last number or formula of a text, or its last line.

Numbers are compared exactly, as fractions, never as floats, unless the answer itself is rounded.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

_BOXED = r"\boxed{"
_SAID = re.compile(
    r"(?:####|\b(?:the\s+)?(?:final\s+)?answer\s*(?:is|:|=))\s*:?\s*(?=\S)", re.IGNORECASE
)
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:[eE][-+]?\d+)?%?"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_DRESS = re.compile(r"\\(?:left|right|text|mathrm|mbox|,|;|!|\s)|[$£€{}]|\\%|\s+")
MOST_DIGITS = 400
"""The most digits of a number; a longer one is compared as text."""


def same_value(said: str, right: str) -> bool:
    """Tell whether the last number or formula of an answer equals the right answer."""
    given, wanted = final(said), _stated(right) or right.strip()
    if given is None:
        return False
    one, other = number(given), number(wanted)
    if one is not None and other is not None:
        return one == other or _is_rounded(given, one, other)
    return _bare(given) == _bare(wanted)


def same_line(said: str, right: str) -> bool:
    """Tell whether an answer's last line is the right answer, ignoring case and spacing."""
    lines = [line for line in said.splitlines() if line.strip()]
    return bool(lines) and _even(lines[-1]) == _even(right)


def final(text: str) -> str | None:
    """Find an answer's result: what is boxed, what follows "the answer is", or the last number."""
    if (stated := _stated(text)) is not None:
        return stated
    numbers = _numbers(_plain(text))
    return numbers[-1] if numbers else None


def _stated(text: str) -> str | None:
    if (inside := boxed(text)) is not None:
        return inside
    if (line := concluded(text)) is not None:
        numbers = _numbers(_plain(line))
        return numbers[0] if numbers else line
    return None


def concluded(text: str) -> str | None:
    """Find what follows the last "the answer is", to the end of its line."""
    ends = [found.end() for found in _SAID.finditer(text)]
    return text[ends[-1] :].splitlines()[0].strip().rstrip(".") if ends else None


def number(text: str) -> Fraction | None:
    r"""Read a number: `1,200`, `3/4`, `\frac{3}{4}`, `2.5e3`, `12%`; None if it is not a number."""
    plain = _plain(_DRESS.sub("", _plain(text)))
    if len(plain) > MOST_DIGITS or not (found := _NUMBER.fullmatch(plain)) or not found[0]:
        return None
    percent = plain.endswith("%")
    above, _, below = plain.rstrip("%").replace(",", "").partition("/")
    try:
        value = Fraction(above) / (Fraction(below) if below else 1)
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if percent else value


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{…}`, including inner braces."""
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    depth, begin = 1, start + len(_BOXED)
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin:place]
    return None


def _plain(text: str) -> str:
    """Write fractions on one line."""
    return _FRACTION.sub(r"\1/\2", text).replace("−", "-")  # noqa: RUF001 - a minus sign, as TeX has it


def _numbers(text: str) -> list[str]:
    return [found.strip() for found in _NUMBER.findall(text) if any(map(str.isdigit, found))]


def _is_rounded(given: str, one: Fraction, other: Fraction) -> bool:
    """Tell whether a number is another one, rounded to its own three or more decimals."""
    decimals = len(given.strip().rstrip("%").partition(".")[2])
    return decimals > 2 and abs(one - other) * 2 <= Fraction(1, 10**decimals)  # noqa: PLR2004


def _bare(text: str) -> str:
    return _DRESS.sub("", text).strip(".").lower()


def _even(text: str) -> str:
    return " ".join(text.split()).casefold()


class CheckResult(NamedTuple):
    """The result of checking an answer: what is wrong with it, if anything, and its output."""

    fault: str | None = None
    result: str | None = None


Check = Callable[[Sequence[tuple[str, ...]]], Sequence[CheckResult]]
"""Checks answers, each given with what it is compared with."""
