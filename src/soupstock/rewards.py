"""Reward functions for datasets of the pipeline `rewards`, in the form that trainers call.

TRL's GRPO calls a function with all completions and with the dataset's columns as lists; verifiers
calls it with one completion and the values of its row. Each function here supports both:

    GRPOTrainer(reward_funcs=[right_answer, by_rubric(ask)], train_dataset=rows, ...)
    Rubric(funcs=[right_answer, by_rubric(ask)])

Neither trainer needs to be installed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from soupstock.judging.answers import same_value

Completion = str | Sequence[Mapping[str, Any]]
"""An answer: a text, or messages."""

Reward = Callable[..., Any]

_VERDICT = re.compile(r"^\W*(\d+)\W+(yes|no)\b", re.IGNORECASE | re.MULTILINE)

_ASKED = """\
Does the answer meet each criterion? Write a line for each: its number, and yes or no.

Question: {question}

Reference: {reference}

Answer: {answer}

Criteria:
{criteria}
"""


def text_of(completion: Completion) -> str:
    """Return the assistant's last message."""
    if isinstance(completion, str):
        return completion
    return next((str(m["content"]) for m in reversed(completion) if m["role"] == "assistant"), "")


def _both_ways(reward: Callable[..., float]) -> Reward:
    """Let a function of one completion also be called with many, and with columns as lists."""

    @wraps(reward)
    def called(
        completion: Completion | None = None,
        completions: Sequence[Completion] | None = None,
        **columns: Any,
    ) -> float | list[float]:
        if completions is None:
            if completion is None:
                raise TypeError("call a reward with a `completion` or with `completions`")
            return reward(completion, **columns)
        # TRL calls the column `prompt` "prompts", and also passes arguments that are not columns.
        lists = {n: v for n, v in columns.items() if isinstance(v, list | tuple)}
        if "prompts" in lists:
            lists["prompt"] = lists.pop("prompts")
        whole = {n: v for n, v in lists.items() if len(v) == len(completions)}
        return [
            reward(one, **{name: values[place] for name, values in whole.items()})
            for place, one in enumerate(completions)
        ]

    return called


@_both_ways
def right_answer(completion: Completion, answer: str, **_: Any) -> float:
    """Return 1 if a completion's last number or formula equals the column `answer`, else 0."""
    return 1.0 if same_value(text_of(completion), answer) else 0.0


def by_rubric(ask: Callable[[str], str]) -> Reward:
    """Make a reward function that asks a judge about the columns `rubric` and `reference`.

    `ask` sends a question to the judge and returns its answer. The reward is the share of points
    whose criteria are met; a criterion that the judge does not mention is not met.
    """

    def rubric_reward(
        completion: Completion,
        rubric: Sequence[Mapping[str, Any]] | None = None,
        reference: str | None = None,
        prompt: Completion = "",
        info: str | Mapping[str, Any] | None = None,
        **_: Any,
    ) -> float:
        details = json.loads(info) if isinstance(info, str) else (info or {})
        criteria = rubric if rubric is not None else details["rubric"]
        question = _ASKED.format(
            question=prompt if isinstance(prompt, str) else str(prompt[-1]["content"]),
            reference=reference if reference is not None else details.get("reference", ""),
            answer=text_of(completion),
            criteria="\n".join(f"{n}. {one['criterion']}" for n, one in enumerate(criteria, 1)),
        )
        met = {int(n) for n, said in _VERDICT.findall(ask(question)) if said.lower() == "yes"}
        points = [float(one["points"]) for one in criteria]
        return sum(p for n, p in enumerate(points, 1) if n in met) / sum(points)

    return _both_ways(rubric_reward)
