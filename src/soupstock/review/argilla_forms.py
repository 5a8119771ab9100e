"""Convert a form and its records to and from Argilla's JSON, within Argilla's limits."""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from soupstock.review.form import (
    Field,
    Form,
    FormRecord,
    FormReply,
    Option,
    Question,
    Suggestion,
    Text,
)

LONGEST_TITLE, LONGEST_OPTION, LONGEST_DESCRIPTION, LONGEST_GUIDELINES = 500, 500, 1000, 10_000
LONGEST_MESSAGE, LONGEST_ROLE, MOST_MESSAGES = 20_000, 20, 500
LONGEST_AGENT = 200
EMPTY, OTHER = "(empty)", "other"

METADATA = {
    "score": ("float", "The judge's score"),
    "characters": ("integer", "Length"),
    "dropped_by": ("terms", "Dropped by"),
    "model": ("terms", "Model"),
    "source": ("terms", "Source"),
    "row": ("terms", "Row"),
}
"""The metadata that records can be filtered and sorted by."""

_NO_AGENT = re.compile(r"[^a-zA-Z0-9\-_:./\s]+")


def field_body(field: Field) -> dict[str, Any]:
    """Describe a field. Texts are not rendered as Markdown, as they cannot be trusted."""
    settings = {"type": field.kind, "use_markdown": False}
    title = field.title[:LONGEST_TITLE]
    return {"name": field.name, "title": title, "required": False, "settings": settings}


def question_body(question: Question) -> dict[str, Any]:
    """Describe a question."""
    options = [
        {"value": one.value, "text": _cut(one.text, LONGEST_OPTION)} for one in question.options
    ]
    settings: dict[str, Any] = {"type": "text", "use_markdown": False}
    if options:
        settings = {"type": "label_selection", "options": options}
    return {
        "name": question.name,
        "title": _cut(question.title, LONGEST_TITLE),
        "description": question.description[:LONGEST_DESCRIPTION] or None,
        "required": question.is_required,
        "settings": settings,
    }


def metadata_bodies() -> Iterator[dict[str, Any]]:
    """Describe the metadata."""
    for name, (kind, title) in METADATA.items():
        yield {
            "name": name,
            "title": title,
            "settings": {"type": kind},
            "visible_for_annotators": True,
        }


def record_body(record: FormRecord, questions: Mapping[str, str]) -> dict[str, Any]:
    """Describe a record; `questions` are the ids of the questions by name."""
    return {
        "external_id": record.key,
        "fields": {name: _field(value) for name, value in record.fields.items()},
        "metadata": dict(record.metadata),
        "suggestions": [
            _suggestion(one, questions[one.question])
            for one in record.suggestions
            if one.question in questions and one.value
        ],
    }


def _field(value: Text) -> Text:
    """Return a field's value, safe to show on Argilla's page.

    The page renders a chat as HTML, even without Markdown, and runs its scripts. With `<` and `&`
    escaped, texts are shown as they are, and nothing runs.
    """
    if isinstance(value, str):
        return escape(value, quote=False) or EMPTY
    turns = [part for turn in value for part in _turns(turn["role"], turn["content"])]
    return turns[:MOST_MESSAGES]


def _turns(role: str, content: str) -> Iterator[dict[str, str]]:
    """Split a message that is longer than Argilla allows."""
    called = escape(role, quote=False)
    called = called if 0 < len(called) <= LONGEST_ROLE else OTHER
    for part in _parts(content or EMPTY):
        yield {"role": called, "content": part}


def _parts(content: str) -> Iterator[str]:
    start = 0
    while start < len(content):
        most = LONGEST_MESSAGE
        while len(part := escape(content[start : start + most], quote=False)) > LONGEST_MESSAGE:
            most //= 2
        yield part
        start += most


def _suggestion(one: Suggestion, question: str) -> dict[str, Any]:
    found = {"question_id": question, "value": one.value, "type": "model"}
    agent = " ".join(_NO_AGENT.sub(" ", one.agent or "").split())[:LONGEST_AGENT]
    if agent:
        found["agent"] = agent
    return found if one.score is None else found | {"score": min(1.0, max(0.0, one.score))}


def form_of(questions: Sequence[Mapping[str, Any]]) -> Form:
    """Return the form of an existing dataset, from its questions."""
    return Form((), tuple(_question(one) for one in questions))


def _question(said: Mapping[str, Any]) -> Question:
    options = said["settings"].get("options") or ()
    is_criterion = said["name"].startswith("criterion_")
    return Question(
        name=said["name"],
        title=said["title"],
        options=tuple(Option(str(one["value"]), one.get("text") or "") for one in options),
        criterion=said.get("description") if is_criterion else None,
    )


def replies_of(record: Mapping[str, Any], people: Mapping[str, str]) -> Iterator[FormReply]:
    """Read a record's responses; drafts are ignored."""
    for said in record.get("responses") or ():
        if said["status"] not in {"submitted", "discarded"}:
            continue
        values = {name: str(one["value"]) for name, one in (said.get("values") or {}).items()}
        yield FormReply(
            key=str(record.get("external_id")),
            annotator=people.get(said["user_id"], said["user_id"]),
            values=values if said["status"] == "submitted" else {},
            is_discarded=said["status"] == "discarded",
            when=str(said.get("updated_at") or ""),
        )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
