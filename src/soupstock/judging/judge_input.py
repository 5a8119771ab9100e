"""Make the variables of a judge's prompt, with a row's texts separated from the instructions."""

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from soupstock.judging.rubric import Rubric
from soupstock.rows.row import Row, flatten

JUDGE_VARIABLES = ("rubric", "shown", "context", "mark")
"""The variables of a judge's prompt: the rubric; the judged columns and their context, by name; and
a mark for the tags that enclose them."""


def judge_input(rubric: Rubric, row: Row) -> dict[str, Any]:
    """Return the variables of a judge's prompt for a row."""
    shown, context = flatten(row, rubric.columns), flatten(row, rubric.context)
    return _marked({"rubric": rubric, "shown": shown, "context": context}, mark(shown, context))


def mark(*shown: Mapping[str, object]) -> str:
    """Return a mark that none of the shown texts can contain, as it is a hash of all of them.

    With the mark in its tags, no text can close the tag that encloses it.
    """
    text = "".join([f"{text}\0" for texts in shown for text in texts.values()])
    # A model may write half a character (a lone surrogate).
    return blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()


COMPARE_VARIABLES = (*JUDGE_VARIABLES, "first", "second")
"""The variables of a prompt that compares two answers; the answers are not in `shown`."""


def comparison_input(rubric: Rubric, row: Row, first: object, second: object) -> dict[str, Any]:
    """Return the variables of a judge's prompt for two answers to a row."""
    beside = [path for path in rubric.columns if path != rubric.subject]
    shown, context = flatten(row, beside), flatten(row, rubric.context)
    pair = {"first": first, "second": second}
    given = {"rubric": rubric, "shown": shown, "context": context, **pair}
    return _marked(given, mark(shown, context, pair))


def _marked(given: Mapping[str, Any], own: str) -> dict[str, Any]:
    """Write the shown values as text, with each turn of a conversation between tags."""
    texts = {
        side: {name: _written(value, own) for name, value in given[side].items()}
        for side in ("shown", "context")
    }
    return {**given, **texts, "mark": own}


def _written(value: Any, own: str) -> Any:
    match value:
        case [{"role": _, "content": _}, *_]:
            return "\n".join(
                f"<{_role(turn)} {own}>\n{turn['content']}\n</{_role(turn)} {own}>"
                for turn in value
            )
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return value


def _turn(role: str, content: object, own: str) -> str:
    return f"<{role} {own}>\n{content}\n</{role} {own}>"


def _role(turn: Mapping[str, Any]) -> str:
    return re.sub(r"\W", "_", str(turn["role"]))
