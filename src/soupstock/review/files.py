"""Review by file: records are written as JSONL, and answers are read from it.

`to-review.jsonl` has a line for each record; lines are added and never changed. People write their
answers into these lines, or into copies of the file under other names in the same folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soupstock import errors
from soupstock.artifacts.files import written_whole
from soupstock.errors import MistakeError, quoted
from soupstock.review.answers import ReviewAnswer
from soupstock.review.form import Form, FormRecord, FormReply, Question, read_reply
from soupstock.review.tool import Pulled, Pushed, ReviewPlace
from soupstock.spec.loader import read_text

OUT = "to-review.jsonl"
QUESTIONS = "questions.md"
SOURCE = "file"


@dataclass
class Files:
    """A review tool that is a folder of JSONL files."""

    folder: Path

    async def pull(self, form: Form, texts: Mapping[str, str], since: Mapping[str, str]) -> Pulled:
        """Read the answers of all files; `since` is ignored, as there are only a few."""
        del since
        answers: list[ReviewAnswer] = []
        places: dict[str, None] = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            for place, line in _lines(path):
                reply = _reply(form, line, path, place)
                places[reply.key] = None
                if not reply.values and not reply.is_discarded:
                    continue
                try:
                    answers.append(read_reply(form, reply, texts.get(reply.key), SOURCE))
                except ValueError as error:
                    raise MistakeError(str(error), place) from error
        return Pulled(answers, [(key, SOURCE) for key in places])

    async def push(self, form: Form, records: Sequence[FormRecord]) -> Pushed:
        """Add the records that the file does not have yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        out = self.folder / OUT
        there = {line["key"] for _, line in _lines(out)} if out.exists() else set()
        fresh = [record for record in records if record.key not in there]
        text = "".join(json.dumps(_line(form, one), ensure_ascii=False) + "\n" for one in fresh)
        _end_whole(out)
        with out.open("a", encoding="utf-8") as file:
            file.write(text)
        with written_whole(self.folder / QUESTIONS) as file:
            file.write_text(_in_words(form), encoding="utf-8")
        return Pushed(len(fresh), len(records) - len(fresh))

    def place(self) -> ReviewPlace:
        """Return the path of the file."""
        questions = {"questions": str(self.folder / QUESTIONS)}
        return ReviewPlace(str(self.folder / OUT), questions)


def _end_whole(path: Path) -> None:
    """Make a file end with a whole line; a process that was killed leaves half a line."""
    if not path.exists():
        return
    before, newline, last = read_text(path).rpartition("\n")
    if last:
        text = before + newline + ("" if _is_torn(last) else f"{last}\n")
        with written_whole(path) as file:
            file.write_text(text, encoding="utf-8")


def _is_torn(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def _lines(path: Path) -> Iterator[tuple[errors.Place, dict[str, Any]]]:
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        place = errors.Place(path, number)
        is_last = number == len(lines)
        if not line.strip() or (path.name == OUT and is_last and _is_torn(line)):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MistakeError("the line is not JSON", place) from error
        if not isinstance(value, dict) or not isinstance(value.get("key"), str):
            problem = 'each line should be an object with a "key", as in to-review.jsonl'
            raise MistakeError(problem, place)
        yield place, value


def _line(form: Form, record: FormRecord) -> dict[str, Any]:
    asked = [question for question in form.questions if question.criterion is None]
    criteria = [question.criterion for question in form.questions if question.criterion]
    suggested = {
        (question.criterion or question.name): one.value
        for one in record.suggestions
        if (question := form.question(one.question)) is not None
    }
    return {
        "key": record.key,
        "row": record.row,
        **record.fields,
        "metadata": dict(record.metadata),
        "suggested": suggested,
        "answers": {
            **{question.name: None for question in asked},
            **({"criteria": dict.fromkeys(criteria)} if criteria else {}),
        },
        "annotator": None,
    }


def _reply(form: Form, line: Mapping[str, Any], path: Path, place: errors.Place) -> FormReply:
    said = line.get("answers") or {}
    criteria = said.get("criteria") or {} if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(criteria, Mapping):
        raise MistakeError('"answers" and its "criteria" should be objects', place)
    given = {**said, **criteria}
    unknown = [name for name in given if name != "criteria" and not _asked(form, name)]
    if unknown:
        known = [question.criterion or question.name for question in form.questions]
        problem = f"no question is called {quoted(unknown[0])}{errors.hint(unknown[0], known)}"
        raise MistakeError(problem, place)
    own = path.stem if path.name != OUT else ""
    values = {
        question.name: str(given[name])
        for name in given
        if (question := _asked(form, name)) is not None
        if given[name] is not None and str(given[name]).strip()
    }
    return FormReply(line["key"], str(line.get("annotator") or own), values)


def _asked(form: Form, name: str) -> Question | None:
    return next((one for one in form.questions if name == (one.criterion or one.name)), None)


def _in_words(form: Form) -> str:
    lines = ["# What is asked", "", *([form.guidelines, ""] if form.guidelines else [])]
    for question in form.questions:
        lines += [f"## `{question.criterion or question.name}`", "", question.title, ""]
        lines += [f"- `{option.value}`: {option.text}" for option in question.options]
        lines += [""] if question.options else []
    return "\n".join(lines)
