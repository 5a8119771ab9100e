"""Check answers by rule, and pick the shortest right one. Asks no model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from soupstock import spec
from soupstock.artifacts.manifest import Manifest, SavingRecord, StepRecord
from soupstock.errors import MistakeError, Place, quoted
from soupstock.judging import formulas, function_calls
from soupstock.judging.answers import Check, CheckResult, same_line, same_value
from soupstock.judging.sandbox import Limits, run_tests
from soupstock.judging.shorter_answers import (
    Saving,
    SizedText,
    counts_of,
    savings_of,
    sentences,
)
from soupstock.rows.row import Columns, Row, flatten
from soupstock.steps.chapter import Chapter, RowStep
from soupstock.steps.columns import check_new, type_at
from soupstock.steps.step import Account, At, Context, RowWise, Stage, Step
from soupstock.steps.verb import Made, Verb, not_for_files
from soupstock.steps.wording import LONGEST
from soupstock.text.markdown import code

_FIELDS: Mapping[str, pl.DataType] = {
    "passed": pl.List(pl.Boolean),
    "pass_rate": pl.Float64(),
    "shortest": pl.String(),
    "place": pl.Int64(),
    "saved": pl.Float64(),
    "faults": pl.List(pl.String),
    "results": pl.List(pl.String),
}
"""The column's fields: whether each answer is right, else why not, and the shortest right one."""

_NEEDS = {
    "number": "answer",
    "math": "answer",
    "exact": "answer",
    "tests": "tests",
    "call": "tools",
}
"""The key that names what each rule compares answers with."""

_RUN = ("math", "tests", "stubs")
"""What runs in a process of its own, with limits."""


@dataclass(frozen=True)
class BoundVerify(RowWise):
    """A verify step, bound."""

    column: str
    answers: str
    """The column of the answer, or of several."""
    right: tuple[str, ...]
    """The columns that answers are compared with."""
    check: Check
    than: str | None = None
    """The column of the text that answers must be shorter than."""
    tokens: str | None = None
    """The column of the number of tokens of each answer; None counts characters."""
    than_tokens: str | None = None
    """The column of the number of tokens of the longer text."""
    library: bytes = b""
    """The version of the library that checks, if one does."""
    is_slow: bool = False
    """Whether a check takes long."""

    @property
    def label(self) -> str:
        """Name the step in tables."""
        return f"verify: {self.column}"

    @property
    def dtype(self) -> pl.DataType:
        """The column's type."""
        return pl.Struct({**_FIELDS, **({"tokens": pl.Int64()} if self.tokens else {})})

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that the step reads."""
        some = (self.answers, *self.right, self.than, self.tokens, self.than_tokens)
        return tuple(path for path in some if path)

    def identity(self) -> Iterable[bytes]:
        """Yield the version of the library that checks."""
        yield self.library

    def stage(self, step: Step, account: Account) -> Stage:
        """Check the answers of each row, and count what shorter answers save."""

        def check(rows: list[Row]) -> list[Row]:
            made = verify_rows(self, rows)
            for row in made:
                if row[self.column]:
                    account.counts.update(counts_of(saving_of(self, row)))
            account.notes[:] = sentences(account.counts)
            return made

        return Stage(step.title, check=check)

    def figures(self, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """Return what shorter answers save."""
        return {"savings": tuple(SavingRecord(**one._asdict()) for one in savings_of(counts))}


def bind(step: spec.Verify, columns: Columns, at: At, context: Context) -> Step:  # noqa: ARG001
    """Check a step's columns, and find its rule; raises MistakeError."""
    check_new(step.verify, columns, at("verify"))
    key = _NEEDS[step.by]
    if getattr(step, key) is None:
        problem = f"`by: {step.by}` needs `{key}`: the column to compare the answers with"
        raise MistakeError(problem, at("by") or at("verify"))
    keys = [key, *(["stubs"] if step.by == "call" and step.stubs else [])]
    _check_columns(step, keys, columns, at)
    library = formulas.version(at("by")).encode() if step.by == "math" else b""
    run = next((one for one in (step.by, *keys) if one in _RUN), None)
    limits = Limits(step.seconds, step.megabytes)
    if run and (lacking := limits.lacking()) is not None:
        raise MistakeError(f"`{run}` cannot be run here: {lacking}", at(run) or at("by"))
    bound = BoundVerify(
        step.verify,
        step.column,
        tuple(getattr(step, one) for one in keys),
        _check(step, limits, at),
        step.than,
        step.tokens,
        _than_tokens(step, columns, at),
        library,
        is_slow=run is not None,
    )
    adds = {step.verify: bound.dtype}
    return Step(step, bound, title=bound.label, reads=bound.reads, adds=adds)


def _check_columns(step: spec.Verify, keys: Sequence[str], columns: Columns, at: At) -> None:
    _check_text(step.column, columns, at("column"), is_list=True)
    for one in keys:
        path = getattr(step, one)
        if type_at(path, columns, at(one)).is_nested():
            raise MistakeError(f"{quoted(path)} holds neither a text nor a number", at(one))
    if step.than is not None:
        _check_text(step.than, columns, at("than"))
    if step.tokens is not None:
        _check_count(step.tokens, columns, at("tokens"))


def _than_tokens(step: spec.Verify, columns: Columns, at: At) -> str | None:
    """Find the column of the longer text's number of tokens; raises MistakeError."""
    if step.tokens is None or step.than is None:
        return None
    path = step.than.removesuffix("shortest") + "tokens"
    try:
        _check_count(path, columns, at("than"))
    except MistakeError as error:
        problem = (
            f"no column says how many tokens {quoted(step.than)} has: name the `shortest` of a"
            " verify step that has `tokens`, too"
        )
        raise MistakeError(problem, at("than")) from error
    return path


