"""What a person writes, as frozen data, with the line of each mistake.

Knows no rows and no models.
"""

from soupstock.spec.dataset import Config, Review, Stratified, WriteDataset
from soupstock.spec.fields import (
    MAX_ROWS,
    RESERVED,
    Column,
    ColumnPath,
    ModelName,
    Name,
    Repository,
    Role,
    TextPath,
)
from soupstock.spec.generation import Converse, Generate, Sampling, Task
from soupstock.spec.judging import Judge, Verify
from soupstock.spec.pipeline import VERBS, Pipeline, Step, slug, unslugged, verb_of
from soupstock.spec.pruning import (
    DEFAULT_THRESHOLDS,
    KINDS,
    Amount,
    Best,
    Decontaminate,
    Dedup,
    Filter,
    FilterEntry,
    FilterUse,
    Mask,
    Select,
)
from soupstock.spec.source import (
    DatasetReference,
    DatasetSource,
    DocumentSource,
    FileReference,
    FileSource,
    Reference,
    RunReference,
    SampleSource,
)

__all__ = [
    "DEFAULT_THRESHOLDS",
    "KINDS",
    "MAX_ROWS",
    "RESERVED",
    "VERBS",
    "Amount",
    "Best",
    "Column",
    "ColumnPath",
    "Config",
    "Converse",
    "DatasetReference",
    "DatasetSource",
    "Decontaminate",
    "Dedup",
    "DocumentSource",
    "FileReference",
    "FileSource",
    "Filter",
    "FilterEntry",
    "FilterUse",
    "Generate",
    "Judge",
    "Mask",
    "ModelName",
    "Name",
    "Pipeline",
    "Reference",
    "Repository",
    "Review",
    "Role",
    "RunReference",
    "SampleSource",
    "Sampling",
    "Select",
    "Step",
    "Stratified",
    "Task",
    "TextPath",
    "Verify",
    "WriteDataset",
    "slug",
    "unslugged",
    "verb_of",
]
