"""Ask a model for an answer, or for several, and keep them as a column."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import polars as pl
from pydantic import BaseModel, ValidationError

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, StepRecord
from soupstock.errors import MistakeError
from soupstock.inference.call import Answer, Ask, Call, CallForm, Failure, Reply
from soupstock.inference.chat_template import CHAT_TEMPLATES, ChatTemplate
from soupstock.rows import schema_types
from soupstock.rows.row import Columns, Row, dropped, failed
from soupstock.spec.prompt import Prompt, PromptError
from soupstock.steps.chapter import Chapter, Round, RowStep
from soupstock.steps.columns import check_new, check_variables
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step, located, sampling
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST, model_named, settings
from soupstock.text.markdown import code

_FENCED = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class Sample(NamedTuple):
    """One answer, read."""

    value: Any
    reasoning: str | None
    tokens: int | None


@dataclass(frozen=True)
class BoundGenerate(RowWise):
    """A generate step, bound."""

    is_stateless: ClassVar[bool] = True
    column: str
    form: CallForm
    prompt: Prompt
    n: int = 1
    retries: int = 2
    """How often to ask again, with another seed, after an unusable answer. Default: 2."""
    schema: type[BaseModel] | None = None
    reasoning: str | None = None
    """The column for the model's reasoning before the answer."""
    tokens: str | None = None
    """The column for the number of tokens of the answer."""
    framing: ChatTemplate | None = None
    """The chat template after whose opening the model writes a user's turn; None to ask with
    messages."""

    @property
    def label(self) -> str:
        """Name the step in tables and reasons."""
        return f"generate: {self.column}"

    def identity(self) -> Iterable[bytes]:
        """Yield how the model is asked."""
        yield self.form.identity()

    def stage(self, step: Step, account: Account) -> Stage:  # noqa: ARG002 - it counts nothing
        """Ask for each row."""
        return Stage(step.title, step=lambda row, ask: generate(self, row, ask))


def bind(step: spec.Generate, columns: Columns, at: At, context: Context) -> Step:
    """Find a step's model, prompt and schema, and check its columns; raises MistakeError."""
    check_new(step.generate, columns, at("generate"))
    model = context.model(step.model, at("model"))
    prompt = context.project.prompt(step.prompt, at("prompt"))
    check_variables(prompt, columns, at("prompt"))
    if step.pre_query and step.output_schema:
        raise MistakeError(
            "`pre_query` and `schema` cannot be combined: a user's turn has no schema", at("schema")
        )
    parts = [("prompt", prompt.record)]
    schema, json_schema, dtype = None, None, pl.String()
    if step.output_schema:
        found = context.project.schema(step.output_schema, at("schema"))
        schema = found.value
        json_schema = located(at("schema"), schema_types.json_schema_of, schema)
        dtype = located(at("schema"), schema_types.struct_of, schema)
        parts.append(("schema", found.record))
    name = step.output_schema or "answer"
    bound = BoundGenerate(
        step.generate,
        CallForm(model, sampling(step), json_schema, name, seed=context.seed),
        prompt.value,
        step.n,
        step.retries,
        schema,
        step.reasoning,
        step.tokens,
        CHAT_TEMPLATES[step.pre_query] if step.pre_query else None,
    )
    return Step(
        step,
        bound,
        title=bound.label,
        reads=tuple(sorted(prompt.value.variables)),
        adds=_adds(step, dtype, columns, at),
        models=((step.model, model),),
        parts=tuple(parts),
        calls=step.n,
        texts=(step.generate, *(f"{step.generate}.{field}" for field in _fields(step, dtype))),
    )


def _adds(step: spec.Generate, dtype: pl.DataType, columns: Columns, at: At) -> Columns:
    """Return the columns that a step makes: lists if it asks for several answers."""
    adds: Columns = {step.generate: dtype}
    for key, kind in (("reasoning", pl.String()), ("tokens", pl.Int64())):
        if (name := getattr(step, key)) is not None:
            check_new(name, {**columns, **adds}, at(key))
            adds = {**adds, name: kind}
    return {name: pl.List(kind) if step.n > 1 else kind for name, kind in adds.items()}


def _fields(step: spec.Generate, dtype: pl.DataType) -> list[str]:
    if step.n > 1 or not isinstance(dtype, pl.Struct):
        return []
    return [field.name for field in dtype.fields]


