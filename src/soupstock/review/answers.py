"""What people said of rows, kept beside a pipeline's runs by what they read.

An answer belongs to a text, not to a row or a run: a run that gives the same text again has the
answer already, and a row whose text changed asks again.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from soupstock.artifacts import run_folder
from soupstock.artifacts.files import written_whole
from soupstock.errors import MistakeError, Place
from soupstock.spec.fields import Spec
from soupstock.spec.pipeline import slug

KEEP = "keep"
"""The verdict of people who keep a row; all others are vetoes."""

REVIEW = "review"
ANSWERS = "answers.jsonl"

Place_ = tuple[str, str]
"""A text by its key, and where people read it."""

Conflicts = Literal["majority", "strictest", "latest"]


class Answer(Spec):
    """What one person said of one text."""

    key: str
    """The hash of what was read."""
    annotator: str
    status: Literal["submitted", "discarded"] = "submitted"
    """`discarded`: looked at, and passed over."""
    verdict: str | None = None
    """`keep`, or the reason for which the row is to be dropped."""
    criteria: dict[str, str] = {}
    """For each criterion the level in its words."""
    correction: str | None = None
    comment: str | None = None
    when: str = ""
    """When it was given, as the tool says."""
    source: str = ""
    """Where it was given: what is fetched from there anew takes its place."""


@dataclass(frozen=True)
class Settled:
    """What people together said of a text."""

    people: int
    verdict: str | None = None
    """None where they are not of one mind, or all passed it over."""
    correction: str | None = None
    comment: str | None = None


@dataclass(frozen=True)
class Answers:
    """All answers of a pipeline, in order of their keys."""

    given: tuple[Answer, ...] = ()

    @property
    def content(self) -> str:
        """The hash of all that was said; empty where nothing was."""
        if not self.given:
            return ""
        return hashlib.sha256(_dumped(self.given, without={"source"})).hexdigest()

    @cached_property
    def by_key(self) -> Mapping[str, Sequence[Answer]]:
        """The answers to each text; of a person who gave several, the last."""
        found: dict[str, dict[str, Answer]] = {}
        for one in sorted(self.given, key=_time):
            found.setdefault(one.key, {})[one.annotator] = one
        return {key: list(found[key].values()) for key in sorted(found)}

    def settled(self, conflicts: Conflicts) -> dict[str, Settled]:
        """Put together what people said of each text."""
        return {key: _settled(some, conflicts) for key, some in self.by_key.items()}

    def with_those(self, fresh: Iterable[Answer], instead_of: Iterable[Place_]) -> "Answers":
        """Take in answers, and leave out those that were given before in the same places."""
        gone = set(instead_of)
        kept = {_identity(one): one for one in self.given if (one.key, one.source) not in gone}
        kept |= {_identity(one): one for one in fresh}
        return Answers(tuple(kept[place] for place in sorted(kept)))


def _identity(one: Answer) -> tuple[str, str, str]:
    return one.key, one.annotator, one.source


def key_of(shown: Sequence[Any]) -> str:
    """Name what is read by its hash: the values of the columns that people are shown."""
    return blake2b(orjson.dumps(shown, default=str), digest_size=16).hexdigest()


def review_folder(root: Path, name: str) -> Path:
    """Return where a pipeline's answers are kept."""
    return run_folder.runs_folder(root) / slug(name) / REVIEW


def read_answers(root: Path, name: str) -> Answers:
    """Read a pipeline's answers; raises MistakeError."""
    path = review_folder(root, name) / ANSWERS
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Answers()
    except OSError as error:
        raise MistakeError(f"it cannot be read: {error.strerror}", Place(path)) from error
    given = []
    for number, line in enumerate(lines, 1):
        try:
            given.append(Answer.model_validate_json(line))
        except ValidationError as error:
            problem = "it is no answer of this version of soupstock; remove the line or the file"
            raise MistakeError(problem, Place(path, number)) from error
    return Answers(tuple(given))


def write_answers(root: Path, name: str, answers: Answers) -> Path:
    """Write a pipeline's answers, whole or not at all."""
    path = review_folder(root, name) / ANSWERS
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        file.write_bytes(_dumped(answers.given))
    return path


def _dumped(given: Iterable[Answer], without: AbstractSet[str] = frozenset()) -> bytes:
    return b"".join(one.model_dump_json(exclude=set(without)).encode() + b"\n" for one in given)


def _settled(some: Sequence[Answer], conflicts: Conflicts) -> Settled:
    said = [one for one in some if one.status == "submitted"]
    comments = dict.fromkeys(one.comment for one in said if one.comment)
    verdict = _verdict(said, conflicts)
    correction = None
    if verdict == KEEP:
        correction = _correction([one for one in said if one.verdict == KEEP], conflicts)
    return Settled(len(some), verdict, correction, "\n".join(comments) or None)


def _verdict(said: Sequence[Answer], conflicts: Conflicts) -> str | None:
    given = [one for one in said if one.verdict is not None]
    if not given:
        return None
    if conflicts == "latest":
        return max(given, key=_time).verdict
    counts = Counter(str(one.verdict) for one in given)
    keeps = counts.pop(KEEP, 0)
    drops = counts.total()
    if conflicts == "majority" and keeps == drops:
        return None
    if not drops or (conflicts == "majority" and keeps > drops):
        return KEEP
    return min(counts, key=lambda veto: (-counts[veto], veto))


def _correction(said: Sequence[Answer], conflicts: Conflicts) -> str | None:
    """Return the text that most wrote, of several the last one."""
    given = sorted((one for one in said if one.correction is not None), key=_time)
    if not given:
        return None
    if conflicts == "latest":
        return given[-1].correction
    counts = Counter(one.correction for one in given)
    most = max(counts.values())
    return next(one.correction for one in reversed(given) if counts[one.correction] == most)


def _time(one: Answer) -> tuple[str, str]:
    return one.when, one.annotator
