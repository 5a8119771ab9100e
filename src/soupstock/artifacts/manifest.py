"""The manifest of a run: the source of all numbers in the card and the report."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from soupstock.artifacts.dataset import DatasetRecord, DiversityRecord, TopicRecord
from soupstock.artifacts.decontamination import DecontaminationRecord
from soupstock.artifacts.files import written_whole
from soupstock.artifacts.judges import JudgeRecord
from soupstock.artifacts.review import ReviewRecord
from soupstock.artifacts.terms import TermsRecord
from soupstock.errors import MistakeError, Place
from soupstock.spec.fields import Record
from soupstock.spec.pipeline import Pipeline

MANIFEST = "manifest.json"

WRITING = ("generate", "task", "converse")
"""The verbs of steps in which models write texts."""


class PartRecord(Record):
    """A file that the run was made from: a prompt, rubric, schema or filter module."""

    name: str
    file: str
    """Its path in its project, with the prefix `standard:` for the standard one."""
    sha256: str
    text: str


class ModelRecord(Record):
    """A model that was asked."""

    role: str
    reference: str
    """Its name in the pipeline or on the command line: `embedded`, `openai/gpt-5-mini`."""
    model: str
    revision: str | None = None
    license: str | None = None
    sha256: str | None = None
    """The hash of its weights, if they are known."""
    terms: TermsRecord | None = None
    """What its licence or the terms of the service say about its output, if that is known."""


class FailureRecord(Record):
    """Calls that failed for the same cause after all retries."""

    cause: str
    rows: int
    example: str


class TokenRecord(Record):
    """Tokens of the answers that the rows were made from, paid in this run or an earlier one."""

    prompt: int = 0
    cached: int = 0
    """The prompt tokens that came from the server's prefix cache, if it says so."""
    completion: int = 0


class SavingRecord(Record):
    """What shorter right answers save, over all rows that have one."""

    unit: Literal["tokens", "characters"]
    """Tokens as the model's server counts them."""
    rows: int
    before: int
    """The total length of the original answers."""
    after: int


class StepRecord(Record):
    """The figures of one step. Always: rows_in = rows_kept + the sum of `dropped`."""

    index: int
    """Counted from 1."""
    verb: str
    label: str
    """The step's name for people: `generate response`, `filter length, not_refusal`."""
    model: str | None = None
    models: tuple[str, ...] = ()
    """The roles of its models; `model` is all of them in one text."""
    rows_in: int
    rows_kept: int
    dropped: dict[str, int] = {}
    """Rows dropped, by their first reason."""
    flagged: dict[str, int] = {}
    """Rows with each reason; a row with two reasons counts for both."""
    masked: dict[str, int] = {}
    """Identifiers replaced by a placeholder, by kind."""
    savings: tuple[SavingRecord, ...] = ()
    """How much shorter the answers became, if a verify step asks for that."""
    notes: tuple[str, ...] = ()
    """What a person should know about the step."""
    failures: tuple[FailureRecord, ...] = ()
    answers: int = 0
    """Model answers that the step's rows are made from."""
    tokens: TokenRecord = TokenRecord()
    cost: float | None = None
    """US dollars for those answers; null if the model's prices are not known."""


class SourceRecord(Record):
    """Where the rows came from."""

    kind: Literal["sample", "file", "dataset", "documents"]
    rows: int
    sha256: str | None = None
    """The content's hash, if it is a file."""


class SpreadRecord(Record):
    """The distribution of some numbers."""

    rows: int
    mean: float
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float


class ScoreRecord(Record):
    """The distribution of a judge's scores."""

    column: str
    model: str
    """The judge's role."""
    judged: SpreadRecord | None = None
    """Of all rows with a score; null if there are none."""
    kept: SpreadRecord | None = None
    """Of those rows that were kept to the end."""


class AddressRecord(Record):
    """One replica of a model in a run."""

    base_url: str
    calls: int
    failed: int = 0
    """Requests without an answer, except refused ones."""


class ServerRecord(Record):
    """The servers of one model in a run."""

    model: str
    """The model's reference: `embedded`, `openai/gpt-5-mini`."""
    served: tuple[str, ...] = ()
    """The model's names according to the server: `gpt-5-mini-2025-08-07`."""
    calls: int
    tokens: TokenRecord
    cost: float | None
    seconds: float
    """From the first request to the last answer."""
    prefix_hits: float | None = None
    """The share of prompt tokens from its prefix cache, if its metrics say so."""
    structured_output: str | None = None
    """How the server holds answers to a JSON Schema; null if it was not probed."""
    addresses: tuple[AddressRecord, ...] = ()
    """The figures of each replica, if there are several."""


