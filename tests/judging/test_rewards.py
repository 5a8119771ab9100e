"""Reward functions, called as trainers call them."""

import json

import pytest

from soupstock.rewards import by_rubric, right_answer

SAID = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "The answer is 4."}]
RUBRIC = [{"criterion": "It adds.", "points": 3}, {"criterion": "It is short.", "points": 1}]


def test_a_right_answer_is_rewarded_one_at_a_time_and_many_at_once() -> None:
    assert right_answer(completion=SAID, answer="4", state={}) == 1
    assert right_answer(completion="I say 5", answer="4") == 0
    many = right_answer(
        prompts=["a", "b"], completions=[SAID, "5"], answer=["4", "4"], trainer_state=object()
    )
    assert many == [1, 0]


def test_a_rubric_is_scored_by_what_a_judge_says_is_met() -> None:
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return "1. Yes, it does.\n2. No"

    reward = by_rubric(ask)
    prompt = [{"role": "user", "content": "2 + 2?"}]
    assert reward(completion=SAID, rubric=RUBRIC, reference="It is 4.", prompt=prompt) == 0.75
    assert "Question: 2 + 2?" in asked[0]
    assert "1. It adds.\n2. It is short." in asked[0]
    info = json.dumps({"rubric": RUBRIC, "reference": "It is 4."})
    assert reward(completion=SAID, info=info, prompt=prompt) == 0.75
    assert reward(
        prompts=[prompt] * 2, completions=[SAID, SAID], rubric=[RUBRIC] * 2, reference=["4"] * 2
    ) == [0.75, 0.75]


def test_a_judge_that_says_nothing_rewards_nothing() -> None:
    assert by_rubric(lambda _: "Well.")(completion="4", rubric=RUBRIC, reference="4") == 0


def test_a_reward_of_nothing_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="call a reward with"):
        right_answer(answer="4")
