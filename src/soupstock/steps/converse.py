"""Let two models hold a conversation: one plays the user, the other the assistant."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.inference.call import Answer, Ask, CallForm, Failure
from soupstock.rows.row import Columns, Row, dropped, failed
from soupstock.spec.prompt import Prompt, PromptError
from soupstock.steps.chapter import Chapter, Round, RowStep
from soupstock.steps.columns import check_new, check_variables
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, sampling
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST, model_named, settings
from soupstock.text.markdown import Markdown, code, joined

CONVERSATION = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))

CONVERSATION_VARIABLES = ("conversation", "message")
"""A prompt's variables beside the columns: the messages so far, and the text of the last one."""

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Speaker:
    """One side of the conversation."""

    role: str
    """`user` or `assistant`."""
    form: CallForm
    prompt: Prompt


@dataclass(frozen=True)
class BoundConverse(RowWise):
    """A converse step, bound."""

    is_stateless: ClassVar[bool] = True
    column: str
    speakers: tuple[Speaker, ...]
    """The sides, in the order in which they speak."""
    turns: int
    retries: int = 2
    """How often to ask again, with another seed, after an empty answer. Default: 2."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"converse: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield how each side is asked."""
        yield from (speaker.form.identity() for speaker in self.speakers)

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Hold a conversation about each row."""
        return Stage(step.title, step=lambda row, ask: converse(self, row, ask))


def bind(step: spec.Converse, columns: Columns, at: At, context: Context) -> Step:
    """Find both sides' models and prompts, and check their columns; raises MistakeError."""
    check_new(step.converse, columns, at("converse"))
    speakers, parts, reads = [], [], set[str]()
    for name, side in (("user", step.user), ("assistant", step.assistant)):
        model = context.model(side.model, at(name, "model"))
        prompt = context.project.prompt(side.prompt, at(name, "prompt"))
        check_variables(prompt, [*columns, *CONVERSATION_VARIABLES], at(name, "prompt"))
        form = CallForm(model, sampling(side), seed=context.seed)
        speakers.append(Speaker(name, form, prompt.value))
        parts.append(("prompt", prompt.record))
        reads |= prompt.value.variables.keys() - {*CONVERSATION_VARIABLES}
    bound = BoundConverse(step.converse, tuple(speakers), step.turns, step.retries)
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


def render(prompt: Prompt, role: str, row: Row, conversation: Messages) -> Messages:
    """Render the messages that a side is asked with; raises PromptError."""
    last = conversation[-1]["content"] if conversation else ""
    asked = prompt.messages({**row, "conversation": conversation, "message": last})
    # The user's prompt shows the conversation as a text; the assistant gets it as messages.
    return [*asked[:-1], *conversation[:-1], asked[-1]] if role == "assistant" else asked


async def converse(step: BoundConverse, row: Row, ask: Ask) -> Row:
    """Add the column. Drop a row whose conversation breaks off."""
    conversation: Messages = []
    for turn in range(step.turns):
        for speaker in step.speakers:
            text = await _next_message(step, speaker, row, conversation, turn, ask)
            if isinstance(text, Failure):
                return dropped(failed(row, step.label, *text), f"{step.label} failed")
            conversation.append({"role": speaker.role, "content": text})
    return row | {step.column: conversation}


async def _next_message(  # noqa: PLR0913, PLR0917 - a message depends on all of these
    step: BoundConverse, speaker: Speaker, row: Row, conversation: Messages, turn: int, ask: Ask
) -> str | Failure:
    try:
        messages = render(speaker.prompt, speaker.role, row, conversation)
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
    """Describe the models, their prompts, and how many turns they took."""
    sides = [
        f"{model_named(side.model, manifest)} as the {name}, with the prompt"
        f" {code(side.prompt, LONGEST)}{settings(side)}"
        for name, side in (("user", step.user), ("assistant", step.assistant))
    ]
    return f"{joined(list(map(Markdown, sides)))} wrote {code(step.converse)}, {step.turns} turns."


def chapter(step: spec.Converse, row_step: RowStep) -> Chapter:
    """Tell all turns, in order."""
    rounds = list(_rounds(step, row_step))
    return Chapter(
        rounds=rounds, passages=row_step.question(rounds) | row_step.cells([step.converse])
    )


def _rounds(step: spec.Converse, row_step: RowStep) -> Iterator[Round]:
    """Yield all turns; only the first question if the conversation broke off."""
    conversation = row_step.row[step.converse] or []
    sides = {"user": step.user, "assistant": step.assistant}
    roles = [message["role"] for message in conversation] or ["user"]
    try:
        for place, role in enumerate(roles):
            prompt = row_step.recorded.prompt(sides[role].prompt)
            asked = render(prompt, role, row_step.row, conversation[:place])
            answer = conversation[place]["content"] if conversation else None
            yield Round(asked, answer, f"turn {place // 2 + 1}, {role}")
    except PromptError:
        return


VERB = Verb(spec.Converse, bind, makes, not_for_files, describe, chapter)