async def generate(step: BoundGenerate, row: Row, ask: Ask) -> Row:
    """Add the column: a text, a list of `n`, or typed fields. Drop a row without an answer."""
    try:
        messages = step.prompt.messages(row)
        samples = await _samples(step, row["id"], messages, ask)
    except PromptError as error:
        samples = Failure("PromptError", str(error))
    if isinstance(samples, Failure):
        return dropped(failed(row, step.label, *samples), f"{step.label} failed")
    columns = {step.column: [sample.value for sample in samples]}
    if step.reasoning is not None:
        columns[step.reasoning] = [sample.reasoning for sample in samples]
    if step.tokens is not None:
        columns[step.tokens] = [sample.tokens for sample in samples]
    return row | {name: all_ if step.n > 1 else all_[0] for name, all_ in columns.items()}


async def _samples(
    step: BoundGenerate, row_id: str, messages: list[dict[str, str]], ask: Ask
) -> list[Sample] | Failure:
    """Ask for all samples at once, and again for those whose answers are unusable."""
    purpose = f"{row_id}/{step.column}"
    values: dict[int, Sample] = {}
    failure = Failure("Unreadable", "no answer")
    for attempt in range(step.retries + 1):
        samples = [sample for sample in range(step.n) if sample not in values]
        calls = [_call(step, messages, purpose, sample, attempt) for sample in samples]
        for sample, reply in zip(samples, await ask(calls), strict=True):
            read = _read(step, reply)
            if isinstance(read, Failure):
                failure = read
            else:
                values[sample] = read
        if len(values) == step.n:
            return [values[sample] for sample in range(step.n)]
        if failure.cause != "Unreadable":
            break
    return failure


def _call(
    step: BoundGenerate, messages: list[dict[str, str]], purpose: str, sample: int, attempt: int
) -> Call:
    if step.framing is None:
        return step.form.call(messages, purpose, sample, attempt)
    system = [{"role": "system", "content": message["content"]} for message in messages[-1:]]
    prompt, end = step.framing.opened(system), step.framing.end.strip()
    return step.form.completion(prompt, purpose, sample, attempt, end)


def _read(step: BoundGenerate, reply: Reply) -> Sample | Failure:
    """Turn a reply into the column's value, or return why it is unusable."""
    if not isinstance(reply, Answer):
        return reply
    text = reply.text.strip()
    if not text:
        thought = " while it still was thinking" if reply.reasoning else ""
        return Failure("Unreadable", f"the answer is empty (it ended by {reply.finish}{thought})")
    if step.schema is None:
        return Sample(text, reply.reasoning, reply.completion_tokens or None)
    fenced = _FENCED.match(text)
    try:
        value = step.schema.model_validate_json(fenced[1] if fenced else text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or step.schema.__name__
        cut = " (it was cut off at max_tokens)" if reply.finish == "length" else ""
        return Failure("Unreadable", f"the answer breaks its schema: {where}: {first['msg']}{cut}")
    tokens = reply.completion_tokens or None
    return Sample(value.model_dump(mode="json"), reply.reasoning, tokens)


def makes(step: spec.Generate) -> Made:
    """Name the column, and those for reasoning and tokens."""
    return Made(
        (step.generate,), tuple(filter(None, (step.reasoning, step.tokens))), is_written=True
    )


def describe(step: spec.Generate, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe which model wrote what, with which prompt."""
    prompt, made = code(step.prompt, LONGEST), code(step.generate)
    answers = f", {step.n:,} answers for each row" if step.n > 1 else ""
    shape = f", in the form of the schema {code(step.output_schema)}" if step.output_schema else ""
    return (
        f"{model_named(step.model, manifest)} wrote {made} with the prompt {prompt}"
        f"{answers}{shape}{settings(step)}."
    )


def chapter(step: spec.Generate, row_step: RowStep) -> Chapter:
    """Tell what the model was asked, and what it answered."""
    rounds = list(map(partial(_completed, step), row_step.asked(step.prompt)))
    values = row_step.cells(makes(step).every)
    return Chapter(
        rounds=rounds,
        value=values if len(values) > 1 else values[step.generate],
        passages=row_step.question(rounds) | row_step.cells([step.generate]),
    )


def _completed(step: spec.Generate, asked: Round) -> Round:
    """Show the text that the model completed, if it wrote a user's turn."""
    if step.pre_query is None:
        return asked
    system = [{"role": "system", "content": asked.messages[-1]["content"]}]
    text = CHAT_TEMPLATES[step.pre_query].opened(system)
    return Round([{"role": "text to complete", "content": text}])


VERB = Verb(spec.Generate, bind, makes, not_for_files, describe, chapter)
