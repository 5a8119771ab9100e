"""Make what a review sends to people: the form, and a record for each row of the sample.

Everything comes from the run's folder; only the schema is the project's current one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ValidationError

from soupstock import spec
from soupstock.artifacts.manifest import Manifest
from soupstock.errors import MistakeError
from soupstock.judging.rubric import Rubric
from soupstock.project import recorded
from soupstock.project.project import Project
from soupstock.review.apply import original, passing
from soupstock.review.form import (
    CORRECTION,
    VERDICT,
    Field,
    Form,
    FormRecord,
    Suggestion,
    Text,
    printable,
    questions_of,
)
from soupstock.rows.row import LAST_COLUMNS, Row, flatten

CONVERSATION, REASONS = "conversation", "judge_reasons"
_MOST_SHOWN = 100
"""The longest value of the source that records can be filtered by, in characters."""


@dataclass(frozen=True)
class RecordBuilder:
    """Builds the form and the records of a run's review step."""

    said: Manifest
    step: spec.Review
    pipeline: spec.Pipeline
    rubric: Rubric | None
    shown: tuple[str, ...]
    subject: str
    corrected: str | None
    judge: spec.Judge | None
    schema: type[BaseModel] | None
    """The dataset's schema, if its rows are conversations."""

    @classmethod
    def of(cls, said: Manifest, project: Project) -> "RecordBuilder":
        """Read the step from a run's manifest; raises MistakeError if there is none."""
        pipeline = said.spec
        places = [n for n, one in enumerate(pipeline.steps) if isinstance(one, spec.Review)]
        if not places:
            raise MistakeError(f"{said.name} has no review step: add one, and run it again")
        step = pipeline.steps[places[0]]
        if not isinstance(step, spec.Review):
            raise TypeError(step)
        judges = [one for one in pipeline.steps[: places[0]] if isinstance(one, spec.Judge)]
        judge = judges[-1] if judges else None
        rubric = recorded.rubric(said, step.rubric or (judge.rubric if judge else None))
        shown = step.columns or (rubric.shown if rubric else ())
        own = rubric.subject if rubric and not step.columns else None
        subject = step.column or own or shown[-1]
        return cls(
            said=said,
            step=step,
            pipeline=pipeline,
            rubric=rubric,
            shown=shown,
            subject=subject,
            corrected=subject if "." not in subject and "correction" in step.questions else None,
            judge=judge,
            schema=_conversations(pipeline, project),
        )

    def form(self, columns: Mapping[str, pl.DataType]) -> Form:
        """Build the form; `columns` are those of the run's rows."""
        corrected = self.corrected
        if corrected is not None and original(corrected) not in columns:
            corrected = None
        return Form(
            fields=tuple(self._fields(columns)),
            questions=tuple(questions_of(self.step, self.rubric, corrected)),
            guidelines=self.rubric.description if self.rubric else "",
            annotators=self.step.annotators,
        )

    def _fields(self, columns: Mapping[str, pl.DataType]) -> Iterator[Field]:
        context = self.rubric.context if self.rubric else ()
        if self.schema is not None:
            yield Field(CONVERSATION, "Conversation", "chat")
        for path in self.shown:
            if self.schema is None or path in context:
                is_chat = isinstance(columns.get(path), pl.List)
                yield Field(_name(path), path, "chat" if is_chat else "text")
        if self._is_judged_by_its_rubric:
            yield Field(REASONS, "What the judge says")

    @property
    def _is_judged_by_its_rubric(self) -> bool:
        judge = self.judge
        return judge is not None and self.rubric is not None and judge.rubric == self._chosen

    @property
    def _chosen(self) -> str | None:
        return self.step.rubric or (self.judge.rubric if self.judge else None)

    def records(self, rows: pl.DataFrame, form: Form) -> list[FormRecord]:
        """Build a record for each row; rows with the same text share one."""
        found: dict[str, FormRecord] = {}
        for row in rows.iter_rows(named=True):
            key = row["review"]["key"]
            if key not in found:
                found[key] = self._record(self.before(row), key, form)
        return list(found.values())

    def before(self, row: Row) -> Row:
        """Return a row as it was before it was corrected."""
        name = self.corrected
        if name is None or row.get(original(name)) is None:
            return row
        return row | {name: row[original(name)]}

    def text(self, row: Row) -> str | None:
        """Return the text that people can correct, as it was before correction."""
        return self.before(row)[self.corrected] if self.corrected else None

    def _record(self, row: Row, key: str, form: Form) -> FormRecord:
        values = flatten(row, self.shown)
        fields: dict[str, Text] = {}
        for one in form.fields:
            if one.name == CONVERSATION and self.schema is not None:
                fields[one.name] = _conversation(self.schema, row, values)
            elif one.name == REASONS:
                fields[one.name] = "\n".join(self._reasons(row)) or "(none)"
            else:
                fields[one.name] = _text(values[one.title], one.kind)
        return FormRecord(
            key=key,
            row=row["id"],
            fields=fields,
            suggestions=list(self._suggestions(row, form)),
            metadata=self._metadata(row, values),
        )

    def _verdict(self, row: Row) -> Mapping[str, Any]:
        return (row[self.judge.judge] if self.judge else None) or {}

    def _reasons(self, row: Row) -> Iterator[str]:
        for name, one in (self._verdict(row).get("criteria") or {}).items():
            if one and one["reason"]:
                yield printable(f"{name}: {one['reason']}")

    def _suggestions(self, row: Row, form: Form) -> Iterator[Suggestion]:
        verdict, agent = self._verdict(row), self._agent()
        score = verdict.get("score")
        if score is not None and self.judge is not None:
            is_good = score >= passing(self.pipeline.steps, self.judge.judge)
            value, sure = ("keep", score) if is_good else (self.step.vetoes[0], 1 - score)
            yield Suggestion(VERDICT, value, round(sure, 4), agent)
        found = verdict.get("criteria") or {}
        for question in form.questions:
            one = found.get(question.criterion) if self._is_judged_by_its_rubric else None
            if one and question.options:
                yield _suggested(question.name, one, len(question.options), agent)
        if self.corrected is not None and form.question(CORRECTION) and row[self.corrected]:
            yield Suggestion(CORRECTION, printable(row[self.corrected]))

    def _agent(self) -> str | None:
        roles = self.judge.roles if self.judge else ()
        names = [model.model for model in self.said.models if model.role in roles]
        return ", ".join(dict.fromkeys(names)) or None

    def _metadata(self, row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
        subject = values.get(self.subject)
        found = {
            "score": self._verdict(row).get("score"),
            "characters": len(subject) if isinstance(subject, str) else None,
            "dropped_by": [printable(why)[:_MOST_SHOWN] for why in self._reasons_before(row)],
            "model": list(self._models()),
            "source": list(self._source(row)),
            "row": row["id"],
        }
        return {name: value for name, value in found.items() if value not in (None, [])}

    def _reasons_before(self, row: Row) -> list[str]:
        return [why for why in row["dropped_by"] if why.startswith("filter: ")]

    def _models(self) -> Iterator[str]:
        """Name the models that wrote the shown columns."""
        names = {path.split(".")[0] for path in self.shown}
        steps = [s for s in self.pipeline.steps if isinstance(s, spec.Generate)]
        roles = {step.model for step in steps if step.generate in names}
        yield from sorted({m.model for m in self.said.models if m.role in roles})

    def _source(self, row: Row) -> Iterator[str]:
        if isinstance(self.pipeline.source, spec.SampleSource):
            for name in self.pipeline.source.sample:
                if (text := printable(str(row.get(name)))) and len(text) <= _MOST_SHOWN:
                    yield f"{name}: {text}"


def _suggested(name: str, one: Mapping[str, Any], levels: int, agent: str | None) -> Suggestion:
    level = one["level"] or round(one["score"] * (levels - 1)) + 1
    uncertainty = one.get("uncertainty")
    sure = None if uncertainty is None else round(1 - uncertainty, 4)
    return Suggestion(name, str(level), sure, agent)


def _conversations(pipeline: spec.Pipeline, project: Project) -> type[BaseModel] | None:
    """Return the dataset's schema, if its rows are conversations."""
    last = pipeline.steps[-1]
    if not isinstance(last, spec.WriteDataset) or last.output_schema is None:
        return None
    try:
        schema = project.schema(last.output_schema).value
    except MistakeError:
        return None
    return schema if "messages" in schema.model_fields else None


def _conversation(schema: type[BaseModel], row: Row, values: Mapping[str, Any]) -> Text:
    """Shape a row as in the dataset; a row that breaks the schema is shown column by column."""
    try:
        shaped = schema.model_validate({**dict.fromkeys(LAST_COLUMNS), **row}).model_dump(
            mode="json"
        )
    except ValidationError:
        return [_turn(path, _plain(value)) for path, value in values.items()]
    return _text(shaped["messages"], "chat")


def _text(value: Any, kind: str) -> Text:
    if kind == "chat" and isinstance(value, Sequence) and not isinstance(value, str):
        return [_turn(str(turn.get("role")), _plain(turn.get("content"))) for turn in value]
    if kind == "chat":
        return [_turn("text", _plain(value))]
    return printable(_plain(value))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": printable(role), "content": printable(content)}


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _name(path: str) -> str:
    return path.replace(".", "_").lower()
