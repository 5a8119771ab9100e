"""What a run says of itself: the one place where the numbers of card and report come from."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from soupstock.artifacts.dataset import DatasetRecord, DiversityRecord, TopicRecord
from soupstock.artifacts.decontamination import DecontaminationRecord
from soupstock.artifacts.files import written_whole
from soupstock.artifacts.judges import JudgeRecord
from soupstock.artifacts.review import ReviewRecord
from soupstock.artifacts.terms import TermsRecord
from soupstock.spec.fields import Record
from soupstock.spec.pipeline import Pipeline

MANIFEST = "manifest.json"

WRITING = ("generate", "task", "converse")
"""The verbs of steps by which models write texts."""


class PartRecord(Record):
    """A file that the run was made from: a prompt, rubric, schema or filter module."""

    name: str
    file: str
    """Where it was found, relative to its project; `standard:` before it for the standard one."""
    sha256: str
    text: str


class ModelRecord(Record):
    """A model that was asked."""

    role: str
    reference: str
    """What the pipeline or the command line calls it: `embedded`, `openai/gpt-5-mini`."""
    model: str
    revision: str | None = None
    license: str | None = None
    sha256: str | None = None
    """The hash of its weights, where they are known."""
    terms: TermsRecord | None = None
    """What its licence, or the terms of the service, say of what it writes, where that is known."""


class FailureRecord(Record):
    """Calls that failed for one cause after all retries."""

    cause: str
    rows: int
    example: str


class TokenRecord(Record):
    """Tokens of the answers that the rows were made from, paid in this run or an earlier one."""

    prompt: int = 0
    cached: int = 0
    """Those of the prompts' tokens that a server had computed before, where it tells."""
    completion: int = 0


class SavingRecord(Record):
    """What shorter answers that are right save, of all rows that have one."""

    unit: Literal["tokens", "characters"]
    """Tokens are those that the model's server counts."""
    rows: int
    before: int
    """How long the answers were, all together."""
    after: int


class StepRecord(Record):
    """One step's accounts. Always: rows_in = rows_kept + the sum of `dropped`."""

    index: int
    """Counted from 1."""
    verb: str
    label: str
    """What a person reads: `generate response`, `filter length, not_refusal`."""
    model: str | None = None
    models: tuple[str, ...] = ()
    """The roles of the models that were asked; `model` is all of them in one text."""
    rows_in: int
    rows_kept: int
    dropped: dict[str, int] = {}
    """Rows dropped, by the first of their reasons."""
    flagged: dict[str, int] = {}
    """Rows that each reason named; a row with two reasons is counted under both."""
    masked: dict[str, int] = {}
    """Identifiers that a placeholder stands for now, by kind."""
    savings: tuple[SavingRecord, ...] = ()
    """How much shorter answers were made, where a verify step asks for that."""
    notes: tuple[str, ...] = ()
    """What a person should know of the step."""
    failures: tuple[FailureRecord, ...] = ()
    answers: int = 0
    """Model answers that the step's rows rest on."""
    tokens: TokenRecord = TokenRecord()
    cost: float | None = None
    """US dollars for those answers; null where the model's prices are not known."""


class SourceRecord(Record):
    """Where the rows came from."""

    kind: Literal["sample", "file", "dataset", "documents"]
    rows: int
    sha256: str | None = None
    """The content's hash, where there is a file."""


class SpreadRecord(Record):
    """How numbers are spread."""

    rows: int
    mean: float
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float


class ScoreRecord(Record):
    """What a judge's scores came to."""

    column: str
    model: str
    """The judge's role."""
    judged: SpreadRecord | None = None
    """Of all rows that have a score; null where none has."""
    kept: SpreadRecord | None = None
    """Of those rows among them that were kept to the end."""


class AddressRecord(Record):
    """What one of a model's addresses did in a run."""

    base_url: str
    calls: int
    failed: int = 0
    """Requests without an answer, refused ones not among them."""


class ServerRecord(Record):
    """What one model's servers did in a run."""

    model: str
    """The model's reference: `embedded`, `openai/gpt-5-mini`."""
    served: tuple[str, ...] = ()
    """The model's names as the server gives them: `gpt-5-mini-2025-08-07`."""
    calls: int
    tokens: TokenRecord
    cost: float | None
    seconds: float
    """From the first request to the last answer."""
    prefix_hits: float | None = None
    """The share of prompt tokens that its prefix cache had, where its metrics tell."""
    structured_output: str | None = None
    """How the server was found to hold answers to a JSON Schema; null where it was not probed."""
    addresses: tuple[AddressRecord, ...] = ()
    """Each address's share, where there are several."""


class PaidRecord(Record):
    """What the calls of this very run came to; nothing in the dataset depends on it."""

    calls: int = 0
    """Answers that a server gave in this run."""
    found: int = 0
    """Answers that the store had already."""
    probes: int = 0
    """Answers among `calls` that only told what a server can do; no row rests on them."""
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
    """For each step the seconds from its first row to its last; steps that stream overlap."""


class PruningRecord(Record):
    """What pruning a file says of itself."""

    soupstock: str
    pipeline: str
    file: str
    sha256: tuple[str, ...]
    """The hashes of the file, or of the files in the folder."""
    columns: dict[str, str]
    """What the pipeline calls a column, and what the file does, where they differ."""
    rows: int
    kept: int
    steps: tuple[StepRecord, ...]
    decontamination: tuple[DecontaminationRecord, ...] = ()
    seconds: float


class Manifest(Record):
    """Everything a run says of itself. Only `paid` and `timing` differ from run to run."""

    soupstock: str
    name: str
    fingerprint: str
    """The hash of the plan, in hexadecimal."""
    seed: int = 0
    """Where every random choice starts."""
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
    """Model answers that the rows rest on, of all steps."""
    tokens: TokenRecord = TokenRecord()
    cost: float | None = None
    """US dollars for those answers; null where a model's prices are not known."""
    scores: tuple[ScoreRecord, ...] = ()
    judges: tuple[JudgeRecord, ...] = ()
    """What is known of each judge step's judge."""
    review: ReviewRecord | None = None
    """What people said of the rows; null where the pipeline asks nobody."""
    decontamination: tuple[DecontaminationRecord, ...] = ()
    diversity: tuple[DiversityRecord, ...] = ()
    topics: tuple[TopicRecord, ...] = ()
    dataset: DatasetRecord | None = None
    """Null where the pipeline publishes nothing, or no row was kept."""
    files: dict[str, str] = {}
    """The SHA-256 of each file that was written, by its path in the run's folder."""
    versions: dict[str, str] = {}
    """Of Python and of the packages that shape the result."""
    paid: PaidRecord = PaidRecord()
    timing: TimingRecord

    @cached_property
    def spec(self) -> Pipeline:
        """The pipeline as it was written; raises ValidationError if it is another version's."""
        return Pipeline.model_validate(self.pipeline)

    @property
    def parts(self) -> Mapping[str, tuple[PartRecord, ...]]:
        """The files that the run was made from, by what they are."""
        return {
            "prompts": self.prompts,
            "rubrics": self.rubrics,
            "schemas": self.schemas,
            "filters": self.filters,
        }


def read(folder: Path) -> Manifest:
    """Read a run's manifest."""
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def write(folder: Path, manifest: Manifest) -> None:
    """Write a run's manifest whole or not at all."""
    with written_whole(folder / MANIFEST) as file:
        file.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
