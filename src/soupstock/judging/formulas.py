"""Compare answers that are formulas, by math-verify: fractions, roots, sets, intervals, equations.

The formulas were written by a model, and sympy may need unlimited time or memory for them. So the
comparison runs in the sandbox, as code that a model wrote does: in a process with limits.
"""

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Sequence

import orjson

from soupstock.errors import MistakeError, Place
from soupstock.judging.answers import boxed, concluded, number, same_value
from soupstock.judging.sandbox import Limits, run_cases

NEEDED = (
    "`by: math` needs math-verify: pip install 'soupstock[math]'"
    " (`by: number` compares numbers without it)"
)
ANOTHER = "another answer"
UNREADABLE = "the right answer is no formula that can be read"

_LONGEST = 2000
"""How many characters at an answer's end are read, and how long a formula may be."""

_CHECK_CODE = """\
import sys
sys.path[:] = {paths}
from soupstock.judging.formulas import is_equal as check
check("$x$", "$x$")
"""
"""The code that runs in the sandbox. The first formula is slow, so it is not one of the cases."""

_TEX = re.compile(r"\\\(|\\\[|\$.*\$", re.DOTALL)
_MARKED = re.compile(r"[\\^√π∞]|\*\*|\$.*\$|\bsqrt\b", re.DOTALL)
_COMMAND = re.compile(r"\\(?:text|mathrm|mbox|begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![a-zA-Z])")
_WORD = re.compile(r"[^\W\d_]{3,}")
_WORKS = re.compile(r"[\d\W]")


def version(place: Place | None) -> str:
    """Return the versions of the libraries that results depend on; raises MistakeError."""
    if importlib.util.find_spec("math_verify") is None:
        raise MistakeError(NEEDED, place)
    return " ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("math-verify", "latex2sympy2_extended", "sympy")
    )


def check_formulas(asked: Sequence[tuple[str, ...]], limits: Limits) -> list[str | None]:
    """Compare answers with the right ones; return what is wrong with each, or None.

    Plain numbers and words are compared directly; only formulas are computed in the sandbox.
    """
    decided = [_decided(said, right) for said, right in asked]
    pairs = [
        (_relevant_part(said), _as_tex(right))
        for (said, right), known in zip(asked, decided, strict=True)
        if known is None
    ]
    distinct = list(dict.fromkeys(pairs))
    paths = [path for path in sys.path if path]
    found = dict(
        zip(distinct, run_cases(_CHECK_CODE.format(paths=paths), distinct, limits), strict=True)
    )
    results = (found[pair] for pair in pairs)
    return [_fault(known) if known is not None else _outcome(*next(results)) for known in decided]


def _fault(is_right: object) -> str | None:
    return None if is_right else ANOTHER


def _outcome(fault: str | None, result: str | None) -> str | None:
    if fault is not None:
        return fault
    is_right = orjson.loads(result or "null")
    return UNREADABLE if is_right is None else _fault(is_right)


def _decided(said: str, right: str) -> bool | None:
    """Compare plain numbers or words; None where there is a formula."""
    if number(right) is None:
        return None if is_formula(right) else same_value(said, right)
    if (inside := boxed(said)) is not None:
        return same_value(said, right) if number(inside) is not None else None
    return None if _MARKED.search(said) else same_value(said, right)


def is_formula(text: str) -> bool:
    """Tell whether a text may be a formula: it has signs or digits, and no words."""
    bare = _FUNCTION.sub("", _COMMAND.sub("", text)).replace("sqrt", "")
    return bool(_WORKS.search(text)) and not _WORD.search(bare) and len(text) <= _LONGEST


def _relevant_part(said: str) -> str:
    """Return the part of an answer that math-verify reads: boxed, concluded, or its end."""
    if (inside := boxed(said)) is not None:
        return _as_tex(inside) if is_formula(inside) else rf"\boxed{{{inside[:_LONGEST]}}}"
    for part in (concluded(said), said.strip()):
        if part and is_formula(part):
            return _as_tex(part)
    return said[-_LONGEST:]


def _as_tex(text: str) -> str:
    """Write a formula as TeX between dollar signs."""
    for sign, name in (("**", "^"), ("−", "-"), ("√", r"\sqrt ")):  # noqa: RUF001 - as TeX has it
        text = text.replace(sign, name)
    text = _FUNCTION.sub(r"\\\1", text)
    return text if _TEX.search(text) else f"${text}$"


def is_equal(said: str, right: str) -> bool | None:
    """Compare two texts; None where the right answer cannot be read. For the sandbox only."""
    import math_verify
    import sympy

    # math-verify ignores TeX's line over recurring digits.
    wanted = [] if r"\overline" in right else math_verify.parse(right, parsing_timeout=None)
    if not any(isinstance(one, sympy.Basic | sympy.MatrixBase) for one in wanted):
        return None
    given = math_verify.parse(said, parsing_timeout=None)
    return bool(math_verify.verify(wanted, given, timeout_seconds=None))