class PaidRecord(Record):
    """The calls of this run itself; the dataset does not depend on them."""

    calls: int = 0
    """Answers that a server gave in this run."""
    found: int = 0
    """Answers that were in the cache."""
    probes: int = 0
    """Those of `calls` that only tested what a server can do; no row is made from them."""
    retried: int = 0
    """Requests that were sent again."""
    tokens: TokenRecord = TokenRecord()
    cost: float | None = None
    servers: tuple[ServerRecord, ...] = ()
    """The same for each server that was asked."""


class TimingRecord(Record):
    """When the run was, in UTC, and how long it took, in seconds."""

    started: str
    seconds: float
    steps: tuple[float, ...] = ()
    """The seconds from the first row of each step to its last; row-wise steps overlap."""


class PruningRecord(Record):
    """The record of a pruned file."""

    soupstock: str
    pipeline: str
    file: str
    sha256: tuple[str, ...]
    """The hashes of the file, or of the files in the folder."""
    columns: dict[str, str]
    """The pipeline's name of a column and the file's name, where they differ."""
    rows: int
    kept: int
    steps: tuple[StepRecord, ...]
    decontamination: tuple[DecontaminationRecord, ...] = ()
    seconds: float


class Manifest(Record):
    """The complete record of a run. Only `paid` and `timing` differ from run to run."""

    soupstock: str
    name: str
    fingerprint: str
    """The hash of the plan, in hexadecimal."""
    seed: int = 0
    """The seed of every random choice."""
    pipeline: dict[str, Any]
    """The pipeline as data, defaults included."""
    prompts: tuple[PartRecord, ...] = ()
    rubrics: tuple[PartRecord, ...] = ()
    schemas: tuple[PartRecord, ...] = ()
    filters: tuple[PartRecord, ...] = ()
    models: tuple[ModelRecord, ...] = ()
    source: SourceRecord
    outcome: Literal["complete", "partial"]
    reason: str | None = None
    """Why the run is partial."""
    steps: tuple[StepRecord, ...]
    rows: int
    kept: int
    answers: int = 0
    """Model answers that the rows are made from, in all steps."""
    tokens: TokenRecord = TokenRecord()
    cost: float | None = None
    """US dollars for those answers; null if a model's prices are not known."""
    scores: tuple[ScoreRecord, ...] = ()
    judges: tuple[JudgeRecord, ...] = ()
    """The measurements of each judge step's judge."""
    review: ReviewRecord | None = None
    """The state of the review; null if the pipeline has none."""
    decontamination: tuple[DecontaminationRecord, ...] = ()
    diversity: tuple[DiversityRecord, ...] = ()
    topics: tuple[TopicRecord, ...] = ()
    dataset: DatasetRecord | None = None
    """Null if the pipeline writes no dataset, or no row was kept."""
    files: dict[str, str] = {}
    """The SHA-256 of each file that was written, by its path in the run's folder."""
    versions: dict[str, str] = {}
    """The versions of Python and of the packages that affect the result."""
    paid: PaidRecord = PaidRecord()
    timing: TimingRecord

    @cached_property
    def spec(self) -> Pipeline:
        """The pipeline as it was written; raises ValidationError if it is another version's."""
        return Pipeline.model_validate(self.pipeline)

    @property
    def parts(self) -> Mapping[str, tuple[PartRecord, ...]]:
        """The files that the run was made from, by kind."""
        return {
            "prompts": self.prompts,
            "rubrics": self.rubrics,
            "schemas": self.schemas,
            "filters": self.filters,
        }


def read(folder: Path) -> Manifest:
    """Read a run's manifest; raises MistakeError if it is damaged, or another version's."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        # What the pipeline says may have another form in another version.
        _ = manifest.spec
    except (OSError, ValidationError) as error:
        problem = "it was not made by this version of soupstock; run the pipeline again"
        raise MistakeError(problem, Place(path)) from error
    return manifest


def write(folder: Path, manifest: Manifest) -> None:
    """Write a run's manifest whole or not at all."""
    with written_whole(folder / MANIFEST) as file:
        file.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
