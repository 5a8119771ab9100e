"""What models were asked about a row, rendered once more from a run's manifest."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, PartRecord
from soupstock.inference.chat_template import FRAMINGS
from soupstock.judging.judge_input import compared, exhibits
from soupstock.judging.rubric import Rubric
from soupstock.rows.rows import Row, flatten
from soupstock.spec.loader import parse_yaml, validate
from soupstock.spec.prompt import Prompt, PromptError, parse_prompt
from soupstock.steps.converse import addressed

Messages = Sequence[Mapping[str, str]]


class Round(NamedTuple):
    """One question to a model, and what it answered, where the row does not hold that."""

    messages: Messages
    answer: str | None = None
    title: str = ""
    """Which question it was, where there are several: `turn 2, user`."""


class Asked:
    """Renders the questions of a run's steps; prompts and rubrics are those of the run."""

    def __init__(self, said: Manifest) -> None:
        self._said = said
        self._prompts: dict[str, Prompt] = {}

    def rounds(self, step: spec.Step | None, row: Row) -> Sequence[Round]:
        """Return what a step asked about a row, in order; nothing where it could not be rendered.

        Of a comparison that is the first question.
        """
        try:
            return list(self._rounds(step, row))
        except PromptError:
            return ()

    def _rounds(self, step: spec.Step | None, row: Row) -> Iterator[Round]:
        match step:
            case spec.Generate():
                yield Round(_completed(step, self._prompt(step.prompt).messages(row)))
            case spec.Judge():
                yield from self._judged(step, row)
            case spec.Converse():
                yield from self._conversed(step, row)
            case _:
                pass

    def _judged(self, step: spec.Judge, row: Row) -> Iterator[Round]:
        part = _part(self._said.rubrics, step.rubric)
        rubric = validate(parse_yaml(part.text, Path(part.file)), Rubric).value
        if not rubric.judged:
            return
        if step.compare is None:
            yield Round(self._prompt(rubric.prompt).messages(exhibits(rubric, row)))
            return
        answers = flatten(row, [step.compare])[step.compare] or []
        if len(answers) > 1:
            given = compared(rubric, row, *answers[:2])
            yield Round(self._prompt(rubric.compare_prompt).messages(given))

    def _conversed(self, step: spec.Converse, row: Row) -> Iterator[Round]:
        """Tell all turns in order; the first question where the conversation broke off."""
        said = row[step.converse] or []
        sides = {"user": step.user, "assistant": step.assistant}
        roles = [message["role"] for message in said] or ["user"]
        for place, role in enumerate(roles):
            asked = addressed(self._prompt(sides[role].prompt), role, row, said[:place])
            answer = said[place]["content"] if said else None
            yield Round(asked, answer, f"turn {place // 2 + 1}, {role}")

    def _prompt(self, name: str) -> Prompt:
        if name not in self._prompts:
            part = _part(self._said.prompts, name)
            self._prompts[name] = parse_prompt(name, part.text, Path(part.file))
        return self._prompts[name]


def _completed(step: spec.Generate, messages: Messages) -> Messages:
    """Show the text that was completed, where a user's turn was written past the chat template."""
    if step.pre_query is None:
        return messages
    system = [{"role": "system", "content": messages[-1]["content"]}]
    return [{"role": "text to complete", "content": FRAMINGS[step.pre_query].opened(system)}]


def _part(parts: Sequence[PartRecord], name: str) -> PartRecord:
    return next(part for part in parts if part.name == name)
