"""Let two sides talk, turn by turn: a user who is played by a model, and an assistant."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.inference.call import Answer, Ask, Failure, Form
from soupstock.rows.rows import Columns, Row, dropped, failed
from soupstock.spec.prompt import Prompt, PromptError
from soupstock.steps.chapter import Chapter, Round, RowStep
from soupstock.steps.columns import check_new, check_variables
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, sampling
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST, model_named, settings
from soupstock.text.markdown import Markdown, code, joined

CONVERSATION = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))

SAID = ("conversation", "message")
"""What a prompt is given beside the columns: the messages so far, and the text of the last one."""

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Speaker:
    """One side: its role in the conversation, how it is asked, and with what."""

    role: str
    form: Form
    prompt: Prompt


@dataclass(frozen=True)
class Conversing(RowWise):
    """A converse step, bound."""

    is_stateless: ClassVar[bool] = True
    column: str
    speakers: tuple[Speaker, ...]
    """Who speaks, in turn."""
    turns: int
    retries: int = 2
    """How often a side that says nothing is asked again, with another seed."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"converse: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield how each side is asked."""
        yield from (speaker.form.identity() for speaker in self.speakers)

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Let both sides talk about each row."""
        return Stage(step.title, step=lambda row, ask: converse(self, row, ask))


def bind(step: spec.Converse, columns: Columns, at: At, context: Context) -> Step:
    """Find both sides' models and prompts, and check their columns; raises MistakeError."""
    check_new(step.converse, columns, at("converse"))
    speakers, parts, reads = [], [], set[str]()
    for name, side in (("user", step.user), ("assistant", step.assistant)):
        model = context.model(side.model, at(name, "model"))
        prompt = context.project.prompt(side.prompt, at(name, "prompt"))
        check_variables(prompt, [*columns, *SAID], at(name, "prompt"))
        form = Form(model, sampling(side), seed=context.seed)
        speakers.append(Speaker(name, form, prompt.value))
        parts.append(("prompt", prompt.record))
        reads |= prompt.value.variables.keys() - {*SAID}
    bound = Conversing(step.converse, tuple(speakers), step.turns, step.retries)
    roles = dict.fromkeys((step.user.model, step.assistant.model))
    return Step(
        step,
        bound,
        title=bound.label,
        reads=tuple(sorted(reads)),
        adds={step.converse: CONVERSATION},
        models=tuple((role, context.models[role]) for role in roles),
        parts=tuple(parts),
        calls=2 * step.turns,
        texts=(step.converse,),
    )


def addressed(prompt: Prompt, role: str, row: Row, said: Messages) -> Messages:
    """Render what a side is asked; raises PromptError."""
    last = said[-1]["content"] if said else ""
    asked = prompt.messages({**row, "conversation": said, "message": last})
    # The user's side is shown what was said by its prompt; the assistant's takes part in it.
    return [*asked[:-1], *said[:-1], asked[-1]] if role == "assistant" else asked


async def converse(step: Conversing, row: Row, ask: Ask) -> Row:
    """Add the column. A row whose conversation breaks off is dropped."""
    said: Messages = []
    for turn in range(step.turns):
        for speaker in step.speakers:
            told = await _told(step, speaker, row, said, turn, ask)
            if isinstance(told, Failure):
                return dropped(failed(row, step.label, *told), f"{step.label} failed")
            said.append({"role": speaker.role, "content": told})
    return row | {step.column: said}


async def _told(  # noqa: PLR0913, PLR0917 - what is said hangs on all of these
    step: Conversing, speaker: Speaker, row: Row, said: Messages, turn: int, ask: Ask
) -> str | Failure:
    try:
        messages = addressed(speaker.prompt, speaker.role, row, said)
    except PromptError as error:
        return Failure("PromptError", str(error))
    purpose = f"{row['id']}/{step.column}/{turn}/{speaker.role}"
    for attempt in range(step.retries + 1):
        (reply,) = await ask([speaker.form.call(messages, purpose, attempt=attempt)])
        if not isinstance(reply, Answer):
            return reply
        if text := reply.text.strip():
            return text
    return Failure("Unreadable", f"the {speaker.role} said nothing in turn {turn + 1}")


def makes(step: spec.Converse) -> Made:
    """Name the column."""
    return Made((step.converse,), is_written=True)


def describe(step: spec.Converse, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Say who talked with whom, and for how long."""
    sides = [
        f"{model_named(side.model, manifest)} as the {name}, asked by the prompt"
        f" {code(side.prompt, LONGEST)}{settings(side)}"
        for name, side in (("user", step.user), ("assistant", step.assistant))
    ]
    return f"{joined(list(map(Markdown, sides)))} wrote {code(step.converse)}, {step.turns} turns."


def chapter(step: spec.Converse, row_step: RowStep) -> Chapter:
    """Tell all turns in order."""
    rounds = list(_rounds(step, row_step))
    return Chapter(
        rounds=rounds, passages=row_step.question(rounds) | row_step.cells([step.converse])
    )


def _rounds(step: spec.Converse, row_step: RowStep) -> Iterator[Round]:
    """Tell all turns; the first question where the conversation broke off."""
    said = row_step.row[step.converse] or []
    sides = {"user": step.user, "assistant": step.assistant}
    roles = [message["role"] for message in said] or ["user"]
    try:
        for place, role in enumerate(roles):
            prompt = row_step.recorded.prompt(sides[role].prompt)
            asked = addressed(prompt, role, row_step.row, said[:place])
            answer = said[place]["content"] if said else None
            yield Round(asked, answer, f"turn {place // 2 + 1}, {role}")
    except PromptError:
        return


VERB = Verb(spec.Converse, bind, makes, not_for_files, describe, chapter)