def _check_count(path: str, columns: Columns, place: Place | None) -> None:
    if type_at(path, columns, place) not in (pl.Int64(), pl.List(pl.Int64)):
        raise MistakeError(f"{quoted(path)} does not hold numbers of tokens", place)


def _check_text(path: str, columns: Columns, place: Place | None, *, is_list: bool = False) -> None:
    allowed = (pl.String(), pl.List(pl.String)) if is_list else (pl.String(),)
    if type_at(path, columns, place) not in allowed:
        texts = "neither a text nor a list of texts" if is_list else "no text"
        raise MistakeError(f"{quoted(path)} holds {texts}", place)


def _check(step: spec.Verify, limits: Limits, at: At) -> Check:
    match step.by:
        case "number":
            return _compared(same_value)
        case "math":
            return lambda asked: list(map(CheckResult, formulas.check_formulas(asked, limits)))
        case "exact":
            return _compared(same_line)
        case "tests":
            return lambda asked: list(map(CheckResult, run_tests(asked, limits)))
        case "call":
            function_calls.check_installed(at("by"))
            return lambda asked: function_calls.check_calls(asked, limits)


def _compared(is_same: Callable[[str, str], bool]) -> Check:
    def check(asked: Sequence[tuple[str, ...]]) -> Sequence[CheckResult]:
        return [
            CheckResult(None if is_same(answer, right) else formulas.ANOTHER)
            for answer, right in asked
        ]

    return check


def verify_rows(step: BoundVerify, rows: Sequence[Row]) -> list[Row]:
    """Add the column to a block of rows."""
    read = [flatten(row, step.reads) for row in rows]
    answers = [_texts(step, values) for values in read]
    asked = [
        (answer.text, *(str(values[path]) for path in step.right))
        for values, texts in zip(read, answers, strict=True)
        for answer in texts
    ]
    findings = iter(step.check(asked))
    made = []
    for row, values, texts in zip(rows, read, answers, strict=True):
        own = [next(findings) for _ in texts]
        made.append(row | {step.column: _found(step, texts, own, _longer(step, values))})
    return made


def _texts(step: BoundVerify, values: Mapping[str, Any]) -> list[SizedText]:
    value, counts = values[step.answers], values[step.tokens] if step.tokens else None
    texts = value if isinstance(value, list) else [value]
    counts = counts if isinstance(counts, list) else [counts] * len(texts)
    known = [count or None for count in counts]
    if None in known:
        # Lengths in different units cannot be compared.
        known = [None] * len(texts)
    pairs = zip(texts, known, strict=True)
    return [SizedText(text, count) for text, count in pairs if isinstance(text, str)]


def _longer(step: BoundVerify, values: Mapping[str, Any]) -> SizedText | None:
    if step.than is None:
        return None
    return SizedText(
        values[step.than] or "", values[step.than_tokens] if step.than_tokens else None
    )


def _found(
    step: BoundVerify,
    texts: Sequence[SizedText],
    findings: Sequence[CheckResult],
    than: SizedText | None,
) -> Mapping[str, Any] | None:
    if not texts:
        return None
    faults = [finding.fault for finding in findings]
    if than is not None:
        faults = [
            fault or (None if than.saving(text) else "not shorter")
            for text, fault in zip(texts, faults, strict=True)
        ]
    right = [place for place, fault in enumerate(faults) if fault is None]
    place = min(right, key=lambda one: texts[one].size, default=None)
    shortest = None if place is None else texts[place]
    saving = than.saving(shortest) if than and shortest else None
    return {
        "passed": [fault is None for fault in faults],
        "pass_rate": len(right) / len(texts),
        "shortest": shortest and shortest.text,
        "place": None if place is None else place + 1,
        "saved": saving and saving.share,
        "faults": faults,
        "results": [finding.result for finding in findings],
        **({"tokens": shortest and shortest.tokens} if step.tokens else {}),
    }


def saving_of(step: BoundVerify, row: Row) -> Saving | None:
    """Return what the shorter answer of a verified row saves; None if there is none."""
    found = row[step.column]
    than = _longer(step, flatten(row, step.reads))
    if than is None or not found or found["shortest"] is None:
        return None
    return than.saving(SizedText(found["shortest"], found.get("tokens")))


def makes(step: spec.Verify) -> Made:
    """Name the column."""
    return Made((step.verify,))


def describe(step: spec.Verify, record: StepRecord, manifest: Manifest) -> str:  # noqa: ARG001
    """Describe how answers were checked, and what shorter ones save."""
    notes = " ".join(record.notes)
    column = code(step.column, LONGEST)
    return (
        f"{column} was checked: {_how(step)}. The result is {code(step.verify)}. {notes}".rstrip()
    )


def _how(step: spec.Verify) -> str:
    match step.by:
        case "number":
            return f"an answer's last number must equal {code(step.answer or '')}"
        case "math":
            return (
                f"an answer's last number or formula must equal {code(step.answer or '')}, as"
                " math-verify computes it"
            )
        case "exact":
            return f"an answer's last line must be {code(step.answer or '')}"
        case "tests":
            return f"an answer's Python code must pass the tests in {code(step.tests or '')}"
        case "call":
            return f"an answer must call functions of {code(step.tools or '')} as they are declared"


def chapter(step: spec.Verify, row_step: RowStep) -> Chapter:
    """Tell the result."""
    return Chapter(value=row_step.row[step.verify], passages=row_step.cells([step.verify]))


VERB = Verb(spec.Verify, bind, makes, not_for_files, describe, chapter)
