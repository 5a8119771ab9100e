"""Score rows against a rubric with a model. The judge's failure is null, never 0."""

from dataclasses import dataclass

from soupstock.calls import Answer, Ask, Failure, Form, Reply
from soupstock.prompts import Prompt, PromptError
from soupstock.records import Row, failed, flatten
from soupstock.rubrics import Rubric, Verdict, read_verdict


@dataclass(frozen=True)
class Judging:
    """A judge step, bound."""

    column: str
    form: Form
    prompt: Prompt
    rubric: Rubric
    retries: int = 2
    """How often an unreadable verdict is asked for again, with another seed."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"judge: {self.column}"


async def judge(step: Judging, row: Row, ask: Ask) -> Row:
    """Add the column: a score from 0 to 1, and each criterion's level, score and reason.

    It is null where there is no verdict; why is among the row's failures.
    """
    verdict = await _verdict(step, row, ask)
    if isinstance(verdict, Failure):
        return failed(row | {step.column: None}, step.label, *verdict)
    criteria = {
        name: {"level": one.level, "score": one.score, "reason": one.reason}
        for name, one in verdict.criteria.items()
    }
    return row | {step.column: {"score": verdict.score, "criteria": criteria}}


async def _verdict(step: Judging, row: Row, ask: Ask) -> Verdict | Failure:
    purpose = f"{row['id']}/{step.column}"
    shown = flatten(row, step.rubric.columns)
    try:
        messages = step.prompt.messages({"rubric": step.rubric, "shown": shown})
    except PromptError as error:
        return Failure("PromptError", str(error))
    verdict: Verdict | Failure = Failure("Unreadable", "no verdict")
    for attempt in range(step.retries + 1):
        (reply,) = await ask([step.form.call(messages, purpose, attempt=attempt)])
        verdict = _read(step, reply)
        if isinstance(verdict, Verdict) or verdict.cause != "Unreadable":
            break
    return verdict


def _read(step: Judging, reply: Reply) -> Verdict | Failure:
    if not isinstance(reply, Answer):
        return reply
    verdict = read_verdict(step.rubric, reply.text)
    if isinstance(verdict, str):
        cut = "; it was cut off at max_tokens" if reply.finish == "length" else ""
        return Failure("Unreadable", f"{verdict}{cut}")
    return verdict
