"""People's answers about rows, kept beside a pipeline's runs and found by the text they are about.

An answer belongs to a text, not to a row or a run: a run that makes the same text again has its
answer already, and a row whose text changed is sent again.
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
"""The verdict that keeps a row; all others are vetoes."""

REVIEW = "review"
ANSWERS = "answers.jsonl"

KeyAndSource = tuple[str, str]
"""The key of a text, and the source of its answers: the place where people read it."""

Conflicts = Literal["majority", "strictest", "latest"]


class ReviewAnswer(Spec):
    """One person's answer about one text."""

    key: str
    """The hash of the text."""
    annotator: str
    status: Literal["submitted", "discarded"] = "submitted"
    """`discarded`: the person skipped it."""
    verdict: str | None = None
    """`keep`, or the reason to drop the row."""
    criteria: dict[str, str] = {}
    """The level of each criterion, in words."""
    correction: str | None = None
    comment: str | None = None
    when: str = ""
    """When it was given, as the review tool reports it."""
    source: str = ""
    """Where it was given. A new fetch from there replaces it."""


@dataclass(frozen=True)
class Consensus:
    """The combined answer about a text."""

    people: int
    verdict: str | None = None
    """None where people disagree, or all skipped it."""
    correction: str | None = None
    comment: str | None = None


@dataclass(frozen=True)
class ReviewAnswers:
    """All answers of a pipeline, in order of their keys."""

    given: tuple[ReviewAnswer, ...] = ()

    @property
    def content(self) -> str:
        """The hash of all answers; empty where there are none."""
        if not self.given:
            return ""
        return hashlib.sha256(_dumped(self.given, without={"source"})).hexdigest()

    @cached_property
    def by_key(self) -> Mapping[str, Sequence[ReviewAnswer]]:
        """The answers about each text: the last one of each person."""
        found: dict[str, dict[str, ReviewAnswer]] = {}
        for one in sorted(self.given, key=_time):
            found.setdefault(one.key, {})[one.annotator] = one
        return {key: list(found[key].values()) for key in sorted(found)}

    def settled(self, conflicts: Conflicts) -> dict[str, Consensus]:
        """Combine the answers about each text."""
        return {key: _settled(some, conflicts) for key, some in self.by_key.items()}

    def updated(
        self, fresh: Iterable[ReviewAnswer], replacing: Iterable[KeyAndSource]
    ) -> "ReviewAnswers":
        """Add answers, and remove the earlier ones about the same texts from the same sources."""
        gone = set(replacing)
        kept = {_identity(one): one for one in self.given if (one.key, one.source) not in gone}
        kept |= {_identity(one): one for one in fresh}
        return ReviewAnswers(tuple(kept[place] for place in sorted(kept)))


def _identity(one: ReviewAnswer) -> tuple[str, str, str]:
    return one.key, one.annotator, one.source


def key_of(shown: Sequence[Any]) -> str:
    """Return the key of a text: the hash of the values that people are shown."""
    return blake2b(orjson.dumps(shown, default=str), digest_size=16).hexdigest()


def review_folder(root: Path, name: str) -> Path:
    """Return the folder of a pipeline's answers."""
    return run_folder.runs_folder(root) / slug(name) / REVIEW


def read_answers(root: Path, name: str) -> ReviewAnswers:
    """Read a pipeline's answers; raises MistakeError."""
    path = review_folder(root, name) / ANSWERS
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ReviewAnswers()
    except OSError as error:
        raise MistakeError(f"it cannot be read: {error.strerror}", Place(path)) from error
    given = []
    for number, line in enumerate(lines, 1):
        try:
            given.append(ReviewAnswer.model_validate_json(line))
        except ValidationError as error:
            problem = (
                "this version of soupstock cannot read the answer; remove the line or the file"
            )
            raise MistakeError(problem, Place(path, number)) from error
    return ReviewAnswers(tuple(given))


def write_answers(root: Path, name: str, answers: ReviewAnswers) -> Path:
    """Write a pipeline's answers, whole or not at all."""
    path = review_folder(root, name) / ANSWERS
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        file.write_bytes(_dumped(answers.given))
    return path


def _dumped(given: Iterable[ReviewAnswer], without: AbstractSet[str] = frozenset()) -> bytes:
    return b"".join(one.model_dump_json(exclude=set(without)).encode() + b"\n" for one in given)


def _settled(some: Sequence[ReviewAnswer], conflicts: Conflicts) -> Consensus:
    said = [one for one in some if one.status == "submitted"]
    comments = dict.fromkeys(one.comment for one in said if one.comment)
    verdict = _verdict(said, conflicts)
    correction = None
    if verdict == KEEP:
        correction = _correction([one for one in said if one.verdict == KEEP], conflicts)
    return Consensus(len(some), verdict, correction, "\n".join(comments) or None)


def _verdict(said: Sequence[ReviewAnswer], conflicts: Conflicts) -> str | None:
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


def _correction(said: Sequence[ReviewAnswer], conflicts: Conflicts) -> str | None:
    """Return the most frequent correction; of several, the latest."""
    given = sorted((one for one in said if one.correction is not None), key=_time)
    if not given:
        return None
    if conflicts == "latest":
        return given[-1].correction
    counts = Counter(one.correction for one in given)
    most = max(counts.values())
    return next(one.correction for one in reversed(given) if counts[one.correction] == most)


def _time(one: ReviewAnswer) -> tuple[str, str]:
    return one.when, one.annotator
